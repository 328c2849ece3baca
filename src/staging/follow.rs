//! Following the writer: a large file is hashed while it is still being written, so that `close` waits only for
//! the rest, and for proof that what was hashed early did not change since.
//!
//! The proof is a second pass with BLAKE3 alone, on two threads: several times faster than SHA-256. Where a chunk
//! did change, SHA-256 goes on from the last snapshot of its state before it.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::Sha256;

use crate::artifact::Result;
use crate::artifact::record::{CHUNK, Chunks};

use super::hash::{Digest, Hasher, Midstate, each_piece};

/// A state of SHA-256 is kept every 16 chunks (64 MiB): a change costs at most that much again, and 5 GB of file
/// cost 80 states of about 100 bytes.
const SNAPSHOT_EVERY: usize = 16;

/// Below so many chunks to prove, a second thread costs more than it saves.
const TWO_THREADS_FROM: usize = 4;

/// What has been hashed early of one staging file. Holds no descriptor.
#[derive(Clone, Debug, Default)]
pub struct Follower {
    sha: Sha256,
    chunks: Vec<[u8; 32]>,
    /// States and after how many chunks they were taken, ascending.
    snapshots: Vec<(usize, Sha256)>,
}

impl Follower {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that knows a blob with which the file begins, or began: [`Follower::finish`] proves what is left of it.
    #[must_use]
    pub fn of_blob(midstate: &Midstate, size: u64, chunks: &Chunks) -> Option<Self> {
        let Hasher { sha, chunks, .. } = Hasher::resume_at(midstate, size, chunks)?;
        Some(Self { snapshots: vec![(chunks.len(), sha.clone())], sha, chunks })
    }

    /// Bytes hashed so far, a multiple of [`CHUNK`].
    #[must_use]
    pub fn hashed(&self) -> u64 {
        self.chunks.len() as u64 * CHUNK
    }

    /// Hashes the whole chunks below `stable_size` that are not hashed yet. `stable_size` should lie behind the
    /// writer: what is hashed and changes afterwards is hashed again by [`Follower::finish`]. Blocking; callers who
    /// want to stop in between raise `stable_size` step by step.
    ///
    /// # Errors
    /// I/O errors with `path`; `Corrupt` when the file is shorter. What was hashed before stays good.
    pub fn advance(&mut self, file: &File, path: &Path, stable_size: u64) -> Result<()> {
        while self.hashed() + CHUNK <= stable_size {
            self.one_chunk(file, path)?;
        }
        Ok(())
    }

    fn one_chunk(&mut self, file: &File, path: &Path) -> Result<()> {
        // On a copy, so that a file that turns out shorter leaves this at the end of the chunk before.
        let mut hasher = Hasher::resume(self.sha.clone(), std::mem::take(&mut self.chunks));
        let before = hasher.chunks.len();
        let from = hasher.size;
        let result = each_piece(file, path, from, from + CHUNK, |piece| hasher.update(piece));
        self.chunks = hasher.chunks;
        if result.is_err() {
            self.chunks.truncate(before);
            return result;
        }
        self.sha = hasher.sha;
        if self.chunks.len().is_multiple_of(SNAPSHOT_EVERY) {
            self.snapshots.push((self.chunks.len(), self.sha.clone()));
        }
        Ok(())
    }

    /// The digest of the first `size` bytes as they are now: proves the chunks hashed early, hashes again from
    /// before the first one that changed, and then the rest. Blocking. May be called again after more writes; it
    /// keeps what it learnt. The caller checks the file's stamp before and after, as with
    /// [`super::hash::hash_file`].
    ///
    /// # Errors
    /// I/O errors with `path`; `Corrupt` when the file is shorter.
    pub fn finish(&mut self, file: &File, path: &Path, size: u64) -> Result<Digest> {
        let whole = usize::try_from(size / CHUNK).unwrap_or(usize::MAX);
        let good = self.unchanged(file, path, self.chunks.len().min(whole))?;
        if good < self.chunks.len() {
            self.rewind(good);
        }
        self.advance(file, path, size)?;
        let mut hasher = Hasher::resume(self.sha.clone(), self.chunks.clone());
        each_piece(file, path, hasher.size, size, |piece| hasher.update(piece))?;
        Ok(hasher.finish())
    }

    /// Back to the last snapshot at or before chunk `good`.
    fn rewind(&mut self, good: usize) {
        self.snapshots.retain(|(chunks, _)| *chunks <= good);
        let (chunks, sha) = self.snapshots.last().cloned().unwrap_or_default();
        self.chunks.truncate(chunks);
        self.sha = sha;
    }

