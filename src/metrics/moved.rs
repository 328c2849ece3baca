//! Whether a call gets on: its caller is kept waiting as long as bytes move for it, and no longer (CONTRACT §3.2).
//!
//! A call carries a [`Clock`] with it, through its tasks and onto the threads that work for it. Whoever moves a piece of its bytes, wherever,
//! says [`tick`]; who asks somebody that has a deadline of his own says how long that may take ([`expect`]). Work that is nobody's
//! call (a sweep, the settler) has no clock, and telling it of progress does nothing.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

tokio::task_local! {
    static CALL: Arc<Clock>;
}
thread_local! {
    static HERE: RefCell<Option<Arc<Clock>>> = const { RefCell::new(None) };
}

/// Until when one call is waited for.
#[derive(Debug)]
pub struct Clock {
    /// Without a byte.
    patience: Duration,
    /// Milliseconds since [`START`].
    until: AtomicU64,
}

impl Clock {
    #[must_use]
    pub fn new(patience: Duration) -> Arc<Self> {
        let clock = Self { patience, until: AtomicU64::new(0) };
        clock.tick();
        Arc::new(clock)
    }

    /// Given up at this moment, as it stands.
    #[must_use]
    pub fn until(&self) -> Instant {
        *START + Duration::from_millis(self.until.load(Ordering::Relaxed))
    }

    fn tick(&self) {
        self.not_before(self.patience);
    }

    fn not_before(&self, from_now: Duration) {
        let until = START.elapsed().saturating_add(from_now).as_millis();
        self.until.fetch_max(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Runs `work` as the call of `clock`.
pub fn scope<F: Future>(clock: Arc<Clock>, work: F) -> impl Future<Output = F::Output> {
    CALL.scope(clock, work)
}

/// The clock of the present call, to be taken along to where its work goes on.
#[must_use]
pub fn current() -> Option<Arc<Clock>> {
    HERE.with_borrow(Clone::clone).or_else(|| CALL.try_with(Clone::clone).ok())
}

/// Runs `work` on this thread as part of the call of `clock`.
pub fn on_thread<T>(clock: Option<Arc<Clock>>, work: impl FnOnce() -> T) -> T {
    struct Back(Option<Arc<Clock>>);
    impl Drop for Back {
        fn drop(&mut self) {
            let former = self.0.take();
            HERE.with_borrow_mut(|here| *here = former);
        }
    }
    let _back = Back(HERE.with_borrow_mut(|here| std::mem::replace(here, clock)));
    work()
}

/// A piece was moved.
pub fn tick() {
    with(Clock::tick);
}

/// What begins now has a deadline of its own, `within` from now: it is waited for.
pub fn expect(within: Duration) {
    with(|clock| clock.not_before(within.saturating_add(clock.patience)));
}

fn with(tell: impl Fn(&Clock)) {
    let told = HERE.with_borrow(|here| here.as_deref().map(&tell)).is_some();
    if !told {
        // Nobody's call: nobody waits.
        CALL.try_with(|clock| tell(clock)).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn progress_is_a_calls_own_wherever_it_is_made() {
        let patience = Duration::from_secs(5);
        let (mine, other) = (Clock::new(patience), Clock::new(patience));
        let (before, others) = (mine.until(), other.until());
        tokio::time::sleep(Duration::from_millis(20)).await;
        scope(mine.clone(), async {
            let clock = current();
            tokio::task::spawn_blocking(move || on_thread(clock, tick)).await.unwrap();
        })
        .await;
        assert!(mine.until() > before);
        let ticked = mine.until();
        tick();
        scope(mine.clone(), async { expect(Duration::from_secs(60)) }).await;
        assert!(mine.until() >= ticked + Duration::from_secs(60));
        assert_eq!(other.until(), others);
        assert!(current().is_none());
    }
}
