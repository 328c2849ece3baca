//! The places for connections: a bounded number, and none of them held by clients that ask for nothing.
//!
//! A client that has a place and sends no request (it never sends its head, or drips it, or keeps a finished connection open)
//! keeps it as long as nobody else wants one. When all are taken, whoever has waited longest for its own request goes first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics;

/// Silence that a client is granted even when others wait.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks while none is free. Short: who waits behind a thousand silent ones waits so long for each of them.
const LOOK: Duration = Duration::from_millis(5);

type Silent = BTreeMap<(Instant, u64), CancellationToken>;

/// All places of one listener.
pub struct Places {
    free: Arc<Semaphore>,
    /// Connections between requests, by when that began. A leaf lock.
    silent: Arc<Mutex<Silent>>,
    next: AtomicU64,
}

/// One connection's place. Free again when dropped.
pub struct Place {
    number: u64,
    silent: Arc<Mutex<Silent>>,
    /// Since when it is silent; none: a request runs.
    since: Mutex<Option<Instant>>,
    /// Cancelled when another needs the place more.
    pub cut: CancellationToken,
    _held: OwnedSemaphorePermit,
}

impl Places {
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), silent: Arc::default(), next: AtomicU64::new(0) }
    }

    /// The next free place, made free if need be. `None`: never, the semaphore is not closed.
    pub async fn take(&self) -> Option<Arc<Place>> {
        loop {
            let free = Arc::clone(&self.free).acquire_owned();
            match tokio::time::timeout(LOOK, free).await {
                Ok(held) => return Some(self.place(held.ok()?)),
                Err(_) => self.cut_one(),
            }
        }
    }

    fn place(&self, held: OwnedSemaphorePermit) -> Arc<Place> {
        let place = Place {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            silent: Arc::clone(&self.silent),
            since: Mutex::new(None),
            cut: CancellationToken::new(),
            _held: held,
        };
        place.silent();
        metrics::get().connections.inc();
        Arc::new(place)
    }

    fn cut_one(&self) {
        let longest = {
            let mut silent = self.silent.lock();
            silent
                .first_key_value()
                .is_some_and(|((since, _), _)| since.elapsed() >= PATIENCE)
                .then(|| silent.pop_first())
        };
        if let Some((_, cut)) = longest.flatten() {
            metrics::get().connections_cut.with_label_values(&["silent"]).inc();
            cut.cancel();
        }
    }
}

impl Place {
    /// A request has come.
    pub fn busy(&self) {
        if let Some(since) = self.since.lock().take() {
            self.silent.lock().remove(&(since, self.number));
        }
    }

    /// Its answer has gone: the next request is waited for.
    pub fn silent(&self) {
        let now = Instant::now();
        if let Some(before) = self.since.lock().replace(now) {
            self.silent.lock().remove(&(before, self.number));
        }
        self.silent.lock().insert((now, self.number), self.cut.clone());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.busy();
        metrics::get().connections.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_longest_goes_first_and_who_works_stays() {
        let places = Places::new(2);
        let (worker, silent) = (places.take().await.unwrap(), places.take().await.unwrap());
        worker.busy();
        let cut = silent.cut.clone();
        let holder = tokio::spawn(async move {
            cut.cancelled().await;
            drop(silent);
        });
        let third = places.take().await.unwrap();
        holder.await.unwrap();
        assert!(!worker.cut.is_cancelled() && !third.cut.is_cancelled());
        // The answer is out: now the worker is silent too, and longer than the one that comes after it.
        worker.silent();
        tokio::time::advance(PATIENCE / 2).await;
        third.silent();
        places.cut_one();
        assert!(!worker.cut.is_cancelled());
        tokio::time::advance(PATIENCE / 2).await;
        places.cut_one();
        assert!(worker.cut.is_cancelled() && !third.cut.is_cancelled());
    }
}
