//! `outputfs restore`.

use crate::cli::Context;
use crate::cli::args::RestoreArgs;
use crate::cli::failure::Outcome;
use crate::cli::output::artifacts;
use crate::cli::target::{spell, split};

pub async fn run(context: &Context, args: &RestoreArgs) -> Outcome {
    let store = context.open_light().await?;
    let what = spell(&store, &args.what, args.session.session.as_ref()).await?;
    let (session, path) = split(&what);
    let session = store.session(session).await?;
    let artifact = store.restore(&session, path.as_bytes(), args.version).await?;
    context.output.list(&[artifact.to_json()], || artifacts(std::slice::from_ref(&artifact), true))?;
    Ok(())
}
