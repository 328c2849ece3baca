//! What the kernel believes, and who calls through it.

pub mod permit;
pub mod process;
pub mod quota_check;
pub mod removed;
pub mod told;

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;

use crate::artifact::ids::{BlobHash, Ino};
use crate::artifact::name::Name;
use crate::catalog::ChangeKind;

/// Makes the kernel drop a name, and says when it has.
pub type StaleName = Box<dyn Fn(ChangeKind) -> tokio::sync::oneshot::Receiver<()> + Send + Sync>;

/// How long a close waits for that. A name that is still there then shows the old inode until its time is over.
pub const STALE_NAME: Duration = Duration::from_secs(1);

/// What this mount's kernel can do, and what it was told. Its locks are leaves.
#[derive(Default)]
pub struct Kernel {
    /// The kernel and our privileges allow passthrough (set at INIT).
    pub passthrough: AtomicBool,
    /// The kernel collects writes before it hands them on, but can be told not to, mappings included (set at INIT).
    pub collects_writes: AtomicBool,
    /// Hash of the content that the kernel's page cache holds of an inode.
    pub(super) cached: Mutex<HashMap<Ino, BlobHash>>,
    pub(super) stale_name: OnceLock<StaleName>,
    pub(super) told: told::Told,
    pub(super) removed: removed::Removed,
}

impl Kernel {
    /// How to drop a name from the kernel's cache; the first that is told is kept.
    pub fn on_stale_name(&self, drop: StaleName) {
        self.stale_name.set(drop).unwrap_or_default();
    }

    /// The name leads to another inode than the kernel believes.
    pub(super) async fn drop_name(&self, parent: Ino, name: Name) {
        self.drop_cached(vec![ChangeKind::Entry { parent, name }]).await;
    }

    /// The kernel forgets, before this returns or soon after.
    pub(super) async fn drop_cached(&self, changes: Vec<ChangeKind>) {
        let Some(drop) = self.stale_name.get() else { return };
        // In one go, and in this order: the last to be done is the last of all.
        let mut last = None;
        for change in changes {
            last = Some(drop(change));
        }
        let Some(last) = last else { return };
        if tokio::time::timeout(STALE_NAME, last).await.is_err() {
            tracing::warn!("the kernel keeps what has changed for a while");
        }
    }
}
