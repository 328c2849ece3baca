//! A commit that meets a blob being deleted: it waits for the end of the deletion, and uploads after it.

use std::time::{Duration, Instant};

use crate::artifact::ids::BlobHash;
use crate::artifact::{Error, Kind, Result};
use crate::engine::store::Store;
use crate::staging::sweep_lock::SweepLock;

const LOOK: Duration = Duration::from_millis(10);

/// A request of a process that died may still be on its way to a remote store, or at work in it. After this long it is not: the
/// store's client gives a request ten seconds.
const SILENCE: Duration = Duration::from_secs(15);

impl Store {
    /// Returns once the blob is not being deleted (any more). Finishes what a dead process began.
    ///
    /// # Errors
    /// `StoreUnavailable` when the deletion does not end within `upload_timeout`.
    pub(crate) async fn deletion_over(&self, hash: BlobHash) -> Result<()> {
        let started = Instant::now();
        loop {
            if self.catalog.deleting_since(self.tenant.id, hash).await?.is_none() {
                return Ok(());
            }
            if (self.blobs.is_local() || started.elapsed() >= SILENCE)
                && let Some(_lock) = SweepLock::try_take(&self.state, self.tenant_name.as_str())?
            {
                // Its deleter lives no more: had it finished meanwhile, the row would be gone.
                if self.catalog.deleting_since(self.tenant.id, hash).await?.is_some() {
                    self.blobs.delete(&self.blob_key(hash)).await?;
                    self.catalog.forget_deleted(self.tenant.id, vec![hash], self.clock.now()).await?;
                }
                return Ok(());
            }
            if started.elapsed() >= self.options.upload_timeout {
                let text = format!("blob {hash} is being deleted, and the deletion does not end");
                return Err(Error::new(Kind::StoreUnavailable, text));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