    /// How many of the first `count` chunks are still what was hashed, up to the first that is not.
    fn unchanged(&self, file: &File, path: &Path, count: usize) -> Result<usize> {
        let next = AtomicUsize::new(0);
        let first_bad = AtomicUsize::new(count);
        let work = || -> Result<()> {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= first_bad.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let from = index as u64 * CHUNK;
                let mut digest = blake3::Hasher::new();
                each_piece(file, path, from, from + CHUNK, |piece| {
                    digest.update(piece);
                })?;
                if *digest.finalize().as_bytes() != self.chunks[index] {
                    first_bad.fetch_min(index, Ordering::Relaxed);
                }
            }
        };
        if count < TWO_THREADS_FROM {
            work()?;
        } else {
            std::thread::scope(|scope| {
                let helper = std::thread::Builder::new().name(String::from("prove")).spawn_scoped(scope, work);
                let mine = work();
                // No thread to be had: this one has done it all.
                let theirs =
                    helper.map_or(Ok(()), |h| h.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
                mine.and(theirs)
            })?;
        }
        Ok(first_bad.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Kind;
    use crate::staging::hash::hash_file;
    use proptest::prelude::*;
    use std::os::unix::fs::FileExt;

    const P: &str = "f";

    /// A sparse file with a mark in every chunk: cheap to make, and no two chunks alike.
    fn sparse(chunks: u64, extra: u64) -> (File, u64) {
        let file = tempfile::tempfile().unwrap();
        let size = chunks * CHUNK + extra;
        file.set_len(size).unwrap();
        for i in 0..chunks {
            file.write_all_at(&i.to_le_bytes(), i * CHUNK + 77).unwrap();
        }
        (file, size)
    }

    fn check(follower: &mut Follower, file: &File, size: u64) {
        let want = hash_file(file, Path::new(P), size).unwrap();
        assert_eq!(follower.finish(file, Path::new(P), size).unwrap(), want);
    }

    #[test]
    fn only_whole_chunks_are_hashed_early() {
        let (file, size) = sparse(2, 5);
        let mut f = Follower::new();
        f.advance(&file, Path::new(P), CHUNK - 1).unwrap();
        assert_eq!(f.hashed(), 0);
        f.advance(&file, Path::new(P), size).unwrap();
        assert_eq!(f.hashed(), 2 * CHUNK);
        check(&mut f, &file, size);
    }

    #[test]
    fn what_was_hashed_early_and_overwritten_in_place_is_hashed_again() {
        let (file, size) = sparse(20, 9);
        for at in [0, 3 * CHUNK, 16 * CHUNK - 1, 16 * CHUNK, 20 * CHUNK - 1] {
            let mut f = Follower::new();
            f.advance(&file, Path::new(P), size).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1], at).unwrap();
            check(&mut f, &file, size);
            // Once more after it learnt of the change.
            check(&mut f, &file, size);
        }
    }

    #[test]
    fn shrinking_and_growing() {
        let (file, size) = sparse(3, 1);
        let mut f = Follower::new();
        f.advance(&file, Path::new(P), size).unwrap();
        for len in [CHUNK + 1, CHUNK, 0, 5, 2 * CHUNK] {
            file.set_len(len).unwrap();
            check(&mut f, &file, len);
        }
        let err = f.advance(&file, Path::new(P), 4 * CHUNK).unwrap_err();
        assert_eq!(err.kind, Kind::Corrupt);
        assert_eq!(f.hashed(), 2 * CHUNK);
        check(&mut f, &file, 2 * CHUNK);
    }

    #[test]
    fn a_blob_known_before_is_proven_and_gone_on_from() {
        let (file, size) = sparse(18, 9);
        let known = hash_file(&file, Path::new(P), size).unwrap();
        let blob = || Follower::of_blob(known.midstate.as_ref().unwrap(), size, &known.chunks).unwrap();
        assert_eq!(blob().hashed(), 18 * CHUNK);
        check(&mut blob(), &file, size);
        // Appended, then changed at both ends of what was known, then cut.
        file.write_all_at(b"more", size).unwrap();
        check(&mut blob(), &file, size + 4);
        for at in [17 * CHUNK + 1, 0] {
            file.write_all_at(b"changed", at).unwrap();
            let mut f = blob();
            check(&mut f, &file, size + 4);
            check(&mut f, &file, size + 4);
        }
        file.set_len(CHUNK + 1).unwrap();
        check(&mut blob(), &file, CHUNK + 1);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, u8),
        Resize(u64),
        Advance,
        Finish,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let max = 4 * CHUNK;
        let step = prop_oneof![
            (0..max, any::<u8>()).prop_map(|(at, b)| Step::Write(at, b)),
            (0..max).prop_map(Step::Resize),
            Just(Step::Advance),
            Just(Step::Finish),
        ];
        proptest::collection::vec(step, 1..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn whatever_happens_the_digest_is_of_the_bytes_at_the_end(steps in steps()) {
            let (file, mut size) = sparse(2, 100);
            let mut f = Follower::new();
            for step in steps {
                match step {
                    Step::Write(at, byte) => {
                        file.write_all_at(&[byte], at).unwrap();
                        size = size.max(at + 1);
                    }
                    Step::Resize(len) => {
                        file.set_len(len).unwrap();
                        size = len;
                    }
                    Step::Advance => f.advance(&file, Path::new(P), size).unwrap(),
                    Step::Finish => check(&mut f, &file, size),
                }
            }
            check(&mut f, &file, size);
        }
    }
}
