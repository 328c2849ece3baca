//! Whoever deletes blobs of a tenant holds this: one process of a state directory at a time.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::flock::Flock;
use super::state_dir::StateDir;
use crate::artifact::{Error, Result};

/// A lock that the kernel lets go of when its process dies.
#[derive(Debug)]
pub struct SweepLock {
    _lock: Flock,
}

impl SweepLock {
    /// Makes the file, so that a later sweep needs no new one: on a disk without free inodes nothing else would ever free one.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn make(state: &StateDir, tenant: &str) -> Result<()> {
        Self::open(state, tenant).map(drop)
    }

    /// `None`: another process, or another task of this one, holds it. Does not wait.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn try_take(state: &StateDir, tenant: &str) -> Result<Option<Self>> {
        let (file, path) = Self::open(state, tenant)?;
        Ok(Flock::exclusive(file, &path)?.map(|lock| Self { _lock: lock }))
    }

    fn open(state: &StateDir, tenant: &str) -> Result<(File, PathBuf)> {
        let path = state.root().join(format!("sweep-{tenant}.lock"));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&path)
            .map_err(|e| Error::io(&path, &e))?;
        Ok((file, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_tenants_apart() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let held = SweepLock::try_take(&state, "a").unwrap().unwrap();
        assert!(SweepLock::try_take(&state, "a").unwrap().is_none());
        assert!(SweepLock::try_take(&state, "b").unwrap().is_some());
        drop(held);
        assert!(SweepLock::try_take(&state, "a").unwrap().is_some());
    }
}
