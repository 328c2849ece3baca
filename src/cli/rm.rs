//! `outputfs rm`.

use crate::artifact::record::Artifact;
use crate::cli::Context;
use crate::cli::args::RmArgs;
use crate::cli::failure::Outcome;
use crate::cli::output::artifacts;
use crate::cli::target::spell;

pub async fn run(context: &Context, args: &RmArgs) -> Outcome {
    let store = context.open_light().await?;
    let mut gone: Vec<Artifact> = Vec::new();
    let mut failed = None;
    for what in &args.what {
        let removed = async { store.rm(&spell(&store, what, args.session.session.as_ref()).await?).await };
        match removed.await {
            Ok(artifact) => gone.push(artifact),
            Err(e) => {
                failed = Some(e);
                break;
            }
        }
    }
    let items: Vec<_> = gone.iter().map(Artifact::to_json).collect();
    if !gone.is_empty() {
        context.output.list(&items, || artifacts(&gone, true))?;
    }
    failed.map_or(Ok(()), |e| Err(e.into()))
}
