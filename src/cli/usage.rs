//! `outputfs usage`.

use serde_json::json;

use crate::artifact::amount::count;
use crate::artifact::query::By;
use crate::cli::Context;
use crate::cli::args::{ByArg, UsageArgs};
use crate::cli::failure::Outcome;
use crate::cli::output::{Grid, human, printable};

pub async fn run(context: &Context, args: &UsageArgs) -> Outcome {
    let store = context.open_light().await?;
    let Some(by) = args.by else {
        let usage = store.usage().await?;
        let mut value = json!(usage);
        value["requests_this_month"] = json!(store.requests_this_month().await?);
        context.output.object(&value, || {
            format!(
                "{} in {}: {} (stored: {})\n",
                count(usage.artifacts, "artifact"),
                count(usage.sessions, "session"),
                human(usage.logical_bytes),
                human(usage.stored_bytes)
            )
        })?;
        return Ok(());
    };
    let (by, title) = match by {
        ByArg::Session => (By::Session, "SESSION"),
        ByArg::Agent => (By::Agent, "AGENT"),
        ByArg::Day => (By::Day, "DAY"),
    };
    let shares = store.catalog.shares(store.tenant.id, by, store.clock.now()).await?;
    let items: Vec<_> = shares.iter().map(|s| json!(s)).collect();
    context.output.list(&items, || {
        let mut grid = Grid::new(&[title, "ARTIFACTS", "SIZE", "NEW"], &[1, 2, 3]);
        for share in &shares {
            grid.row([
                share.key.as_deref().map_or_else(|| "-".to_owned(), printable),
                share.artifacts.to_string(),
                human(share.logical_bytes),
                human(share.new_bytes),
            ]);
        }
        grid
    })?;
    Ok(())
}
