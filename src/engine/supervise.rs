//! Work that lasts as long as its daemon: a panic in it is a bug of one turn, and no reason for the rest to stand still.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Pauses before work is begun anew: the first, and the longest for what breaks down again and again.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);
/// Work that went on for so long has got over what broke it.
const WELL: Duration = Duration::from_mins(1);

/// Runs what `begin` makes until it returns, in a task of its own; when it panics, it is made anew after a pause. Aborting the
/// task ends it.
pub fn spawn<F, W>(name: &'static str, begin: F) -> JoinHandle<W::Output>
where
    F: FnMut() -> W + Send + 'static,
    W: Future + Send + 'static,
    W::Output: Send + 'static,
{
    tokio::spawn(keep(name, begin))
}

/// As [`spawn`], where it is called.
pub async fn keep<F, W>(name: &'static str, mut begin: F) -> W::Output
where
    F: FnMut() -> W,
    W: Future,
{
    let mut pause = FIRST;
    loop {
        let begun = Instant::now();
        let work = async {
            fail::fail_point!("supervise::begin");
            begin().await
        };
        match AssertUnwindSafe(work).catch_unwind().await {
            Ok(done) => return done,
            // Where, the panic itself has said on standard error.
            Err(_) => tracing::error!("{name} broke down by a bug in outputfs: begun anew in {pause:?}"),
        }
        tokio::time::sleep(pause).await;
        pause = if begun.elapsed() >= WELL { FIRST } else { (pause * 2).min(LONGEST) };
    }
}

/// Calls `act`; a panic in it is told and ends nothing else.
pub fn guarded(name: &'static str, act: impl FnOnce()) {
    if std::panic::catch_unwind(AssertUnwindSafe(act)).is_err() {
        tracing::error!("{name} broke down by a bug in outputfs: it goes on");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn what_panics_is_begun_anew_and_what_returns_is_over() {
        let turns = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&turns);
        let task = spawn("counting", move || {
            let count = Arc::clone(&count);
            async move {
                let n = count.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                assert!(n >= 3, "as often as that");
                n
            }
        });
        assert_eq!(task.await.unwrap(), 3);
        assert_eq!(turns.load(Ordering::Relaxed), 4);
    }
}
