//! The parts of a store, made from its settings.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::artifact::ids::BlobHash;
use crate::artifact::record::Chunks;
use crate::artifact::{Error, Kind, Result};
use crate::blob::cache::BlobCache;
use crate::blob::{BlobKey, BlobStore, Body, Listed, PresignHeaders};
use crate::engine::open::StoreConfig;
use crate::engine::place::Place;
use crate::staging::state_dir::StateDir;

pub(crate) async fn blob_store(place: &Place, state: &StateDir, config: &StoreConfig) -> Result<Arc<dyn BlobStore>> {
    let _ = (place, config);
    Ok(Arc::new(Plain(state.blobs_dir())))
}

pub(crate) async fn cache(state: &StateDir, config: &StoreConfig) -> Result<Arc<BlobCache>> {
    let _ = (state, config);
    Ok(Arc::new(BlobCache {}))
}

/// Stand-in until the blob stores are merged.
struct Plain(PathBuf);

#[async_trait::async_trait]
impl BlobStore for Plain {
    fn describe(&self) -> String {
        self.0.display().to_string()
    }
    fn is_local(&self) -> bool {
        true
    }
    async fn put(&self, key: &BlobKey, body: Body) -> Result<()> {
        let path = self.0.join(&key.0);
        std::fs::create_dir_all(path.parent().unwrap_or(&path)).map_err(|e| Error::io(&path, &e))?;
        let (bytes, hash) = match body {
            Body::Bytes { bytes, hash } => (bytes, hash),
            Body::File { path, size, hash, .. } => {
                let mut b = std::fs::read(&path).map_err(|e| Error::io(&path, &e))?;
                b.truncate(usize::try_from(size).unwrap_or(0));
                (b.into(), hash)
            }
        };
        if crate::staging::hash::hash_bytes(&bytes).hash != hash {
            return Err(Error::new(Kind::Corrupt, "mismatch"));
        }
        let temp = path.with_extension(ulid::Ulid::new().to_string());
        std::fs::write(&temp, &bytes).map_err(|e| Error::io(&path, &e))?;
        std::fs::rename(&temp, &path).map_err(|e| Error::io(&path, &e))
    }
    async fn adopt(&self, key: &BlobKey, path: &Path, _: u64, _: BlobHash, _: &Chunks) -> Result<()> {
        let to = self.0.join(&key.0);
        std::fs::create_dir_all(to.parent().unwrap_or(&to)).map_err(|e| Error::io(&to, &e))?;
        std::fs::rename(path, &to).map_err(|e| Error::io(&to, &e))
    }
    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> Result<Bytes> {
        let path = self.0.join(&key.0);
        let b = std::fs::read(&path).map_err(|e| Error::io(&path, &e))?;
        Ok(match range {
            Some(r) => Bytes::from(b).slice(usize::try_from(r.start).unwrap_or(0)..usize::try_from(r.end).unwrap_or(0)),
            None => b.into(),
        })
    }
    async fn head(&self, key: &BlobKey) -> Result<Option<u64>> {
        Ok(std::fs::metadata(self.0.join(&key.0)).ok().map(|m| m.len()))
    }
    async fn delete(&self, key: &BlobKey) -> Result<()> {
        let _gone = std::fs::remove_file(self.0.join(&key.0));
        Ok(())
    }
    async fn list(&self, _: &str, _: Option<&BlobKey>) -> Result<Vec<Listed>> {
        Ok(Vec::new())
    }
    async fn presign_get(&self, _: &BlobKey, _: Duration, _: PresignHeaders) -> Result<Option<String>> {
        Ok(None)
    }
    fn local_path(&self, key: &BlobKey) -> Option<PathBuf> {
        Some(self.0.join(&key.0))
    }
}
