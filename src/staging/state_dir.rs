//! The state directory and the mount directories in it.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::artifact::Result;
use crate::artifact::ids::MountId;

/// `--state-dir`: made `0700` when missing.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// # Errors
    /// When it cannot be made, is not ours, or lies on an outputfs mount (the daemon must not depend on itself).
    pub fn open(root: &Path) -> Result<Self> {
        let _ = root;
        todo!()
    }
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
    #[must_use]
    pub fn catalog_path(&self) -> PathBuf {
        self.root.join("catalog.db")
    }
    #[must_use]
    pub fn blobs_dir(&self) -> PathBuf {
        self.root.join("blobs")
    }
    #[must_use]
    pub fn cache_dir(&self) -> PathBuf {
        self.root.join("cache")
    }
    #[must_use]
    pub fn mounts_dir(&self) -> PathBuf {
        self.root.join("mounts")
    }
    /// Path of a staging file of any mount.
    #[must_use]
    pub fn staging_path(&self, mount: MountId, file: &str) -> PathBuf {
        self.mounts_dir().join(mount.to_string()).join("staging").join(file)
    }
    /// Every mount directory, oldest first, with what its owner wrote about itself.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn mounts(&self) -> Result<Vec<MountEntry>> {
        todo!()
    }
}

/// What `mount.json` says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MountInfo {
    pub pid: u32,
    /// Absolute; none for a command that stages bytes without a mount.
    pub mountpoint: Option<PathBuf>,
    pub session: Option<String>,
    pub tenant: String,
    /// The store it uploads to, as its owner described it.
    pub store: String,
}

#[derive(Clone, Debug)]
pub struct MountEntry {
    pub id: MountId,
    /// Its lock is held.
    pub alive: bool,
    pub info: Option<MountInfo>,
}

/// A mount directory that this process owns: the lock is held until drop. (Dropping leaves the directory.)
#[derive(Debug)]
pub struct MountDir {
    pub id: MountId,
    path: PathBuf,
    _lock: File,
}

impl MountDir {
    /// A new one for this process.
    ///
    /// # Errors
    /// When it cannot be made or locked.
    pub fn create(state: &StateDir) -> Result<Self> {
        let _ = state;
        todo!()
    }
    /// Takes over the directory of a dead owner; `None` while the owner lives or when it is gone.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn take(state: &StateDir, id: MountId) -> Result<Option<Self>> {
        let _ = (state, id);
        todo!()
    }
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
    #[must_use]
    pub fn staging(&self) -> PathBuf {
        self.path.join("staging")
    }
    #[must_use]
    pub fn journal_path(&self) -> PathBuf {
        self.path.join("journal")
    }
    /// Writes `mount.json` (temp, rename).
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn write_info(&self, info: &MountInfo) -> Result<()> {
        let _ = info;
        todo!()
    }
    /// Removes the directory if its staging is empty; `false` when bytes are left in it.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn remove(self) -> Result<bool> {
        todo!()
    }
}
