//! Bytes that are on this machine: in memory or in a file.

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::SeekFrom;
use tokio::sync::Mutex;

use super::{Content, ReadContent};
use crate::artifact::record::CHUNK;
use crate::artifact::{Error, Kind, Result};
use crate::blob::verify::{blocking, check_chunk, check_digest_count, chunk_count, chunk_range, length, read_range};

const UNKNOWN: u8 = 0;
const GOOD: u8 = 1;
const BAD: u8 = 2;
/// Readers that meet the same unverified chunk wait for one of them to verify it; different chunks, modulo this,
/// are verified at the same time.
const VERIFIERS: usize = 4;

/// How far from the end of the read before another may begin to follow it: the kernel reads ahead by several requests at a time.
const NEAR: u64 = 2 << 20;

/// A file, verified chunk by chunk as it is read. Cheap to clone.
#[derive(Clone)]
pub(super) struct LocalContent {
    inner: Arc<Inner>,
    verifying: Arc<[Mutex<()>; VERIFIERS]>,
}

struct Inner {
    content: Content,
    file: Arc<File>,
    path: PathBuf,
    /// Other bytes than expected are somebody's next ones.
    fleeting: bool,
    /// One of the three states a chunk.
    chunks: Vec<AtomicU8>,
    /// Where the last read ended.
    end: AtomicU64,
    /// Chunks below this are not verified ahead of their readers any more.
    ahead: AtomicU64,
}

impl Inner {
    fn state(&self, index: u64) -> Option<&AtomicU8> {
        usize::try_from(index).ok().and_then(|i| self.chunks.get(i))
    }

    /// Reads and checks a chunk; its bytes.
    fn verify(&self, index: u64) -> Result<Bytes> {
        let Content { hash, size, chunks, .. } = &self.content;
        let checked = read_range(&self.file, &self.path, chunk_range(index, *size))
            .and_then(|bytes| check_chunk(&bytes, index, *size, *hash, chunks).map(|()| Bytes::from(bytes)));
        match checked {
            Ok(bytes) => {
                self.mark(index, GOOD);
                Ok(bytes)
            }
            Err(e) if e.kind == Kind::Corrupt => {
                self.mark(index, BAD);
                let from = self.path.display().to_string();
                Err(if self.fleeting { self.content.changed(&from, &e) } else { self.content.corrupt(&from, &e) })
            }
            // The disk's, and perhaps only now.
            Err(e) => Err(e),
        }
    }

    fn mark(&self, index: u64, state: u8) {
        if let Some(chunk) = self.state(index) {
            chunk.store(state, Ordering::Release);
        }
    }
}

impl LocalContent {
    pub(super) fn new(content: Content, file: Arc<File>, path: PathBuf) -> Self {
        Self::of(content, file, path, false)
    }

    pub(super) fn fleeting(content: Content, file: Arc<File>, path: PathBuf) -> Self {
        Self::of(content, file, path, true)
    }

    fn of(content: Content, file: Arc<File>, path: PathBuf, fleeting: bool) -> Self {
        // More digests than chunks or fewer leave the surplus unproven: `check_chunk` refuses it.
        let chunks = (0..chunk_count(content.size)).map(|_| AtomicU8::new(UNKNOWN)).collect();
        let (end, ahead) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { inner: Arc::new(Inner { content, file, path, fleeting, chunks, end, ahead }), verifying: Arc::default() }
    }

    /// Sees to it that a chunk is verified; its bytes when that meant to read them now.
    async fn prove(&self, index: u64) -> Result<Option<Bytes>> {
        let known = |state: &AtomicU8| match state.load(Ordering::Acquire) {
            GOOD => Some(Ok(None)),
            BAD => {
                let path = self.inner.path.display();
                let text = format!("{}: the bytes in {path} were found damaged", self.inner.content.label);
                Some(Err(Error::new(Kind::Corrupt, text)))
            }
            _ => None,
        };
        let state = self.inner.state(index).ok_or_else(|| Error::internal("a read beyond the end of a blob"))?;
        if let Some(known) = known(state) {
            return known;
        }
        let slot = usize::try_from(index % VERIFIERS as u64).unwrap_or(0);
        // Held across a read of one chunk from the local disk; every reader of this chunk needs its outcome.
        let _one = self.verifying[slot].lock().await;
        if let Some(known) = known(state) {
            return known;
        }
        let range = chunk_range(index, self.inner.content.size);
        let inner = self.inner.clone();
        // Hashing takes as long as some four times the reading: a quarter of what is read inline elsewhere.
        blocking((range.end - range.start) * 4, move || inner.verify(index)).await.map(Some)
    }

