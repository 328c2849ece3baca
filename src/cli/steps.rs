//! `outputfs steps`.

use serde_json::json;

use crate::artifact::Error;
use crate::artifact::step::Attempt;
use crate::artifact::time::Timestamp;
use crate::cli::Context;
use crate::cli::args::StepsArgs;
use crate::cli::failure::Outcome;
use crate::cli::output::{Grid, human, printable, when};

pub async fn run(context: &Context, args: StepsArgs) -> Outcome {
    let store = context.open_light().await?;
    let name = args.name.or(args.session.session.map(|s| s.to_string()));
    let name = name.ok_or_else(|| Error::invalid("which session's steps? Name it, or set OUTPUTFS_SESSION_ID"))?;
    let session = store.session(name.trim_end_matches(['/', ':'])).await?;
    let found = store.attempts(&session).await?;
    let items: Vec<_> = found.iter().map(full).collect();
    context.output.list(&items, || grid(&found))?;
    Ok(())
}

pub fn full(a: &Attempt) -> serde_json::Value {
    json!({
        "step": a.step,
        "attempt": a.number,
        "state": a.state.as_str(),
        "exit_code": a.exit_code,
        "command": a.command,
        "started_at": a.started.to_rfc3339(),
        "ended_at": a.ended.map(Timestamp::to_rfc3339),
        "artifacts": a.artifacts,
        "bytes": a.bytes,
        "replaced": a.replaced,
    })
}

fn grid(found: &[Attempt]) -> Grid {
    let mut grid = Grid::new(
        &["STEP", "ATTEMPT", "STATE", "EXIT", "STARTED", "ENDED", "FILES", "SIZE", "REPLACED", "COMMAND"],
        &[1, 3, 6, 7, 8],
    );
    for a in found {
        grid.row([
            printable(&a.step),
            a.number.to_string(),
            a.state.as_str().to_owned(),
            a.exit_code.map(|c| c.to_string()).unwrap_or_default(),
            when(a.started),
            a.ended.map(when).unwrap_or_default(),
            a.artifacts.to_string(),
            human(a.bytes),
            a.replaced.to_string(),
            printable(&a.command),
        ]);
    }
    grid
}
