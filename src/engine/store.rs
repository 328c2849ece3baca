//! What every door shares.

use std::sync::Arc;
use std::time::Duration;

use crate::artifact::name::TenantName;
use crate::artifact::record::Tenant;
use crate::blob::BlobStore;
use crate::blob::cache::BlobCache;
use crate::catalog::{Catalog, Origin};
use crate::engine::clock::Clock;
use crate::staging::state_dir::{MountDir, StateDir};

/// When `close()` answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Once bytes are in the store and the record in the catalog.
    #[default]
    Store,
    /// Once both are on local disk; the upload follows.
    Local,
}

/// Settings of a store, from flags, environment and `config.toml`.
#[derive(Clone, Debug)]
pub struct Options {
    pub durability: Durability,
    /// How long a `close()` retries a failing store before it answers `EIO`.
    pub upload_timeout: Duration,
    /// Files up to this many bytes ride in the catalog row until they are settled.
    pub inline_max: u64,
    /// Base of links, without a trailing slash.
    pub public_url: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Store,
            upload_timeout: Duration::from_secs(60),
            inline_max: 16 << 10,
            public_url: String::from("http://127.0.0.1:7780"),
        }
    }
}

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

/// What the use cases keep between calls.
#[derive(Default)]
pub(crate) struct Inner {}
