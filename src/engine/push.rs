//! `push`: files into a session without a mount.

use std::path::PathBuf;

use bytes::Bytes;
use tokio::io::AsyncRead;

use crate::artifact::Result;
use crate::artifact::name::SessionName;
use crate::artifact::record::{Labels, Session};
use crate::artifact::time::Timestamp;
use crate::engine::ingest::Ingested;
use crate::engine::progress::Progress;
use crate::engine::store::Store;

/// What is pushed.
pub enum PushSource {
    /// A regular file: copied privately first, so that a later change of it does no harm.
    File(PathBuf),
    Bytes(Bytes),
    /// A stream: standard input, an HTTP body. `size`, if known, is for the progress alone.
    Stream {
        reader: Box<dyn AsyncRead + Send + Unpin>,
        size: Option<u64>,
    },
}

/// One push.
pub struct PushRequest {
    /// Made if missing.
    pub session: SessionName,
    /// Inside the session; directories are made if missing. `a/b.txt`.
    pub path: Vec<u8>,
    pub source: PushSource,
    /// Metadata, agent, TTL, type, idempotency key. `provenance.door` is `push` unless it is set.
    pub labels: Labels,
    /// Permission bits of a new file; none: the source file's, else 0644.
    pub mode: Option<u32>,
    /// None: the source file's, else now.
    pub mtime: Option<Timestamp>,
    pub progress: Progress,
}

impl Store {
    /// Stores one file at `session:path`; an existing file there gets a new version.
    ///
    /// # Errors
    /// As [`Store::ingest`]; `Reserved` for a reserved name, `IsADirectory`, `NotADirectory` for a path that is taken by another kind,
    /// `Invalid` for an impossible path.
    pub async fn push(&self, request: PushRequest) -> Result<Ingested> {
        let _ = request;
        todo!()
    }

    /// Finds or makes the session (owner: this process).
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn ensure_session(&self, name: &SessionName) -> Result<Session> {
        let _ = name;
        todo!()
    }
}
