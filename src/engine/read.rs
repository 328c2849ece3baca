//! Committed content, wherever its bytes are.

use std::fs::File;
use std::sync::Arc;

use crate::artifact::ids::{BlobHash, TenantId};
use crate::artifact::name::display_bytes;
use crate::artifact::record::{Artifact, BlobPlace};
use crate::artifact::{Error, Kind, Result};
use crate::blob::reader::{Content, ContentReader};
use crate::engine::store::Store;

/// How often the catalog is asked again where bytes are that moved between its answer and their opening.
const ROUNDS: u32 = 3;

impl Store {
    /// A verified reader of an artifact's bytes: inline, provisional, local or remote. Errors name artifact and key.
    ///
    /// # Errors
    /// `NotFound` when the catalog or a local store has no such blob; of the store.
    pub async fn reader(&self, artifact: &Artifact) -> Result<ContentReader> {
        let label = format!("{} {}", artifact.id, display_bytes(&artifact.filename));
        self.blob_reader(artifact.tenant, artifact.hash, &label).await
    }

    /// The same of a blob; `label` names it in errors.
    ///
    /// # Errors
    /// As [`Store::reader`].
    pub async fn blob_reader(&self, tenant: TenantId, hash: BlobHash, label: &str) -> Result<ContentReader> {
        let mut last = None;
        for _ in 0..ROUNDS {
            let blob = self.catalog.blob(tenant, hash).await?;
            let blob = blob.ok_or_else(|| Error::not_found(format!("{label}: the catalog does not know its bytes")))?;
            let size = blob.size;
            let content = Content { label: label.to_owned(), hash, size, chunks: blob.chunks };
            match blob.place {
                BlobPlace::Inline(bytes) => return Ok(ContentReader::inline(content, bytes)),
                BlobPlace::Provisional { mount, file } => {
                    let path = self.state.staging_path(mount, &file);
                    // One `open` of a local file, as cheap as the row that named it.
                    match File::open(&path) {
                        Ok(file) => return Ok(ContentReader::staged(content, Arc::new(file), path)),
                        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                        Err(e) => return Err(Error::io(&path, &e)),
                    }
                    // Moved into the store, and the catalog hears of it next; or its owner died just then.
                    let key = self.blob_key(hash);
                    if self.blobs.head(&key).await? == Some(size) {
                        return ContentReader::stored(content, key, &self.blobs, &self.cache);
                    }
                    last =
                        Some(Error::new(Kind::NotFound, format!("{label}: staging file {} is gone", path.display())));
                }
                BlobPlace::Stored => {
                    let key = self.blob_key(hash);
                    return ContentReader::stored(content, key, &self.blobs, &self.cache)
                        .map_err(|e| Error::new(e.kind, format!("{label}: {e}")));
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::internal("the place of a blob kept changing")))
    }
}
