//! Which store a state directory belongs to, remembered in `store.json`.
//!
//! The catalog knows blobs by hash alone: opened with another store, it would look for them in vain, and settle
//! inline bytes into the wrong one. So the first command's choice stands, and the later ones need not repeat it.

use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::artifact::{Error, Result};
use crate::engine::options::StoreConfig;
use crate::staging::state_dir::StateDir;

/// A store's address. `store` is its identity; the rest is how to reach it and may change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// `s3://…` or an absolute directory; none: `blobs/` in the state directory.
    pub store: Option<String>,
    #[serde(default)]
    pub endpoint: Option<String>,
    #[serde(default)]
    pub path_style: bool,
    #[serde(default)]
    pub region: Option<String>,
    /// Without its password; none: the catalog in the state directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<String>,
}

impl Place {
    pub fn asked(config: &StoreConfig) -> Self {
        let plain = |s: &String| s.strip_prefix("file://").unwrap_or(s).trim_end_matches('/').to_owned();
        Self {
            store: config.store.as_ref().map(plain),
            endpoint: config.endpoint.clone(),
            path_style: config.path_style,
            region: config.region.clone(),
            catalog: config.catalog.as_ref().map(crate::catalog::postgres::Place::describe),
        }
    }

    /// What was asked for, completed by what is remembered; and remembers it. Blocking.
    ///
    /// # Errors
    /// `Invalid` when another store was asked for than this state directory belongs to.
    pub fn settle(state: &StateDir, asked: Place) -> Result<Place> {
        let path = state.root().join("store.json");
        let known = match read(&path)? {
            Some(known) => known,
            None if write_new(&path, &asked)? => return Ok(asked),
            // Another command was faster.
            None => read(&path)?.unwrap_or_default(),
        };
        let name = |p: &Place| p.store.clone().unwrap_or_else(|| state.blobs_dir().display().to_string());
        if asked.store.is_some() && name(&asked) != name(&known) {
            return Err(Error::invalid(format!(
                "{} holds artifacts whose bytes are in {}: name that store, or another state directory",
                state.root().display(),
                name(&known)
            )));
        }
        match (&known.catalog, &asked.catalog) {
            (known, asked) if known == asked => {}
            (Some(catalog), _) => {
                return Err(Error::invalid(format!(
                    "{} belongs to the catalog {catalog}: say it with --catalog or OUTPUTFS_CATALOG, or take another state directory",
                    state.root().display()
                )));
            }
            (None, _) => {
                return Err(Error::invalid(format!(
                    "{} has a catalog of its own: with --catalog take another state directory",
                    state.root().display()
                )));
            }
        }
        let merged = Place {
            catalog: known.catalog.clone(),
            store: known.store.clone(),
            endpoint: asked.endpoint.or_else(|| known.endpoint.clone()),
            path_style: asked.path_style || known.path_style,
            region: asked.region.or_else(|| known.region.clone()),
        };
        if merged != known {
            let temp = write_temp(&path, &merged)?;
            std::fs::rename(&temp, &path).map_err(|e| Error::io(&path, &e))?;
        }
        Ok(merged)
    }
}

fn read(path: &Path) -> Result<Option<Place>> {
    match std::fs::read(path) {
        Ok(text) => {
            serde_json::from_slice(&text).map(Some).map_err(|e| Error::internal(format!("{}: {e}", path.display())))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path, &e)),
    }
}

fn write_temp(path: &Path, place: &Place) -> Result<std::path::PathBuf> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let temp = path.with_extension(format!("{}.new", Ulid::new()));
    let text = serde_json::to_vec_pretty(place).map_err(|e| Error::internal(e.to_string()))?;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&temp).map_err(|e| Error::io(&temp, &e))?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(|e| Error::io(&temp, &e))?;
    Ok(temp)
}

/// `false` when it is there already: `link` does not replace.
fn write_new(path: &Path, place: &Place) -> Result<bool> {
    let temp = write_temp(path, place)?;
    let linked = std::fs::hard_link(&temp, path);
    std::fs::remove_file(&temp).map_err(|e| Error::io(&temp, &e))?;
    match linked {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(Error::io(path, &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Kind;

    #[test]
    fn the_first_choice_stands_and_need_not_be_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("s")).unwrap();
        let s3 = Place {
            store: Some("s3://b/p".into()),
            endpoint: Some("http://h:1".into()),
            path_style: true,
            region: None,
            catalog: None,
        };
        assert_eq!(Place::settle(&state, s3.clone()).unwrap(), s3);
        assert_eq!(Place::settle(&state, Place::default()).unwrap(), s3);
        let other = Place { store: Some("s3://other".into()), ..Place::default() };
        assert_eq!(Place::settle(&state, other).unwrap_err().kind, Kind::Invalid);
        let moved = Place { endpoint: Some("http://h:2".into()), ..Place::default() };
        assert_eq!(Place::settle(&state, moved).unwrap().endpoint.as_deref(), Some("http://h:2"));
        assert_eq!(Place::settle(&state, Place::default()).unwrap().endpoint.as_deref(), Some("http://h:2"));
    }

    #[test]
    fn a_state_directory_stays_with_its_catalog() {
        let dir = tempfile::tempdir().unwrap();
        let shared = Place { catalog: Some("postgres://h/d".into()), ..Place::default() };
        let other = Place { catalog: Some("postgres://h/other".into()), ..Place::default() };
        let state = StateDir::open(&dir.path().join("shared")).unwrap();
        Place::settle(&state, shared.clone()).unwrap();
        assert_eq!(Place::settle(&state, shared.clone()).unwrap(), shared);
        for wrong in [Place::default(), other] {
            let e = Place::settle(&state, wrong).unwrap_err();
            assert!(e.message.contains("belongs to the catalog postgres://h/d"), "{e}");
        }
        let state = StateDir::open(&dir.path().join("own")).unwrap();
        Place::settle(&state, Place::default()).unwrap();
        assert!(Place::settle(&state, shared).unwrap_err().message.contains("a catalog of its own"));
    }

    #[test]
    fn a_local_store_may_be_named_by_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("s")).unwrap();
        Place::settle(&state, Place::default()).unwrap();
        let named = Place { store: Some(state.blobs_dir().display().to_string()), ..Place::default() };
        assert_eq!(Place::settle(&state, named).unwrap().store, None);
        let other = Place { store: Some("/elsewhere".into()), ..Place::default() };
        assert!(Place::settle(&state, other).is_err());
    }
}
