//! Blobs in S3 and in what speaks its protocol.
//!
//! What other servers forced on us: nothing depends on `If-None-Match`, on the server checking a checksum, on
//! `aws-chunked` bodies or trailers, or on what comes back but status, body and the parts' tags. Every request goes
//! through [`S3Store::call`], which bounds it in time and in number, and is tried again by [`retry::Policy`].
//!
//! [`retry::Policy`]: super::retry::Policy

mod config;
mod errors;
mod grow;
mod put;
mod unfinished;

pub use config::S3Config;
pub use put::SMALL_MAX;

use std::future::Future;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::{Bytes, BytesMut};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::retry::{Policy, transfer_time};
use super::{BlobKey, BlobStore, Body, Listed, PresignHeaders, Unfinished, verify};
use crate::artifact::ids::BlobHash;
use crate::artifact::record::Chunks;
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Kind, Result};

/// How long a server may take to answer a request that carries no bytes; [`transfer_time`] is added for those.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests at one time, and so connections: enough to fill a link, far below what servers and `ulimit -n` bear.
const MAX_REQUESTS: usize = 64;
/// Keys a page of a listing: S3's limit, which other servers exceed unless told.
const PAGE: i32 = 1000;
/// The longest life of a presigned URL that S3 accepts.
const MAX_PRESIGNED: Duration = Duration::from_hours(7 * 24);

/// A bucket, or a prefix in it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct S3Store {
    client: Client,
    bucket: Arc<str>,
    /// Empty, or ends in `/`.
    prefix: Arc<str>,
    described: Arc<str>,
    requests: Arc<Semaphore>,
    policy: Policy,
    wire_is_private: bool,
}

impl S3Store {
    /// Reads the credential chain (environment, profile, container, instance, process) and makes a client. Talks to no
    /// bucket yet.
    pub async fn open(config: S3Config) -> Self {
        let described = config.describe();
        let client = config.client().await;
        Self {
            wire_is_private: config.wire_is_private(),
            client,
            bucket: config.bucket.into(),
            prefix: config.prefix.into(),
            described: described.into(),
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
            policy: config.retry,
        }
    }

    fn object(&self, key: &BlobKey) -> String {
        format!("{}{}", self.prefix, key.0)
    }

    /// What went wrong, for people: the request, and the bucket with its endpoint.
    fn place(&self, what: &str) -> errors::Place<'_> {
        errors::Place { what: what.to_owned(), store: &self.described, bucket: &self.bucket }
    }

    /// One request, tried again while it may help: `send` makes and sends it anew each time. `bytes` is what it
    /// carries in either direction.
    async fn call<T, E, F, Fut>(&self, what: &str, bytes: u64, send: F) -> Result<T>
    where
        F: Fn() -> Fut + Send,
        Fut: Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.policy.run(what, bytes, || self.attempt(what, bytes, Box::pin(send()))).await
    }

    /// One attempt of one request, under the limits of time and number. Callers box `request`: the SDK's futures are
    /// tens of kilobytes.
    async fn attempt<T, E>(
        &self,
        what: &str,
        bytes: u64,
        request: impl Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>> + Send,
    ) -> Result<T>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let limit = ANSWER_TIMEOUT + transfer_time(bytes);
        let bounded = async {
            let _permit = self.requests.acquire().await.map_err(|_| Error::internal("the S3 client is closed"))?;
            request.await.map_err(|e| errors::from_sdk(&self.place(what), &e))
        };
        timeout(limit, bounded).await.unwrap_or_else(|_| Err(self.silent(what, limit)))
    }

    fn silent(&self, what: &str, limit: Duration) -> Error {
        Error::new(
            Kind::StoreUnavailable,
            format!("{what}: {} did not answer within {} s", self.described, limit.as_secs()),
        )
    }

    async fn get_once(&self, what: &str, key: &BlobKey, range: Option<&Range<u64>>) -> Result<Bytes> {
        let wanted = range.map(|r| r.end - r.start);
        let request = self
            .client
            .get_object()
            .bucket(&*self.bucket)
            .key(self.object(key))
            .set_range(range.map(|r| format!("bytes={}-{}", r.start, r.end - 1)));
        // The answer's head; what follows is bounded by its own length. A reader that asks for all of an object
        // learns the length here.
        let answer = self.attempt(what, 0, Box::pin(request.send())).await?;
        let length = answer.content_length().and_then(|n| u64::try_from(n).ok());
        let expected = match (wanted, length) {
            (Some(wanted), Some(length)) if wanted != length => {
                return Err(Error::new(
                    Kind::Corrupt,
                    format!("{what}: the object is not as long as on record: {length} bytes came instead of {wanted}"),
                ));
            }
            (wanted, length) => wanted.or(length),
        };
        let mut body = answer.body;
        let mut bytes = BytesMut::with_capacity(verify::length(&(0..expected.unwrap_or(0)))?);
        let limit = ANSWER_TIMEOUT + transfer_time(expected.unwrap_or(put::SMALL_MAX));
        let filled = async {
            while let Some(piece) = body.next().await {
                let piece = piece.map_err(|e| {
                    Error::new(
                        Kind::StoreUnavailable,
                        format!("{what}: the answer of {} broke off: {e}", self.described),
                    )
                })?;
                bytes.extend_from_slice(&piece);
            }
            Ok(())
        };
        timeout(limit, filled).await.unwrap_or_else(|_| Err(self.silent(what, limit)))?;
        if expected.is_some_and(|expected| expected != bytes.len() as u64) {
            return Err(Error::new(
                Kind::StoreUnavailable,
                format!("{what}: the answer of {} ended too early", self.described),
            ));
        }
        Ok(bytes.freeze())
    }
}

