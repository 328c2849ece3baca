//! A staging file on its way to a record.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::artifact::ids::{BlobHash, TenantId};
use crate::artifact::record::BlobPlace;
use crate::catalog::Catalog;
use crate::engine::ingest::Source;
use crate::engine::store::Store;

/// Dropped, the file goes: by an error, or with a client. But a commit that has begun goes on without whoever asked for it: then the catalog
/// is asked first whether a record's bytes live in the file.
pub(crate) struct Transit {
    file: Option<PathBuf>,
    hash: BlobHash,
    committing: Option<(Arc<dyn Catalog>, TenantId)>,
}

impl Transit {
    pub fn of(source: &Source) -> Self {
        let file = match source {
            Source::File { staging, .. } => Some(staging.path.clone()),
            Source::Bytes(..) | Source::Grown { .. } => None,
        };
        Self { file, hash: source.digest().hash, committing: None }
    }

    pub fn begins(&mut self, store: &Store) {
        self.committing = Some((Arc::clone(&store.catalog), store.tenant.id));
    }

    /// The commit has answered: a record needs the file, or none does.
    pub fn ends(&mut self, needed: bool) {
        self.committing = None;
        if needed {
            self.file = None;
        }
    }
}

impl Drop for Transit {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        let Some((catalog, tenant)) = self.committing.take() else { return remove(&file) };
        // Outside a runtime the process is about to end: the file stays for whoever recovers.
        let Ok(runtime) = Handle::try_current() else { return };
        let hash = self.hash;
        runtime.spawn(async move {
            // Behind the commit, if it is under way.
            let known = match catalog.sync().await {
                Ok(()) => catalog.blob(tenant, hash).await,
                Err(e) => Err(e),
            };
            match known.map(|blob| blob.map(|b| b.place)) {
                Ok(Some(BlobPlace::Provisional { file: name, .. })) if file.ends_with(&name) => {}
                Ok(_) => remove(&file),
                Err(e) => tracing::warn!(file = %file.display(), error = %e, "a staging file stays: whether it is needed is unknown"),
            }
        });
    }
}

/// Failing that, it stays until this process's directory is removed: garbage, not loss.
pub(crate) fn remove(file: &std::path::Path) {
    if let Err(e) = std::fs::remove_file(file) {
        tracing::warn!(file = %file.display(), error = %e, "a staging file could not be removed");
    }
}
