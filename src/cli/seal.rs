//! `outputfs seal`.

use serde_json::json;

use crate::artifact::amount::count;
use crate::cli::Context;
use crate::cli::args::SealArgs;
use crate::cli::failure::Outcome;
use crate::cli::progress::Bar;
use crate::cli::target::session_name;

pub async fn run(context: &Context, args: SealArgs) -> Outcome {
    let store = context.open_light().await?;
    let name = session_name(args.name.as_deref(), args.session.session.as_ref())?;
    let session = store.session(&name).await?;
    let bar = Bar::bytes(&context.output);
    let manifest = store.seal(&session, context.settings.store.options.upload_timeout, &bar.follow()).await?;
    drop(bar);
    let value = json!({
        "session_id": manifest.session_id.as_str(),
        "sealed_at": manifest.sealed_at.to_rfc3339(),
        "digest": manifest.digest.to_hex(),
        "artifacts": manifest.artifacts.len(),
    });
    context.output.object(&value, || {
        format!(
            "{name} is sealed: {}, digest {}\n",
            count(manifest.artifacts.len() as u64, "artifact"),
            manifest.digest
        )
    })?;
    Ok(())
}
