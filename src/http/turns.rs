//! Turns at something of which there is little: so many at a time, so many of them for one, and a queue that ends.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::http::{StatusCode, header};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::errors::Problem;

/// Above so many entries those that nobody uses are thrown out.
const ENTRIES: usize = 1024;

#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Turns at a time.
    pub all: usize,
    /// Of these, for one key or address. Less than `all`: there is always one for somebody else.
    pub each: usize,
    /// Who may wait; others are sent away at once.
    pub waiting: usize,
    /// How long.
    pub patience: Duration,
}

pub struct Turns<K> {
    rules: Rules,
    free: Arc<Semaphore>,
    /// Of each, as long as somebody has or awaits a turn. A leaf lock.
    own: Mutex<HashMap<K, Weak<Semaphore>>>,
    waiting: AtomicUsize,
}

/// A turn; over when dropped.
pub struct Turn {
    _own: OwnedSemaphorePermit,
    _free: OwnedSemaphorePermit,
}

impl<K: Hash + Eq> Turns<K> {
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules, free: Arc::new(Semaphore::new(rules.all)), own: Mutex::default(), waiting: AtomicUsize::new(0) }
    }

    /// # Errors
    /// 503 when too many wait, or it took too long.
    pub async fn take(&self, who: K) -> Result<Turn, Problem> {
        let entered = self
            .waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < self.rules.waiting).then_some(n + 1));
        if entered.is_err() {
            return Err(busy());
        }
        let _waits = Waits(&self.waiting);
        let own = self.of(who);
        // One's own first: whoever waits for the rest is then one of few.
        let turn = async {
            Ok::<_, tokio::sync::AcquireError>((own.acquire_owned().await?, self.free.clone().acquire_owned().await?))
        };
        match tokio::time::timeout(self.rules.patience, turn).await {
            Ok(Ok((own, free))) => Ok(Turn { _own: own, _free: free }),
            // (They are never closed.)
            Ok(Err(_)) | Err(_) => Err(busy()),
        }
    }

    fn of(&self, who: K) -> Arc<Semaphore> {
        let mut own = self.own.lock();
        if own.len() >= ENTRIES {
            own.retain(|_, s| s.strong_count() > 0);
        }
        if let Some(known) = own.get(&who).and_then(Weak::upgrade) {
            return known;
        }
        let new = Arc::new(Semaphore::new(self.rules.each));
        own.insert(who, Arc::downgrade(&new));
        new
    }
}

fn busy() -> Problem {
    let message = "Too many ask for this at the moment. Try again in a few seconds.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).with(header::RETRY_AFTER, "5")
}

struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns() -> Turns<&'static str> {
        Turns::new(Rules { all: 3, each: 2, waiting: 4, patience: Duration::from_secs(5) })
    }

    #[tokio::test(start_paused = true)]
    async fn one_does_not_take_all() {
        let turns = turns();
        let (a, b) = (turns.take("a").await.ok(), turns.take("a").await.ok());
        assert!(a.is_some() && b.is_some());
        assert_eq!(turns.take("a").await.err().unwrap().status, 503, "its own are taken");
        let other = turns.take("b").await.ok();
        assert!(other.is_some(), "one is left for another");
        assert!(turns.take("c").await.is_err(), "all are taken");
        drop(a);
        assert!(turns.take("c").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_ends_and_who_leaves_it_makes_room() {
        let turns = Arc::new(turns());
        let held = [turns.take("a").await.ok(), turns.take("a").await.ok()];
        let wait = |turns: &Arc<Turns<_>>| {
            let turns = turns.clone();
            tokio::spawn(async move { turns.take("a").await.map(drop) })
        };
        let waiting: Vec<_> = (0..4).map(|_| wait(&turns)).collect();
        while turns.waiting.load(Ordering::Acquire) < 4 {
            tokio::task::yield_now().await;
        }
        let began = tokio::time::Instant::now();
        assert!(turns.take("b").await.is_err() && began.elapsed().is_zero(), "sent away at once");
        waiting[0].abort();
        while turns.waiting.load(Ordering::Acquire) == 4 {
            tokio::task::yield_now().await;
        }
        assert!(turns.take("b").await.is_ok());
        drop(held);
        for task in waiting.into_iter().skip(1) {
            assert!(task.await.unwrap().is_ok());
        }
        assert_eq!(turns.waiting.load(Ordering::Acquire), 0);
    }
}
