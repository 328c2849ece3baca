//! Settings: flags over environment (both in [`Global`]) over `config.toml` over defaults.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;

use crate::artifact::time::Ttl;
use crate::artifact::versions::Rules;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::postgres::Place;
use crate::cli::args::{DurabilityArg, Global, LinkModeArg, LogFormat};
use crate::cli::value::{self, Http};
use crate::engine::options::{Durability, Keeping, Options, StoreConfig};

/// Where links are served unless told otherwise.
pub const DEFAULT_HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7780);

/// `config.toml`: what may stand in it, each as on the command line.
pub const KEYS: [&str; 24] = [
    "state_dir",
    "store",
    "catalog",
    "s3_endpoint",
    "s3_path_style",
    "s3_region",
    "tenant",
    "cache_size",
    "upload_timeout",
    "durability",
    "trash_grace",
    "gc_grace",
    "gc_interval",
    "version_age",
    "version_window",
    "keep_versions",
    "idempotency_window",
    "scratch_limit",
    "public_url",
    "http",
    "link_mode",
    "log_format",
    "passthrough",
    "allow_other",
];

/// What `config.toml` says beyond the options that every command has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSettings {
    pub http: Option<Http>,
    pub link_mode: Option<LinkModeArg>,
    pub passthrough: Option<bool>,
    pub allow_other: Option<bool>,
}

/// Everything that every command knows.
#[derive(Clone, Debug)]
pub struct Settings {
    pub store: StoreConfig,
    pub json: bool,
    pub quiet: bool,
    pub verbose: u8,
    pub log_format: LogFormat,
    pub file: FileSettings,
    /// Said, not derived.
    pub public_url: Option<String>,
}

impl Settings {
    /// # Errors
    /// `Invalid` when the settings file is not as it should be, or no state directory can be named.
    pub fn resolve(mut global: Global) -> Result<Self> {
        let typed = global.catalog.clone().filter(|said| std::env::var("OUTPUTFS_CATALOG").ok().as_ref() != Some(said));
        let file = read_file(&mut global)?;
        let state_dir = match global.state_dir.take() {
            Some(dir) => dir,
            None => default_dir(Dir::Data)?,
        };
        let state_dir = std::path::absolute(&state_dir).map_err(|e| Error::io(&state_dir, &e))?;
        let mut store = StoreConfig::new(state_dir)?;
        if let Some(tenant) = global.tenant {
            store.tenant = tenant;
        }
        store.store = global.store.map(|s| absolute_store(&s)).transpose()?;
        store.endpoint = global.s3_endpoint;
        store.path_style = global.s3_path_style.unwrap_or(store.path_style);
        store.region = global.s3_region;
        store.cache_bytes = global.cache_size.unwrap_or(store.cache_bytes);
        let public_url = global.public_url.map(|u| public_url(&u)).transpose()?;
        let defaults = Options::default();
        store.options = Options {
            durability: match global.durability {
                Some(DurabilityArg::Local) => Durability::Local,
                Some(DurabilityArg::Fsync) => Durability::Fsync,
                Some(DurabilityArg::Store) | None => Durability::Store,
            },
            upload_timeout: global.upload_timeout.unwrap_or(defaults.upload_timeout),
            keeping: Keeping {
                trash: global.trash_grace.unwrap_or(defaults.keeping.trash),
                blobs: global.gc_grace.unwrap_or(defaults.keeping.blobs),
                versions: match global.version_age {
                    Some(ttl) => span(ttl)?,
                    None => defaults.keeping.versions,
                },
                interval: match global.gc_interval {
                    Some(ttl) => span(ttl)?,
                    None => defaults.keeping.interval,
                },
            },
            scratch_limit: global.scratch_limit.unwrap_or(defaults.scratch_limit),
            versions: Rules {
                window: global.version_window.unwrap_or(defaults.versions.window),
                keep: global.keep_versions.map_or(defaults.versions.keep, |keep| keep.0),
                keys: global.idempotency_window,
            },
            public_url: public_url.clone().unwrap_or(match file.http {
                Some(Http::On(addr)) => url_of(addr),
                Some(Http::Off) | None => defaults.public_url.clone(),
            }),
            many_machines: global.catalog.is_some(),
            ..defaults
        };
        if let Some(said) = &global.catalog {
            store.catalog = Some(shared_catalog(said, typed.is_some(), &store)?);
        }
        Ok(Self {
            store,
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            log_format: global.log_format.unwrap_or_default(),
            file,
            public_url,
        })
    }

