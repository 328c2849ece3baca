//! `outputfs ttl`.

use crate::cli::Context;
use crate::cli::args::TtlArgs;
use crate::cli::failure::Outcome;
use crate::cli::output::artifacts;
use crate::cli::target::spell;

pub async fn run(context: &Context, args: &TtlArgs) -> Outcome {
    let store = context.open_light().await?;
    let what = spell(&store, &args.what, args.session.session.as_ref()).await?;
    let artifact = store.set_ttl(&what, args.lives).await?;
    context.output.list(&[artifact.to_json()], || artifacts(std::slice::from_ref(&artifact), true))?;
    Ok(())
}
