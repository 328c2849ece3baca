//! Positioned reads and proofs of what was read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::Digest;

use crate::artifact::ids::BlobHash;
use crate::artifact::record::{CHUNK, Chunks};
use crate::artifact::{Error, Kind, Result};
use crate::metrics::moved;

/// Reads up to this size are cheaper on the calling thread than a trip to the blocking pool (about 20 µs).
pub(crate) const INLINE_IO: u64 = 1 << 20;

/// Runs `work` where it may block: here when it is small, else on the blocking pool.
pub(crate) async fn blocking<T: Send + 'static>(
    bytes: u64,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if bytes <= INLINE_IO {
        return work();
    }
    let clock = moved::current();
    tokio::task::spawn_blocking(move || moved::on_thread(clock, work))
        .await
        .unwrap_or_else(|e| Err(Error::internal(format!("a worker thread did not finish: {e}"))))
}

/// How many chunks a blob of `size` bytes has: at least one.
pub(crate) fn chunk_count(size: u64) -> u64 {
    size.div_ceil(CHUNK).max(1)
}

/// The bytes of chunk `index` of a blob of `size` bytes.
pub(crate) fn chunk_range(index: u64, size: u64) -> std::ops::Range<u64> {
    let start = (index * CHUNK).min(size);
    start..(start + CHUNK).min(size)
}

/// A length in memory. Lengths here are bounded by a chunk, a part or a small object.
pub(crate) fn length(range: &std::ops::Range<u64>) -> Result<usize> {
    usize::try_from(range.end.saturating_sub(range.start))
        .map_err(|_| Error::invalid("the range does not fit into memory"))
}

/// Exactly `range` of `file`. Blocking.
///
/// # Errors
/// `Corrupt` when the file ends before the range does; I/O errors with `path`.
pub(crate) fn read_range(file: &File, path: &Path, range: std::ops::Range<u64>) -> Result<Vec<u8>> {
    let mut buf = vec![0; length(&range)?];
    match file.read_exact_at(&mut buf, range.start) {
        Ok(()) => Ok(buf),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Err(Error::new(
            Kind::Corrupt,
            format!("{}: shorter than the {} bytes on record", path.display(), range.end),
        )),
        Err(e) => Err(Error::io(path, &e)),
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> BlobHash {
    BlobHash(sha2::Sha256::digest(bytes).into())
}

/// Proof of chunk `index`: by the SHA-256 when it is the only one, else by its BLAKE3 digest.
///
/// # Errors
/// `Corrupt`.
pub(crate) fn check_chunk(bytes: &[u8], index: u64, size: u64, hash: BlobHash, chunks: &Chunks) -> Result<()> {
    let proven = if chunk_count(size) == 1 {
        sha256(bytes) == hash
    } else {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        chunks.0.get(index).is_some_and(|digest| blake3::hash(bytes).as_bytes() == digest)
    };
    if proven {
        return Ok(());
    }
    let at = index * CHUNK;
    Err(Error::new(
        Kind::Corrupt,
        format!("the bytes from {at} to {} are not those of blob {hash}", at + bytes.len() as u64),
    ))
}

/// A blob larger than a chunk cannot be proven piece by piece without all its digests.
///
/// # Errors
/// `Invalid` when they do not fit the size.
pub(crate) fn check_digest_count(size: u64, chunks: &Chunks) -> Result<()> {
    if chunk_count(size) == 1 || chunk_count(size) == chunks.0.len() as u64 {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "a blob of {size} bytes has {} chunk digests, not {}",
        chunk_count(size),
        chunks.0.len()
    )))
}

/// Checks the first `size` bytes of `file` chunk by chunk. Blocking.
///
/// # Errors
/// `Corrupt` at the first chunk that differs; I/O errors with `path`.
pub(crate) fn check_file(file: &File, path: &Path, size: u64, hash: BlobHash, chunks: &Chunks) -> Result<()> {
    check_digest_count(size, chunks)?;
    for index in 0..chunk_count(size) {
        let bytes = read_range(file, path, chunk_range(index, size))?;
        check_chunk(&bytes, index, size, hash, chunks)?;
    }
    Ok(())
}
