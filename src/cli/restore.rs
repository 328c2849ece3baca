//! `outputfs restore`.

use crate::artifact::Error;
use crate::artifact::ids::ArtifactId;
use crate::cli::Context;
use crate::cli::args::RestoreArgs;
use crate::cli::failure::Outcome;
use crate::cli::output::artifacts;
use crate::cli::target::{spell, split};

pub async fn run(context: &Context, args: &RestoreArgs) -> Outcome {
    let store = context.open_light().await?;
    let what = spell(&store, &args.what, args.session.session.as_ref()).await?;
    let version = args.number.or(args.version);
    let artifact = match (what.parse::<ArtifactId>(), version) {
        (Ok(id), None) => store.restore_artifact(id).await?,
        (Ok(_), Some(_)) => return Err(Error::invalid("an ID names one version already: leave the number out").into()),
        (Err(_), None) if split(&what).1.is_empty() => {
            return crate::cli::session::back(context, store.restore_session(split(&what).0, None).await?);
        }
        (Err(_), _) => {
            let (session, path) = split(&what);
            store.restore_path(session, path.as_bytes(), version).await?
        }
    };
    context.output.list(&[artifact.to_json()], || artifacts(std::slice::from_ref(&artifact), true))?;
    Ok(())
}
