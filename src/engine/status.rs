//! `status`: the state directory as a whole, also of other processes.

use serde::{Deserialize, Serialize};

use crate::artifact::Result;
use crate::engine::store::Store;

/// The store could not be reached.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct StoreFailure {
    /// RFC 3339, UTC: the first failure in a row.
    pub since: String,
    /// Attempts that failed in a row.
    pub attempts: u64,
    /// The last error.
    pub message: String,
}

/// What a mount tells of itself in `status.json` of its directory (temp, rename; at most once a second).
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct MountReport {
    pub store_failure: Option<StoreFailure>,
    /// Closed files whose bytes could not be stored yet (`EIO` at close): retried in the background.
    #[serde(default)]
    pub unsaved: Vec<String>,
    /// Files open for writing.
    #[serde(default)]
    pub writing: u64,
}

#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct MountStatus {
    pub mount_id: String,
    pub alive: bool,
    pub pid: Option<u32>,
    pub mountpoint: Option<String>,
    pub session_id: Option<String>,
    pub tenant: Option<String>,
    /// Committed, bytes not in the store yet.
    pub pending_artifacts: u64,
    pub pending_bytes: u64,
    /// Files in its staging directory.
    pub staged_files: u64,
    pub staged_bytes: u64,
    #[serde(flatten)]
    pub report: MountReport,
}

#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Status {
    pub state_dir: String,
    pub store: String,
    pub tenant: String,
    /// Of the tenant, all mounts and inline bytes together.
    pub pending_artifacts: u64,
    pub pending_bytes: u64,
    pub mounts: Vec<MountStatus>,
    /// What the recovery at the opening of this store did and left; none when there was nothing to do.
    pub recovery: Option<crate::engine::recover::Recovery>,
}

impl Store {
    /// # Errors
    /// When the state directory or the catalog cannot be read.
    pub async fn status(&self) -> Result<Status> {
        todo!()
    }

    /// Writes this mount's `status.json`. Nothing without a staging directory.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn report(&self, report: &MountReport) -> Result<()> {
        let _ = report;
        todo!()
    }
}
