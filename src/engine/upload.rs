//! Bytes into the store: the only caller of [`BlobStore::put`](crate::blob::BlobStore::put) and
//! [`BlobStore::adopt`](crate::blob::BlobStore::adopt).
//!
//! Whoever sends bytes (a close, the settler, a seal, a writer about to change a stored version) has the same policy:
//! - it waits its turn, so that memory and connections stay bounded whatever the number of writers;
//! - it has a deadline, by which a store that hangs counts as failing; what is nobody's call has longer, as long as bytes move;
//! - the outcome is noted for `status`, and an answer of a remote store never reads as the caller's own fault.

use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::artifact::ids::BlobHash;
use crate::artifact::record::Chunks;
use crate::artifact::{Error, Kind, Result};
use crate::blob::{BlobKey, Body};
use crate::engine::store::{BYTES_IN_FLIGHT, Store};
use crate::metrics::moved::{self, Clock};

/// Up to this size a file is read once into memory, and hashed and sent from that very buffer.
pub(crate) const IN_MEMORY_MAX: u64 = 8 << 20;

/// What a file that is handed over counts among the bytes in flight. It is streamed, and the settler hands over eight at a time:
/// half of the room stays for those that a program waits for.
const HANDED_OVER: u64 = 4 << 20;

/// The store retries by itself until the timeout and then says why it failed: it gets this much longer to say so.
const GRACE: Duration = Duration::from_secs(2);

/// Bytes a second of the slowest link that is waited for.
const SLOWEST: u64 = 256 << 10;

impl Store {
    /// Puts `size` bytes under `key`, retried until `upload_timeout`. The body is made when its turn has come: until then it takes
    /// no memory.
    ///
    /// # Errors
    /// `StoreUnavailable` when the store failed until then; what making the body says; `Corrupt` when the source has changed.
    pub(crate) async fn upload(
        &self,
        key: &BlobKey,
        size: u64,
        body: impl Future<Output = Result<Body>>,
    ) -> Result<()> {
        // Streamed bodies take little memory but a whole connection: they count as one in-memory body.
        // On the heap: every close has this in it, and few get here.
        Box::pin(self.in_turn(size, size.min(IN_MEMORY_MAX), async { self.blobs.put(key, body.await?).await })).await
    }

    /// Puts a file that nobody can write any more: a local store takes the file itself.
    ///
    /// # Errors
    /// As [`Store::upload`].
    pub(crate) async fn hand_over(
        &self,
        key: &BlobKey,
        path: &Path,
        size: u64,
        hash: BlobHash,
        chunks: &Chunks,
    ) -> Result<()> {
        Box::pin(self.in_turn(size, size.min(HANDED_OVER), self.blobs.adopt(key, path, size, hash, chunks))).await
    }

    async fn in_turn(&self, size: u64, share: u64, work: impl Future<Output = Result<()>>) -> Result<()> {
        let share = u32::try_from(share).unwrap_or(BYTES_IN_FLIGHT).clamp(1, BYTES_IN_FLIGHT);
        let _bytes = self.slot(&self.inner.bytes, share).await?;
        let _upload = self.slot(&self.inner.uploads, 1).await?;
        let allowed = self.options.upload_timeout + GRACE + Duration::from_secs(size / SLOWEST);
        let result = match while_it_moves(allowed, self.options.upload_timeout + GRACE, work).await {
            Some(result) => result.map_err(|e| self.of_the_store(e)),
            None => Err(self.out_of_time(allowed)),
        };
        self.note_store(&result);
        result
    }

    /// Waits its turn. As long as uploads succeed that may take its time; behind a failing store it counts as failing.
    async fn slot<'a>(&self, places: &'a Semaphore, count: u32) -> Result<SemaphorePermit<'a>> {
        loop {
            match tokio::time::timeout(self.options.upload_timeout, places.acquire_many(count)).await {
                Ok(got) => return got.map_err(|_| Error::internal("the store is closed")),
                Err(_) if self.last_store_error().is_some() => {
                    return Err(self.out_of_time(self.options.upload_timeout));
                }
                // Others' bytes move.
                Err(_) => moved::tick(),
            }
        }
    }

    /// Whatever a remote store answers, the bytes are kept and sent again: a bucket that is missing or closed to us today is the
    /// operator's to mend, not a reason to tell a program that its file cannot exist.
    fn of_the_store(&self, e: Error) -> Error {
        // `Unsupported` chooses another way to send; a changed source is read again; a full local disk is said as such.
        let ours =
            matches!(e.kind, Kind::Corrupt | Kind::Unsupported | Kind::StoreUnavailable) || self.blobs.is_local();
        if ours { e } else { Error::new(Kind::StoreUnavailable, e.message) }
    }

    fn out_of_time(&self, allowed: Duration) -> Error {
        let text = format!("{} did not take the bytes within {allowed:?}", self.blobs.describe());
        Error::new(Kind::StoreUnavailable, text)
    }
}

/// The answer of `work` if it comes in time. A call's own clock decides how long its caller waits, so that it has `allowed` and no more; what
/// nobody waits for (the settler's) goes on after that as long as a byte moves within `patience`, however slow the link is.
async fn while_it_moves<T>(allowed: Duration, patience: Duration, work: impl Future<Output = T>) -> Option<T> {
    if moved::current().is_some() {
        return tokio::time::timeout(allowed, work).await.ok();
    }
    let (clock, end) = (Clock::new(patience), Instant::now() + allowed);
    let mut work = std::pin::pin!(moved::scope(clock.clone(), work));
    loop {
        let until = end.max(clock.until());
        if let Ok(answer) = tokio::time::timeout_at(until.into(), work.as_mut()).await {
            return Some(answer);
        }
        if Instant::now() >= end.max(clock.until()) {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moves a piece every 20 ms, `pieces` in all.
    async fn slow(pieces: u32) -> u32 {
        for _ in 0..pieces {
            tokio::time::sleep(Duration::from_millis(20)).await;
            moved::tick();
        }
        pieces
    }

    #[tokio::test]
    async fn what_nobody_waits_for_ends_when_nothing_moves_and_not_before() {
        let (allowed, patience) = (Duration::from_millis(50), Duration::from_millis(500));
        assert_eq!(while_it_moves(allowed, patience, slow(40)).await, Some(40));
        assert_eq!(while_it_moves(allowed, patience, std::future::pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn a_call_has_what_is_allowed() {
        let call = Clock::new(Duration::from_secs(5));
        let work = while_it_moves(Duration::from_millis(50), Duration::from_secs(5), slow(1000));
        assert_eq!(moved::scope(call, work).await, None);
    }
}
