//! Turns at something of which there is little: so much at a time, so much of it for one, and a queue that ends.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Above so many entries those that nobody uses are thrown out.
const ENTRIES: usize = 1024;

#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Turns at a time; or another unit, KiB of memory for one.
    pub all: u32,
    /// Of these, for one key or address. Less than `all`: there is always something for somebody else.
    pub each: u32,
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

/// A turn; over when it is given back or dropped.
pub struct Turn(Mutex<Option<[OwnedSemaphorePermit; 2]>>);

impl Turn {
    /// Over, though others still hold it.
    pub fn give_back(&self) {
        self.0.lock().take();
    }
}

/// There is none: too many wait, or it took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// What the asker may have, it has.
    Own,
    All,
}

impl<K: Hash + Eq> Turns<K> {
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        let free = Arc::new(Semaphore::new(rules.all as usize));
        Self { rules, free, own: Mutex::default(), waiting: AtomicUsize::new(0) }
    }

    /// # Errors
    /// When too many wait, or it took too long.
    pub async fn take(&self, who: K) -> Result<Turn, Full> {
        self.take_many(who, 1).await
    }

    /// So many at once, or as many as one may have.
    ///
    /// # Errors
    /// As [`Turns::take`].
    pub async fn take_many(&self, who: K, many: u32) -> Result<Turn, Full> {
        let many = many.min(self.rules.each);
        let entered = self
            .waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < self.rules.waiting).then_some(n + 1));
        if entered.is_err() {
            return Err(Full::All);
        }
        let _waits = Waits(&self.waiting);
        let own = self.of(who);
        // One's own first: whoever waits for the rest is then one of few.
        let turn = async {
            let own = own.acquire_many_owned(many).await?;
            Ok::<_, AcquireError>([own, Arc::clone(&self.free).acquire_many_owned(many).await?])
        };
        match tokio::time::timeout(self.rules.patience, turn).await {
            Ok(Ok(permits)) => Ok(Turn(Mutex::new(Some(permits)))),
            // (They are never closed.)
            Ok(Err(_)) | Err(_) => Err(Full::All),
        }
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// What there is none of.
    pub fn try_many(&self, who: K, many: u32) -> Result<Turn, Full> {
        let many = many.min(self.rules.each);
        let own = self.of(who).try_acquire_many_owned(many).map_err(|_| Full::Own)?;
        let free = Arc::clone(&self.free).try_acquire_many_owned(many).map_err(|_| Full::All)?;
        Ok(Turn(Mutex::new(Some([own, free]))))
    }

    /// How many are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.available_permits()
    }

    fn of(&self, who: K) -> Arc<Semaphore> {
        let mut own = self.own.lock();
        if own.len() >= ENTRIES {
            own.retain(|_, s| s.strong_count() > 0);
        }
        if let Some(known) = own.get(&who).and_then(Weak::upgrade) {
            return known;
        }
        let new = Arc::new(Semaphore::new(self.rules.each as usize));
        own.insert(who, Arc::downgrade(&new));
        new
    }
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
        assert!(turns.take("a").await.is_err(), "its own are taken");
        assert_eq!(turns.try_many("a", 1).err(), Some(Full::Own));
        let other = turns.take("b").await.ok();
        assert!(other.is_some(), "one is left for another");
        assert!(turns.take("c").await.is_err(), "all are taken");
        assert_eq!(turns.try_many("c", 1).err(), Some(Full::All));
        // (Held by others still.)
        a.as_ref().unwrap().give_back();
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
