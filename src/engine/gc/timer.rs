//! Sweeping by itself, as long as a daemon lives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Depth;
use super::replaced::HOLD_EVERY;
use crate::engine::store::Store;
use crate::engine::supervise;

/// Between two sweeps that look at every blob and list the store.
const FULL_EVERY: Duration = Duration::from_hours(24);
/// A mount of a minute's command need not sweep.
const FIRST_AFTER: Duration = Duration::from_mins(1);

impl Store {
    /// Sweeps from time to time until it is aborted (aborting between two awaits is harmless: the next sweep goes on).
    pub fn spawn_sweeper(self: &Arc<Self>) -> tokio::task::JoinHandle<()> {
        let store = Arc::clone(self);
        supervise::spawn("the sweeper", move || sweep(Arc::clone(&store)))
    }

    async fn sweep_in_turn(&self, full: &mut Instant) {
        let depth = if full.elapsed() >= FULL_EVERY { Depth::Full } else { Depth::Usual };
        match self.try_gc(depth).await {
            Ok(Some(report)) => {
                if depth == Depth::Full {
                    *full = Instant::now();
                }
                tracing::debug!(?report, "swept");
            }
            // Another mount of this state directory does it.
            Ok(None) => {}
            Err(e) => tracing::warn!(error = %e, "sweeping failed; it is tried again"),
        }
        if let Err(e) = self.sweep_uploads().await {
            tracing::warn!(error = %e, "uploads that nobody completed stay; it is tried again");
        }
    }
}

async fn sweep(store: Arc<Store>) {
    let interval = store.options.keeping.interval;
    let tick = interval.map_or(HOLD_EVERY, |i| HOLD_EVERY.min(i));
    let mut due = interval.map(|i| Instant::now() + FIRST_AFTER.min(i));
    let mut full = Instant::now();
    loop {
        tokio::time::sleep(tick).await;
        if let Err(e) = store.hold_streams().await {
            tracing::warn!(error = %e, "transfers of deleted files may break off");
        }
        let Some(next) = due else { continue };
        if let Err(e) = store.release_replaced().await {
            tracing::warn!(error = %e, "replaced versions stay in the store; it is tried again");
        }
        if Instant::now() >= next {
            store.sweep_in_turn(&mut full).await;
            due = interval.map(|i| Instant::now() + i);
        }
    }
}
