//! What versions leave that were replaced within the version window: a log that is opened for each line leaves a blob a line, and
//! on S3 each is as large as the log. They need not wait for the usual grace period: nobody can ask for them any more. Only who
//! opened one before can still read it, and says so while it does ([`Store::hold_streams`], `Volume::hold_open_blobs`).
//!
//! They are condemned as if the grace period had begun so long ago that [`WAIT`] is left of it; all else is an ordinary sweep's, also
//! after a crash in between.

use std::time::Duration;

use super::{GcReport, PAGE, ago};
use crate::artifact::Result;
use crate::artifact::ids::BlobHash;
use crate::artifact::record::Artifact;
use crate::artifact::time::Timestamp;
use crate::blob::reader::ContentReader;
use crate::engine::store::Store;
use crate::staging::sweep_lock::SweepLock;

/// How long they stay: several times [`HOLD_EVERY`].
pub const WAIT: Duration = Duration::from_secs(60);
/// How often readers say what they have open.
pub const HOLD_EVERY: Duration = Duration::from_secs(10);

impl Store {
    /// Condemns what was replaced, deletes what of it (and of all else) is due.
    ///
    /// # Errors
    /// Of the catalog and the store; the next call goes on.
    pub async fn release_replaced(&self) -> Result<()> {
        if self.options.many_machines {
            return Ok(());
        }
        let (tenant, keep) = (self.tenant.id, self.options.keeping.blobs);
        let replaced = self.catalog.replaced(tenant, PAGE).await?;
        let garbage = self.catalog.garbage(tenant, ago(self.clock.now(), keep)).await?;
        if replaced.is_empty() && garbage.due == 0 {
            return Ok(());
        }
        let Some(lock) = SweepLock::try_take(&self.state, self.tenant_name.as_str())? else {
            return Ok(());
        };
        let mut report = GcReport::default();
        let mut page = replaced;
        while !page.is_empty() {
            let begun = ago(self.clock.now(), keep.saturating_sub(WAIT));
            self.catalog.condemn(tenant, page, begun).await?;
            page = self.catalog.replaced(tenant, PAGE).await?;
        }
        self.delete_due(&mut report).await?;
        drop(lock);
        if report.deleted > 0 {
            tracing::debug!(blobs = report.deleted, bytes = report.deleted_bytes, "replaced versions left the store");
        }
        Ok(())
    }

    /// As [`Store::reader`], for a transfer that may take longer than the artifact lives.
    ///
    /// # Errors
    /// As [`Store::reader`].
    pub async fn stream(&self, artifact: &Artifact) -> Result<ContentReader> {
        let reader = self.reader(artifact).await?;
        let mut streams = self.inner.streams.lock();
        streams.retain(|(_, reader)| reader.strong_count() > 0);
        streams.push((artifact.hash, std::sync::Arc::downgrade(&reader.0)));
        Ok(reader)
    }

    /// The bytes of streams at work stay in the store a while longer.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn hold_streams(&self) -> Result<()> {
        let hashes: Vec<_> = {
            let mut streams = self.inner.streams.lock();
            streams.retain(|(_, reader)| reader.strong_count() > 0);
            streams.iter().map(|(hash, _)| *hash).collect()
        };
        self.hold(hashes, self.clock.now()).await.map(drop)
    }

    /// Those of `hashes` that nothing else needs stay. How many there are.
    pub(crate) async fn hold(&self, mut hashes: Vec<BlobHash>, now: Timestamp) -> Result<u64> {
        hashes.sort_unstable();
        hashes.dedup();
        if hashes.is_empty() { Ok(0) } else { self.catalog.hold(self.tenant.id, hashes, now).await }
    }
}
