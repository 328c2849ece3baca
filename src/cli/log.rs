//! `outputfs log`.

use serde_json::{Value, json};

use crate::artifact::audit::AuditEntry;
use crate::artifact::name::display_bytes;
use crate::catalog::audit::AuditQuery;
use crate::cli::Context;
use crate::cli::args::LogArgs;
use crate::cli::failure::Outcome;
use crate::cli::output::{Grid, printable, when};

pub async fn run(context: &Context, args: LogArgs) -> Outcome {
    let store = context.open_light().await?;
    let default = args.session.session.filter(|_| !args.all).map(|s| s.to_string());
    let session = match args.name.or(default) {
        Some(name) => Some(store.session(name.trim_end_matches(['/', ':'])).await?.id),
        None => None,
    };
    let now = store.clock.now();
    let query =
        AuditQuery { session, since: args.since.map(|m| m.resolve(now)), before: args.before, limit: args.limit };
    let mut found = store.audit(query).await?;
    found.reverse();
    let items: Vec<_> = found.iter().map(full).collect();
    context.output.list(&items, || grid(&found))?;
    Ok(())
}

fn full(e: &AuditEntry) -> Value {
    json!({
        "seq": e.seq,
        "at": e.at.to_rfc3339(),
        "what": e.what,
        "session_id": e.session,
        "artifact_id": e.artifact.map(|a| a.to_string()),
        "filename": e.path.as_deref().map(display_bytes),
        "door": e.door,
        "who": e.who,
        "detail": e.detail,
    })
}

fn grid(found: &[AuditEntry]) -> Grid {
    let mut grid = Grid::new(&["TIME", "WHAT", "SESSION", "PATH", "DOOR", "WHO", "DETAIL"], &[]);
    for e in found {
        grid.row([
            when(e.at),
            e.what.clone(),
            e.session.clone().unwrap_or_default(),
            e.path.as_deref().map(|p| printable(&display_bytes(p))).unwrap_or_default(),
            e.door.clone(),
            e.who.as_deref().map(printable).unwrap_or_default(),
            e.detail.as_deref().map(printable).unwrap_or_default(),
        ]);
    }
    grid
}
