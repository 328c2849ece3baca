//! `outputfs trash`.

use serde_json::{Value, json};

use crate::artifact::Result;
use crate::artifact::ids::ArtifactId;
use crate::artifact::name::{SessionName, display_bytes};
use crate::artifact::record::Artifact;
use crate::artifact::time::Timestamp;
use crate::cli::Context;
use crate::cli::args::{SessionArg, TrashSub};
use crate::cli::failure::Outcome;
use crate::cli::output::{Grid, artifacts, human, printable, when};
use crate::cli::target::{spell, split};
use crate::engine::store::Store;

pub async fn run(context: &Context, command: TrashSub) -> Outcome {
    let store = context.open_light().await?;
    match command {
        TrashSub::Ls { name, session, all } => {
            let default = session.session.filter(|_| !all).map(|s| s.to_string());
            let found = of_session(&store, name.or(default).as_deref()).await?;
            let items: Vec<_> = found.iter().map(full).collect();
            context.output.list(&items, || grid(&found))?;
        }
        TrashSub::Empty { what, session, all } => {
            let ids = chosen(&store, what, session.session.as_ref(), all).await?;
            let ended = store.purge(&ids).await?;
            let value = json!({ "purged": ended.purged, "versions": ended.pruned, "bytes": ended.bytes });
            context.output.object(&value, || {
                let (files, versions) = (ended.purged, ended.pruned);
                format!("{files} gone for good, with {versions} earlier versions ({})\n", human(ended.bytes))
            })?;
        }
        TrashSub::Restore { what, session } => restore(context, &store, &what, &session).await?,
    }
    Ok(())
}

async fn of_session(store: &Store, name: Option<&str>) -> Result<Vec<Artifact>> {
    match name {
        Some(name) => {
            let mut found = Vec::new();
            for session in store.sessions_named(name.trim_end_matches(['/', ':'])).await? {
                found.extend(store.trash(Some(&session)).await?);
            }
            Ok(found)
        }
        None => store.trash(None).await,
    }
}

/// What is to go: named artifacts, a session's trash, or all of it.
async fn chosen(store: &Store, what: Vec<String>, default: Option<&SessionName>, all: bool) -> Result<Vec<ArtifactId>> {
    if all || (what.is_empty() && default.is_none()) {
        return Ok(of_session(store, None).await?.iter().map(|a| a.id).collect());
    }
    let named = if what.is_empty() { default.map(ToString::to_string).into_iter().collect() } else { what };
    let mut ids = Vec::new();
    for one in named {
        match one.parse::<ArtifactId>() {
            Ok(id) => ids.push(id),
            Err(_) => ids.extend(of_session(store, Some(&one)).await?.iter().map(|a| a.id)),
        }
    }
    Ok(ids)
}

async fn restore(context: &Context, store: &Store, what: &[String], session: &SessionArg) -> Outcome {
    let mut back: Vec<Artifact> = Vec::new();
    for one in what {
        let one = spell(store, one, session.session.as_ref()).await?;
        back.push(match one.parse::<ArtifactId>() {
            Ok(id) => store.restore_artifact(id).await?,
            Err(_) => {
                let (session, path) = split(&one);
                store.restore_path(session, path.as_bytes(), None).await?
            }
        });
    }
    let items: Vec<_> = back.iter().map(Artifact::to_json).collect();
    context.output.list(&items, || artifacts(&back, true))?;
    Ok(())
}

fn full(a: &Artifact) -> Value {
    let mut value = a.to_json();
    value["deleted_at"] = json!(a.deleted.map(Timestamp::to_rfc3339));
    value["deleted_by"] = json!(a.deleted_by);
    value["recovered"] = json!(a.recovered);
    value
}

fn grid(found: &[Artifact]) -> Grid {
    let mut grid = Grid::new(&["ID", "SESSION", "PATH", "SIZE", "DELETED", "BY"], &[3]);
    for a in found {
        grid.row([
            a.id.to_string(),
            a.session_name.as_ref().map(ToString::to_string).unwrap_or_default(),
            printable(&display_bytes(&a.filename)),
            human(a.size),
            a.deleted.map(when).unwrap_or_default(),
            if a.recovered {
                String::from("recovered after a crash")
            } else {
                a.deleted_by.clone().unwrap_or_default()
            },
        ]);
    }
    grid
}