    /// `--http` as said there, else in the file, else the default.
    #[must_use]
    pub fn http(&self, said: Option<Http>) -> Http {
        said.or(self.file.http).unwrap_or(Http::On(DEFAULT_HTTP))
    }

    /// Links lead to `addr` unless `--public-url` says otherwise.
    pub fn serve_at(&mut self, addr: SocketAddr, tls: bool) {
        if self.public_url.is_none() {
            let url = url_of(addr);
            self.store.options.public_url = if tls { url.replacen("http:", "https:", 1) } else { url };
        }
    }
}

/// What can work on several machines, and what would show a password.
fn shared_catalog(said: &str, typed: bool, store: &StoreConfig) -> Result<Place> {
    let place = Place::parse(said)?;
    if typed && place.plain().is_none() {
        return Err(Error::invalid(
            "a password in --catalog is seen by everybody on this machine: put it into OUTPUTFS_CATALOG, PGPASSWORD, PGPASSFILE or config.toml",
        ));
    }
    if store.store.is_none() {
        return Err(Error::invalid(
            "with --catalog the bytes must be where every machine finds them: say --store s3://BUCKET/PREFIX",
        ));
    }
    if store.options.durability != Durability::Store {
        return Err(Error::new(
            Kind::Unsupported,
            "with --catalog close() answers when the bytes are in the store: leave --durability out",
        ));
    }
    place.with_password()
}

/// The URL by which this host reaches its own listener.
#[must_use]
pub fn url_of(addr: SocketAddr) -> String {
    let reachable = match addr {
        SocketAddr::V4(a) if a.ip().is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, a.port())),
        SocketAddr::V6(a) if a.ip().is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, a.port())),
        other => other,
    };
    format!("http://{reachable}")
}

/// A length of time; `never`: none.
fn span(ttl: Ttl) -> Result<Option<Duration>> {
    match ttl {
        Ttl::Seconds(seconds) => Ok(Some(Duration::from_secs(seconds))),
        Ttl::Never => Ok(None),
        Ttl::At(_) => Err(Error::invalid("a length of time is wanted here, not a moment: write 10m, 7d or never")),
    }
}

fn public_url(text: &str) -> Result<String> {
    let scheme = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match scheme {
        Some(rest) if !rest.is_empty() && !rest.contains(['?', '#', ' ']) => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err(Error::invalid(format!("'{text}' is not a base for links: write https://files.example.org"))),
    }
}

/// A directory is meant from where the command was given, also for a daemon that lives elsewhere.
fn absolute_store(text: &str) -> Result<String> {
    if text.contains("://") {
        return Ok(text.to_owned());
    }
    let path = std::path::absolute(text).map_err(|e| Error::io(text, &e))?;
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::invalid(format!("{}: a store's directory must have a name in UTF-8", path.display())))
}

#[derive(Clone, Copy)]
enum Dir {
    Data,
    Config,
}

fn default_dir(what: Dir) -> Result<PathBuf> {
    let (variable, in_home, as_root) = match what {
        Dir::Data => ("XDG_DATA_HOME", ".local/share", "/var/lib/outputfs"),
        Dir::Config => ("XDG_CONFIG_HOME", ".config", "/etc/outputfs"),
    };
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    if let Some(base) = absolute(variable) {
        return Ok(base.join("outputfs"));
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from(as_root));
    }
    match absolute("HOME") {
        Some(home) => Ok(home.join(in_home).join("outputfs")),
        None => Err(Error::invalid("HOME is not set: say --state-dir DIR")),
    }
}

