//! What every door shares.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use ulid::Ulid;

use crate::artifact::ids::{ArtifactId, BlobHash};
use crate::artifact::name::TenantName;
use crate::artifact::record::Tenant;
use crate::artifact::step::AttemptId;
use crate::artifact::{Error, Kind, Result};
use crate::blob::cache::BlobCache;
use crate::blob::{BlobKey, BlobStore};
use crate::catalog::{Catalog, Origin};
use crate::engine::clock::Clock;
use crate::engine::options::Options;
use crate::engine::store_state::{Meter, Recovery, StagingInUse, StoreFailure, Streams};
use crate::metrics::moved;
use crate::staging::state_dir::{MountDir, StateDir};

/// One tenant's store, as one process has it open. Holds no lock across an await.
pub struct Store {
    pub tenant_name: TenantName,
    pub tenant: Tenant,
    pub catalog: Arc<dyn Catalog>,
    pub blobs: Arc<dyn BlobStore>,
    pub cache: Arc<BlobCache>,
    pub state: StateDir,
    /// This process's staging directory, owned while the store is open; none after [`Store::open_light`].
    pub mount_dir: Option<Arc<MountDir>>,
    /// The mount directory's ID, or a fresh one without it.
    pub origin: Origin,
    pub clock: Clock,
    pub options: Options,
    pub(crate) inner: Inner,
}

/// What the use cases keep between calls. No two of its locks are ever held at once, and none across an await
/// (but `settling`, which is made for that).
pub(crate) struct Inner {
    /// Bytes of commits in memory or on their way to the store.
    pub bytes: Semaphore,
    /// Uploads at one time.
    pub uploads: Semaphore,
    /// One settling round at a time: two would upload the same blobs.
    pub settling: tokio::sync::Mutex<()>,
    /// Small blobs that ride in the catalog while they travel to the store; `true`: they have arrived, and the settler
    /// need only say so.
    pub beside: Mutex<std::collections::HashMap<BlobHash, bool>>,
    /// Blobs whose bytes the settler found wrong, and since when.
    pub doubted: Mutex<std::collections::HashMap<BlobHash, tokio::time::Instant>>,
    pub in_use: OnceLock<Arc<dyn StagingInUse>>,
    pub wake: Notify,
    /// Transfers at work whose bytes must stay in the store.
    pub streams: Mutex<Streams>,
    /// Requests with keys that are not written down yet.
    pub meter: Meter,
    /// What is committed belongs to it.
    pub attempt: OnceLock<AttemptId>,
    /// The `outputfs run` that what is committed is of.
    pub run: OnceLock<String>,
    pub failure: Mutex<Option<StoreFailure>>,
    /// What recovery did and left when this store was opened.
    pub recovery: Mutex<Option<Recovery>>,
    pub ledger: OnceLock<Arc<crate::engine::claims::Ledger>>,
}

/// Bytes in flight at most: with four uploads of the largest body that is held in memory (8 MiB) there is room for
/// the next four; above it the daemon would pass its memory bar.
pub(crate) const BYTES_IN_FLIGHT: u32 = 64 << 20;

/// Uploads at one time: enough to hide 5 ms of round trip of small files from 8 writers, few enough connections.
const UPLOADS_IN_FLIGHT: usize = 16;

impl Default for Inner {
    fn default() -> Self {
        Self {
            bytes: Semaphore::new(BYTES_IN_FLIGHT as usize),
            uploads: Semaphore::new(UPLOADS_IN_FLIGHT),
            settling: tokio::sync::Mutex::default(),
            beside: Mutex::default(),
            doubted: Mutex::default(),
            in_use: OnceLock::new(),
            wake: Notify::new(),
            streams: Mutex::default(),
            meter: Meter::default(),
            attempt: OnceLock::new(),
            run: OnceLock::new(),
            failure: Mutex::default(),
            recovery: Mutex::default(),
            ledger: OnceLock::new(),
        }
    }
}

impl Store {
    /// Key of a blob of this tenant.
    pub fn blob_key(&self, hash: BlobHash) -> BlobKey {
        BlobKey::blob(self.tenant_name.as_str(), hash)
    }

    /// The same store seen by another tenant or in the name of another mount, without a staging directory.
    pub(crate) fn sibling(&self, tenant_name: TenantName, tenant: Tenant, origin: Origin) -> Store {
        Store {
            tenant_name,
            tenant,
            catalog: Arc::clone(&self.catalog),
            blobs: Arc::clone(&self.blobs),
            cache: Arc::clone(&self.cache),
            state: self.state.clone(),
            mount_dir: None,
            origin,
            clock: self.clock.clone(),
            options: self.options.clone(),
            inner: Inner::default(),
        }
    }

    /// This process's staging directory.
    ///
    /// # Errors
    /// `Unsupported` after [`Store::open_light`].
    pub fn staging(&self) -> Result<PathBuf> {
        self.mount_dir.as_ref().map(|dir| dir.staging()).ok_or_else(|| {
            Error::new(Kind::Unsupported, "this store was opened without a staging directory: it cannot take bytes")
        })
    }

    /// A fresh artifact ID at this store's time.
    pub fn new_artifact_id(&self) -> ArtifactId {
        let millis = u64::try_from(self.clock.now().0 / 1_000_000).unwrap_or(0);
        ArtifactId(Ulid::from_parts(millis, rand::random()))
    }

    /// Keeps score of the store's answers, for `status`.
    pub(crate) fn note_store<T>(&self, result: &Result<T>) {
        let mut failure = self.inner.failure.lock();
        match result {
            Ok(_) => *failure = None,
            Err(e) if matches!(e.kind, Kind::StoreUnavailable | Kind::TimedOut) => {
                let entry = failure.get_or_insert_with(|| StoreFailure {
                    since: self.clock.now().to_rfc3339(),
                    attempts: 0,
                    message: String::new(),
                });
                entry.attempts += 1;
                entry.message.clone_from(&e.message);
            }
            // The caller's trouble (a changed file, a full disk) says nothing of the store.
            Err(_) => {}
        }
    }

    /// Why the last attempt to reach the store failed; none after a success.
    pub fn last_store_error(&self) -> Option<StoreFailure> {
        self.inner.failure.lock().clone()
    }
}

/// Runs blocking work on the pool for it.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let clock = moved::current();
    tokio::task::spawn_blocking(move || moved::on_thread(clock, work))
        .await
        .map_err(|e| Error::internal(format!("a task of the pool broke down: {e}")))?
}
