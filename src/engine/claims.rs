//! Bytes that this process has staged and not committed: they count against the tenant's limits, in every process.
//!
//! Who stages bytes holds a [`Charge`] for them, which gives them back when it is dropped. The sum of all charges is told to the
//! catalog when it has changed by enough to matter, in a task of its own. (What decides is the commit's transaction; this refuses
//! early what is sure to fail there, and keeps many from staging together what none of them may keep.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::artifact::Result;
use crate::artifact::ids::{ArtifactId, MountId, TenantId};
use crate::artifact::quota::{Claims, Room};
use crate::catalog::Catalog;
use crate::engine::store::Store;

/// A change of less is told with the next one, but for the last.
const TOLD: u64 = 1 << 20;

pub(crate) struct Ledger {
    total: AtomicU64,
    told: AtomicU64,
    telling: AtomicBool,
    /// The tenant has a limit of bytes, as far as was seen: else nobody needs to hear.
    limited: AtomicBool,
    catalog: Arc<dyn Catalog>,
    tenant: TenantId,
    owner: MountId,
}

impl Ledger {
    pub fn new(catalog: Arc<dyn Catalog>, tenant: TenantId, owner: MountId) -> Self {
        let (total, told) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { total, told, telling: AtomicBool::default(), limited: AtomicBool::default(), catalog, tenant, owner }
    }

    fn untold(&self) -> bool {
        let (total, told) = (self.total.load(Ordering::Relaxed), self.told.load(Ordering::Relaxed));
        total.abs_diff(told) >= TOLD || (total == 0 && told > 0)
    }

    fn tell(self: &Arc<Self>) {
        if !self.limited.load(Ordering::Relaxed) || !self.untold() || self.telling.swap(true, Ordering::AcqRel) {
            return;
        }
        // Outside a runtime the process is about to end: its row goes with its staging directory.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return self.telling.store(false, Ordering::Release);
        };
        let ledger = Arc::clone(self);
        runtime.spawn(async move {
            while ledger.untold() {
                let total = ledger.total.load(Ordering::Relaxed);
                if let Err(e) = ledger.catalog.set_staged(ledger.tenant, ledger.owner, total).await {
                    tracing::warn!(error = %e, "others do not hear what is staged here");
                    break;
                }
                ledger.told.store(total, Ordering::Relaxed);
            }
            ledger.telling.store(false, Ordering::Release);
        });
    }
}

/// What is known of bytes before they are committed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Coming {
    /// Bytes that they take the place of; none: their path is not known yet.
    pub replaces: Option<u64>,
    /// They were announced as that.
    pub upload: Option<ArtifactId>,
}

/// Staged bytes of one file. Given back when dropped.
#[derive(Default)]
pub(crate) struct Charge {
    ledger: Option<Arc<Ledger>>,
    bytes: u64,
}

impl Charge {
    pub fn of(ledger: &Arc<Ledger>) -> Self {
        Self { ledger: Some(Arc::clone(ledger)), bytes: 0 }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn set(&mut self, bytes: u64) {
        let Some(ledger) = &self.ledger else { return };
        if bytes >= self.bytes {
            ledger.total.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            ledger.total.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
        ledger.tell();
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

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
