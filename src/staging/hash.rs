//! Hashing: the SHA-256 that names a blob and the BLAKE3 digests of its chunks, in one pass.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::artifact::ids::BlobHash;
use crate::artifact::record::{CHUNK, Chunks};
use crate::artifact::{Error, Kind, Result};

/// Read size: large enough that the system call costs nothing, small enough that the bytes are still in the
/// L2 cache when the second hash reads them.
pub(crate) const BUFFER: usize = 256 << 10;

/// What a pass over some bytes found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    pub hash: BlobHash,
    pub size: u64,
    /// Empty up to one chunk.
    pub chunks: Chunks,
}

/// Hashes bytes as they come by, in order.
#[derive(Clone, Debug, Default)]
pub struct Hasher {
    pub(crate) sha: Sha256,
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
        Self { sha, chunk: blake3::Hasher::new(), chunks, size }
    }

    pub fn update(&mut self, mut bytes: &[u8]) {
        self.sha.update(bytes);
        while !bytes.is_empty() {
            // At most one chunk, so it fits in any usize.
            let room = usize::try_from(CHUNK - self.size % CHUNK).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.chunk.update(now);
            self.size += now.len() as u64;
            if self.size.is_multiple_of(CHUNK) {
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
        Digest { hash: BlobHash(self.sha.finalize().into()), size: self.size, chunks }
    }
}

#[must_use]
pub fn hash_bytes(bytes: &[u8]) -> Digest {
    if bytes.len() as u64 <= CHUNK {
        let hash = BlobHash(Sha256::digest(bytes).into());
        return Digest { hash, size: bytes.len() as u64, chunks: Chunks::default() };
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
        return Ok(Digest { hash: BlobHash(sha.finalize().into()), size, chunks: Chunks::default() });
    }
    let mut hasher = Hasher::new();
    each_piece(file, path, 0, size, |piece| hasher.update(piece))?;
    Ok(hasher.finish())
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
        Digest { hash: BlobHash(Sha256::digest(bytes).into()), size: bytes.len() as u64, chunks }
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
