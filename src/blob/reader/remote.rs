//! Bytes in a remote store, through the cache.

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use super::local::LocalContent;
use super::{Content, ReadContent};
use crate::artifact::record::CHUNK;
use crate::artifact::{Error, Kind, Result};
use crate::blob::cache::{BlobCache, Chunk, Partial};
use crate::blob::verify::{blocking, check_chunk, check_digest_count, chunk_count, chunk_range, length};
use crate::blob::{BlobKey, BlobStore};

/// Chunks fetched ahead of a reader that has proven to be sequential: with its own that is 28 MiB on the way, which fills
/// 1 GB/s at a latency of 25 ms. A reader gets there by doubling, so that a look at the beginning costs little.
const MAX_AHEAD: u64 = 6;
/// A kernel's read-ahead asks for neighbouring chunks out of order.
const DISORDER: u64 = 2;
/// Chunks on their way when the whole is wanted as a file.
const WHOLE_PARALLEL: usize = 8;

/// A blob in a remote store.
pub(super) struct RemoteContent {
    remote: Arc<Remote>,
    cache: Arc<BlobCache>,
    /// Where the bytes come from; none before the first read. Held while a file is opened; above the cache's lock.
    source: Mutex<Option<Source>>,
    /// Also a leaf.
    ahead: Mutex<Ahead>,
}

/// What a fetch needs, apart from the reader that wants it.
struct Remote {
    content: Content,
    key: BlobKey,
    store: Arc<dyn BlobStore>,
    /// When the store had not answered until its deadline, and what was said of it.
    failed: Mutex<Option<(Instant, Error)>>,
}

/// A kernel whose read-ahead failed asks again at once, page by page: that is the same read, which has waited long enough.
const SAME_READ: Duration = Duration::from_secs(1);

#[derive(Clone)]
enum Source {
    /// A whole copy in the cache.
    Cached(Arc<LocalContent>),
    /// Being fetched.
    Partial(Arc<Partial>),
    /// The cache cannot take it (a full or read-only disk): every read fetches.
    Bare,
}

/// How far a reader has come.
#[derive(Default)]
struct Ahead {
    /// One past the chunk read last.
    next: u64,
    window: u64,
}

impl Ahead {
    /// Notes a read of chunk `index`; how many chunks after it to fetch.
    fn note(&mut self, index: u64) -> u64 {
        if index == self.next {
            self.window = (self.window * 2).clamp(1, MAX_AHEAD);
            self.next = index + 1;
        } else if index > self.next + DISORDER || index + 1 + DISORDER < self.next {
            *self = Self { next: index + 1, window: 0 };
        }
        self.window
    }
}

impl Remote {
    /// One GET, verified. The permit bounds the chunks in memory.
    async fn fetch(self: Arc<Self>, index: u64, _permit: OwnedSemaphorePermit) -> Result<Bytes> {
        let Content { hash, size, chunks, .. } = &self.content;
        let range = chunk_range(index, *size);
        let got = self.store.get(&self.key, Some(range.clone())).await;
        if let Err(e) = &got
            && e.kind == Kind::StoreUnavailable
        {
            *self.failed.lock() = Some((Instant::now(), e.clone()));
        }
        let bytes = got?;
        let (this, hash, size, digest) = (self.clone(), *hash, *size, chunks.clone());
        // As in `LocalContent`: hashing what is read.
        blocking((range.end - range.start) * 4, move || {
            check_chunk(&bytes, index, size, hash, &digest)
                .map(|()| bytes)
                .map_err(|e| this.content.corrupt(&format!("{} ({})", this.key.0, this.store.describe()), &e))
        })
        .await
    }
}

impl RemoteContent {
    pub(super) fn new(content: Content, key: BlobKey, store: Arc<dyn BlobStore>, cache: Arc<BlobCache>) -> Self {
        let remote = Arc::new(Remote { content, key, store, failed: Mutex::default() });
        Self { remote, cache, source: Mutex::new(None), ahead: Mutex::default() }
    }

    fn source(&self) -> Result<Source> {
        let mut source = self.source.lock();
        if let Some(source) = &*source {
            return Ok(source.clone());
        }
        let content = &self.remote.content;
        check_digest_count(content.size, &content.chunks)?;
        let found = match self.cache.open_file(content.hash) {
            Some((file, path)) => Source::Cached(Arc::new(LocalContent::new(content.clone(), Arc::new(file), path))),
            None => self.uncached(),
        };
        *source = Some(found.clone());
        Ok(found)
    }

    fn uncached(&self) -> Source {
        let content = &self.remote.content;
        self.cache.partial(content.hash, content.size).map_or_else(
            |error| {
                tracing::warn!(error = %error, "reading without a cache");
                Source::Bare
            },
            Source::Partial,
        )
    }

    /// A cached copy proved bad: drops it and turns to the store. Bytes from there are verified as they come, so
    /// this happens once to a reader.
    fn abandon(&self, bad: &Arc<LocalContent>) -> Source {
        let mut source = self.source.lock();
        match &*source {
            // Another read was quicker.
            Some(Source::Cached(current)) if !Arc::ptr_eq(current, bad) => Source::Cached(current.clone()),
            Some(other @ (Source::Partial(_) | Source::Bare)) => other.clone(),
            _ => {
                self.cache.discard(self.remote.content.hash);
                let fresh = self.uncached();
                *source = Some(fresh.clone());
                fresh
            }
        }
    }

