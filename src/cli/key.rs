//! `outputfs key`.

use serde_json::{Value, json};

use crate::artifact::key::{ApiKey, Rate, Scope};
use crate::artifact::time::Timestamp;
use crate::cli::Context;
use crate::cli::args::KeySub;
use crate::cli::failure::Outcome;
use crate::cli::output::{Grid, when};

pub async fn run(context: &Context, command: KeySub) -> Outcome {
    match command {
        KeySub::Create { name, scopes, rate } => create(context, &name, scopes, rate).await,
        KeySub::Ls => list(context).await,
        KeySub::Revoke { keys } => {
            let store = context.open_light().await?;
            let mut gone = Vec::new();
            for key in &keys {
                gone.push(described(&store.revoke_key(key).await?));
            }
            context.output.list(&gone, || {
                let mut grid = Grid::new(&["REVOKED"], &[]);
                for key in &gone {
                    grid.row([key["key_id"].as_str().unwrap_or_default().to_owned()]);
                }
                grid
            })?;
            Ok(())
        }
    }
}

async fn create(context: &Context, name: &str, scopes: Vec<String>, rate: Option<Rate>) -> Outcome {
    let scopes = if scopes.is_empty() {
        vec![Scope::Read, Scope::Write]
    } else {
        scopes.iter().map(|s| s.parse()).collect::<Result<_, _>>()?
    };
    let store = context.open_light().await?;
    let made = store.create_key(name, scopes, rate).await?;
    let mut value = described(&made.key);
    value["key"] = json!(made.secret.reveal());
    context.output.note("this is the only time that the key is shown");
    if made.key.may(Scope::Write) {
        context.output.note("whoever holds it can also make links, which are open to everyone who has them");
    }
    context.output.object(&value, || format!("{}\n", made.secret.reveal()))?;
    Ok(())
}

async fn list(context: &Context) -> Outcome {
    let store = context.open_light().await?;
    let keys = store.keys().await?;
    let items: Vec<_> = keys.iter().map(described).collect();
    context.output.list(&items, || {
        let mut grid = Grid::new(&["KEY", "ENDS IN", "NAME", "SCOPES", "MADE", "LAST USED", "STATE"], &[]);
        for key in &keys {
            let scopes: Vec<_> = key.scopes.iter().map(|s| s.as_str()).collect();
            grid.row([
                key.id.clone(),
                key.last4.clone(),
                key.name.clone(),
                scopes.join(","),
                when(key.created),
                key.last_used.map_or_else(|| "never".to_owned(), when),
                key.revoked.map_or_else(|| "live".to_owned(), |at| format!("revoked {}", when(at))),
            ]);
        }
        grid
    })?;
    Ok(())
}

fn described(key: &ApiKey) -> Value {
    json!({
        "key_id": key.id,
        "name": key.name,
        "last_4": key.last4,
        "scopes": key.scopes.iter().map(|s| s.as_str()).collect::<Vec<_>>(),
        "rate_limit": key.rate.map(|r| json!({"sustained": r.sustained, "burst": r.burst})),
        "created_at": key.created.to_rfc3339(),
        "last_used_at": key.last_used.map(Timestamp::to_rfc3339),
        "revoked_at": key.revoked.map(Timestamp::to_rfc3339),
    })
}
