//! `outputfs links`.

use serde_json::json;

use crate::artifact::Result;
use crate::artifact::record::{Link, LinkTarget};
use crate::artifact::time::Timestamp;
use crate::cli::Context;
use crate::cli::args::LinksArgs;
use crate::cli::failure::Outcome;
use crate::cli::output::{Grid, when};
use crate::cli::target::spell;
use crate::engine::store::Store;

pub async fn run(context: &Context, args: &LinksArgs) -> Outcome {
    let store = context.open_light().await?;
    let default = args.session.session.as_ref();
    let target = match (&args.what, default) {
        (Some(what), _) => Some(store.link_target(&spell(&store, what, default).await?).await?),
        (None, Some(session)) => Some(store.link_target(session.as_str()).await?),
        (None, None) => None,
    };
    let links = store.links(target).await?;
    let now = store.clock.now();
    let mut items = Vec::new();
    let mut grid = Grid::new(&["LINK", "STATE", "EXPIRES", "TARGET"], &[]);
    for link in &links {
        let (state, target) = (state(link, now), target_text(&store, link.target).await?);
        items.push(json!({
            "link_id": link.id,
            "state": state,
            "target": target,
            "created_at": link.created.to_rfc3339(),
            "expires_at": link.expires.map(Timestamp::to_rfc3339),
            "revoked_at": link.revoked.map(Timestamp::to_rfc3339),
        }));
        grid.row([link.id.clone(), state.to_owned(), link.expires.map_or_else(|| "never".to_owned(), when), target]);
    }
    context.output.list(&items, || grid)?;
    Ok(())
}

pub fn state(link: &Link, now: Timestamp) -> &'static str {
    match (link.revoked, link.expires) {
        (Some(_), _) => "revoked",
        (None, Some(expires)) if expires <= now => "expired",
        _ => "live",
    }
}

async fn target_text(store: &Store, target: LinkTarget) -> Result<String> {
    match target {
        LinkTarget::Artifact(id) => Ok(id.to_string()),
        LinkTarget::Session(id) => {
            let session = store.catalog.session_by_id(id).await?;
            Ok(session.map_or_else(|| String::from("a session that is gone"), |s| s.name.to_string()))
        }
    }
}
