//! `verify`: re-reads every blob of a session and proves hashes, manifest digest and the stored manifest.

use serde::Serialize;

use crate::artifact::Result;
use crate::artifact::record::Session;
use crate::engine::progress::Progress;
use crate::engine::store::Store;

/// Something that is not as the record says.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Fault {
    /// None: it is about the manifest.
    pub artifact_id: Option<String>,
    pub filename: Option<String>,
    /// One sentence.
    pub message: String,
}

#[derive(Clone, Debug, Default, Serialize, PartialEq, Eq)]
pub struct VerifyReport {
    pub session_id: String,
    pub sealed: bool,
    pub artifacts: u64,
    /// Bytes read and hashed; blobs shared by several artifacts count once.
    pub bytes: u64,
    /// Of the manifest, hex; none when not sealed.
    pub digest: Option<String>,
    pub faults: Vec<Fault>,
}

impl VerifyReport {
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.faults.is_empty()
    }
}

impl Store {
    /// Reads past the cache: what is proven is what the store holds.
    ///
    /// # Errors
    /// `StoreUnavailable` and errors of the catalog; bad bytes are no error but a [`Fault`].
    pub async fn verify(&self, session: &Session, progress: &Progress) -> Result<VerifyReport> {
        let _ = (session, progress);
        todo!()
    }
}

impl Store {
    /// The invariants of the whole store (see [`crate::check`]).
    ///
    /// # Errors
    /// As [`crate::check::run`].
    pub async fn check(&self, read_data: bool, progress: &Progress) -> Result<crate::check::Report> {
        let _ = (read_data, progress);
        todo!()
    }
}
