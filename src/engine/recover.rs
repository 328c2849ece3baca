//! Recovery of what dead owners left in their staging directories (DESIGN §3.7).

use std::time::Duration;

use serde::Serialize;

use crate::artifact::Result;
use crate::engine::store::Store;

/// What a recovery did and what it had to leave.
#[derive(Clone, Debug, Default, Serialize, PartialEq, Eq)]
pub struct Recovery {
    /// Directories of dead owners that are gone now.
    pub owners: u32,
    /// Blobs moved into the store.
    pub settled: u64,
    /// Closed files whose commit was made up for.
    pub committed: Vec<String>,
    /// Files that were still open: in the trash, marked recovered. Paths inside their sessions.
    pub trashed: Vec<String>,
    /// What could not be stored now and stays for the next time: one sentence each.
    pub left: Vec<String>,
}

impl Store {
    /// Recovers every dead owner's directory that it can lock, within `deadline`. Safe to run twice, at once, and to be killed.
    ///
    /// # Errors
    /// Only when the state directory cannot be read: trouble with one owner is told in [`Recovery::left`].
    pub async fn recover(&self, deadline: Duration) -> Result<Recovery> {
        let _ = deadline;
        todo!()
    }
}
