//! Local copies of remote blobs: `STATE_DIR/cache`, shared by every process of a user, bounded in bytes.
//!
//! ```text
//! ab/<sha256>         whole blobs; renamed in only after every byte was verified; mtime = last use
//! partial/<ulid>/     one directory per process: large blobs that are being fetched chunk by chunk
//!     lock            flock(2)ed by its process; one whose lock is free is removed by whoever opens the cache
//!     <sha256>        sparse; which chunks are filled is known only to the process
//! ```
//! A copy may vanish at any moment (another process evicts it): an open descriptor of it stays good. A copy
//! is verified again by each process that reads it, so a damaged disk costs a fetch, never a wrong byte.
//!
//! Lock order: `Inner` is a leaf, held for map operations only, never across I/O.

mod partial;

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, FileTimes, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::artifact::ids::BlobHash;
use crate::artifact::{Error, Result};

pub(crate) use partial::{Chunk, Partial};

/// Chunks on their way at one time, over all readers: 4 MiB each, so this bounds the memory of cold reads to 48 MiB.
const MAX_FETCHES: usize = 12;
/// Uses that follow one another within this do not touch the file's mtime again.
const TOUCH_EVERY: Duration = Duration::from_mins(1);
/// After this share of the limit was added, the directory is read again: other processes add to it as well.
const RESCAN_SHARE: u64 = 8;

/// The cache of one state directory, as one process has it open.
#[derive(Debug)]
pub struct BlobCache {
    root: PathBuf,
    /// This process's directory under `partial/`, made at first need, and the lock that holds it against removal by others.
    own: Mutex<Option<(PathBuf, File)>>,
    /// Bytes.
    limit: u64,
    inner: Mutex<Inner>,
    pub(crate) fetches: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<BlobHash, Entry>,
    /// Oldest use first.
    order: BTreeMap<u64, BlobHash>,
    clock: u64,
    /// Of `entries`.
    bytes: u64,
    /// Whole sizes of the partial files of this process: never evicted, but they count.
    reserved: u64,
    added_since_scan: u64,
    partials: HashMap<BlobHash, Weak<Partial>>,
}

#[derive(Debug)]
struct Entry {
    size: u64,
    /// Its key in `order`.
    used: u64,
    used_at: SystemTime,
    /// When its mtime was last brought up to date.
    touched: Instant,
}

impl Inner {
    /// Marks `hash` as used now; true when its file's mtime should follow.
    fn touch(&mut self, hash: BlobHash, size: u64, used_at: SystemTime) -> bool {
        self.clock += 1;
        let clock = self.clock;
        let now = Instant::now();
        let mut stale = false;
        if let Some(entry) = self.entries.get_mut(&hash) {
            stale = now.duration_since(entry.touched) >= TOUCH_EVERY;
            if stale {
                entry.touched = now;
            }
            entry.used_at = used_at;
            self.order.remove(&std::mem::replace(&mut entry.used, clock));
        } else {
            self.entries.insert(hash, Entry { size, used: clock, used_at, touched: now });
            self.bytes += size;
        }
        self.order.insert(clock, hash);
        stale
    }

    fn forget(&mut self, hash: BlobHash) {
        if let Some(entry) = self.entries.remove(&hash) {
            self.order.remove(&entry.used);
            self.bytes -= entry.size;
        }
    }

    /// Takes out of the books what has to go, oldest first.
    fn over(&mut self, limit: u64) -> Vec<BlobHash> {
        let mut gone = Vec::new();
        while self.bytes + self.reserved > limit
            && let Some((_, &hash)) = self.order.first_key_value()
        {
            self.forget(hash);
            gone.push(hash);
        }
        gone
    }
}

