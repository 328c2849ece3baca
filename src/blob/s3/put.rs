//! Uploading: one request for what fits into memory, parts for the rest; nothing is sent before it is proven.

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeSerializationInterceptorContextRef;
use aws_smithy_types::config_bag::ConfigBag;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::{S3Store, errors};
use crate::artifact::ids::BlobHash;
use crate::artifact::record::{CHUNK, Chunks};
use crate::artifact::{Error, Kind, Result};
use crate::blob::verify::{blocking, check_chunk, check_digest_count, chunk_range, read_range, sha256};
use crate::blob::{BlobKey, BlobStore, Body};

/// Up to here a blob is one PutObject from memory.
pub const SMALL_MAX: u64 = 8 << 20;
/// Two chunks, and above the 5 MiB that S3 asks of a part.
const PART: u64 = 2 * CHUNK;
/// S3's limit.
const MAX_PARTS: u64 = 10_000;
/// How often an upload that the server has forgotten is begun anew.
const MAX_RESTARTS: u32 = 3;
/// Parts of one upload in flight: each holds one buffer.
const PARALLEL_PARTS: usize = 4;

/// What proves a part to the server, in the request's header. The whole blob is proven by its SHA-256 at every read.
#[derive(Clone, Copy)]
enum PartSum {
    /// Signed with the request: on a wire that others can write to.
    Sha256(BlobHash),
    /// Finds what a network or memory breaks, at a tenth of the cost on either side; TLS keeps others out.
    Crc32(u32),
}

impl PartSum {
    fn of(bytes: &[u8], signed: bool) -> Self {
        if signed { Self::Sha256(sha256(bytes)) } else { Self::Crc32(crc32fast::hash(bytes)) }
    }

    fn algorithm(signed: bool) -> ChecksumAlgorithm {
        if signed { ChecksumAlgorithm::Sha256 } else { ChecksumAlgorithm::Crc32 }
    }

    /// As the two fields of a request or a completed part: SHA-256, CRC-32.
    fn fields(self) -> (Option<String>, Option<String>) {
        match self {
            Self::Sha256(hash) => (Some(aws_smithy_types::base64::encode(hash.0)), None),
            Self::Crc32(crc) => (None, Some(aws_smithy_types::base64::encode(crc.to_be_bytes()))),
        }
    }

    fn payload(self) -> KnownPayload {
        KnownPayload(match self {
            Self::Sha256(hash) => Some(hash),
            Self::Crc32(_) => None,
        })
    }
}

/// Tells the signer the payload's SHA-256, which we know already: hashing it again would double the cost of a put. None: the
/// payload is not signed.
#[derive(Debug)]
pub(super) struct KnownPayload(pub Option<BlobHash>);

impl Intercept for KnownPayload {
    fn name(&self) -> &'static str {
        "KnownPayload"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        config.interceptor_state().store_put(match self.0 {
            Some(hash) => PayloadSigningOverride::Precomputed(hash.to_hex()),
            None => PayloadSigningOverride::unsigned_payload(),
        });
        Ok(())
    }
}

pub(super) async fn put(store: &S3Store, key: &BlobKey, body: Body) -> Result<()> {
    let what = format!("storing '{}'", key.0);
    match body {
        Body::Bytes { bytes, hash } if bytes.len() as u64 <= SMALL_MAX => {
            put_small(store, &what, key, bytes, hash).await
        }
        Body::Bytes { bytes, .. } => Box::pin(put_parts(store, &what, key, &Source::Memory(bytes))).await,
        Body::File { file, path, size, hash, .. } if size <= SMALL_MAX => {
            let bytes = blocking(size, move || {
                let bytes = read_range(&file, &path, 0..size)?;
                if sha256(&bytes) == hash {
                    return Ok(Bytes::from(bytes));
                }
                let text = format!("{}: its bytes are not those of blob {hash} any more", path.display());
                Err(Error::new(Kind::Corrupt, text))
            })
            .await?;
            put_small(store, &what, key, bytes, hash).await
        }
        Body::Grown { base, base_size, tail, .. } => {
            Box::pin(super::grow::put_grown(store, &what, key, &base, base_size, tail)).await
        }
        Body::File { file, path, size, hash, chunks } => {
            check_digest_count(size, &chunks)?;
            let staged = Arc::new(Staged { file, path, size, hash, chunks });
            Box::pin(put_parts(store, &what, key, &Source::File(staged))).await
        }
    }
}

