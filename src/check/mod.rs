//! The invariants of a whole store, shipped as a command and run after every test.

use std::sync::Arc;

use serde::Serialize;

use crate::artifact::Result;
use crate::artifact::ids::TenantId;
use crate::artifact::time::Timestamp;
use crate::blob::BlobStore;
use crate::catalog::Catalog;
use crate::staging::state_dir::StateDir;

/// What to check. [`crate::engine`] has `Store::check`, which fills it in.
pub struct Subject {
    pub catalog: Arc<dyn Catalog>,
    pub blobs: Arc<dyn BlobStore>,
    pub state: StateDir,
    pub tenant: TenantId,
    pub tenant_name: String,
    pub now: Timestamp,
    /// Re-read and hash every stored blob; else only its size is asked for.
    pub read_data: bool,
}

#[derive(Clone, Debug, Default, Serialize, PartialEq, Eq)]
pub struct Report {
    pub artifacts: u64,
    pub nodes: u64,
    pub blobs: u64,
    pub bytes_read: u64,
    /// One sentence for each broken invariant.
    pub faults: Vec<String>,
}

impl Report {
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Checks all invariants; `tell` hears of blobs done and in all.
///
/// # Errors
/// When the catalog or the store cannot be asked; a broken invariant is no error but a fault in the report.
pub async fn run(subject: &Subject, tell: &(dyn Fn(u64, u64) + Send + Sync)) -> Result<Report> {
    let _ = (subject, tell);
    todo!()
}
