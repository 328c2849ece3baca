//! The invariants of a whole store, shipped as a command and run after every test.

pub mod blob;

use std::sync::Arc;

use futures::{StreamExt, stream};
use serde::Serialize;

use crate::artifact::ids::{BlobHash, TenantId};
use crate::artifact::record::Blob;
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
                let proof = prove_as_it_stands(subject, &blob).await;
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

/// Times that a blob is looked at again because its record had changed.
const LOOKS: u32 = 5;

/// Proves the blob. Before a fault is told, the catalog is asked again: since its page was read, the last artifact that
/// needed the blob may have ended and the collector have removed the bytes, or they have moved from staging to the store.
async fn prove_as_it_stands(subject: &Subject, blob: &Blob) -> Result<u64> {
    let mut known = blob.clone();
    for _ in 0..LOOKS {
        let proof = if subject.read_data {
            blob::prove(subject, &known).await
        } else {
            blob::exists(subject, &known).await.map(|()| 0)
        };
        let told = matches!(&proof, Err(e) if matches!(e.kind, Kind::Corrupt | Kind::NotFound));
        if !told {
            return proof;
        }
        match still_needed(subject, blob.hash).await? {
            None => return Ok(0),
            Some(now) if now.place == known.place => return proof,
            Some(now) => known = now,
        }
    }
    // It moves faster than it can be looked at; the next check finds it at rest.
    Ok(0)
}

/// The blob's record, if an artifact needs it now.
async fn still_needed(subject: &Subject, hash: BlobHash) -> Result<Option<Blob>> {
    // The catalog answers what comes after a hash: the one before this one.
    let mut before = hash.0;
    for byte in before.iter_mut().rev() {
        let (less, borrow) = byte.overflowing_sub(1);
        *byte = less;
        if !borrow {
            break;
        }
    }
    let after = (hash.0 != [0; 32]).then_some(BlobHash(before));
    let next = subject.catalog.needed_blobs(subject.tenant, after, 1).await?;
    Ok(next.into_iter().find(|b| b.hash == hash))
}
