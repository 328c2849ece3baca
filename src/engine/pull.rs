//! `pull`: an artifact's bytes out of the store, proven.

use std::path::Path;

use tokio::io::AsyncWrite;

use crate::artifact::Result;
use crate::artifact::record::Artifact;
use crate::engine::progress::Progress;
use crate::engine::store::Store;

impl Store {
    /// Writes the bytes to the file `to` (beside it first, then renamed; what was there is replaced).
    ///
    /// # Errors
    /// `Corrupt`, `StoreUnavailable`, I/O errors with the path. Then `to` is as it was.
    pub async fn pull_to_file(&self, artifact: &Artifact, to: &Path, progress: &Progress) -> Result<()> {
        let _ = (artifact, to, progress);
        todo!()
    }

    /// Streams the bytes, in order.
    ///
    /// # Errors
    /// As [`Store::pull_to_file`]; what was written before stays written.
    pub async fn pull_to(
        &self,
        artifact: &Artifact,
        to: &mut (dyn AsyncWrite + Send + Unpin),
        progress: &Progress,
    ) -> Result<()> {
        let _ = (artifact, to, progress);
        todo!()
    }
}