impl BlobCache {
    /// Opens or makes the cache at `root`, with room for `limit` bytes, and removes what dead processes were
    /// fetching. Blocking.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(root: &Path, limit: u64) -> Result<Arc<Self>> {
        let partial = root.join("partial");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&partial).map_err(|e| Error::io(&partial, &e))?;
        if let Err(e) = partial::remove_dead(&partial) {
            // (A disk that has turned read-only.) They take space and nothing else.
            tracing::warn!(error = %e, "what dead processes were fetching stays");
        }
        let cache = Self {
            root: root.to_path_buf(),
            own: Mutex::default(),
            limit,
            inner: Mutex::default(),
            fetches: Arc::new(Semaphore::new(MAX_FETCHES)),
        };
        cache.scan()?;
        cache.evict();
        Ok(Arc::new(cache))
    }

    fn path(&self, hash: BlobHash) -> PathBuf {
        let hex = hash.to_hex();
        self.root.join(&hex[..2]).join(hex)
    }

    /// Reads the directory and puts the books right: the last use is the later one of the file's mtime, which other
    /// processes and earlier ones wrote, and what this process remembers.
    fn scan(&self) -> Result<()> {
        let mut found: Vec<(SystemTime, BlobHash, u64)> = Vec::new();
        for dir in entries(&self.root)? {
            if dir.file_name().len() != 2 {
                continue;
            }
            for file in entries(&dir.path())? {
                let Some(hash) = file.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
                // Gone since: another process evicted it.
                let Ok(meta) = file.metadata() else { continue };
                found.push((meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), hash, meta.len()));
            }
        }
        let mut inner = self.inner.lock();
        let known = std::mem::take(&mut inner.entries);
        for (used_at, hash, _) in &mut found {
            if let Some(entry) = known.get(hash) {
                *used_at = entry.used_at.max(*used_at);
            }
        }
        found.sort_unstable_by_key(|(used_at, ..)| *used_at);
        inner.order.clear();
        (inner.bytes, inner.added_since_scan) = (0, 0);
        for (used_at, hash, size) in found {
            inner.touch(hash, size, used_at);
        }
        Ok(())
    }

    fn evict(&self) {
        let gone = self.inner.lock().over(self.limit);
        for hash in gone {
            self.unlink(hash);
        }
    }

    fn unlink(&self, hash: BlobHash) {
        let path = self.path(hash);
        if let Err(e) = std::fs::remove_file(&path)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), error = %e, "a cached blob cannot be removed: the cache may exceed its limit");
        }
    }

    /// Books a file that was just renamed in, and makes room.
    fn added(&self, hash: BlobHash, size: u64) {
        let rescan = {
            let mut inner = self.inner.lock();
            inner.touch(hash, size, SystemTime::now());
            inner.added_since_scan += size;
            inner.added_since_scan > self.limit / RESCAN_SHARE
        };
        if rescan && let Err(error) = self.scan() {
            tracing::warn!(error = %error, "the cache counts only what this process put into it");
        }
        self.evict();
    }

    /// The file of a whole blob, if there is one. It was verified when it came in, but the disk may have
    /// changed it since: readers verify. Cheap: one `open`.
    pub fn open_file(&self, hash: BlobHash) -> Option<(File, PathBuf)> {
        let path = self.path(hash);
        let opened = File::open(&path).and_then(|file| file.metadata().map(|meta| (file, meta.len())));
        let Ok((file, size)) = opened else {
            // Whatever the reason, there is a store to ask.
            self.inner.lock().forget(hash);
            return None;
        };
        let now = SystemTime::now();
        if self.inner.lock().touch(hash, size, now)
            && let Err(e) = file.set_times(FileTimes::new().set_modified(now))
        {
            tracing::debug!(path = %path.display(), error = %e, "recency is not recorded");
        }
        Some((file, path))
    }

    /// Takes a file over that nobody can write any more and whose bytes were verified (a staging file after its
    /// upload). It is gone from `path` afterwards, whether or not it could be kept. Blocking.
    ///
    /// # Errors
    /// I/O errors; the blob is in the store in any case.
    pub fn insert_file(&self, hash: BlobHash, path: &Path) -> Result<()> {
        let at = |e: std::io::Error| Error::io(path, &e);
        let size = std::fs::metadata(path).map_err(at)?.len();
        if size > self.limit {
            return std::fs::remove_file(path).map_err(at);
        }
        std::fs::set_permissions(path, Permissions::from_mode(0o400)).map_err(at)?;
        self.rename_in(hash, path, size)
    }

    fn rename_in(&self, hash: BlobHash, from: &Path, size: u64) -> Result<()> {
        let to = self.path(hash);
        let renamed = match std::fs::rename(from, &to) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let dir = to.parent().unwrap_or(&self.root);
                std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| Error::io(dir, &e))?;
                std::fs::rename(from, &to)
            }
            done => done,
        };
        renamed.map_err(|e| Error::io(from, &e))?;
        self.added(hash, size);
        Ok(())
    }

    /// Removes copies, those used longest ago first, until `bytes` are freed or none is left. Blocking.
    pub fn make_room(&self, bytes: u64) -> u64 {
        let (gone, freed) = {
            let mut inner = self.inner.lock();
            let before = inner.bytes;
            let rest = before.saturating_sub(bytes) + inner.reserved;
            (inner.over(rest), before - inner.bytes)
        };
        for hash in gone {
            self.unlink(hash);
        }
        freed
    }

    /// Whether there is a whole copy.
    pub(crate) fn holds(&self, hash: BlobHash) -> bool {
        self.path(hash).exists()
    }

    /// Removes a copy: it failed its verification, or nothing needs the blob any more.
    pub(crate) fn discard(&self, hash: BlobHash) {
        self.inner.lock().forget(hash);
        self.unlink(hash);
    }

    /// Where this process keeps what it is fetching. Commands that read nothing never make it.
    fn own(&self) -> Result<PathBuf> {
        let mut own = self.own.lock();
        let (path, _lock) = match own.take() {
            Some(made) => own.insert(made),
            None => own.insert(partial::own_directory(&self.root.join("partial"))?),
        };
        Ok(path.clone())
    }

    /// The partial copy of a large blob, shared by all its readers in this process.
    ///
    /// # Errors
    /// I/O errors of making its file.
    pub(crate) fn partial(self: &Arc<Self>, hash: BlobHash, size: u64) -> Result<Arc<Partial>> {
        let mut inner = self.inner.lock();
        if let Some(shared) = inner.partials.get(&hash).and_then(Weak::upgrade) {
            return Ok(shared);
        }
        // Creating an empty file under the lock keeps two readers from making two of them.
        let made = Arc::new(Partial::create(self.clone(), hash, size)?);
        inner.partials.insert(hash, Arc::downgrade(&made));
        inner.reserved += size;
        drop(inner);
        self.evict();
        Ok(made)
    }

    /// Bytes of whole blobs and of those being fetched.
    #[must_use]
    pub fn used(&self) -> u64 {
        let inner = self.inner.lock();
        inner.bytes + inner.reserved
    }
}

