//! `outputfs check-ignore`, after git's.

use std::path::Path;

use serde_json::json;

use crate::artifact::Result;
use crate::artifact::ignore::IgnoreRules;
use crate::artifact::record::NodeKind;
use crate::cli::Context;
use crate::cli::args::CheckIgnoreArgs;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{printable, stdout};
use crate::cli::target::{spell, split};
use crate::engine::store::Store;

/// As git: 0 when a path is scratch, 1 when none is.
const NONE: u8 = 1;

pub async fn run(context: &Context, args: &CheckIgnoreArgs) -> Outcome {
    let store = context.open_light().await?;
    // With -v, as git has it, also what a `!pattern` takes back is told.
    let explain = context.settings.verbose > 0;
    let (mut any, mut items) = (false, Vec::new());
    for path in &args.paths {
        let what = match in_mount(&store, Path::new(path))? {
            Some(what) => what,
            None => spell(&store, path, args.session.session.as_ref()).await?,
        };
        let (name, inside) = split(&what);
        let session = store.session(name).await?;
        let (_, text) = store.ignore_file(session.root).await?;
        let rules = IgnoreRules::new(text.as_deref());
        for problem in rules.problems() {
            context.output.note(problem);
        }
        let bare = inside.trim_end_matches('/');
        let is_dir = inside.ends_with('/')
            || Path::new(path).is_dir()
            || store.lookup_path(&session, bare.as_bytes()).await.is_ok_and(|f| f.node.kind == NodeKind::Dir);
        let Some(rule) = rules.explain(bare, is_dir) else { continue };
        any |= rule.ignores;
        if !rule.ignores && !explain {
            continue;
        }
        if context.settings.json {
            items.push(json!({"path": path, "ignored": rule.ignores, "rule": rule.place, "pattern": rule.pattern}));
        } else if explain {
            stdout(&format!("{}:{}\t{}\n", rule.place, printable(&rule.pattern), printable(path)))?;
        } else {
            stdout(&format!("{}\n", printable(path)))?;
        }
    }
    if context.settings.json {
        stdout(&format!("{}\n", json!(items)))?;
    }
    if any { Ok(()) } else { Err(Failure::silent(NONE)) }
}

/// `SESSION/PATH` of a path that lies in one of this state directory's mounts.
fn in_mount(store: &Store, path: &Path) -> Result<Option<String>> {
    let trailing = if path.as_os_str().to_string_lossy().ends_with('/') { "/" } else { "" };
    let Ok(absolute) = std::path::absolute(path) else { return Ok(None) };
    for mount in store.state.mounts()?.into_iter().filter(|m| m.alive) {
        let Some(info) = mount.info else { continue };
        let Some(inside) = info.mountpoint.as_ref().and_then(|at| absolute.strip_prefix(at).ok()) else { continue };
        let inside = inside.to_string_lossy();
        return Ok(Some(match info.session {
            Some(session) => format!("{session}/{inside}{trailing}"),
            None => format!("{inside}{trailing}"),
        }));
    }
    Ok(None)
}
