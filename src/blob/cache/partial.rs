//! Large blobs while they are fetched chunk by chunk.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use ulid::Ulid;

use super::{BlobCache, entries};
use crate::artifact::ids::BlobHash;
use crate::artifact::record::CHUNK;
use crate::artifact::{Error, Result};
use crate::blob::verify::{chunk_count, chunk_range, read_range};

const LOCK: &str = "lock";

/// Makes and locks this process's directory.
pub(super) fn own_directory(partial: &Path) -> Result<(PathBuf, File)> {
    loop {
        let own = partial.join(Ulid::new().to_string());
        let path = own.join(LOCK);
        std::fs::DirBuilder::new().mode(0o700).create(&own).map_err(|e| Error::io(&own, &e))?;
        let lock = match OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path) {
            Ok(lock) => lock,
            // Taken for a dead process's and removed.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Error::io(&path, &e)),
        };
        lock.lock().map_err(|e| Error::io(&path, &e))?;
        // Another process may have taken the directory for a dead one's before we held the lock.
        let ours = lock.metadata().map_err(|e| Error::io(&path, &e))?.ino();
        if std::fs::metadata(&path).is_ok_and(|meta| meta.ino() == ours) {
            return Ok((own, lock));
        }
    }
}

/// Removes the directories whose owner is gone.
pub(super) fn remove_dead(partial: &Path) -> Result<()> {
    for dir in entries(partial)? {
        let path = dir.path().join(LOCK);
        // Held until the directory is gone.
        let lock = match File::open(&path) {
            Ok(lock) => lock,
            // Just being made, or already being removed.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Error::io(&path, &e)),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(e)) => return Err(Error::io(&path, &e)),
        }
        if let Err(e) = std::fs::remove_dir_all(dir.path()) {
            tracing::warn!(path = %dir.path().display(), error = %e, "what a dead process was fetching stays");
        }
    }
    Ok(())
}

/// A fetch that several readers wait for. It runs to its end though all of them give up.
pub(crate) type Fetch = Shared<BoxFuture<'static, Result<Bytes>>>;

/// A sparse file and which of its chunks are filled with verified bytes.
pub(crate) struct Partial {
    cache: Arc<BlobCache>,
    pub(crate) hash: BlobHash,
    size: u64,
    file: Arc<File>,
    path: PathBuf,
    state: Mutex<State>,
    /// Whole and renamed into the cache: no longer ours to count and to remove.
    kept: AtomicBool,
}

#[derive(Default)]
struct State {
    filled: Vec<bool>,
    missing: u64,
    flying: HashMap<u64, Fetch>,
}

/// Where a chunk is.
pub(crate) enum Chunk {
    Filled,
    Flying(Fetch),
}

