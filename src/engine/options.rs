//! What a store is told: flags, environment and `config.toml`, merged by the caller.

use std::path::PathBuf;
use std::time::Duration;

use crate::artifact::Result;
use crate::artifact::name::TenantName;
use crate::artifact::versions::Rules;
use crate::engine::clock::Clock;

/// When `close()` answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Once bytes are in the store and the record in the catalog.
    #[default]
    Store,
    /// Once both are on local disk; the upload follows.
    Local,
    /// Once both would survive the death of every process, as `write(2)` to a disk does: the record is in the catalog, and on the disk
    /// after `fsync()` or the next durable change of any process. The upload follows.
    Fsync,
}

/// Settings of a store, from flags, environment and `config.toml`.
#[derive(Clone, Debug)]
pub struct Options {
    pub durability: Durability,
    /// How long a `close()` retries a failing store before it answers `EIO`.
    pub upload_timeout: Duration,
    /// Files up to this many bytes ride in the catalog row until they are settled.
    pub inline_max: u64,
    /// How long deleted files, unneeded bytes and earlier versions stay.
    pub keeping: Keeping,
    /// Which earlier versions a commit replaces and how many a path keeps.
    pub versions: Rules,
    /// Base of links, without a trailing slash.
    pub public_url: String,
    /// The catalog is one that other machines use too.
    pub many_machines: bool,
    /// Bytes that scratch files of one tenant may take in the state directory.
    pub scratch_limit: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Store,
            upload_timeout: Duration::from_mins(1),
            inline_max: 16 << 10,
            keeping: Keeping::default(),
            versions: Rules { window: Duration::from_secs(2), keep: Some(10), keys: None },
            public_url: String::from("http://127.0.0.1:7780"),
            many_machines: false,
            scratch_limit: 10 << 30,
        }
    }
}

/// How long things stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// What was deleted stays in the trash.
    pub trash: Duration,
    /// Blobs that nothing needs stay in the store: longer than any reader needs to finish.
    pub blobs: Duration,
    /// Earlier versions; none: as long as their number allows.
    pub versions: Option<Duration>,
    /// Pause between two sweeps of a mount; none: it does not sweep.
    pub interval: Option<Duration>,
}

impl Default for Keeping {
    fn default() -> Self {
        Self {
            trash: Duration::from_hours(7 * 24),
            blobs: Duration::from_hours(1),
            versions: None,
            interval: Some(Duration::from_mins(10)),
        }
    }
}

/// Where a store is and how it shall behave: flags, environment and `config.toml`, merged by the caller.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub state_dir: PathBuf,
    pub tenant: TenantName,
    /// `s3://bucket/prefix`, or a directory (absolute path or `file://…`); none: what this state directory was
    /// used with before, at first `blobs/` in it.
    pub store: Option<String>,
    /// The catalog that several machines share; none: the one in the state directory.
    pub catalog: Option<crate::catalog::postgres::Place>,
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
            catalog: None,
            endpoint: None,
            path_style: false,
            region: None,
            cache_bytes: 10 << 30,
            options: Options::default(),
            clock: Clock::default(),
        })
    }
}
