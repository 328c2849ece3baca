//! Reading with proof: no byte leaves that does not match its hash.

mod local;
mod remote;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::cache::BlobCache;
use super::{BlobKey, BlobStore};
use crate::artifact::ids::BlobHash;
use crate::artifact::record::Chunks;
use crate::artifact::{Error, Kind, Result};

/// Verified random access to one blob, wherever its bytes are. Cheap to clone; safe for many readers.
///
/// Verification: a blob up to one chunk is hashed whole (SHA-256) at its first read, a larger one chunk by chunk
/// (BLAKE3) as chunks are first touched; what has been verified in this process is not verified again. A mismatch is `Corrupt`, is
/// logged with artifact and key, and stays an error for that chunk.
#[derive(Clone)]
pub struct ContentReader(pub Arc<dyn ReadContent>);

/// Source of verified bytes.
#[async_trait::async_trait]
pub trait ReadContent: Send + Sync {
    fn size(&self) -> u64;
    /// The blob that is read.
    fn hash(&self) -> BlobHash;
    /// Up to `len` bytes at `offset`, fewer only at the end. Remote blobs are fetched by chunk, with read-ahead when
    /// reads follow one another.
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes>;
    /// The whole blob as a local file (fetched into the cache first if need be), verified.
    async fn as_file(&self) -> Result<(Arc<File>, PathBuf)>;
    /// Where at or after `at` (inside the blob) the next data begins, or the next hole (`data` false; the end is one).
    /// `None`: no data follows. What is passed over is verified as if it had been read.
    async fn seek(&self, at: u64, data: bool) -> Result<Option<u64>> {
        Ok(Some(if data { at } else { self.size() }))
    }
}

/// What is known of a blob before a byte of it is read.
#[derive(Clone, Debug)]
pub struct Content {
    /// Names the artifact in the log when its bytes are bad: `art_… report.pdf`.
    pub label: String,
    pub hash: BlobHash,
    /// Bytes.
    pub size: u64,
    pub chunks: Chunks,
}

impl Content {
    /// Says in the log that bytes `from` somewhere are bad, and makes the error that readers get.
    fn corrupt(&self, from: &str, error: &Error) -> Error {
        tracing::error!(artifact = %self.label, key = %from, hash = %self.hash, reason = %error, "CORRUPT: the bytes of an artifact are not those that were stored; they are not served");
        Error::new(Kind::Corrupt, format!("{}: the bytes in {from} are damaged: {error}", self.label))
    }

    /// The same of bytes that their owner may have changed by right.
    fn changed(&self, from: &str, error: &Error) -> Error {
        Error::new(Kind::Corrupt, format!("{}: the bytes in {from} are not these any more: {error}", self.label))
    }

    /// The part of `offset..offset + len` that exists.
    fn clamp(&self, offset: u64, len: usize) -> std::ops::Range<u64> {
        let start = offset.min(self.size);
        start..start.saturating_add(len as u64).min(self.size)
    }
}

impl ContentReader {
    /// Of bytes in memory (a catalog row): verified at the first read.
    #[must_use]
    pub fn inline(content: Content, bytes: Bytes) -> Self {
        Self(Arc::new(local::InlineContent::new(content, bytes)))
    }

    /// Of a local file that nobody changes: a blob of a local store. `file` is open for reading.
    #[must_use]
    pub fn file(content: Content, file: Arc<File>, path: PathBuf) -> Self {
        Self(Arc::new(local::LocalContent::new(content, file, path)))
    }

    /// Of a staging file that holds a blob for the time being: its owner may write the next version into it, which is nothing to be
    /// alarmed about.
    #[must_use]
    pub fn staged(content: Content, file: Arc<File>, path: PathBuf) -> Self {
        Self(Arc::new(local::LocalContent::fleeting(content, file, path)))
    }

    /// Of a blob of a remote store, through the cache.
    #[must_use]
    pub fn remote(content: Content, key: BlobKey, store: Arc<dyn BlobStore>, cache: Arc<BlobCache>) -> Self {
        Self(Arc::new(remote::RemoteContent::new(content, key, store, cache)))
    }

    /// Of a blob that is in `store`, local or remote.
    ///
    /// # Errors
    /// `NotFound` when a local store has no such file; I/O errors with its path.
    pub fn stored(content: Content, key: BlobKey, store: &Arc<dyn BlobStore>, cache: &Arc<BlobCache>) -> Result<Self> {
        match store.local_path(&key) {
            Some(path) => {
                let file = File::open(&path).map_err(|e| Error::io(&path, &e))?;
                Ok(Self::file(content, Arc::new(file), path))
            }
            None => Ok(Self::remote(content, key, store.clone(), cache.clone())),
        }
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size()
    }

    /// See [`ReadContent::read_at`].
    ///
    /// # Errors
    /// `Corrupt`; those of the store.
    pub async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        self.0.read_at(offset, len).await
    }

    /// See [`ReadContent::as_file`].
    ///
    /// # Errors
    /// `Corrupt`; those of the store; I/O errors of the cache.
    pub async fn as_file(&self) -> Result<(Arc<File>, PathBuf)> {
        self.0.as_file().await
    }
}
