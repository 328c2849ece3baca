//! The invariants of a whole store, shipped as a command and run after every test.

pub mod blob;

use std::sync::Arc;

use futures::{StreamExt, stream};
use serde::Serialize;

use crate::artifact::ids::TenantId;
use crate::artifact::time::Timestamp;
use crate::artifact::{Kind, Result};
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

/// Blobs of one page of the catalog.
const PAGE: u32 = 500;

/// Blobs asked for at one time.
const WIDTH: usize = 8;

/// Checks all invariants; `tell` hears of blobs done and in all.
///
/// # Errors
/// When the catalog or the store cannot be asked; a broken invariant is no error but a fault in the report.
pub async fn run(subject: &Subject, tell: &(dyn Fn(u64, u64) + Send + Sync)) -> Result<Report> {
    let records = subject.catalog.check_records(subject.tenant).await?;
    let mut report =
        Report { artifacts: records.artifacts, nodes: records.nodes, faults: records.faults, ..Report::default() };
    let mut after = None;
    let mut seen = 0;
    loop {
        let page = subject.catalog.needed_blobs(subject.tenant, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(report) };
        after = Some(last.hash);
        seen += page.len() as u64;
        let mut proofs = stream::iter(page)
            .map(|blob| async move {
                let proof = if subject.read_data {
                    blob::prove(subject, &blob).await
                } else {
                    blob::exists(subject, &blob).await.map(|()| 0)
                };
                (blob, proof)
            })
            .buffer_unordered(WIDTH);
        while let Some((blob, proof)) = proofs.next().await {
            report.blobs += 1;
            match proof {
                Ok(bytes) => report.bytes_read += bytes,
                Err(e) if matches!(e.kind, Kind::Corrupt | Kind::NotFound) => {
                    report.faults.push(format!("blob {}: {e}", blob.hash));
                }
                Err(e) => return Err(e),
            }
            tell(report.blobs, seen);
        }
    }
}
