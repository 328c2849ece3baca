//! Committed content, wherever its bytes are.

use std::sync::Arc;

use bytes::Bytes;

use crate::artifact::record::{Artifact, BlobPlace};
use crate::artifact::{Error, Kind, Result};
use crate::blob::reader::{ContentReader, ReadContent};
use crate::engine::store::Store;
use crate::staging::hash::hash_bytes;

impl Store {
    /// A verified reader of an artifact's bytes: inline, provisional, local or remote. Errors name artifact and key.
    ///
    /// # Errors
    /// `NotFound` when the catalog knows no such blob; of the store.
    pub async fn reader(&self, artifact: &Artifact) -> Result<ContentReader> {
        let blob = self.catalog.blob(artifact.tenant, artifact.hash).await?;
        let blob = blob.ok_or_else(|| Error::not_found(format!("{}: its bytes are unknown", artifact.id)))?;
        let bytes = match &blob.place {
            BlobPlace::Inline(bytes) => bytes.clone(),
            BlobPlace::Provisional { mount, file } => match std::fs::read(self.state.staging_path(*mount, file)) {
                Ok(mut b) => {
                    b.truncate(usize::try_from(blob.size).unwrap_or(0));
                    b.into()
                }
                Err(_) => self.blobs.get(&self.blob_key(artifact.hash), None).await?,
            },
            BlobPlace::Stored => self.blobs.get(&self.blob_key(artifact.hash), None).await?,
        };
        if hash_bytes(&bytes).hash != artifact.hash {
            return Err(Error::new(Kind::Corrupt, format!("{}: bytes do not match", artifact.id)));
        }
        Ok(ContentReader(Arc::new(Whole(bytes))))
    }
}

/// Stand-in until the readers are merged.
struct Whole(Bytes);

#[async_trait::async_trait]
impl ReadContent for Whole {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        Ok(self.0.slice(from..from.saturating_add(len).min(self.0.len())))
    }
    async fn as_file(&self) -> Result<(Arc<std::fs::File>, std::path::PathBuf)> {
        Err(Error::new(Kind::Unsupported, "stand-in"))
    }
}