impl std::fmt::Debug for Partial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partial").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Partial {
    pub(super) fn create(cache: Arc<BlobCache>, hash: BlobHash, size: u64) -> Result<Self> {
        let path = cache.own()?.join(hash.to_hex());
        // One that is being dropped may still be there by this name: its descriptor keeps it apart from ours.
        drop(std::fs::remove_file(&path));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(&path)
            .map_err(|e| Error::io(&path, &e))?;
        file.set_len(size).map_err(|e| Error::io(&path, &e))?;
        let missing = if size == 0 { 0 } else { chunk_count(size) };
        let filled = vec![false; usize::try_from(missing).map_err(|_| Error::internal("too many chunks"))?];
        let state = Mutex::new(State { filled, missing, flying: HashMap::new() });
        Ok(Self { cache, hash, size, file: Arc::new(file), path, state, kept: AtomicBool::new(false) })
    }

    /// Chunk `index`, or the fetch of it that is under way, or else the one that `start` begins.
    pub(crate) fn chunk(
        self: &Arc<Self>,
        index: u64,
        start: impl FnOnce() -> BoxFuture<'static, Result<Bytes>>,
    ) -> Chunk {
        let mut state = self.state.lock();
        if usize::try_from(index).is_ok_and(|i| state.filled.get(i) == Some(&true)) {
            return Chunk::Filled;
        }
        if let Some(flying) = state.flying.get(&index) {
            return Chunk::Flying(flying.clone());
        }
        let (this, fetch) = (self.clone(), start());
        let task = tokio::spawn(async move {
            // A panic would leave the chunk on its way for ever.
            let broken = |_| Err(Error::internal("a fetch broke down by a bug in outputfs"));
            let fetched = AssertUnwindSafe(fetch).catch_unwind().await.unwrap_or_else(broken);
            this.landed(index, fetched).await
        });
        let shared = task
            .map(|joined| joined.unwrap_or_else(|e| Err(Error::internal(format!("a fetch did not finish: {e}")))))
            .boxed()
            .shared();
        state.flying.insert(index, shared.clone());
        Chunk::Flying(shared)
    }

    /// Whether chunk `index` neither is here nor on its way.
    pub(crate) fn lacks(&self, index: u64) -> bool {
        let state = self.state.lock();
        usize::try_from(index).is_ok_and(|i| state.filled.get(i) == Some(&false)) && !state.flying.contains_key(&index)
    }

    /// Writes a verified chunk to the file. If it cannot be written (a full disk) the readers that wait for it are
    /// served all the same, and the next one fetches it again.
    async fn landed(self: Arc<Self>, index: u64, fetched: Result<Bytes>) -> Result<Bytes> {
        let written = match &fetched {
            Ok(bytes) => {
                let (file, bytes) = (self.file.clone(), bytes.clone());
                let write = move || file.write_all_at(&bytes, index * CHUNK);
                match tokio::task::spawn_blocking(write).await {
                    Ok(Ok(())) => true,
                    Ok(Err(e)) => {
                        tracing::warn!(path = %self.path.display(), error = %e, "a fetched chunk cannot be cached");
                        false
                    }
                    Err(_) => false,
                }
            }
            Err(_) => false,
        };
        let complete = {
            let mut state = self.state.lock();
            state.flying.remove(&index);
            if written && let Some(filled) = usize::try_from(index).ok().and_then(|i| state.filled.get_mut(i)) {
                *filled = true;
                state.missing -= 1;
            }
            written && state.missing == 0
        };
        if complete && self.size <= self.cache.limit {
            // From now on it counts as a whole blob.
            self.kept.store(true, Ordering::Release);
            self.cache.inner.lock().reserved -= self.size;
            let this = self.clone();
            let renamed = tokio::task::spawn_blocking(move || this.cache.rename_in(this.hash, &this.path, this.size));
            if let Ok(Err(error)) = renamed.await {
                // Its file goes with this process's directory.
                tracing::warn!(error = %error, "a fetched blob cannot be kept");
            }
        }
        fetched
    }

    /// Bytes of a filled chunk.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn read(&self, range: std::ops::Range<u64>) -> Result<Bytes> {
        read_range(&self.file, &self.path, range).map(Bytes::from)
    }

    /// The file, once every chunk is filled.
    pub(crate) fn whole(&self) -> Option<(Arc<File>, PathBuf)> {
        if self.state.lock().missing > 0 {
            return None;
        }
        let kept = self.kept.load(Ordering::Acquire);
        let path = if kept { self.cache.path(self.hash) } else { self.path.clone() };
        Some((self.file.clone(), path))
    }

    pub(crate) fn range(&self, index: u64) -> std::ops::Range<u64> {
        chunk_range(index, self.size)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let mut inner = self.cache.inner.lock();
        if !self.kept.load(Ordering::Acquire) {
            inner.reserved -= self.size;
        }
        // Another may have been made by this name while this one was going.
        if inner.partials.get(&self.hash).is_some_and(|other| other.strong_count() == 0) {
            inner.partials.remove(&self.hash);
            if !self.kept.load(Ordering::Acquire) {
                drop(std::fs::remove_file(&self.path));
            }
        }
    }
}
