//! A store whose operations are counted and timed.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

use super::{BlobKey, BlobStore, Body, Listed, PresignHeaders, Unfinished};
use crate::artifact::ids::BlobHash;
use crate::artifact::record::Chunks;
use crate::artifact::{Kind, Result};
use crate::metrics;

/// Hands everything on to the store it was made of.
pub struct Measured(Arc<dyn BlobStore>);

impl Measured {
    #[must_use]
    pub fn new(inner: Arc<dyn BlobStore>) -> Self {
        Self(inner)
    }
}

/// `Unsupported` and `NotFound` are answers; all else is a failure.
fn note<T>(operation: &str, started: Instant, result: Result<T>) -> Result<T> {
    let all = metrics::get();
    all.store_seconds.with_label_values(&[operation]).observe(started.elapsed().as_secs_f64());
    if let Err(e) = &result
        && !matches!(e.kind, Kind::Unsupported | Kind::NotFound)
    {
        all.store_errors.with_label_values(&[operation]).inc();
    }
    result
}

fn sent(started: Instant, result: &Result<()>, size: u64) {
    if result.is_ok() {
        metrics::get().upload_seconds.observe(started.elapsed().as_secs_f64());
        metrics::get().store_bytes.with_label_values(&["out"]).inc_by(size);
    }
}

#[async_trait]
impl BlobStore for Measured {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn is_local(&self) -> bool {
        self.0.is_local()
    }

    async fn put(&self, key: &BlobKey, body: Body) -> Result<()> {
        let (started, size) = (Instant::now(), body.carried());
        let put = note("put", started, self.0.put(key, body).await);
        sent(started, &put, size);
        put
    }

    async fn adopt(&self, key: &BlobKey, path: &Path, size: u64, hash: BlobHash, chunks: &Chunks) -> Result<()> {
        let started = Instant::now();
        let put = note("put", started, self.0.adopt(key, path, size, hash, chunks).await);
        sent(started, &put, size);
        put
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> Result<Bytes> {
        let got = note("get", Instant::now(), self.0.get(key, range).await);
        if let Ok(bytes) = &got {
            metrics::get().store_bytes.with_label_values(&["in"]).inc_by(bytes.len() as u64);
        }
        got
    }

    async fn head(&self, key: &BlobKey) -> Result<Option<u64>> {
        note("head", Instant::now(), self.0.head(key).await)
    }

    async fn delete(&self, key: &BlobKey) -> Result<()> {
        note("delete", Instant::now(), self.0.delete(key).await)
    }

    async fn list(&self, prefix: &str, after: Option<&BlobKey>) -> Result<Vec<Listed>> {
        note("list", Instant::now(), self.0.list(prefix, after).await)
    }

    async fn list_unfinished(&self, prefix: &str, after: Option<&Unfinished>) -> Result<Vec<Unfinished>> {
        note("list", Instant::now(), self.0.list_unfinished(prefix, after).await)
    }

    async fn abort(&self, upload: &Unfinished) -> Result<()> {
        note("abort", Instant::now(), self.0.abort(upload).await)
    }

    async fn presign_get(&self, key: &BlobKey, ttl: Duration, headers: PresignHeaders) -> Result<Option<String>> {
        self.0.presign_get(key, ttl, headers).await
    }

    async fn presign_put(&self, key: &BlobKey, ttl: Duration, size: u64) -> Result<Option<String>> {
        self.0.presign_put(key, ttl, size).await
    }

    fn local_path(&self, key: &BlobKey) -> Option<PathBuf> {
        self.0.local_path(key)
    }
}
