//! What commands are about, as people name it: `art_…`, `SESSION/PATH`, `SESSION`, or a path in the default session.

use crate::artifact::ids::ArtifactId;
use crate::artifact::name::SessionName;
use crate::artifact::{Error, Kind, Result};
use crate::engine::store::Store;

/// Spells `what` so that the engine understands it without a default session. Names a session stands for go first:
/// `charts/q3.png` is in session `charts` if there is one, else in the default session; `/charts/q3.png` always in
/// the default session.
///
/// # Errors
/// Of the catalog; `Invalid` when a default session is needed and there is none.
pub async fn spell(store: &Store, what: &str, default: Option<&SessionName>) -> Result<String> {
    if what.parse::<ArtifactId>().is_ok() {
        return Ok(what.to_owned());
    }
    if let Some(path) = what.strip_prefix('/') {
        let session = default.ok_or_else(|| {
            Error::invalid(format!("'{what}' is in no session: say --session NAME, or write SESSION/PATH"))
        })?;
        return Ok(format!("{session}/{path}"));
    }
    let Some(session) = default else { return Ok(what.to_owned()) };
    if what == "." {
        return Ok(session.to_string());
    }
    let first = what.split(['/', ':']).next().unwrap_or(what);
    match store.session(first).await {
        Ok(_) => Ok(what.to_owned()),
        Err(e) if matches!(e.kind, Kind::NotFound | Kind::Deleted | Kind::Invalid) => Ok(format!("{session}/{what}")),
        Err(e) => Err(e),
    }
}

/// The session a command is about: its argument, else `--session` or `OUTPUTFS_SESSION_ID`.
///
/// # Errors
/// `Invalid` when none was said.
pub fn session_name(argument: Option<&str>, default: Option<&SessionName>) -> Result<String> {
    argument
        .map(|a| a.trim_end_matches(['/', ':']).to_owned())
        .or_else(|| default.map(ToString::to_string))
        .ok_or_else(|| Error::invalid("which session? Name it, or set OUTPUTFS_SESSION_ID"))
}

/// `SESSION`, `SESSION/`, `SESSION/PATH` (also with `:`): the session and the path, perhaps empty.
#[must_use]
pub fn split(what: &str) -> (&str, &str) {
    what.split_once(['/', ':']).unwrap_or((what, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_target() {
        assert_eq!(split("s"), ("s", ""));
        assert_eq!(split("s/"), ("s", ""));
        assert_eq!(split("s/a/b:c"), ("s", "a/b:c"));
        assert_eq!(split("s:a/b"), ("s", "a/b"));
    }

    #[test]
    fn the_session_of_a_command() {
        let default: SessionName = "d".parse().unwrap();
        assert_eq!(session_name(Some("a/"), Some(&default)).unwrap(), "a");
        assert_eq!(session_name(None, Some(&default)).unwrap(), "d");
        assert!(session_name(None, None).is_err());
    }
}
