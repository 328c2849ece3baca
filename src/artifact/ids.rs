//! Identifiers: newtypes, so that one kind of number or string is never taken for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::error::{Error, Result};

/// Row number of a tenant in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(pub i64);

/// Row number of a session in the catalog. Zero stands for "no session" (the tenant's root).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub i64);

impl SessionId {
    /// The tenant's root directory belongs to no session.
    pub const NONE: SessionId = SessionId(0);
}

/// An inode number, unique in the whole catalog and never used twice, so that it can be shown to the
/// kernel as it is and survives a restart of the daemon. Directory cookies are drawn from the same sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ino(pub u64);

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// `art_` + ULID: one version of one file, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArtifactId(pub Ulid);

impl fmt::Display for ArtifactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "art_{}", self.0)
    }
}

impl FromStr for ArtifactId {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        s.strip_prefix("art_")
            .and_then(|rest| Ulid::from_string(rest).ok())
            .map(ArtifactId)
            .ok_or_else(|| Error::invalid(format!("'{s}' is not an artifact ID: it is 'art_' and 26 characters")))
    }
}

impl Serialize for ArtifactId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ArtifactId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The SHA-256 of a blob: its identity in the store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobHash(pub [u8; 32]);

impl BlobHash {
    /// SHA-256 of no bytes.
    pub const EMPTY: BlobHash = BlobHash([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae,
        0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ]);

    /// Lower-case hexadecimal, 64 characters.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The greatest hash below it; none below the least.
    #[must_use]
    pub fn before(self) -> Option<BlobHash> {
        let mut bytes = self.0;
        for byte in bytes.iter_mut().rev() {
            let (less, borrowed) = byte.overflowing_sub(1);
            *byte = less;
            if !borrowed {
                return Some(BlobHash(bytes));
            }
        }
        None
    }

    /// # Errors
    /// `EINVAL` when `bytes` are not 32.
    pub fn from_slice(bytes: &[u8]) -> Result<Self> {
        bytes.try_into().map(BlobHash).map_err(|_| Error::invalid("a SHA-256 has 32 bytes"))
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl FromStr for BlobHash {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let bytes = hex::decode(s).map_err(|_| Error::invalid(format!("'{s}' is not a SHA-256 in hexadecimal")))?;
        Self::from_slice(&bytes)
    }
}

impl Serialize for BlobHash {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlobHash {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One mount (or one command) that owns a staging directory: the name of that directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MountId(pub Ulid);

impl fmt::Display for MountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for MountId {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        Ulid::from_string(s).map(MountId).map_err(|_| Error::invalid(format!("'{s}' is not a mount ID")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifact_ids_round_trip_and_reject_others() {
        let id = ArtifactId(Ulid::from_parts(1, 2));
        assert_eq!(id.to_string().parse::<ArtifactId>().unwrap(), id);
        for bad in ["", "art_", "art_zz", "lnk_01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAV"] {
            assert!(bad.parse::<ArtifactId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_empty_hash_is_the_hash_of_nothing() {
        use sha2::Digest;
        assert_eq!(BlobHash(sha2::Sha256::digest([]).into()), BlobHash::EMPTY);
    }

    #[test]
    fn the_hash_before() {
        let hash = |last: u8| BlobHash(std::array::from_fn(|i| if i == 31 { last } else { 7 }));
        assert_eq!(hash(5).before(), Some(hash(4)));
        let mut below = hash(0);
        below.0[30] = 6;
        below.0[31] = 255;
        assert_eq!(hash(0).before(), Some(below));
        assert_eq!(BlobHash([0; 32]).before(), None);
    }
}
