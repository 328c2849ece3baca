//! Deleting, restoring, expiry, labels.

use crate::artifact::Result;
use crate::artifact::record::{Artifact, Session};
use crate::artifact::time::Ttl;
use crate::catalog::LabelChange;
use crate::engine::store::Store;

impl Store {
    /// Soft-deletes what `what` names (`art_…`: all its names; `session/path`: that name). Answers the artifact as it was.
    ///
    /// # Errors
    /// `NotFound`, `Sealed`, `Invalid` for an earlier version.
    pub async fn rm(&self, what: &str) -> Result<Artifact> {
        let _ = what;
        todo!()
    }

    /// Brings back a deleted file or an earlier version of it, as a new version.
    ///
    /// # Errors
    /// `NotFound`, `Sealed`.
    pub async fn restore(&self, session: &Session, path: &[u8], version: Option<u64>) -> Result<Artifact> {
        let _ = (session, path, version);
        todo!()
    }

    /// A new expiry, `ttl` from now.
    ///
    /// # Errors
    /// `NotFound`; `Sealed` for an earlier one in a sealed session.
    pub async fn set_ttl(&self, what: &str, ttl: Ttl) -> Result<Artifact> {
        let _ = (what, ttl);
        todo!()
    }

    /// Changes labels of a live artifact.
    ///
    /// # Errors
    /// `NotFound`, `Sealed`, limits of metadata.
    pub async fn set_labels(&self, what: &str, change: LabelChange) -> Result<Artifact> {
        let _ = (what, change);
        todo!()
    }
}
