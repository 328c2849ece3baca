//! The parts of a store, made from its settings.

use std::sync::Arc;

use crate::artifact::Result;
use crate::blob::BlobStore;
use crate::blob::cache::BlobCache;
use crate::blob::measured::Measured;
use crate::blob::open::{StoreOptions, open_store};
use crate::blob::retry::Policy;
use crate::engine::options::StoreConfig;
use crate::engine::place::Place;
use crate::engine::store::blocking;
use crate::staging::state_dir::StateDir;

pub(crate) async fn blob_store(place: &Place, state: &StateDir, config: &StoreConfig) -> Result<Arc<dyn BlobStore>> {
    let store = open_store(&StoreOptions {
        url: place.store.clone(),
        endpoint: place.endpoint.clone(),
        // Unsaid, an endpoint decides.
        path_style: place.path_style.then_some(true),
        region: place.region.clone(),
        local_root: state.blobs_dir(),
        retry: Policy { deadline: config.options.upload_timeout },
    })
    .await?;
    Ok(Arc::new(Measured::new(store)))
}

pub(crate) async fn cache(state: &StateDir, config: &StoreConfig) -> Result<Arc<BlobCache>> {
    let (root, limit) = (state.cache_dir(), config.cache_bytes);
    blocking(move || BlobCache::open(&root, limit)).await
}
