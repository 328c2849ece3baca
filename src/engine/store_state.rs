//! What a store keeps between calls and says of itself: plain values that know no store, so that whoever has one may use them.

use std::collections::HashMap;
use std::sync::Weak;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::artifact::ids::BlobHash;
use crate::artifact::time::Timestamp;
use crate::blob::reader::ReadContent;
use crate::catalog::records::KeyUse;

/// Staging files of `push`: private to this process, so that nobody changes them after they were hashed.
pub(crate) const STAGED_PREFIX: &str = "push-";

/// Requests since they were last written down.
#[derive(Debug, Default)]
pub struct Meter(Mutex<HashMap<String, (u64, Timestamp)>>);

impl Meter {
    /// One request with the key `id`.
    pub fn count(&self, id: &str, now: Timestamp) {
        let mut uses = self.0.lock();
        match uses.get_mut(id) {
            Some(used) => *used = (used.0 + 1, now),
            None => {
                uses.insert(id.to_owned(), (1, now));
            }
        }
    }

    pub(super) fn waiting(&self) -> u64 {
        self.0.lock().values().map(|(n, _)| n).sum()
    }

    pub(super) fn take(&self) -> Vec<KeyUse> {
        let uses = std::mem::take(&mut *self.0.lock());
        uses.into_iter().map(|(id, (requests, last))| KeyUse { id, requests, last }).collect()
    }

    pub(super) fn put_back(&self, uses: Vec<KeyUse>) {
        let mut all = self.0.lock();
        for used in uses {
            let entry = all.entry(used.id).or_insert((0, used.last));
            *entry = (entry.0 + used.requests, entry.1.max(used.last));
        }
    }
}

/// Readers of streams, which outlive the artifact that they began with.
pub type Streams = Vec<(BlobHash, Weak<dyn ReadContent>)>;

/// The store could not be reached.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct StoreFailure {
    /// RFC 3339, UTC: the first failure in a row.
    pub since: String,
    /// Attempts that failed in a row.
    pub attempts: u64,
    /// The last error.
    pub message: String,
}

/// What a recovery did and what it had to leave.
#[derive(Clone, Debug, Default, Serialize, PartialEq, Eq)]
pub struct Recovery {
    /// Directories of dead owners that are gone now.
    pub owners: u32,
    /// Dead mounts that were taken away.
    pub unmounted: u32,
    /// Blobs moved into the store.
    pub settled: u64,
    /// Closed files whose commit was made up for. Paths inside their sessions.
    pub committed: Vec<String>,
    /// Files that were still open: in the trash, marked recovered. Paths inside their sessions.
    pub trashed: Vec<String>,
    /// Unsaved bytes of sessions that were sealed meanwhile: gone, as sealing says.
    pub dropped: Vec<String>,
    /// What could not be stored now and stays for the next time: one sentence each.
    pub left: Vec<String>,
}

/// The volume's word on one of its staging files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Somebody has it open, or it may still change.
    InUse,
    /// Nobody has it open here; it may have changed since it was hashed.
    Free,
    /// Nobody has it open, and its stamp is that of the hashed bytes: they need not be hashed again.
    Unchanged,
}

/// The volume's word on its staging files. A store without a volume has none: every staging file is free.
pub trait StagingInUse: Send + Sync {
    /// Takes `file` for the settler unless it is in use. After any other answer the volume must not open it again
    /// until [`StagingInUse::released`]. Must not block.
    fn claim(&self, file: &str) -> Claim;
    /// Ends a claim. `gone`: its bytes are in the store and the file is removed or moved; forget it.
    fn released(&self, file: &str, gone: bool);
}