    /// The fetch of a chunk by a reader that waits for it. The wait for a permit ends when one of its holders has
    /// its answer or has run into the store's deadline.
    fn fetch(&self, index: u64) -> BoxFuture<'static, Result<Bytes>> {
        let (remote, fetches) = (self.remote.clone(), self.cache.fetches.clone());
        async move {
            let failed = remote.failed.lock().clone();
            if let Some((_, e)) = failed.filter(|(at, _)| at.elapsed() < SAME_READ) {
                return Err(e);
            }
            let permit = fetches.acquire_owned().await.map_err(|_| Error::internal("the cache is closed"))?;
            remote.fetch(index, permit).await
        }
        .boxed()
    }

    /// Begins to fetch what a sequential reader will want next, as far as that takes nobody's permit.
    fn read_ahead(&self, partial: &Arc<Partial>, index: u64) {
        let window = self.ahead.lock().note(index);
        let end = chunk_count(self.remote.content.size).min(index + 1 + window);
        for next in index + 1..end {
            if !partial.lacks(next) {
                continue;
            }
            let Ok(permit) = self.cache.fetches.clone().try_acquire_owned() else { return };
            let remote = self.remote.clone();
            // Its outcome is for the reader that comes for it; a failure is met again there.
            drop(partial.chunk(next, || remote.fetch(next, permit).boxed()));
        }
    }

    async fn read_partial(&self, partial: &Arc<Partial>, range: Range<u64>) -> Result<Bytes> {
        let indices = range.start / CHUNK..=(range.end - 1) / CHUNK;
        // All are begun before the first is waited for.
        let begun: Vec<_> = indices.map(|index| (index, partial.chunk(index, || self.fetch(index)))).collect();
        if let Some((last, _)) = begun.last() {
            self.read_ahead(partial, *last);
        }
        let mut pieces = Vec::with_capacity(begun.len());
        for (index, chunk) in begun {
            let has = partial.range(index);
            let want = range.start.max(has.start)..range.end.min(has.end);
            pieces.push(match chunk {
                Chunk::Flying(fetch) => part(&fetch.await?, &has, &want)?,
                Chunk::Filled => {
                    let partial = partial.clone();
                    blocking(want.end - want.start, move || partial.read(want)).await?
                }
            });
        }
        Ok(joined(pieces))
    }

    async fn read_store(&self, range: Range<u64>) -> Result<Bytes> {
        let mut pieces = Vec::new();
        for index in range.start / CHUNK..=(range.end - 1) / CHUNK {
            let has = chunk_range(index, self.remote.content.size);
            let want = range.start.max(has.start)..range.end.min(has.end);
            pieces.push(part(&self.fetch(index).await?, &has, &want)?);
        }
        Ok(joined(pieces))
    }
}

/// `want` of the bytes of a chunk that `has` its place.
fn part(bytes: &Bytes, has: &Range<u64>, want: &Range<u64>) -> Result<Bytes> {
    Ok(bytes.slice(length(&(has.start..want.start))?..length(&(has.start..want.end))?))
}

fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    if pieces.len() == 1 {
        return pieces.remove(0);
    }
    let mut all = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in pieces {
        all.extend_from_slice(&piece);
    }
    all.freeze()
}

#[async_trait]
impl ReadContent for RemoteContent {
    fn size(&self) -> u64 {
        self.remote.content.size
    }

    fn hash(&self) -> crate::artifact::ids::BlobHash {
        self.remote.content.hash
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        let range = self.remote.content.clamp(offset, len);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let mut source = self.source()?;
        if let Source::Cached(cached) = &source {
            match cached.read_at(offset, len).await {
                Err(e) if e.kind == Kind::Corrupt => source = self.abandon(cached),
                done => return done,
            }
        }
        match source {
            Source::Cached(cached) => cached.read_at(offset, len).await,
            Source::Partial(partial) => self.read_partial(&partial, range).await,
            Source::Bare => self.read_store(range).await,
        }
    }

    async fn as_file(&self) -> Result<(Arc<File>, PathBuf)> {
        let mut source = self.source()?;
        if let Source::Cached(cached) = &source {
            match cached.as_file().await {
                Err(e) if e.kind == Kind::Corrupt => source = self.abandon(cached),
                done => return done,
            }
        }
        let partial = match source {
            Source::Cached(cached) => return cached.as_file().await,
            Source::Partial(partial) => partial,
            Source::Bare => {
                let text = format!("{}: the cache has no room for a copy of it", self.remote.content.label);
                return Err(Error::new(Kind::NoSpace, text));
            }
        };
        if self.remote.content.size > 0 {
            let all = (0..chunk_count(self.remote.content.size)).map(|index| {
                let chunk = partial.chunk(index, || self.fetch(index));
                async move {
                    match chunk {
                        Chunk::Filled => Ok(()),
                        Chunk::Flying(fetch) => fetch.await.map(drop),
                    }
                }
            });
            futures::stream::iter(all).buffer_unordered(WHOLE_PARALLEL).try_collect::<()>().await?;
        }
        partial.whole().ok_or_else(|| {
            Error::new(Kind::NoSpace, format!("{}: the cache has no room for a copy of it", self.remote.content.label))
        })
    }
}