/// Fills what neither flags nor environment said.
fn read_file(global: &mut Global) -> Result<FileSettings> {
    let (path, said) = match global.config.take() {
        Some(path) => (path, true),
        None => match default_dir(Dir::Config) {
            Ok(dir) => (dir.join("config.toml"), false),
            Err(_) => return Ok(FileSettings::default()),
        },
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !said => return Ok(FileSettings::default()),
        Err(e) => return Err(Error::io(&path, &e)),
    };
    apply(&text, &path, global)
}

fn apply(text: &str, path: &Path, global: &mut Global) -> Result<FileSettings> {
    let at = path.display();
    let table: toml::Table =
        text.parse().map_err(|e: toml::de::Error| Error::invalid(format!("{at}: {}", one_line(&e, text))))?;
    let mut file = FileSettings::default();
    for (key, value) in &table {
        let wrong = |e: Error| Error::invalid(format!("{at}: {key}: {e}"));
        set(key, value, global, &mut file).map_err(wrong)?;
    }
    Ok(file)
}

fn set(key: &str, value: &toml::Value, global: &mut Global, file: &mut FileSettings) -> Result<()> {
    match key {
        "state_dir" => fill(&mut global.state_dir, PathBuf::from(text_of(value)?)),
        "store" => fill(&mut global.store, text_of(value)?),
        "catalog" => fill(&mut global.catalog, text_of(value)?),
        "s3_endpoint" => fill(&mut global.s3_endpoint, text_of(value)?),
        "s3_path_style" => fill(&mut global.s3_path_style, bool_of(value)?),
        "s3_region" => fill(&mut global.s3_region, text_of(value)?),
        "tenant" => fill(&mut global.tenant, text_of(value)?.parse()?),
        "cache_size" => fill(&mut global.cache_size, value::size(&text_or_number(value)?)?),
        "scratch_limit" => fill(&mut global.scratch_limit, value::size(&text_or_number(value)?)?),
        "upload_timeout" => fill(&mut global.upload_timeout, duration_of(value)?),
        "version_window" => fill(&mut global.version_window, value::window(&text_of(value)?)?),
        "keep_versions" => fill(&mut global.keep_versions, text_or_number(value)?.parse()?),
        "idempotency_window" => fill(&mut global.idempotency_window, duration_of(value)?),
        "durability" => fill(&mut global.durability, choice(&text_of(value)?)?),
        "trash_grace" => fill(&mut global.trash_grace, duration_of(value)?),
        "gc_grace" => fill(&mut global.gc_grace, duration_of(value)?),
        "gc_interval" => fill(&mut global.gc_interval, text_of(value)?.parse()?),
        "version_age" => fill(&mut global.version_age, text_of(value)?.parse()?),
        "public_url" => fill(&mut global.public_url, text_of(value)?),
        "log_format" => fill(&mut global.log_format, choice(&text_of(value)?)?),
        "http" => file.http = Some(text_of(value)?.parse()?),
        "link_mode" => file.link_mode = Some(choice(&text_of(value)?)?),
        "passthrough" => file.passthrough = Some(bool_of(value)?),
        "allow_other" => file.allow_other = Some(bool_of(value)?),
        _ => return Err(Error::invalid(format!("there is no such setting; there are {}", KEYS.join(", ")))),
    }
    Ok(())
}

fn fill<T>(slot: &mut Option<T>, value: T) {
    slot.get_or_insert(value);
}

fn text_of(value: &toml::Value) -> Result<String> {
    let text = value.as_str().filter(|s| !s.is_empty());
    text.map(str::to_owned).ok_or_else(|| Error::invalid("must be a text in quotes"))
}

