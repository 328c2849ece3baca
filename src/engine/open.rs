//! Opening and closing a store: from settings to parts.

use std::path::PathBuf;
use std::sync::Arc;

use crate::artifact::Result;
use crate::artifact::name::TenantName;
use crate::engine::clock::Clock;
use crate::engine::store::{Options, Store};

/// Where a store is and how it shall behave: flags, environment and `config.toml`, merged by the caller.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub state_dir: PathBuf,
    pub tenant: TenantName,
    /// `s3://bucket/prefix`, or a directory (absolute path or `file://…`); none: `blobs/` in the state directory.
    pub store: Option<String>,
    /// `--s3-endpoint`.
    pub endpoint: Option<String>,
    /// `--s3-path-style`.
    pub path_style: bool,
    pub region: Option<String>,
    /// Limit of the local cache of remote blobs, in bytes.
    pub cache_bytes: u64,
    pub options: Options,
    pub clock: Clock,
}

impl StoreConfig {
    /// Defaults in `state_dir`: tenant `default`, local blobs, 10 GiB of cache.
    ///
    /// # Errors
    /// Never in practice: `default` is a tenant's name.
    pub fn new(state_dir: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self {
            state_dir: state_dir.into(),
            tenant: "default".parse()?,
            store: None,
            endpoint: None,
            path_style: false,
            region: None,
            cache_bytes: 10 << 30,
            options: Options::default(),
            clock: Clock::default(),
        })
    }
}

impl Store {
    /// Opens everything with a staging directory of its own (for `push`, `run`, `mount`) and recovers what dead owners left.
    ///
    /// # Errors
    /// When the state directory, the catalog or the settings of the store are unusable. An unreachable store is
    /// no error here: it shows when it is needed.
    pub async fn open(config: &StoreConfig) -> Result<Arc<Store>> {
        let _ = config;
        todo!()
    }

    /// The same without a staging directory: for commands that store no bytes (`ls`, `pull`, `link`, `seal`, `serve`, …).
    /// [`Store::push`] and file sources of [`Store::ingest`] fail on it.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_light(config: &StoreConfig) -> Result<Arc<Store>> {
        let _ = config;
        todo!()
    }

    /// Settles what is its own (within `upload_timeout`) and removes its staging directory if nothing is left in
    /// it. What could not be settled stays for the next command to recover.
    ///
    /// # Errors
    /// I/O errors of the state directory.
    pub async fn close(&self) -> Result<()> {
        todo!()
    }
}
