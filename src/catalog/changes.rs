//! What changed, for the caches of other mounts.

use async_trait::async_trait;

use crate::artifact::Result;
use crate::catalog::{Change, Origin};
use std::time::Duration;

#[async_trait]
pub trait Changes: Send + Sync + 'static {
    /// The highest change number so far.
    async fn last_change(&self) -> Result<u64>;
    /// Changes after `seq` that `origin` did not make. Waits up to `wait` for the first, and wakes within
    /// 50 ms of it whichever process made it. `Err` of kind `NotFound` when the log no longer reaches back to
    /// `seq`: then everything may have changed.
    async fn changes(&self, seq: u64, origin: Origin, wait: Duration) -> Result<Vec<Change>>;
}
