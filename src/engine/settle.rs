//! The settler: moves bytes that were committed on local disk (inline or provisional) into the store.

use std::sync::Arc;
use std::time::Duration;

use crate::artifact::Result;
use crate::artifact::ids::SessionId;
use crate::catalog::PendingCount;
use crate::engine::progress::Progress;
use crate::engine::store::Store;

/// The volume's word on its staging files. A store without a volume has none: every staging file is free.
pub trait StagingInUse: Send + Sync {
    /// Takes `file` out of use for the settler, unless somebody has it open (or it may still change): then `false`.
    /// After `true` the volume must not open it again until [`StagingInUse::released`].
    fn claim(&self, file: &str) -> bool;
    /// Ends a claim. `gone`: its bytes are in the store and the file is removed or moved; forget it.
    fn released(&self, file: &str, gone: bool);
}

/// Which bytes to settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What this process staged, and every inline blob.
    Own,
    /// All that the session still needs, of every mount on this host; files in use are copied.
    Session(SessionId),
}

/// The background task of [`Store::spawn_settler`].
pub struct Settler {}

impl Settler {
    /// There is new work: do not sleep on.
    pub fn wake(&self) {
        todo!()
    }

    /// Ends the task after the blob in hand.
    pub async fn stop(self) {
        todo!()
    }
}

impl Store {
    /// Tells the settler whom to ask about staging files. Once, by the volume.
    pub fn set_staging_in_use(&self, registry: Arc<dyn StagingInUse>) {
        let _ = registry;
        todo!()
    }

    /// One round over at most one batch: what can be moved is moved. Answers what it moved. Files in use are left
    /// alone, or with `force` copied (with proof) and left in place.
    ///
    /// # Errors
    /// The first failure of the store; what was moved before it stays moved.
    pub async fn settle_round(&self, force: bool) -> Result<PendingCount> {
        let _ = force;
        todo!()
    }

    /// Settles, by force, until nothing in `scope` is pending or `deadline` has passed; retries a failing store with
    /// backoff. Answers what is still pending: zero means done.
    ///
    /// # Errors
    /// Of the catalog. A failing store is no error here: it shows in the answer and in [`Store::last_store_error`].
    pub async fn settle_all(&self, scope: Scope, deadline: Duration, progress: &Progress) -> Result<PendingCount> {
        let _ = (scope, deadline, progress);
        todo!()
    }

    /// Settles in the background, with backoff while the store fails; failures show in [`Store::status`].
    pub fn spawn_settler(self: &Arc<Self>) -> Settler {
        todo!()
    }

    /// Why the last attempt to reach the store failed; none after a success.
    pub fn last_store_error(&self) -> Option<crate::engine::status::StoreFailure> {
        todo!()
    }
}