impl Drop for BlobCache {
    fn drop(&mut self) {
        if let Some((own, _lock)) = self.own.get_mut() {
            // What stays is removed by the next process that opens the cache.
            drop(std::fs::remove_dir_all(own));
        }
    }
}

fn entries(dir: &Path) -> Result<Vec<std::fs::DirEntry>> {
    match std::fs::read_dir(dir) {
        Ok(read) => read.collect::<std::io::Result<_>>().map_err(|e| Error::io(dir, &e)),
        // Not a directory, or gone since: nothing of ours in it.
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(e) => Err(Error::io(dir, &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::verify::sha256;

    fn insert(cache: &BlobCache, n: u8) -> BlobHash {
        let bytes = vec![n; 1000];
        let hash = sha256(&bytes);
        let path = cache.own().unwrap().join("frozen");
        std::fs::write(&path, bytes).unwrap();
        cache.insert_file(hash, &path).unwrap();
        hash
    }

    fn on_disk(root: &Path) -> usize {
        entries(root)
            .unwrap()
            .iter()
            .filter(|d| d.file_name().len() == 2)
            .map(|d| entries(&d.path()).unwrap().len())
            .sum()
    }

    #[test]
    fn the_least_recently_used_goes_first_and_open_files_stay_good() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(dir.path(), 3500).unwrap();
        let [a, b, c] = [1, 2, 3].map(|n| insert(&cache, n));
        let (held, _) = cache.open_file(b).unwrap();
        drop((cache.open_file(c).unwrap(), cache.open_file(a).unwrap()));
        let d = insert(&cache, 4);
        assert!(cache.open_file(b).is_none(), "b was used longest ago");
        assert!([a, c, d].iter().all(|&h| cache.open_file(h).is_some()));
        assert_eq!((cache.used(), on_disk(dir.path())), (3000, 3));
        assert_eq!(std::io::read_to_string(held).unwrap().len(), 1000);
    }

    #[test]
    fn recency_survives_a_restart_and_a_smaller_limit_is_obeyed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(dir.path(), 10_000).unwrap();
        let hashes = [1, 2, 3].map(|n| insert(&cache, n));
        for (hash, age) in hashes.iter().zip([10, 30, 20]) {
            let (file, _) = cache.open_file(*hash).unwrap();
            let then = SystemTime::now() - Duration::from_secs(age);
            file.set_times(FileTimes::new().set_modified(then)).unwrap();
        }
        drop(cache);
        let cache = BlobCache::open(dir.path(), 1500).unwrap();
        assert!(cache.open_file(hashes[0]).is_some());
        assert!(cache.open_file(hashes[1]).is_none() && cache.open_file(hashes[2]).is_none());
    }

    #[test]
    fn processes_share_one_limit() {
        let dir = tempfile::tempdir().unwrap();
        let one = BlobCache::open(dir.path(), 5000).unwrap();
        let other = BlobCache::open(dir.path(), 5000).unwrap();
        for n in 0..20 {
            insert(if n % 2 == 0 { &one } else { &other }, n);
        }
        assert!(on_disk(dir.path()) <= 6, "{} files", on_disk(dir.path()));
        assert!(entries(&dir.path().join("partial")).unwrap().len() == 2, "a living process lost its directory");
    }

    #[test]
    fn dead_processes_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let dead = dir.path().join("partial/01ARZ3NDEKTSV4RRFFQ69G5FAV");
        std::fs::create_dir_all(&dead).unwrap();
        std::fs::write(dead.join("lock"), "").unwrap();
        std::fs::write(dead.join("half"), "x").unwrap();
        let cache = BlobCache::open(dir.path(), 1000).unwrap();
        assert!(!dead.exists());
        drop(cache);
        assert_eq!(entries(&dir.path().join("partial")).unwrap().len(), 0);
    }

    #[test]
    fn adopts_frozen_files() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(&dir.path().join("cache"), 100).unwrap();
        let (fits, too_large) = (dir.path().join("fits"), dir.path().join("too-large"));
        std::fs::write(&fits, "abc").unwrap();
        std::fs::write(&too_large, vec![0; 101]).unwrap();
        cache.insert_file(sha256(b"abc"), &fits).unwrap();
        cache.insert_file(sha256(&[0; 101]), &too_large).unwrap();
        assert!(!fits.exists() && !too_large.exists());
        assert!(cache.open_file(sha256(b"abc")).is_some());
        assert_eq!(cache.used(), 3);
    }
}
