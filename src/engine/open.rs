//! Opening and closing a store: from settings to parts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ulid::Ulid;

use crate::artifact::ids::MountId;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::Origin;
use crate::catalog::sqlite::{SqliteCatalog, SqliteOptions};
use crate::catalog::upkeep::Upkeep as _;
use crate::engine::options::StoreConfig;
use crate::engine::parts;
use crate::engine::place::Place;
use crate::engine::progress::Progress;
use crate::engine::settle::{Scope, remove_staging};
use crate::engine::store::{Inner, Store, blocking};
use crate::engine::store_state::{Recovery, STAGED_PREFIX};
use crate::staging::state_dir::{MountDir, MountInfo, StateDir};
use crate::staging::sweep_lock::SweepLock;

/// How long a command that stores bytes lets the recovery of dead owners hold it up, and one that does not. What is
/// not done by then goes on with the next command.
const RECOVERY: Duration = Duration::from_secs(30);
const RECOVERY_LIGHT: Duration = Duration::from_secs(5);

/// What is freed of the cache on a full disk, in bytes, before the files of a new process are made.
const ROOM_TO_START: u64 = 64 << 20;

impl Store {
    /// Opens everything with a staging directory of its own (for `push`, `run`, `mount`) and recovers what dead owners left.
    ///
    /// # Errors
    /// When the state directory, the catalog or the settings of the store are unusable. An unreachable store is
    /// no error here: it shows when it is needed.
    pub async fn open(config: &StoreConfig) -> Result<Arc<Store>> {
        open(config, true).await
    }

    /// The same without a staging directory: for commands that store no bytes (`ls`, `pull`, `link`, `seal`, `serve`, …).
    /// File sources of [`Store::ingest`] and pushes above 1 MiB fail on it.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_light(config: &StoreConfig) -> Result<Arc<Store>> {
        open(config, false).await
    }

    /// Settles what is its own (within `upload_timeout`) and removes its staging directory if nothing is left in
    /// it. What could not be settled stays for the next command to recover. Call it last: a store without its
    /// directory takes no more files.
    ///
    /// # Errors
    /// I/O errors of the state directory.
    pub async fn close(&self) -> Result<()> {
        let Some(dir) = &self.mount_dir else { return Ok(()) };
        let left = self.settle_all(Scope::Own, self.options.upload_timeout, &Progress::none()).await?;
        if left.artifacts > 0 {
            tracing::warn!(artifacts = left.artifacts, bytes = left.bytes, "left in staging for the next command");
        }
        // `settled` alone is not on stable storage yet; without the directory nobody would look for these blobs.
        self.catalog.set_staged(self.tenant.id, dir.id, 0).await?;
        self.catalog.sync().await?;
        if let Err(e) = self.catalog.shrink().await {
            tracing::warn!(error = %e, "the catalog's log keeps its size");
        }
        let dir = Arc::clone(dir);
        let settled = left.artifacts == 0;
        blocking(move || {
            if settled {
                sweep_pushed(&dir.staging())?;
            }
            dir.remove_if_empty().map(drop)
        })
        .await
    }

    /// What recovery did and left when this store was opened; none when there was nothing to do.
    pub fn recovery(&self) -> Option<Recovery> {
        self.inner.recovery.lock().clone()
    }
}

async fn open(config: &StoreConfig, staging: bool) -> Result<Arc<Store>> {
    let root = config.state_dir.clone();
    let state = blocking(move || StateDir::open(&root)).await?;
    let (at, asked) = (state.clone(), Place::asked(config));
    let place = blocking(move || Place::settle(&at, asked)).await?;
    let blobs = parts::blob_store(&place, &state, config).await?;
    let cache = parts::cache(&state, config).await?;
    let path = state.catalog_path();
    let clock = config.clock.clone();
    let versions = config.options.versions;
    let catalog = match config.catalog.clone() {
        Some(shared) => blocking(move || SqliteCatalog::open_postgres(shared, versions)).await?,
        None => {
            let options = SqliteOptions { versions, now: Some(Arc::new(move || clock.now())) };
            blocking(move || SqliteCatalog::open(&path, options)).await?
        }
    };
    let tenant = crate::catalog::Sessions::tenant(&*catalog, &config.tenant, config.clock.now()).await?;
    if !state.is_read_only() {
        let (at, name) = (state.clone(), config.tenant.clone());
        // A disk without inodes is no reason not to look at what is there.
        if let Err(e) = blocking(move || SweepLock::make(&at, name.as_str())).await {
            tracing::warn!(error = %e, "garbage cannot be collected");
        }
    }
    let mount_dir = if staging {
        let info = own_info(config, &blobs.describe());
        match own_dir(&state, info.clone()).await {
            // What lives on a full disk can free it: the cache, recovery, removals. It needs a few files for that.
            Err(e) if e.kind == Kind::NoSpace => {
                cache.make_room(ROOM_TO_START);
                catalog.give_room().await?;
                Some(own_dir(&state, info).await?)
            }
            made => Some(made?),
        }
    } else {
        None
    };
    let origin = Origin(mount_dir.as_ref().map_or_else(|| MountId(Ulid::new()), |dir| dir.id));
    let store = Arc::new(Store {
        tenant_name: config.tenant.clone(),
        tenant,
        catalog,
        blobs,
        cache,
        state,
        mount_dir,
        origin,
        clock: config.clock.clone(),
        options: config.options.clone(),
        inner: Inner::default(),
    });
    let recovery = store.recover_at_start(if staging { RECOVERY } else { RECOVERY_LIGHT }).await?;
    if recovery != Recovery::default() {
        *store.inner.recovery.lock() = Some(recovery);
    }
    Ok(store)
}

/// This process's directory.
async fn own_dir(state: &StateDir, info: MountInfo) -> Result<Arc<MountDir>> {
    let at = state.clone();
    blocking(move || {
        let dir = MountDir::create(&at)?;
        dir.write_info(&info)?;
        Ok(Arc::new(dir))
    })
    .await
}

/// Removes what pushes that failed left: nothing in the catalog needs it.
fn sweep_pushed(staging: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(staging) {
        Ok(entries) => entries,
        // Closed before.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io(staging, &e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(staging, &e))?;
        if entry.file_name().to_string_lossy().starts_with(STAGED_PREFIX) {
            remove_staging(&entry.path())?;
        }
    }
    Ok(())
}

/// Until a mount writes its own.
fn own_info(config: &StoreConfig, store: &str) -> MountInfo {
    MountInfo {
        pid: std::process::id(),
        mountpoint: None,
        session: None,
        tenant: config.tenant.to_string(),
        store: store.to_owned(),
    }
}
