//! One staging file: the private, mutable bytes of one inode while anybody has it open for writing.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::artifact::Result;
use crate::artifact::time::Timestamp;

/// What `fstat` says that tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub size: u64,
    /// 512-byte blocks.
    pub blocks: u64,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
}

/// An open staging file. The descriptor is `O_RDWR | O_CLOEXEC`.
#[derive(Debug, Clone)]
pub struct StagingFile {
    pub name: String,
    pub path: PathBuf,
    pub file: Arc<File>,
}

impl StagingFile {
    /// Makes `dir/name`, mode 0600, `O_EXCL`.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn create(dir: &Path, name: &str) -> Result<Self> {
        let _ = (dir, name);
        todo!()
    }
    /// Opens what a dead owner left.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn open(dir: &Path, name: &str) -> Result<Self> {
        let _ = (dir, name);
        todo!()
    }
    /// # Errors
    /// I/O errors with the path.
    pub fn stamp(&self) -> Result<Stamp> {
        todo!()
    }
    /// Fills it with the first `size` bytes of `source`: reflink (`FICLONE`), else `copy_file_range`, else read and
    /// write; holes stay holes where the file system says so. Blocking.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn fill_from(&self, source: &File, source_path: &Path, size: u64) -> Result<()> {
        let _ = (source, source_path, size);
        todo!()
    }
    /// Up to `len` bytes at `offset`; fewer at the end. Blocking.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let _ = (offset, len);
        todo!()
    }
    /// `fdatasync`. Blocking.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn sync(&self) -> Result<()> {
        todo!()
    }
    /// Gives up the descriptor and proves that nobody can change the bytes any more: a read lease (`F_SETLEASE`,
    /// `F_RDLCK`) on a fresh read-only descriptor is granted only when no writer and no writable mapping is left.
    /// Other clones of `self` must be gone, and so must a passthrough backing ID on it. The lease is given back at once.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn freeze(self) -> Result<Freeze> {
        todo!()
    }
}

/// Answer of [`StagingFile::freeze`].
#[derive(Debug)]
pub enum Freeze {
    /// Nobody can write: the file may become the blob. Open read-only.
    Frozen { path: PathBuf, file: File },
    /// A writer or a mapping lives on.
    InUse(StagingFile),
}

/// Does this file system tell two writes apart that follow one another at once (multigrain timestamps, Linux 6.13)?
/// If not, a stamp younger than 10 ms proves nothing and the caller hashes again. Probed once in `dir`.
///
/// # Errors
/// I/O errors with the path.
pub fn has_fine_ctime(dir: &Path) -> Result<bool> {
    let _ = dir;
    todo!()
}
