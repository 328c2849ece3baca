//! `outputfs inspect`.

use serde_json::{Value, json};

use crate::artifact::record::{Artifact, Life};
use crate::artifact::time::Timestamp;
use crate::cli::Context;
use crate::cli::args::InspectArgs;
use crate::cli::failure::Outcome;
use crate::cli::output::{Grid, human, printable, when};
use crate::cli::target::{spell, split};
use crate::engine::store::Store;

pub async fn run(context: &Context, args: &InspectArgs) -> Outcome {
    let store = context.open_light().await?;
    let what = spell(&store, &args.what, args.session.session.as_ref()).await?;
    if args.versions {
        return versions(context, &store, &what).await;
    }
    let artifact = if args.deleted { store.deleted_artifact(&what).await? } else { store.artifact(&what).await? };
    let value = full(&artifact);
    context.output.object(&value, || lines(&value))?;
    Ok(())
}

async fn versions(context: &Context, store: &Store, what: &str) -> Outcome {
    let (session, path) = if what.parse::<crate::artifact::ids::ArtifactId>().is_ok() {
        let artifact = store.artifact(what).await?;
        let name = artifact.session_name.as_ref().map(ToString::to_string).unwrap_or_default();
        (store.session(&name).await?, artifact.filename)
    } else {
        let (session, path) = split(what);
        (store.session(session).await?, path.as_bytes().to_vec())
    };
    let versions = store.versions(&session, &path).await?;
    let items: Vec<_> = versions.iter().map(full).collect();
    context.output.list(&items, || {
        let mut grid = Grid::new(&["VERSION", "ID", "SIZE", "SHA-256", "CREATED", ""], &[0, 2]);
        for a in &versions {
            let life = match a.life {
                Life::Live => "newest",
                Life::Superseded => "",
                Life::Trashed => "deleted",
            };
            grid.row([
                a.version.to_string(),
                a.id.to_string(),
                human(a.size),
                a.hash.to_hex()[..12].to_owned(),
                when(a.created),
                life.to_owned(),
            ]);
        }
        grid
    })?;
    Ok(())
}

/// The record, and what only whoever looks closely wants to know.
fn full(a: &Artifact) -> Value {
    let mut value = a.to_full_json();
    value["idempotency_key"] = json!(a.idempotency_key);
    value["life"] = json!(match a.life {
        Life::Live => "live",
        Life::Superseded => "superseded",
        Life::Trashed => "trashed",
    });
    value["deleted_at"] = json!(a.deleted.map(Timestamp::to_rfc3339));
    value["recovered"] = json!(a.recovered);
    value
}

/// `key: value` lines; what is empty is left out.
fn lines(value: &Value) -> String {
    let mut text = String::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        let shown = match value {
            Value::Null | Value::Bool(false) => continue,
            Value::String(s) => s.clone(),
            Value::Object(o) if o.is_empty() => continue,
            Value::Object(o) => {
                let pairs = o.iter().filter(|(_, v)| !v.is_null());
                pairs
                    .map(|(k, v)| format!("{k}={}", v.as_str().map_or(v.to_string(), str::to_owned)))
                    .collect::<Vec<_>>()
                    .join(" ")
            }
            other => other.to_string(),
        };
        let line = format!("{key:<16} {}\n", printable(&shown));
        text.push_str(&line);
    }
    text
}
