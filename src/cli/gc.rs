//! `outputfs gc`.

use serde_json::json;

use crate::cli::Context;
use crate::cli::args::GcArgs;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::human;
use crate::engine::gc::Depth;

pub async fn run(context: &Context, args: &GcArgs) -> Outcome {
    let store = context.open_light().await?;
    let report = if args.dry_run { store.gc_dry_run().await? } else { store.gc(Depth::Full).await? };
    context.output.object(&json!(report), || {
        let (would, found) = if report.dry_run { ("would end", "would be") } else { ("ended", "were") };
        let mut text = format!(
            "{would} {} artifacts ({}): {} expired, {} from the trash, {} old versions\n",
            report.expired + report.purged + report.pruned,
            human(report.bytes),
            report.expired,
            report.purged,
            report.pruned
        );
        for line in [
            format!(
                "{} blobs ({}) {found} condemned; {} ({}) {found} deleted; {} ({}) wait for their grace period\n",
                report.condemned,
                human(report.condemned_bytes),
                report.deleted,
                human(report.deleted_bytes),
                report.waiting,
                human(report.waiting_bytes)
            ),
            format!(
                "{} objects without a record ({}) and {} unfinished uploads {found} removed\n",
                report.orphans,
                human(report.orphan_bytes),
                report.uploads
            ),
        ] {
            text.push_str(&line);
        }
        for hash in &report.missing {
            text.extend(["MISSING: the store has lost blob ", hash, ", which artifacts need\n"]);
        }
        let untold = report.missing_blobs - report.missing.len() as u64;
        if untold > 0 {
            text.push_str(&format!("MISSING: {untold} more blobs, named in the log\n"));
        }
        text
    })?;
    if report.missing.is_empty() { Ok(()) } else { Err(Failure::silent(2)) }
}