    /// Of reads that follow one another, the second half of a chunk has the next one verified, so that nobody waits for its hash.
    fn look_ahead(&self, range: &Range<u64>) {
        let former = self.inner.end.swap(range.end, Ordering::Relaxed);
        let (last, next) = ((range.end - 1) / CHUNK, (range.end - 1) / CHUNK + 1);
        let follows = range.start > 0 && range.start.abs_diff(former) <= NEAR;
        let unknown = || self.inner.state(next).is_some_and(|s| s.load(Ordering::Acquire) == UNKNOWN);
        // (What is fleeting may be another's by the time it is asked for.)
        if !follows || self.inner.fleeting || range.end - last * CHUNK <= CHUNK / 2 || !unknown() {
            return;
        }
        if self.inner.ahead.fetch_max(next + 1, Ordering::Relaxed) > next {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let content = self.clone();
        // Its outcome is for who reads it: bad bytes stay an error, a disk that fails is asked again.
        runtime.spawn(async move { content.prove(next).await.map(drop).unwrap_or_default() });
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.look_ahead(&range);
        let (first, last) = (range.start / CHUNK, (range.end - 1) / CHUNK);
        for index in first..=last {
            let Some(bytes) = self.prove(index).await? else { continue };
            if first == last {
                let at = |n: u64| length(&(index * CHUNK..n));
                return Ok(bytes.slice(at(range.start)?..at(range.end)?));
            }
        }
        let inner = self.inner.clone();
        blocking(range.end - range.start, move || read_range(&inner.file, &inner.path, range).map(Bytes::from)).await
    }
}

#[async_trait]
impl ReadContent for LocalContent {
    fn size(&self) -> u64 {
        self.inner.content.size
    }

    fn hash(&self) -> crate::artifact::ids::BlobHash {
        self.inner.content.hash
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        let range = self.inner.content.clamp(offset, len);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        self.read(range).await
    }

    async fn as_file(&self) -> Result<(Arc<File>, PathBuf)> {
        check_digest_count(self.inner.content.size, &self.inner.content.chunks)?;
        for index in 0..chunk_count(self.inner.content.size) {
            self.prove(index).await?;
        }
        Ok((self.inner.file.clone(), self.inner.path.clone()))
    }

    async fn seek(&self, at: u64, data: bool) -> Result<Option<u64>> {
        let size = self.inner.content.size;
        let from = if data { SeekFrom::Data(at) } else { SeekFrom::Hole(at) };
        let found = match rustix::fs::seek(&*self.inner.file, from) {
            // A staging file may go on after the bytes that were committed.
            Ok(found) if found >= size => (!data).then_some(size),
            Ok(found) => Some(found),
            Err(rustix::io::Errno::NXIO) => None,
            Err(e) => return Err(Error::io(&self.inner.path, &e.into())),
        };
        // Damage may look like a hole, and a copy that leaves holes out would never read it.
        if data && found != Some(at) {
            let end = found.unwrap_or(size).max(at + 1);
            for index in at / CHUNK..end.div_ceil(CHUNK) {
                self.prove(index).await?;
            }
        }
        Ok(found)
    }
}

/// A few bytes from a catalog row.
pub(super) struct InlineContent {
    content: Content,
    bytes: Bytes,
    verified: std::sync::OnceLock<Result<()>>,
}

impl InlineContent {
    pub(super) fn new(content: Content, bytes: Bytes) -> Self {
        Self { content, bytes, verified: std::sync::OnceLock::new() }
    }

    fn prove(&self) -> Result<()> {
        let checked = self.verified.get_or_init(|| {
            let Content { hash, size, .. } = &self.content;
            let whole = self.bytes.len() as u64 == *size && crate::blob::verify::sha256(&self.bytes) == *hash;
            if whole {
                return Ok(());
            }
            Err(self.content.corrupt("the catalog", &Error::new(Kind::Corrupt, format!("they are not blob {hash}"))))
        });
        checked.clone()
    }
}

#[async_trait]
impl ReadContent for InlineContent {
    fn size(&self) -> u64 {
        self.content.size
    }

    fn hash(&self) -> crate::artifact::ids::BlobHash {
        self.content.hash
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        self.prove()?;
        let range = self.content.clamp(offset, len);
        Ok(self.bytes.slice(length(&(0..range.start))?..length(&(0..range.end))?))
    }