async fn put_small(store: &S3Store, what: &str, key: &BlobKey, bytes: Bytes, hash: BlobHash) -> Result<()> {
    let checksum = aws_smithy_types::base64::encode(hash.0);
    let sent = store.call(what, bytes.len() as u64, || {
        store
            .client
            .put_object()
            .bucket(&*store.bucket)
            .key(store.object(key))
            .checksum_sha256(&checksum)
            .body(ByteStream::new(SdkBody::from(bytes.clone())))
            .customize()
            .interceptor(KnownPayload(Some(hash)))
            .send()
    });
    sent.await.map(drop)
}

/// A large blob whose pieces are read and proven as they are sent.
#[derive(Clone)]
enum Source {
    Memory(Bytes),
    File(Arc<Staged>),
}

struct Staged {
    file: Arc<File>,
    path: PathBuf,
    size: u64,
    hash: BlobHash,
    chunks: Chunks,
}

impl Source {
    fn size(&self) -> u64 {
        match self {
            Source::Memory(bytes) => bytes.len() as u64,
            Source::File(staged) => staged.size,
        }
    }

    /// The bytes of a part, proven against the digests of its chunks in the very buffer that is sent, and their checksum.
    async fn read(&self, part: Range<u64>, signed: bool) -> Result<(Bytes, PartSum)> {
        let source = self.clone();
        blocking(part.end - part.start, move || {
            let bytes = match &source {
                Source::Memory(bytes) => {
                    let bound = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
                    bytes.slice(bound(part.start)..bound(part.end))
                }
                Source::File(staged) => {
                    let bytes = Bytes::from(read_range(&staged.file, &staged.path, part.clone())?);
                    for index in part.start / CHUNK..part.end.div_ceil(CHUNK) {
                        let chunk = chunk_range(index, staged.size);
                        let at = |n: u64| usize::try_from(n - part.start).unwrap_or(usize::MAX);
                        check_chunk(
                            &bytes[at(chunk.start)..at(chunk.end)],
                            index,
                            staged.size,
                            staged.hash,
                            &staged.chunks,
                        )
                        .map_err(|e| {
                            Error::new(e.kind, format!("{}: changed: {}", staged.path.display(), e.message))
                        })?;
                    }
                    bytes
                }
            };
            let sum = PartSum::of(&bytes, signed);
            Ok((bytes, sum))
        })
        .await
    }
}

/// Whole chunks, as few more than [`PART`] as the limit on parts allows.
fn part_size(size: u64) -> u64 {
    size.div_ceil(MAX_PARTS).next_multiple_of(CHUNK).max(PART)
}

/// An upload in parts that is not complete: the server is told to forget it when this is dropped, be it by an
/// error or by a caller who gave up.
pub(super) struct Unfinished {
    pub store: S3Store,
    pub object: String,
    pub id: Option<String>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current()) else { return };
        let (store, object) = (self.store.clone(), std::mem::take(&mut self.object));
        runtime.spawn(async move {
            let what = format!("abandoning the upload of '{object}'");
            let aborted = store.attempt(
                &what,
                0,
                store.client.abort_multipart_upload().bucket(&*store.bucket).key(&object).upload_id(&id).send(),
            );
            if let Err(error) = aborted.await {
                // Its parts take space until the bucket's own rule for unfinished uploads removes them.
                tracing::warn!(error = %error, "an unfinished upload stays on the server");
            }
        });
    }
}

