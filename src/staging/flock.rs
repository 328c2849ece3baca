//! Locks on files, see flock(2): the kernel lets go of them when their process dies.

use std::fs::File;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::artifact::{Error, Result};

/// A held lock; dropping it lets go.
///
/// Closing the file would not do: the lock belongs to the open file description, and a program that another thread is just
/// starting has that until its `execve(2)`, though the descriptor is closed by it (`O_CLOEXEC`). Whoever asked in that moment
/// would find a lock that nobody holds any more.
#[derive(Debug)]
pub struct Flock {
    file: File,
}

impl Flock {
    /// `None`: another open of the file holds it, in this process or in another. Does not wait.
    ///
    /// # Errors
    /// I/O errors with `path`, which is told only.
    pub fn exclusive(file: File, path: &Path) -> Result<Option<Self>> {
        Self::with(file, FlockOperation::NonBlockingLockExclusive, path)
    }

    /// As [`Flock::exclusive`]; others may hold it so too.
    ///
    /// # Errors
    /// I/O errors with `path`.
    pub fn shared(file: File, path: &Path) -> Result<Option<Self>> {
        Self::with(file, FlockOperation::NonBlockingLockShared, path)
    }

    fn with(file: File, how: FlockOperation, path: &Path) -> Result<Option<Self>> {
        loop {
            match rustix::fs::flock(&file, how) {
                Ok(()) => return Ok(Some(Self { file })),
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(e) => return Err(Error::io(path, &e.into())),
            }
        }
    }

    /// The file that is locked.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Flock {
    fn drop(&mut self) {
        // It cannot fail on a lock that is held; if it did, closing the file lets go.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_is_free_though_a_starting_program_still_has_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let open = || File::create(&path).unwrap();
        let held = Flock::exclusive(open(), &path).unwrap().unwrap();
        // What fork(2) does to it: another descriptor of the same description.
        let forked = held.file().try_clone().unwrap();
        assert!(Flock::exclusive(open(), &path).unwrap().is_none());
        assert!(Flock::shared(open(), &path).unwrap().is_none());
        drop(held);
        let shared = Flock::shared(open(), &path).unwrap().unwrap();
        let _forked_too = shared.file().try_clone().unwrap();
        assert!(Flock::shared(open(), &path).unwrap().is_some());
        assert!(Flock::exclusive(open(), &path).unwrap().is_none());
        drop(shared);
        assert!(Flock::exclusive(open(), &path).unwrap().is_some());
        drop(forked);
    }
}
