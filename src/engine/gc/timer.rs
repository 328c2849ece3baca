//! Sweeping by itself, as long as a daemon lives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Depth;
use crate::engine::store::Store;

/// Between two sweeps that look at every blob and list the store.
const FULL_EVERY: Duration = Duration::from_hours(24);
/// A mount of a minute's command need not sweep.
const FIRST_AFTER: Duration = Duration::from_mins(1);

impl Store {
    /// Sweeps from time to time until it is aborted (aborting between two awaits is harmless: the next sweep goes on).
    pub fn spawn_sweeper(self: &Arc<Self>) -> tokio::task::JoinHandle<()> {
        let store = Arc::clone(self);
        tokio::spawn(async move {
            let Some(interval) = store.options.keeping.interval else { return };
            tokio::time::sleep(FIRST_AFTER.min(interval)).await;
            let mut full = Instant::now();
            loop {
                let depth = if full.elapsed() >= FULL_EVERY { Depth::Full } else { Depth::Usual };
                match store.try_gc(depth).await {
                    Ok(Some(report)) => {
                        if depth == Depth::Full {
                            full = Instant::now();
                        }
                        tracing::debug!(?report, "swept");
                    }
                    // Another mount of this state directory does it.
                    Ok(None) => {}
                    Err(e) => tracing::warn!(error = %e, "sweeping failed; it is tried again"),
                }
                if let Err(e) = store.sweep_uploads().await {
                    tracing::warn!(error = %e, "uploads that nobody completed stay; it is tried again");
                }
                tokio::time::sleep(interval).await;
            }
        })
    }
}