fn text_or_number(value: &toml::Value) -> Result<String> {
    value.as_integer().map_or_else(|| text_of(value), |n| Ok(n.to_string()))
}

fn bool_of(value: &toml::Value) -> Result<bool> {
    value.as_bool().ok_or_else(|| Error::invalid("must be true or false"))
}

fn duration_of(value: &toml::Value) -> Result<Duration> {
    value::duration(&text_of(value)?)
}

fn choice<T: ValueEnum>(text: &str) -> Result<T> {
    T::from_str(text, false).map_err(|_| {
        let names: Vec<_> =
            T::value_variants().iter().filter_map(|v| v.to_possible_value().map(|p| p.get_name().to_owned())).collect();
        Error::invalid(format!("must be one of {}", names.join(", ")))
    })
}

/// The parser's first sentence and the line it is about.
fn one_line(e: &toml::de::Error, text: &str) -> String {
    let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
    format!("line {line}: {}", e.message().lines().next().unwrap_or("is no TOML"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, global: &mut Global) -> Result<FileSettings> {
        apply(text, Path::new("c.toml"), global)
    }

    #[test]
    fn the_file_fills_only_what_was_not_said() {
        let mut global = Global { store: Some("s3://said".into()), ..Global::default() };
        let text = "store = \"s3://file/p\"\ncache_size = \"1GiB\"\ndurability = \"local\"\nhttp = \"off\"\n";
        let file = read(text, &mut global).unwrap();
        assert_eq!(global.store.as_deref(), Some("s3://said"));
        assert_eq!(global.cache_size, Some(1 << 30));
        assert_eq!(global.durability, Some(DurabilityArg::Local));
        assert_eq!(file.http, Some(Http::Off));
    }

    #[test]
    fn a_shared_catalog_has_a_shared_store_and_hides_its_password() {
        let mut store = StoreConfig::new("/s").unwrap();
        let url = "postgres://me:secret@h/d";
        let refused = |typed, store: &StoreConfig| shared_catalog(url, typed, store).unwrap_err().message;
        assert!(refused(true, &store).contains("is seen by everybody"));
        assert!(refused(false, &store).contains("say --store"));
        store.store = Some("s3://b/p".into());
        let place = shared_catalog(url, false, &store).unwrap();
        assert_eq!((format!("{place:?}"), place.plain()), ("postgres://h/d".into(), None));
        store.options.durability = Durability::Local;
        assert!(refused(false, &store).contains("leave --durability out"));
    }

    #[test]
    fn mistakes_in_the_file_are_named() {
        for (text, says) in [
            ("stoer = \"x\"", "c.toml: stoer: there is no such setting; there are state_dir, store,"),
            ("store = 7", "c.toml: store: must be a text in quotes"),
            ("durability = \"maybe\"", "c.toml: durability: must be one of store, local, fsync"),
            ("cache_size = \"big\"", "c.toml: cache_size: 'big' is not a size"),
            ("tenant = \"x\"\nstore = = 1", "c.toml: line 2: "),
        ] {
            let e = read(text, &mut Global::default()).unwrap_err();
            assert!(e.message.starts_with(says), "{e}");
        }
    }

    #[test]
    fn every_key_is_known() {
        for key in KEYS {
            let e = read(&format!("{key} = []"), &mut Global::default()).unwrap_err();
            assert!(!e.message.contains("no such setting"), "{e}");
        }
    }

    #[test]
    fn links_lead_to_where_they_are_served() {
        assert_eq!(url_of("0.0.0.0:80".parse().unwrap()), "http://127.0.0.1:80");
        assert_eq!(url_of("[::]:80".parse().unwrap()), "http://[::1]:80");
        assert_eq!(public_url("https://x.org/").unwrap(), "https://x.org");
        for bad in ["x.org", "ftp://x", "https://", "https://x/?a"] {
            assert!(public_url(bad).is_err(), "{bad}");
        }
    }
}
