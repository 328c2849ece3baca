//! Whether a store can do its work at this moment.

use std::time::Duration;

use crate::artifact::ids::BlobHash;
use crate::artifact::{Error, Kind, Result};
use crate::engine::store::Store;

/// Each part's time to answer: what takes longer is not ready.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a look at the parts found; `None`: fine.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    /// The catalog takes a durable write.
    pub catalog: Option<Error>,
    /// The store answers.
    pub blobs: Option<Error>,
}

impl Readiness {
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.catalog.is_none() && self.blobs.is_none()
    }
}

impl Store {
    /// Writes to the catalog and asks the store for a blob that is none.
    pub async fn ready(&self) -> Readiness {
        let key = self.blob_key(BlobHash([0; 32]));
        let (catalog, blobs) = tokio::join!(
            tokio::time::timeout(PATIENCE, self.catalog.sync()),
            tokio::time::timeout(PATIENCE, self.blobs.head(&key)),
        );
        let late = |what: &str| Error::new(Kind::TimedOut, format!("{what} did not answer within {PATIENCE:?}"));
        let failed = |answer: Result<()>| answer.err();
        Readiness {
            catalog: failed(catalog.unwrap_or_else(|_| Err(late("the catalog")))),
            blobs: failed(blobs.map_or_else(|_| Err(late("the store")), |found| found.map(drop))),
        }
    }

    /// Sets the instruments that are looked up, not counted: what waits for the store.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn measure_queue(&self) -> Result<()> {
        let waiting = self.catalog.pending(None, None).await?;
        let all = crate::metrics::get();
        all.queue.set(i64::try_from(waiting.artifacts).unwrap_or(i64::MAX));
        all.queue_bytes.set(i64::try_from(waiting.bytes).unwrap_or(i64::MAX));
        Ok(())
    }
}
