//! What may be staged within the tenant's limits, with what all processes have staged.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::artifact::Result;
use crate::artifact::ids::ArtifactId;
use crate::artifact::quota::{Claims, Room};
use crate::engine::claims::{Charge, Coming, Ledger};
use crate::engine::store::Store;

impl Store {
    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        let new = || Arc::new(Ledger::new(Arc::clone(&self.catalog), self.tenant.id, self.origin.0));
        self.inner.ledger.get_or_init(new)
    }

    /// `room` with what all others claim, this process's other files among them; `mine` is what the asker holds already.
    pub(crate) async fn claimed(&self, room: Room, mine: u64, upload: Option<ArtifactId>) -> Result<Room> {
        let claims = self.catalog.claims(self.tenant.id, self.origin.0, upload, self.clock.now()).await?;
        self.ledger().limited.store(true, Ordering::Relaxed);
        let here = self.ledger().total.load(Ordering::Relaxed).saturating_sub(mine);
        Ok(Room { claims: Claims { bytes: claims.bytes.saturating_add(here), ..claims }, ..room })
    }

    /// Whether a file that is being staged may have `size` bytes; it is charged for them.
    ///
    /// # Errors
    /// `OverQuota`, `FileTooLarge`.
    pub(crate) async fn may_stage(&self, size: u64, charge: &mut Charge, coming: Coming) -> Result<()> {
        let room = self.catalog.room(self.tenant.id).await?;
        if !room.quota.limits_bytes() {
            return Ok(());
        }
        let room = self.claimed(room, charge.bytes(), coming.upload).await?;
        if room.file_may_be(size, coming.replaces.unwrap_or(0)).is_err() {
            // As it truly is: what has expired takes no room, and any file may be the one that is replaced.
            let usage = self.usage().await?;
            let replaces = match coming.replaces {
                Some(bytes) => bytes,
                None => self.catalog.largest(self.tenant.id).await?,
            };
            Room { artifacts: usage.artifacts, bytes: usage.logical_bytes, ..room }.file_may_be(size, replaces)?;
        }
        charge.set(size);
        Ok(())
    }
}
