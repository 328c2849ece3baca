//! Blob stores: bytes under a key, written once, never changed.
//!
//! # Contract (checked by `tests/contract/blob.rs` for every implementation)
//! - [`BlobStore::put`] is durable and whole when it returns `Ok`: a reader sees all bytes or none, never a part.
//!   Putting a key that exists replaces it by the same bytes (keys are content hashes) and is not an error.
//! - What is sent is proven to be what was hashed *by us*, before or while it is sent: stores that ignore
//!   checksums exist. A mismatch is `Corrupt` and leaves nothing visible under the key.
//! - [`BlobStore::get`] returns exactly the asked range or fails; a missing key is `NotFound`; a store that does not
//!   answer within its deadline is `StoreUnavailable`. Reads do not verify: [`reader`] does.
//! - A [`Body::Grown`] that the store cannot put together by itself (it does not know how, the base is too small or
//!   gone) is `Unsupported` and leaves nothing new under the key: the caller sends all of it.
//! - [`BlobStore::delete`] of a missing key is `Ok`.
//! - Every method is safe to call again after a failure of any kind, also after one that came when the store
//!   had already done the work.
//! - No method lists or heads on behalf of another. (But one: an S3 upload in parts that the server says it does not
//!   know any more looks whether the object is there.)

pub mod cache;
pub mod doctor;
pub mod local;
pub mod measured;
pub mod open;
pub mod reader;
pub mod retry;
pub mod s3;
mod verify;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::artifact::Result;
use crate::artifact::ids::BlobHash;
use crate::artifact::record::Chunks;
use crate::artifact::time::Timestamp;

/// A key inside a store: `blobs/ab/abcd…` or `manifests/run_42.json`, under the tenant's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlobKey(pub String);

impl BlobKey {
    /// Two levels, so that no directory of the local store grows past what `ls` bears.
    #[must_use]
    pub fn blob(tenant: &str, hash: BlobHash) -> Self {
        let hex = hash.to_hex();
        Self(format!("{tenant}/blobs/{}/{hex}", &hex[..2]))
    }

    /// Where a client puts the bytes of an announced artifact.
    #[must_use]
    pub fn upload(tenant: &str, id: &str) -> Self {
        Self(format!("{tenant}/uploads/{id}"))
    }

    #[must_use]
    pub fn manifest(tenant: &str, session: &str) -> Self {
        Self(format!("{tenant}/manifests/{session}.json"))
    }
}

/// What to store.
#[derive(Clone, Debug)]
pub enum Body {
    /// In memory; the caller hashed these very bytes.
    Bytes { bytes: Bytes, hash: BlobHash },
    /// A file of `size` bytes that the caller hashed earlier and that may have changed since: each piece is checked
    /// against `chunks` (or, up to one chunk, the whole against `hash`) in the buffer from which it is sent.
    /// `file` is open for reading; the path serves stores that can move or link it.
    File { file: Arc<std::fs::File>, path: PathBuf, size: u64, hash: BlobHash, chunks: Chunks },
    /// All of the blob `base` of this very store, and `tail` after it, which the caller hashed in this buffer on top of the
    /// base's hash. Only the tail is sent.
    Grown { base: BlobKey, base_size: u64, tail: Bytes, hash: BlobHash, chunks: Chunks },
}

impl Body {
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Body::Bytes { bytes, .. } => bytes.len() as u64,
            Body::File { size, .. } => *size,
            Body::Grown { base_size, tail, .. } => base_size + tail.len() as u64,
        }
    }

    /// How many bytes of it go to the store.
    #[must_use]
    pub fn carried(&self) -> u64 {
        match self {
            Body::Grown { tail, .. } => tail.len() as u64,
            whole => whole.size(),
        }
    }
}

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub key: BlobKey,
    pub size: u64,
    /// When it was last put, by the store's clock; none where it does not tell.
    pub modified: Option<Timestamp>,
}

/// An upload in parts that was begun and neither completed nor abandoned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    pub key: BlobKey,
    pub id: String,
    /// By the store's clock.
    pub started: Option<Timestamp>,
}

/// What a presigned URL shall answer with.
#[derive(Clone, Debug, Default)]
pub struct PresignHeaders {
    pub content_type: Option<String>,
    pub content_disposition: Option<String>,
}

#[async_trait]
pub trait BlobStore: Send + Sync + 'static {
    /// For people: `s3://bucket/prefix at http://…` or the directory.
    fn describe(&self) -> String;
    /// True when blobs are files on this host that [`BlobStore::local_path`] names.
    fn is_local(&self) -> bool;
    async fn put(&self, key: &BlobKey, body: Body) -> Result<()>;
    /// Puts a file that nobody can write any more (the caller holds its read lease, it is fsynced and hashed) by
    /// moving it where the store can; it may be gone from `path` afterwards. Others upload it.
    async fn adopt(
        &self,
        key: &BlobKey,
        path: &std::path::Path,
        size: u64,
        hash: BlobHash,
        chunks: &Chunks,
    ) -> Result<()>;
    /// `range` in bytes, within the blob; `None`: all of it (callers keep that to small objects).
    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> Result<Bytes>;
    /// Size in bytes, `None` when there is no such key.
    async fn head(&self, key: &BlobKey) -> Result<Option<u64>>;
    async fn delete(&self, key: &BlobKey) -> Result<()>;
    /// One page in key order after `after`; empty: the end.
    async fn list(&self, prefix: &str, after: Option<&BlobKey>) -> Result<Vec<Listed>>;
    /// One page of unfinished uploads after `after`; empty: the end. Stores that put in one piece have none.
    async fn list_unfinished(&self, prefix: &str, after: Option<&Unfinished>) -> Result<Vec<Unfinished>> {
        let _none = (prefix, after);
        Ok(Vec::new())
    }
    /// Abandons an upload; one that is not there any more is fine.
    async fn abort(&self, upload: &Unfinished) -> Result<()> {
        let _none = upload;
        Ok(())
    }
    /// A URL that answers GET for `ttl` without credentials; `None` where the store has none.
    async fn presign_get(&self, key: &BlobKey, ttl: Duration, headers: PresignHeaders) -> Result<Option<String>>;
    /// A URL that takes a PUT of exactly `size` bytes for `ttl` without credentials; `None` where the store has none.
    async fn presign_put(&self, key: &BlobKey, ttl: Duration, size: u64) -> Result<Option<String>> {
        let _none = (key, ttl, size);
        Ok(None)
    }
    /// Path of the blob's file in a local store, whether or not it exists.
    fn local_path(&self, key: &BlobKey) -> Option<PathBuf>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_grows_the_tail_alone_is_carried() {
        let (base, hash) = (BlobKey("a/b".to_owned()), BlobHash([0; 32]));
        let grown = Body::Grown {
            base,
            base_size: 1 << 24,
            tail: Bytes::from_static(b"tail"),
            hash,
            chunks: Chunks::default(),
        };
        assert_eq!((grown.size(), grown.carried()), ((1 << 24) + 4, 4));
    }
}
