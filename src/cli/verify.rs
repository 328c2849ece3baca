//! `outputfs verify`.

use serde_json::json;

use crate::artifact::amount::count;
use crate::cli::Context;
use crate::cli::args::VerifyArgs;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{human, printable};
use crate::cli::progress::Bar;
use crate::cli::target::session_name;

pub async fn run(context: &Context, args: VerifyArgs) -> Outcome {
    let store = context.open_light().await?;
    let name = session_name(args.name.as_deref(), args.session.session.as_ref())?;
    let session = store.session(&name).await?;
    let bar = Bar::bytes(&context.output);
    let report = store.verify(&session, &bar.follow()).await?;
    drop(bar);
    let mut value = json!(report);
    value["ok"] = json!(report.is_ok());
    context.output.object(&value, || {
        let mut text = String::new();
        for fault in &report.faults {
            let about = fault.filename.as_deref().or(fault.artifact_id.as_deref()).unwrap_or("manifest");
            let line = format!("{}: {}\n", printable(about), printable(&fault.message));
            text.push_str(&line);
        }
        let digest = report.digest.as_ref().map_or_else(String::new, |d| format!(", manifest digest {d}"));
        let line = format!(
            "{name}: {}, {} read and hashed{digest}: {}\n",
            count(report.artifacts, "artifact"),
            human(report.bytes),
            if report.is_ok() { "all as recorded" } else { "NOT as recorded" }
        );
        text.push_str(&line);
        text
    })?;
    if report.is_ok() { Ok(()) } else { Err(Failure::silent(2)) }
}
