//! `outputfs revoke`.

use serde_json::json;

use crate::artifact::time::Timestamp;
use crate::cli::Context;
use crate::cli::args::RevokeArgs;
use crate::cli::failure::Outcome;

pub async fn run(context: &Context, args: &RevokeArgs) -> Outcome {
    let store = context.open_light().await?;
    for link in &args.links {
        let link = store.revoke_link(link).await?;
        let revoked = link.revoked.map(Timestamp::to_rfc3339);
        context.output.bare(&link.id, || json!({"link_id": link.id, "revoked_at": revoked}))?;
    }
    Ok(())
}