async fn put_parts(store: &S3Store, what: &str, key: &BlobKey, source: &Source) -> Result<()> {
    for _ in 0..MAX_RESTARTS {
        match Box::pin(upload(store, what, key, source)).await {
            // The server finished this upload and its answer was lost, or (Garage) another writer finished one of
            // the same key, which ends older ones. Keys are content hashes, so a whole object is what we wanted.
            // The one place where a put asks: sending gigabytes again would be the other way to know.
            Err(e) if errors::is_unknown_upload(&e) => {
                if store.head(key).await? == Some(source.size()) {
                    return Ok(());
                }
            }
            done => return done,
        }
    }
    let text = format!("{what}: {} forgets uploads before they are complete", store.described);
    Err(Error::new(Kind::StoreUnavailable, text))
}

async fn upload(store: &S3Store, what: &str, key: &BlobKey, source: &Source) -> Result<()> {
    let object = store.object(key);
    let created = store
        .call(what, 0, || {
            store
                .client
                .create_multipart_upload()
                .bucket(&*store.bucket)
                .key(&object)
                .checksum_algorithm(PartSum::algorithm(!store.wire_is_private))
                .send()
        })
        .await?;
    let id = created.upload_id().unwrap_or_default().to_owned();
    let unfinished = Unfinished { store: store.clone(), object: object.clone(), id: Some(id.clone()) };
    let (size, step) = (source.size(), part_size(source.size()));
    let parts = (0..size.div_ceil(step)).map(|n| {
        let (object, id) = (&object, &id);
        async move {
            let number = i32::try_from(n + 1).map_err(|_| Error::internal("too many parts"))?;
            upload_part(store, what, object, id, number, source, n * step..((n + 1) * step).min(size)).await
        }
    });
    let parts = futures::stream::iter(parts).buffer_unordered(PARALLEL_PARTS).try_collect().await?;
    complete(store, what, unfinished, parts).await
}

/// Makes the object of its parts, which may come in any order.
pub(super) async fn complete(
    store: &S3Store,
    what: &str,
    mut unfinished: Unfinished,
    mut parts: Vec<CompletedPart>,
) -> Result<()> {
    parts.sort_unstable_by_key(CompletedPart::part_number);
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    store
        .call(what, 0, || {
            store
                .client
                .complete_multipart_upload()
                .bucket(&*store.bucket)
                .key(&unfinished.object)
                .set_upload_id(unfinished.id.clone())
                .multipart_upload(parts.clone())
                .send()
        })
        .await?;
    unfinished.id = None;
    Ok(())
}

async fn upload_part(
    store: &S3Store,
    what: &str,
    object: &str,
    id: &str,
    number: i32,
    source: &Source,
    range: Range<u64>,
) -> Result<CompletedPart> {
    let (bytes, sum) = source.read(range, !store.wire_is_private).await?;
    let (sha256, crc32) = sum.fields();
    let sent = store
        .call(what, bytes.len() as u64, || {
            store
                .client
                .upload_part()
                .bucket(&*store.bucket)
                .key(object)
                .upload_id(id)
                .part_number(number)
                .set_checksum_sha256(sha256.clone())
                .set_checksum_crc32(crc32.clone())
                .body(ByteStream::new(SdkBody::from(bytes.clone())))
                .customize()
                .interceptor(sum.payload())
                .send()
        })
        .await?;
    Ok(CompletedPart::builder()
        .part_number(number)
        .set_e_tag(sent.e_tag().map(str::to_owned))
        .set_checksum_sha256(sha256)
        .set_checksum_crc32(crc32)
        .build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_only_when_ten_thousand_are_not_enough() {
        assert_eq!(part_size(SMALL_MAX + 1), PART);
        assert_eq!(part_size(PART * MAX_PARTS), PART);
        let huge = PART * MAX_PARTS + 1;
        assert_eq!(part_size(huge) % CHUNK, 0);
        assert!(huge.div_ceil(part_size(huge)) <= MAX_PARTS);
    }
}