fn moment(t: &aws_sdk_s3::primitives::DateTime) -> Timestamp {
    Timestamp::from_parts(t.secs(), t.subsec_nanos())
}

#[async_trait]
impl BlobStore for S3Store {
    fn describe(&self) -> String {
        self.described.to_string()
    }

    fn is_local(&self) -> bool {
        false
    }

    async fn put(&self, key: &BlobKey, body: Body) -> Result<()> {
        put::put(self, key, body).await
    }

    async fn adopt(&self, key: &BlobKey, path: &Path, size: u64, hash: BlobHash, chunks: &Chunks) -> Result<()> {
        let file = Arc::new(std::fs::File::open(path).map_err(|e| Error::io(path, &e))?);
        self.put(key, Body::File { file, path: path.to_path_buf(), size, hash, chunks: chunks.clone() }).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> Result<Bytes> {
        if range.as_ref().is_some_and(|r| r.start >= r.end) {
            // HTTP cannot ask for no bytes.
            return Ok(Bytes::new());
        }
        let what = format!("reading '{}'", key.0);
        let bytes = range.as_ref().map_or(put::SMALL_MAX, |r| r.end - r.start);
        self.policy.run(&what, bytes, || self.get_once(&what, key, range.as_ref())).await
    }

    async fn head(&self, key: &BlobKey) -> Result<Option<u64>> {
        let what = format!("looking '{}' up", key.0);
        let found =
            self.call(&what, 0, || self.client.head_object().bucket(&*self.bucket).key(self.object(key)).send()).await;
        match found {
            Ok(head) => Ok(Some(head.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or(0))),
            // An answer to HEAD has no body that could tell a missing bucket from a missing key.
            Err(e) if e.kind == Kind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    async fn delete(&self, key: &BlobKey) -> Result<()> {
        let what = format!("deleting '{}'", key.0);
        self.call(&what, 0, || self.client.delete_object().bucket(&*self.bucket).key(self.object(key)).send())
            .await
            .map(drop)
            .or_else(|e| if errors::is_missing_key(&e) { Ok(()) } else { Err(e) })
    }

    async fn list(&self, prefix: &str, after: Option<&BlobKey>) -> Result<Vec<Listed>> {
        let page = self
            .call("listing", 0, || {
                self.client
                    .list_objects_v2()
                    .bucket(&*self.bucket)
                    .prefix(format!("{}{prefix}", self.prefix))
                    .max_keys(PAGE)
                    .set_start_after(after.map(|key| self.object(key)))
                    .send()
            })
            .await?;
        let listed = page.contents().iter().filter_map(|object| {
            let key = object.key()?.strip_prefix(&*self.prefix)?;
            let modified = object.last_modified().map(moment);
            Some(Listed { key: BlobKey(key.to_owned()), size: u64::try_from(object.size()?).ok()?, modified })
        });
        Ok(listed.collect())
    }

    async fn list_unfinished(&self, prefix: &str, after: Option<&Unfinished>) -> Result<Vec<Unfinished>> {
        unfinished::list(self, prefix, after).await
    }

    async fn abort(&self, upload: &Unfinished) -> Result<()> {
        unfinished::abort(self, upload).await
    }

    async fn presign_put(&self, key: &BlobKey, ttl: Duration, size: u64) -> Result<Option<String>> {
        let what = format!("signing a URL for '{}'", key.0);
        let expires = PresigningConfig::expires_in(ttl.clamp(Duration::from_secs(1), MAX_PRESIGNED))
            .map_err(|e| Error::internal(format!("{what}: {e}")))?;
        let length = i64::try_from(size).unwrap_or(i64::MAX);
        let signed = self
            .call(&what, 0, || {
                self.client
                    .put_object()
                    .bucket(&*self.bucket)
                    .key(self.object(key))
                    .content_length(length)
                    .presigned(expires.clone())
            })
            .await?;
        Ok(Some(signed.uri().to_owned()))
    }

    async fn presign_get(&self, key: &BlobKey, ttl: Duration, headers: PresignHeaders) -> Result<Option<String>> {
        let what = format!("signing a URL for '{}'", key.0);
        let expires = PresigningConfig::expires_in(ttl.clamp(Duration::from_secs(1), MAX_PRESIGNED))
            .map_err(|e| Error::internal(format!("{what}: {e}")))?;
        let signed = self
            .call(&what, 0, || {
                self.client
                    .get_object()
                    .bucket(&*self.bucket)
                    .key(self.object(key))
                    .set_response_content_type(headers.content_type.clone())
                    .set_response_content_disposition(headers.content_disposition.clone())
                    .presigned(expires.clone())
            })
            .await?;
        Ok(Some(signed.uri().to_owned()))
    }

    fn local_path(&self, _: &BlobKey) -> Option<PathBuf> {
        None
    }
}
