//! `outputfs rm`.

use serde_json::json;

use crate::artifact::amount::count;
use crate::artifact::ids::ArtifactId;
use crate::artifact::record::Artifact;
use crate::cli::Context;
use crate::cli::args::RmArgs;
use crate::cli::failure::Outcome;
use crate::cli::output::artifacts;
use crate::cli::target::{spell, split};
use crate::engine::store::Store;

pub async fn run(context: &Context, args: &RmArgs) -> Outcome {
    let store = context.open_light().await?;
    if args.recursive {
        return trees(context, &store, args).await;
    }
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

/// Each argument with all that is below it. A table has no use for thousands of rows: how many went.
async fn trees(context: &Context, store: &Store, args: &RmArgs) -> Outcome {
    for what in &args.what {
        let spelled = spell(store, what, args.session.session.as_ref()).await?;
        if spelled.parse::<ArtifactId>().is_ok() {
            store.rm(&spelled).await?;
            context
                .output
                .object(&json!({ "removed": what, "files": 1, "directories": 0 }), || format!("{what}: removed\n"))?;
            continue;
        }
        let (session, path) = split(&spelled);
        let session = store.session(session).await?;
        let gone = store.rm_tree(&session, path.trim_end_matches('/').as_bytes()).await?;
        let told = json!({ "removed": what, "files": gone.files, "directories": gone.directories });
        context.output.object(&told, || {
            format!(
                "{what}: {} and {} removed ('outputfs trash ls' shows them)\n",
                count(gone.files, "file"),
                if gone.directories == 1 {
                    String::from("1 directory")
                } else {
                    format!("{} directories", gone.directories)
                }
            )
        })?;
    }
    Ok(())
}
