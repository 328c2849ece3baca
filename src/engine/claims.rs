//! Bytes that this process has staged and not committed: they count against the tenant's limits, in every process.
//!
//! Who stages bytes holds a [`Charge`] for them, which gives them back when it is dropped. The sum of all charges is told to the
//! catalog when it has changed by enough to matter, in a task of its own. (What decides is the commit's transaction; this refuses
//! early what is sure to fail there, and keeps many from staging together what none of them may keep.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::artifact::ids::{ArtifactId, MountId, TenantId};
use crate::catalog::Catalog;

/// A change of less is told with the next one, but for the last.
const TOLD: u64 = 1 << 20;

pub(crate) struct Ledger {
    pub(super) total: AtomicU64,
    told: AtomicU64,
    telling: AtomicBool,
    /// The tenant has a limit of bytes, as far as was seen: else nobody needs to hear.
    pub(super) limited: AtomicBool,
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