    async fn as_file(&self) -> Result<(Arc<File>, PathBuf)> {
        self.prove()?;
        let path = PathBuf::from("memory");
        let file = rustix::fs::memfd_create("blob", rustix::fs::MemfdFlags::CLOEXEC)
            .map(File::from)
            .map_err(|e| Error::io(&path, &e.into()))?;
        file.write_all_at(&self.bytes, 0).map_err(|e| Error::io(&path, &e))?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Ok((Arc::new(file), path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::record::Chunks;
    use crate::blob::reader::ContentReader;
    use crate::blob::verify::sha256;

    fn content(bytes: &[u8]) -> Content {
        let digests = bytes.chunks(usize::try_from(CHUNK).unwrap()).map(|c| *blake3::hash(c).as_bytes());
        let chunks = if bytes.len() as u64 > CHUNK { Chunks(digests.collect()) } else { Chunks::default() };
        Content { label: "art_1 f".into(), hash: sha256(bytes), size: bytes.len() as u64, chunks }
    }

    fn on_disk(bytes: &[u8], dir: &tempfile::TempDir) -> (ContentReader, File) {
        let path = dir.path().join("blob");
        std::fs::write(&path, bytes).unwrap();
        let writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        (ContentReader::file(content(bytes), Arc::new(File::open(&path).unwrap()), path), writer)
    }

    #[tokio::test]
    async fn reads_what_is_there_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..=255).cycle().take(9 << 20).collect();
        for bytes in [&bytes[..0], &bytes[..10], &bytes[..]] {
            for reader in [on_disk(bytes, &dir).0, ContentReader::inline(content(bytes), Bytes::copy_from_slice(bytes))]
            {
                for (offset, len) in
                    [(0, 1), (0, 10 << 20), (5, 5), (5, 100), (4_194_300, 8), (9 << 20, 1), (1 << 40, 7)]
                {
                    let at = |n: u64| usize::try_from(n).unwrap().min(bytes.len());
                    let want = &bytes[at(offset)..at(offset + len)];
                    assert!(
                        reader.read_at(offset, at(len).max(7)).await.unwrap().starts_with(&want[..want.len().min(7)])
                    );
                    assert_eq!(reader.read_at(offset, usize::try_from(len).unwrap()).await.unwrap().len(), want.len());
                }
                let (file, path) = reader.as_file().await.unwrap();
                let mut copy = vec![0; bytes.len()];
                file.read_exact_at(&mut copy, 0).unwrap();
                assert!(copy == bytes && std::fs::read(path).unwrap() == bytes);
            }
        }
    }

    #[tokio::test]
    async fn reads_that_follow_one_another_find_the_next_chunk_verified_and_others_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let (size, piece) = (5 * CHUNK, usize::try_from(CHUNK / 4).unwrap());
        let bytes = vec![7; usize::try_from(size).unwrap()];
        let (_reader, _writer) = on_disk(&bytes, &dir);
        let path = dir.path().join("blob");
        let opened = || LocalContent::new(content(&bytes), Arc::new(File::open(&path).unwrap()), path.clone());
        let states = |c: &LocalContent| c.inner.chunks.iter().map(|s| s.load(Ordering::Acquire)).collect::<Vec<_>>();
        let stream = opened();
        for n in 0..3 {
            stream.read_at(n * CHUNK / 4, piece).await.unwrap();
        }
        while states(&stream) != [GOOD, GOOD, UNKNOWN, UNKNOWN, UNKNOWN] {
            tokio::task::yield_now().await;
        }
        // A head alone, and reads here and there.
        let others = opened();
        for at in [0, 3 * CHUNK + CHUNK / 2, CHUNK / 4, 3 * CHUNK + 3 * CHUNK / 4] {
            others.read_at(at, piece).await.unwrap();
        }
        tokio::task::yield_now().await;
        assert_eq!(states(&others), [GOOD, UNKNOWN, UNKNOWN, GOOD, UNKNOWN]);
        assert_eq!(others.inner.ahead.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn damaged_chunks_are_refused_and_others_served() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = vec![7; 9 << 20];
        let (reader, writer) = on_disk(&bytes, &dir);
        writer.write_all_at(&[8], 5 << 20).unwrap();
        assert!(reader.read_at(0, 100).await.is_ok());
        for offset in [4 << 20, 5 << 20, (4 << 20) - 10] {
            assert_eq!(reader.read_at(offset, 100).await.unwrap_err().kind, Kind::Corrupt, "{offset}");
        }
        assert!(reader.read_at(8 << 20, 100).await.is_ok());
        assert_eq!(reader.as_file().await.unwrap_err().kind, Kind::Corrupt);
        writer.write_all_at(&[7], 5 << 20).unwrap();
        assert_eq!(reader.read_at(5 << 20, 100).await.unwrap_err().kind, Kind::Corrupt, "it stays an error");

        let (small, writer) = on_disk(&[7; 100], &dir);
        writer.write_all_at(&[8], 99).unwrap();
        assert_eq!(
            small.read_at(0, 1).await.unwrap_err().kind,
            Kind::Corrupt,
            "the whole is verified at the first byte"
        );
        let (short, writer) = on_disk(&bytes, &dir);
        writer.set_len(100).unwrap();
        assert_eq!(short.read_at(0, 1).await.unwrap_err().kind, Kind::Corrupt);
        let inline = ContentReader::inline(content(b"abc"), Bytes::from_static(b"abd"));
        assert_eq!(inline.read_at(0, 1).await.unwrap_err().kind, Kind::Corrupt);
    }
}
