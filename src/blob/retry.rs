//! Trying again: only what the network or the server may get right the next time, and only until a deadline.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::artifact::{Error, Kind, Result};
use crate::metrics::moved;

/// First pause between two attempts; it doubles up to [`MAX_PAUSE`]. Pauses are drawn from half to all of it,
/// so that many writers that failed together do not come back together.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// A server that restarts is met again within this.
const MAX_PAUSE: Duration = Duration::from_secs(3);

/// The slowest link that is waited for: a request that carries `n` bytes is given `n` / this seconds more.
pub const SLOWEST_BYTES_PER_SECOND: u64 = 256 << 10;

/// The time that `bytes` may take on the slowest link.
#[must_use]
pub fn transfer_time(bytes: u64) -> Duration {
    Duration::from_millis(bytes.saturating_mul(1000) / SLOWEST_BYTES_PER_SECOND)
}

/// How long one request is tried. A store applies it to each request that it makes, so that the upload of a large
/// blob goes on as long as its parts succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// From the first attempt; [`transfer_time`] is added.
    pub deadline: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { deadline: Duration::from_mins(1) }
    }
}

impl Policy {
    /// Runs `attempt` until it succeeds, fails otherwise than by `StoreUnavailable`, or the deadline has passed
    /// (an attempt that still runs then is dropped). `bytes` is what one attempt transfers.
    ///
    /// # Errors
    /// The last attempt's; `StoreUnavailable` when the deadline cut it short.
    pub async fn run<T, F, Fut>(&self, what: &str, bytes: u64, mut attempt: F) -> Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let started = Instant::now();
        let deadline = started + self.deadline + transfer_time(bytes);
        moved::expect(deadline - started);
        let mut pause = FIRST_PAUSE;
        let mut last: Option<Error> = None;
        for tries in 1_u32.. {
            let error = match timeout_at(deadline, attempt()).await {
                Ok(Err(error)) if error.kind == Kind::StoreUnavailable => error,
                Ok(done) => {
                    moved::tick();
                    return done;
                }
                Err(_) => last.take().unwrap_or_else(|| {
                    Error::new(
                        Kind::StoreUnavailable,
                        format!("{what}: no answer within {:.1} s", started.elapsed().as_secs_f32()),
                    )
                }),
            };
            let jittered = pause.mul_f64(rand::random_range(0.5..=1.0));
            if Instant::now() + jittered >= deadline {
                return Err(error);
            }
            tracing::debug!(what, tries, error = %error, "the store did not answer; trying again");
            last = Some(error);
            sleep(jittered).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
        // `u32` attempts with pauses of seconds outlast every deadline.
        Err(last.unwrap_or_else(|| Error::internal("retrying ended without an attempt")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn unavailable() -> Error {
        Error::new(Kind::StoreUnavailable, "503")
    }

    #[tokio::test]
    async fn tries_again_until_it_works_and_only_when_it_may() {
        let tries = AtomicU32::new(0);
        let policy = Policy::default();
        let n = policy
            .run("put", 0, || async {
                let n = tries.fetch_add(1, Ordering::Relaxed);
                if n < 5 { Err(unavailable()) } else { Ok(n) }
            })
            .await
            .unwrap();
        assert_eq!(n, 5);
        tries.store(0, Ordering::Relaxed);
        let refused = policy
            .run("put", 0, || async {
                tries.fetch_add(1, Ordering::Relaxed);
                Err::<(), _>(Error::new(Kind::Forbidden, "403"))
            })
            .await;
        assert_eq!((refused.unwrap_err().kind, tries.load(Ordering::Relaxed)), (Kind::Forbidden, 1));
    }

    #[tokio::test]
    async fn ends_at_the_deadline_also_inside_an_attempt_that_hangs() {
        let policy = Policy { deadline: Duration::from_millis(300) };
        let started = Instant::now();
        let error = policy.run("put", 0, || async { Err::<(), _>(unavailable()) }).await.unwrap_err();
        assert_eq!(error, unavailable());
        assert!(started.elapsed() <= Duration::from_millis(300));

        let started = Instant::now();
        let error = policy.run("put", 0, std::future::pending::<Result<()>>).await.unwrap_err();
        let took = started.elapsed().as_millis();
        assert!(error.kind == Kind::StoreUnavailable && (300..600).contains(&took), "{took} ms: {error}");
        let started = Instant::now();
        assert!(policy.run("put", 128 << 10, std::future::pending::<Result<()>>).await.is_err());
        assert!(started.elapsed().as_millis() >= 800, "bytes buy time");
    }
}
