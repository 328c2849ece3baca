//! Limits of a tenant, and how much room they leave.
//!
//! What counts against them is what lives: the newest version of each path that exists, by its logical size. Earlier versions, the
//! trash and what has expired do not, nor does it matter how many artifacts share a blob: a limit is a promise about what people
//! see, and they cannot see deduplication. (`outputfs usage` shows stored bytes beside it.)

use serde::Serialize;

use super::error::{Error, Kind, Result};

/// Limits of a tenant; none: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Quota {
    /// Logical bytes of live artifacts.
    pub max_bytes: Option<u64>,
    /// Live artifacts.
    pub max_artifacts: Option<u64>,
    /// Bytes of one file.
    pub max_file_bytes: Option<u64>,
    /// Links that lead somewhere.
    pub max_links: Option<u64>,
}

impl Quota {
    /// Whether the size of what is written matters at all.
    #[must_use]
    pub fn limits_bytes(&self) -> bool {
        self.max_bytes.is_some() || self.max_file_bytes.is_some()
    }
}

/// A quota and what is used of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    pub quota: Quota,
    /// Live artifacts and their bytes: an upper bound, for expired ones count until they are swept.
    pub artifacts: u64,
    pub bytes: u64,
    /// What others are about to add, beside that.
    pub claims: Claims,
}

/// Announced uploads, and bytes that are staged and not committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    pub artifacts: u64,
    pub bytes: u64,
}

impl Room {
    /// What counts: what is there and what is claimed.
    fn taken(&self) -> u64 {
        self.bytes.saturating_add(self.claims.bytes)
    }

    /// Whether a file of which `own` bytes count already may grow to `size`.
    ///
    /// # Errors
    /// `FileTooLarge`, `OverQuota`.
    pub fn file_may_be(&self, size: u64, own: u64) -> Result<()> {
        if let Some(max) = self.quota.max_file_bytes.filter(|max| size > *max) {
            let text = format!("a file of {size} bytes is over the tenant's limit of {max}");
            return Err(Error::new(Kind::FileTooLarge, text));
        }
        let total = self.taken().saturating_sub(own).saturating_add(size);
        if let Some(max) = self.quota.max_bytes.filter(|max| total > *max) {
            let text = format!("the tenant's quota is used up: this file would make it {total} bytes of {max}");
            return Err(Error::new(Kind::OverQuota, text));
        }
        Ok(())
    }

    /// Whether there may be one more artifact.
    ///
    /// # Errors
    /// `OverQuota`.
    pub fn one_more(&self) -> Result<()> {
        match self.quota.max_artifacts.filter(|max| self.artifacts + self.claims.artifacts >= *max) {
            Some(max) => Err(Error::new(
                Kind::OverQuota,
                format!(
                    "the tenant's quota is used up: there are {} artifacts of {max}",
                    self.artifacts + self.claims.artifacts
                ),
            )),
            None => Ok(()),
        }
    }

    /// Bytes that one file can still take for certain; none: no limit.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        let left = self.quota.max_bytes.map(|max| max.saturating_sub(self.taken()));
        match (left, self.quota.max_file_bytes) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(max_bytes: Option<u64>, max_file_bytes: Option<u64>, bytes: u64) -> Room {
        Room { quota: Quota { max_bytes, max_file_bytes, ..Quota::default() }, artifacts: 2, bytes, ..Room::default() }
    }

    #[test]
    fn a_file_counts_once_however_often_it_is_written() {
        let room = room(Some(100), None, 90);
        assert!(room.file_may_be(10, 0).is_ok());
        assert_eq!(room.file_may_be(11, 0).unwrap_err().kind, Kind::OverQuota);
        assert!(room.file_may_be(60, 50).is_ok(), "its 50 bytes are replaced");
    }

    #[test]
    fn what_is_claimed_is_taken() {
        let room = Room { claims: Claims { artifacts: 0, bytes: 20 }, ..room(Some(100), None, 70) };
        assert!(room.file_may_be(10, 0).is_ok() && room.file_may_be(11, 0).is_err());
        assert_eq!(room.left(), Some(10));
    }

    #[test]
    fn one_file_has_a_limit_of_its_own() {
        let room = room(Some(100), Some(20), 10);
        assert_eq!(room.file_may_be(21, 0).unwrap_err().kind, Kind::FileTooLarge);
        assert_eq!(room.left(), Some(20));
        assert_eq!(self::room(None, None, 10).left(), None);
    }

    #[test]
    fn artifacts_are_counted() {
        let mut room = room(None, None, 0);
        assert!(room.one_more().is_ok());
        room.quota.max_artifacts = Some(3);
        assert!(room.one_more().is_ok());
        room.quota.max_artifacts = Some(2);
        assert_eq!(room.one_more().unwrap_err().kind, Kind::OverQuota);
    }
}
