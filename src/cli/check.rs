//! `outputfs check`.

use serde_json::json;

use crate::artifact::amount::count;
use crate::cli::Context;
use crate::cli::args::CheckArgs;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::progress::Bar;

pub async fn run(context: &Context, args: &CheckArgs) -> Outcome {
    let store = context.open_light().await?;
    let bar = Bar::items(&context.output);
    let report = store.check(args.read_data, &bar.follow_items()).await?;
    drop(bar);
    let mut value = json!(report);
    value["ok"] = json!(report.is_ok());
    context.output.object(&value, || {
        let mut text: String = report.faults.iter().flat_map(|f| [f.as_str(), "\n"]).collect();
        let line = format!(
            "{}, {}, {}: {}\n",
            count(report.artifacts, "artifact"),
            count(report.blobs, "blob"),
            count(report.nodes, "node"),
            if report.is_ok() { "consistent" } else { "NOT consistent" }
        );
        text.push_str(&line);
        text
    })?;
    if report.is_ok() { Ok(()) } else { Err(Failure::silent(2)) }
}
