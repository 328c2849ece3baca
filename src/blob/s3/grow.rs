//! A blob that grew at its end: the server copies the old object into the new one, only the tail is sent.
//!
//! This is an upload in parts whose first ones are `UploadPartCopy`. Not every server knows it, and some have known it
//! wrongly: whatever goes wrong but the network is `Unsupported`, and the object's length is asked for afterwards. The
//! upload has no checksum algorithm (the copied parts would need one too); the tail is covered by the signature, which
//! holds its SHA-256, and the old object's bytes are proven by whoever reads them, as always.

use std::ops::Range;

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::CompletedPart;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::S3Store;
use super::put::{KnownPayload, Unfinished, complete};
use crate::artifact::{Error, Kind, Result};
use crate::blob::verify::{blocking, sha256};
use crate::blob::{BlobKey, BlobStore};

/// Every part but the last has at least this.
pub const MIN_PART: u64 = 5 << 20;
/// Bytes that one copy request covers at most. S3 allows 5 GiB; a server that really copies is done with this in seconds.
const MAX_COPY: u64 = 1 << 30;
/// What may stand in a header that is a URL: `/` too, between the parts of a key.
const NOT_PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Copies of one upload in flight.
const PARALLEL: usize = 4;

pub(super) async fn put_grown(
    store: &S3Store,
    what: &str,
    key: &BlobKey,
    base: &BlobKey,
    base_size: u64,
    tail: Bytes,
) -> Result<()> {
    if base_size < MIN_PART || tail.is_empty() {
        return Err(Error::new(Kind::Unsupported, format!("{what}: too small to be put together by the server")));
    }
    let size = base_size + tail.len() as u64;
    upload(store, what, key, base, base_size, tail).await.map_err(|e| match e.kind {
        Kind::StoreUnavailable | Kind::TimedOut => e,
        _ => Error::new(Kind::Unsupported, e.message),
    })?;
    match store.head(key).await? {
        Some(found) if found == size => Ok(()),
        found => {
            // Nobody knows the key yet: whoever puts all of it replaces this.
            let text = format!("{what}: {} made {found:?} bytes where {size} were due", store.described);
            tracing::warn!(reason = %text, "the server cannot append: all bytes are sent");
            Err(Error::new(Kind::Unsupported, text))
        }
    }
}

async fn upload(store: &S3Store, what: &str, key: &BlobKey, base: &BlobKey, base_size: u64, tail: Bytes) -> Result<()> {
    let object = store.object(key);
    let created = store
        .call(what, 0, || store.client.create_multipart_upload().bucket(&*store.bucket).key(&object).send())
        .await?;
    let id = created.upload_id().unwrap_or_default().to_owned();
    let unfinished = Unfinished { store: store.clone(), object: object.clone(), id: Some(id.clone()) };
    let ranges = pieces(base_size);
    let last = number(ranges.len() + 1)?;
    let source = format!("{}/{}", store.bucket, store.object(base));
    // The SDK sends this header as it is given.
    let source = utf8_percent_encode(&source, NOT_PLAIN).to_string();
    let copies = futures::stream::iter(ranges.into_iter().enumerate().map(|(n, range)| {
        let (object, id, source) = (&object, &id, &source);
        async move { copy_part(store, what, (object, id), number(n + 1)?, source, range).await }
    }));
    let copies = copies.buffer_unordered(PARALLEL).try_collect::<Vec<CompletedPart>>();
    let (mut parts, sent) = tokio::try_join!(copies, send_part(store, what, (&object, &id), last, tail))?;
    parts.push(sent);
    complete(store, what, unfinished, parts).await
}

fn number(n: usize) -> Result<i32> {
    i32::try_from(n).map_err(|_| Error::internal("too many parts"))
}

/// Equal pieces of at most [`MAX_COPY`], none below [`MIN_PART`].
fn pieces(size: u64) -> Vec<Range<u64>> {
    let step = size.div_ceil(size.div_ceil(MAX_COPY).max(1));
    (0..size.div_ceil(step)).map(|n| n * step..((n + 1) * step).min(size)).collect()
}

async fn copy_part(
    store: &S3Store,
    what: &str,
    (object, id): (&str, &str),
    number: i32,
    source: &str,
    range: Range<u64>,
) -> Result<CompletedPart> {
    // The answer's time grows with what the server copies, if it copies.
    let copied = store
        .call(what, range.end - range.start, || {
            store
                .client
                .upload_part_copy()
                .bucket(&*store.bucket)
                .key(object)
                .upload_id(id)
                .part_number(number)
                .copy_source(source)
                .copy_source_range(format!("bytes={}-{}", range.start, range.end - 1))
                .send()
        })
        .await?;
    let tag = copied.copy_part_result().and_then(|r| r.e_tag()).map(str::to_owned);
    if tag.is_none() {
        return Err(Error::new(Kind::Unsupported, format!("{what}: {} copied no part", store.described)));
    }
    Ok(CompletedPart::builder().part_number(number).set_e_tag(tag).build())
}

async fn send_part(
    store: &S3Store,
    what: &str,
    (object, id): (&str, &str),
    number: i32,
    tail: Bytes,
) -> Result<CompletedPart> {
    let bytes = tail.clone();
    let hash = blocking(tail.len() as u64, move || Ok(sha256(&bytes))).await?;
    let sent = store
        .call(what, tail.len() as u64, || {
            store
                .client
                .upload_part()
                .bucket(&*store.bucket)
                .key(object)
                .upload_id(id)
                .part_number(number)
                .body(ByteStream::new(SdkBody::from(tail.clone())))
                .customize()
                .interceptor(KnownPayload(Some(hash)))
                .send()
        })
        .await?;
    Ok(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag().map(str::to_owned)).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_all_and_none_is_too_small() {
        for size in [MIN_PART, 16 << 20, MAX_COPY, MAX_COPY + 1, 3 * MAX_COPY + 7] {
            let all = pieces(size);
            assert!(all.iter().all(|r| r.end - r.start >= MIN_PART && r.end - r.start <= MAX_COPY), "{size}");
            assert_eq!((all[0].start, all[all.len() - 1].end), (0, size));
            assert!(all.windows(2).all(|w| w[0].end == w[1].start));
        }
    }
}
