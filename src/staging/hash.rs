//! Hashing: the SHA-256 that names a blob and the BLAKE3 digests of its chunks, in one pass.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest as _, Sha256};

use crate::artifact::ids::BlobHash;
use crate::artifact::record::{CHUNK, Chunks};
use crate::artifact::{Error, Kind, Result};
use crate::metrics::moved;

/// Read size: large enough that the system call costs nothing, small enough that the bytes are still in the
/// L2 cache when the second hash reads them.
pub(crate) const BUFFER: usize = 256 << 10;

/// What a pass over some bytes found.
#[derive(Clone, Debug)]
pub struct Digest {
    pub hash: BlobHash,
    pub size: u64,
    /// Empty up to one chunk.
    pub chunks: Chunks,
    /// Where hashing goes on when bytes are appended; none below one chunk.
    pub midstate: Option<Midstate>,
}

/// The midstate says nothing of the bytes that the hash does not.
impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        (self.hash, self.size, &self.chunks) == (other.hash, other.size, &other.chunks)
    }
}

impl Eq for Digest {}

/// The state of SHA-256 after the last whole chunk of some bytes, in the form that the `sha2` crate promises to read again
/// within its 0.x line. What it cannot read is hashed anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Midstate(pub Vec<u8>);

impl Midstate {
    fn of(sha: &Sha256) -> Self {
        Self(sha.serialize().to_vec())
    }

    fn restore(&self) -> Option<Sha256> {
        let state = SerializedState::<Sha256>::try_from(self.0.as_slice()).ok()?;
        Sha256::deserialize(&state).ok()
    }
}

/// Hashes bytes as they come by, in order.
#[derive(Clone, Debug, Default)]
pub struct Hasher {
    pub(crate) sha: Sha256,
    /// Its state at the end of the last whole chunk.
    whole: Option<Sha256>,
    /// Of the bytes since the last whole chunk.
    chunk: blake3::Hasher,
    /// Digests of whole chunks.
    pub(crate) chunks: Vec<[u8; 32]>,
    pub(crate) size: u64,
}

impl Hasher {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on after `chunks.len()` whole chunks, of which `sha` is the state.
    pub(crate) fn resume(sha: Sha256, chunks: Vec<[u8; 32]>) -> Self {
        let size = chunks.len() as u64 * CHUNK;
        let whole = (size > 0).then(|| sha.clone());
        Self { sha, whole, chunk: blake3::Hasher::new(), chunks, size }
    }

    /// Goes on after the last whole chunk of a blob: feed it what follows that, from [`Hasher::size`] on. `chunks` are the
    /// blob's own. None when the midstate is of another make, or does not fit.
    #[must_use]
    pub fn resume_at(midstate: &Midstate, size: u64, chunks: &Chunks) -> Option<Self> {
        let whole = usize::try_from(size / CHUNK).ok()?;
        // One whole chunk and no more has no list: its digest is not on record.
        let chunks = chunks.0.get(..whole)?.to_vec();
        if chunks.is_empty() { None } else { Some(Self::resume(midstate.restore()?, chunks)) }
    }

    /// Bytes hashed so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // At most one chunk, so it fits in any usize.
            let room = usize::try_from(CHUNK - self.size % CHUNK).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.sha.update(now);
            self.chunk.update(now);
            self.size += now.len() as u64;
            if self.size.is_multiple_of(CHUNK) {
                self.whole = Some(self.sha.clone());
                self.chunks.push(self.chunk.finalize().into());
                self.chunk.reset();
            }
            bytes = later;
        }
    }

    #[must_use]
    pub fn finish(mut self) -> Digest {
        if !self.size.is_multiple_of(CHUNK) {
            self.chunks.push(self.chunk.finalize().into());
        }
        let chunks = if self.size <= CHUNK { Chunks::default() } else { Chunks(self.chunks) };
        let midstate = self.whole.as_ref().map(Midstate::of);
        Digest { hash: BlobHash(self.sha.finalize().into()), size: self.size, chunks, midstate }
    }
}

#[must_use]
pub fn hash_bytes(bytes: &[u8]) -> Digest {
    if bytes.len() as u64 <= CHUNK {
        let hash = BlobHash(Sha256::digest(bytes).into());
        return Digest { hash, size: bytes.len() as u64, chunks: Chunks::default(), midstate: None };
    }
    let mut hasher = Hasher::new();
    // Piece by piece, so that the second hash finds in the cache what the first has read.
    for piece in bytes.chunks(BUFFER) {
        hasher.update(piece);
    }
    hasher.finish()
}

/// Hashes the first `size` bytes of `file` with positioned reads. Blocking.
///
/// # Errors
/// I/O errors with `path`; `Corrupt` when the file is shorter.
pub fn hash_file(file: &File, path: &Path, size: u64) -> Result<Digest> {
    if size <= CHUNK {
        let mut sha = Sha256::new();
        each_piece(file, path, 0, size, |piece| sha.update(piece))?;
        let hash = BlobHash(sha.finalize().into());
        return Ok(Digest { hash, size, chunks: Chunks::default(), midstate: None });
    }
    let mut hasher = Hasher::new();
    each_piece(file, path, 0, size, |piece| hasher.update(piece))?;
    Ok(hasher.finish())
}

