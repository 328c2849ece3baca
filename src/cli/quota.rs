//! `outputfs quota`.

use serde_json::json;

use crate::artifact::quota::Quota;
use crate::artifact::{Error, Result};
use crate::cli::Context;
use crate::cli::args::{QuotaArgs, QuotaSub};
use crate::cli::failure::Outcome;
use crate::cli::output::{Grid, human};
use crate::cli::value::Limit;
use crate::engine::store::Store;

pub async fn run(context: &Context, command: Option<QuotaSub>) -> Outcome {
    let store = context.open_light().await?;
    if let Some(QuotaSub::Set(args)) = command {
        set(&store, &args).await?;
    }
    show(context, &store).await
}

async fn set(store: &Store, args: &QuotaArgs) -> Result<()> {
    let said = [args.bytes, args.artifacts, args.file_bytes, args.links];
    if said.iter().all(Option::is_none) {
        return Err(Error::invalid(
            "which limit? Say --bytes, --artifacts, --file-bytes or --links, each a number or 'none'",
        ));
    }
    let now = store.catalog.room(store.tenant.id).await?.quota;
    let either = |said: Option<Limit>, now: Option<u64>| said.map_or(now, |Limit(limit)| limit);
    let quota = Quota {
        max_bytes: either(args.bytes, now.max_bytes),
        max_artifacts: either(args.artifacts, now.max_artifacts),
        max_file_bytes: either(args.file_bytes, now.max_file_bytes),
        max_links: either(args.links, now.max_links),
    };
    store.catalog.set_quota(store.tenant.id, quota).await
}

async fn show(context: &Context, store: &Store) -> Outcome {
    let quota = store.catalog.room(store.tenant.id).await?.quota;
    let usage = store.usage().await?;
    let links = store.catalog.active_links(store.tenant.id, store.clock.now()).await?;
    let value = json!({
        "tenant": store.tenant_name.as_str(),
        "limits": quota,
        "used": { "bytes": usage.logical_bytes, "artifacts": usage.artifacts, "links": links },
    });
    context.output.object(&value, || {
        let mut grid = Grid::new(&["", "USED", "LIMIT"], &[1, 2]);
        let plain = |n: u64| n.to_string();
        let limit = |limit: Option<u64>, text: &dyn Fn(u64) -> String| limit.map_or_else(|| "none".to_owned(), text);
        grid.row(["bytes".to_owned(), human(usage.logical_bytes), limit(quota.max_bytes, &human)]);
        grid.row(["artifacts".to_owned(), plain(usage.artifacts), limit(quota.max_artifacts, &plain)]);
        grid.row(["bytes of a file".to_owned(), String::new(), limit(quota.max_file_bytes, &human)]);
        grid.row(["links".to_owned(), plain(links), limit(quota.max_links, &plain)]);
        grid.render()
    })?;
    Ok(())
}
