//! `outputfs session`: ls, new, rm, restore.

use serde_json::json;

use crate::artifact::Error;
use crate::artifact::amount::count;
use crate::artifact::name::SessionName;
use crate::artifact::record::{Session, SessionSummary};
use crate::artifact::time::Timestamp;
use crate::cli::args::SessionSub;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{Grid, human, when};
use crate::cli::{Context, session_or_fresh};

pub async fn run(context: &Context, command: SessionSub) -> Outcome {
    match command {
        SessionSub::Ls => ls(context).await,
        SessionSub::New { name } => {
            let store = context.open_light().await?;
            let (name, _) = session_or_fresh(name)?;
            if store.session(name.as_str()).await.is_ok() {
                let e = Error::new(crate::artifact::Kind::Exists, format!("there is a session '{name}' already"));
                return Err(Failure::new(&e).hint("mount it, push to it, or choose another name"));
            }
            let session = store.ensure_session(&name).await?;
            let value = json!({"session_id": name.as_str(), "created_at": session.created.to_rfc3339()});
            context.output.bare(name.as_str(), || value)?;
            Ok(())
        }
        SessionSub::Rm { names } => rm(context, &names).await,
        SessionSub::Restore { name, new_name } => {
            let store = context.open_light().await?;
            back(context, store.restore_session(name.as_str(), new_name).await?)
        }
    }
}

async fn rm(context: &Context, names: &[SessionName]) -> Outcome {
    let store = context.open_light().await?;
    for name in names {
        let gone = store.rm_session(&store.session(name.as_str()).await?).await?;
        let told = json!({ "removed": name.as_str(), "files": gone.files, "directories": gone.directories });
        context.output.object(&told, || {
            format!(
                "{name}: in the trash with {} ('outputfs session restore {name}' brings it back)\n",
                count(gone.files, "file")
            )
        })?;
    }
    Ok(())
}

/// Tells of a session that came back.
pub fn back(context: &Context, (session, files): (Session, u64)) -> Outcome {
    let value = json!({ "session_id": session.name.as_str(), "files": files });
    context.output.object(&value, || format!("{}: back, with {files} files\n", session.name))?;
    Ok(())
}

async fn ls(context: &Context) -> Outcome {
    let store = context.open_light().await?;
    let sessions = store.sessions().await?;
    let items: Vec<_> = sessions.iter().map(to_json).collect();
    context.output.list(&items, || {
        let mut grid = Grid::new(&["SESSION", "ARTIFACTS", "SIZE", "LAST ARTIFACT", "CREATED", "STATE"], &[1, 2]);
        for s in &sessions {
            grid.row([
                s.session.name.to_string(),
                s.artifacts.to_string(),
                human(s.bytes),
                s.last_artifact.map_or_else(|| String::from("-"), when),
                when(s.session.created),
                String::from(if s.session.sealed.is_some() { "sealed" } else { "open" }),
            ]);
        }
        grid
    })?;
    Ok(())
}

fn to_json(s: &SessionSummary) -> serde_json::Value {
    json!({
        "session_id": s.session.name.as_str(),
        "artifacts": s.artifacts,
        "size_bytes": s.bytes,
        "created_at": s.session.created.to_rfc3339(),
        "first_artifact_at": s.first_artifact.map(Timestamp::to_rfc3339),
        "last_artifact_at": s.last_artifact.map(Timestamp::to_rfc3339),
        "sealed_at": s.session.sealed.map(Timestamp::to_rfc3339),
    })
}
