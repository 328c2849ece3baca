//! Bytes → committed: the one way into the store, whatever door they come through.

use std::time::Duration;

use bytes::Bytes;

use crate::artifact::Result;
use crate::artifact::ids::{ArtifactId, Ino, SessionId};
use crate::artifact::record::Labels;
use crate::artifact::time::Timestamp;
use crate::catalog::{Birth, Committed};
use crate::engine::store::Store;
use crate::staging::file::StagingFile;
use crate::staging::hash::Digest;

/// Bytes with their digest.
#[derive(Clone, Debug)]
pub enum Source {
    /// In memory; `Digest` is of these very bytes.
    Bytes(Bytes, Digest),
    /// A file in the staging directory of this store's mount. If it no longer matches `digest`, `ingest` fails with
    /// `Corrupt` and nothing is committed (the writer was faster: hash again, or a copy).
    File { staging: StagingFile, digest: Digest },
}

/// Everything about a commit that is not its bytes.
#[derive(Clone, Debug)]
pub struct CommitMeta {
    pub session: SessionId,
    /// The file's inode: reserved and new with `birth`, else in the catalog.
    pub ino: Ino,
    pub birth: Option<Birth>,
    /// The ID to give if a new artifact comes of it: [`Store::new_artifact_id`].
    pub id: ArtifactId,
    /// See [`crate::catalog::Commit::collapse`].
    pub collapse: Option<ArtifactId>,
    /// The file's own name: the type is guessed from it and the first bytes.
    pub name: Vec<u8>,
    pub labels: Labels,
    pub mtime: Timestamp,
    /// What hashing took: for the log line.
    pub hashing: Duration,
}

/// A committed artifact, and where its bytes went.
#[derive(Clone, Debug)]
pub struct Ingested {
    pub committed: Committed,
    /// The blob was there already: nothing was uploaded or copied.
    pub dedup: bool,
    /// The catalog says that the bytes live in the staging file (provisional): it must stay, unchanged up to
    /// `digest.size`, until the settler has taken it or `Catalog::forget_provisional` agreed.
    pub holds_staging: bool,
}

impl Store {
    /// Stores the bytes, then commits the record: one artifact, durable when this returns.
    ///
    /// # Errors
    /// `Sealed`, `OverQuota`, `FileTooLarge`, `Exists` (idempotency key) from the transaction; `StoreUnavailable` when the store
    /// failed until `upload_timeout`; `Corrupt` when the source no longer matches its digest.
    pub async fn ingest(&self, source: Source, meta: CommitMeta) -> Result<Ingested> {
        let _ = (source, meta);
        todo!()
    }

    /// A fresh artifact ID at this store's time.
    pub fn new_artifact_id(&self) -> ArtifactId {
        todo!()
    }
}