/// Feeds `hasher` the bytes of `file` from where it is up to `to`. Blocking.
///
/// # Errors
/// I/O errors with `path`; `Corrupt` when the file ends before `to`.
pub fn hash_on(hasher: &mut Hasher, file: &File, path: &Path, to: u64) -> Result<()> {
    each_piece(file, path, hasher.size, to, |piece| hasher.update(piece))
}

/// Calls `use_piece` with the bytes from `from` to `to`, in order, a buffer at a time.
///
/// # Errors
/// I/O errors with `path`; `Corrupt` when the file ends before `to`.
pub(crate) fn each_piece(file: &File, path: &Path, from: u64, to: u64, mut use_piece: impl FnMut(&[u8])) -> Result<()> {
    let want = to.saturating_sub(from);
    let mut buffer = vec![0; usize::try_from(want).unwrap_or(BUFFER).min(BUFFER)];
    let mut at = from;
    while at < to {
        let len = usize::try_from(to - at).unwrap_or(BUFFER).min(BUFFER);
        match file.read_at(&mut buffer[..len], at) {
            Ok(0) => return Err(shorter(path, at, to)),
            Ok(n) => {
                moved::tick();
                use_piece(&buffer[..n]);
                at += n as u64;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io(path, &e)),
        }
    }
    Ok(())
}

pub(crate) fn shorter(path: &Path, has: u64, want: u64) -> Error {
    Error::new(Kind::Corrupt, format!("{}: ends after {has} bytes of {want}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|i| u8::try_from((i * 31 + i / 251) % 256).unwrap()).collect()
    }

    fn expected(bytes: &[u8]) -> Digest {
        let chunks = if bytes.len() as u64 <= CHUNK {
            Chunks::default()
        } else {
            Chunks(bytes.chunks(usize::try_from(CHUNK).unwrap()).map(|c| blake3::hash(c).into()).collect())
        };
        let hash = BlobHash(Sha256::digest(bytes).into());
        Digest { hash, size: bytes.len() as u64, chunks, midstate: None }
    }

    #[test]
    fn file_and_memory_agree_around_the_size_of_a_chunk() {
        let chunk = usize::try_from(CHUNK).unwrap();
        for len in [0, 1, BUFFER, BUFFER + 1, chunk - 1, chunk, chunk + 1, 2 * chunk, 2 * chunk + 5] {
            let bytes = pattern(len);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let want = expected(&bytes);
            assert_eq!(hash_bytes(&bytes), want, "{len}");
            assert_eq!(hash_file(&file, Path::new("f"), len as u64).unwrap(), want, "{len}");
        }
    }

    #[test]
    fn a_midstate_goes_on_where_it_was_taken() {
        let chunk = usize::try_from(CHUNK).unwrap();
        for len in [chunk + 1, 2 * chunk, 2 * chunk + 77] {
            let mut bytes = pattern(len);
            let before = hash_bytes(&bytes);
            let midstate = before.midstate.unwrap();
            let mut hasher = Hasher::resume_at(&midstate, len as u64, &before.chunks).unwrap();
            let whole = len / chunk * chunk;
            assert_eq!(hasher.size(), whole as u64);
            bytes.extend_from_slice(&pattern(chunk + 3));
            hasher.update(&bytes[whole..]);
            let after = hasher.finish();
            assert_eq!(after, expected(&bytes), "{len}");
            assert_eq!(after.midstate, hash_bytes(&bytes).midstate);
        }
        let one = hash_bytes(&pattern(chunk + 1));
        for bad in [Midstate(Vec::new()), Midstate(vec![0; 9])] {
            assert!(Hasher::resume_at(&bad, CHUNK + 1, &one.chunks).is_none());
        }
        assert!(Hasher::resume_at(&one.midstate.unwrap(), 3 * CHUNK, &one.chunks).is_none());
        assert_eq!(hash_bytes(&pattern(chunk - 1)).midstate, None);
    }

    #[test]
    fn only_the_first_bytes_count_and_a_short_file_is_corrupt() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello world").unwrap();
        assert_eq!(hash_file(&file, Path::new("f"), 5).unwrap(), expected(b"hello"));
        let err = hash_file(&file, Path::new("/x/f"), 12).unwrap_err();
        assert_eq!(err.kind, Kind::Corrupt);
        assert!(err.message.starts_with("/x/f: "), "{err}");
        assert_eq!(hash_bytes(b"").hash, BlobHash::EMPTY);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn pieces_of_any_length_make_the_same_digest(cuts in proptest::collection::vec(0usize..9_000_000, 0..6)) {
            let bytes = pattern(9_000_000);
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut hasher = Hasher::new();
            let mut at = 0;
            for cut in cuts {
                hasher.update(&bytes[at..cut]);
                at = cut;
            }
            hasher.update(&bytes[at..]);
            prop_assert_eq!(hasher.finish(), expected(&bytes));
        }
    }
}
