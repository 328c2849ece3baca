//! Sealing a session (DESIGN §6).

use std::time::Duration;

use crate::artifact::Result;
use crate::artifact::record::{Manifest, Session};
use crate::engine::progress::Progress;
use crate::engine::store::Store;

impl Store {
    /// Settles what is pending (everybody's on this host; others are waited for), seals, and puts the manifest beside the blobs.
    /// Idempotent, also after a crash between the two.
    ///
    /// # Errors
    /// `Busy` when bytes are still pending at `deadline`; `StoreUnavailable` when the manifest could not be stored: the session is
    /// sealed then, and sealing it again stores the manifest.
    pub async fn seal(&self, session: &Session, deadline: Duration, progress: &Progress) -> Result<Manifest> {
        let _ = (session, deadline, progress);
        todo!()
    }
}
