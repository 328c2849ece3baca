//! Recovery behind a mount: what needs a store that does not answer now holds nobody up.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::artifact::Result;
use crate::artifact::ids::BlobHash;
use crate::engine::recover::Recovery;
use crate::engine::store::{Store, blocking};
use crate::engine::supervise;

/// How long a store is given to show that it is there before recovery goes on without whoever waits.
const PROBE: Duration = Duration::from_secs(2);
/// Pauses between two attempts.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// Bytes: less than this is a full disk.
const FEW: u64 = 1 << 20;
/// One attempt; what is not done by then goes on with the next.
const ATTEMPT: Duration = Duration::from_secs(60);

impl Store {
    /// Recovery at the opening: within `patience` where the store answers, else what is left is only named.
    pub(crate) async fn recover_at_start(&self, patience: Duration) -> Result<Recovery> {
        if self.state.is_read_only() {
            return Ok(Recovery::default());
        }
        let state = self.state.clone();
        let dead = blocking(move || state.mounts()).await?.into_iter().filter(|m| !m.alive).count();
        // Bytes that wait in staging free nothing as long as there is no room for the directories of their blobs.
        if dead > 0 && self.state.free().is_some_and(|free| free < FEW) {
            self.cache.make_room(FEW);
            self.catalog.give_room().await?;
        }
        if dead == 0 || self.answers().await {
            return self.recover(patience).await;
        }
        let left = vec![format!("{dead} owners that died: the store does not answer")];
        Ok(Recovery { left, ..Recovery::default() })
    }

    async fn answers(&self) -> bool {
        let key = self.blob_key(BlobHash([0; 32]));
        self.blobs.is_local() || matches!(tokio::time::timeout(PROBE, self.blobs.head(&key)).await, Ok(Ok(_)))
    }

    /// Goes on with what the opening left, until nothing is; what is left meanwhile is in [`Store::recovery`].
    pub fn spawn_recovery(self: &Arc<Self>) -> JoinHandle<()> {
        let store = Arc::clone(self);
        supervise::spawn("recovery", move || recover(Arc::clone(&store)))
    }
}

async fn recover(store: Arc<Store>) {
    let mut pause = FIRST;
    while store.recovery().is_some_and(|r| !r.left.is_empty()) {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
        if !store.answers().await {
            continue;
        }
        match store.recover(ATTEMPT).await {
            Ok(now) => store.note_recovery(now),
            Err(e) => tracing::warn!(error = %e, "recovery failed; it is tried again"),
        }
    }
}
