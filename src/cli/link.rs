//! `outputfs link`.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;

use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Result};
use crate::cli::Context;
use crate::cli::args::LinkArgs;
use crate::cli::failure::Outcome;
use crate::cli::settings::url_of;
use crate::cli::target::spell;
use crate::engine::options::StoreConfig;
use crate::engine::store::Store;

pub async fn run(context: &Context, args: &LinkArgs) -> Outcome {
    let mut config: StoreConfig = context.settings.store.clone();
    let served = if context.settings.public_url.is_none() { listener(&config.state_dir)? } else { None };
    if let Some(addr) = served {
        config.options.public_url = url_of(addr);
    }
    let store = Store::open_light(&config).await?;
    let default = args.session.session.as_ref();
    let what = args.what.as_deref().unwrap_or(".");
    if what == "." && default.is_none() {
        return Err(Error::invalid("a link to what? Name an artifact, SESSION/PATH or a session").into());
    }
    let target = store.link_target(&spell(&store, what, default).await?).await?;
    let new = store.create_link(target, args.ttl.or(args.lives)).await?;
    let expires = new.link.expires.map(Timestamp::to_rfc3339);
    context.output.bare(
        &new.url,
        || json!({"link_id": new.link.id, "url": new.url, "expires_at": expires, "note": new.note()}),
    )?;
    if let Some(note) = new.note() {
        context.output.note(note);
    }
    if served.is_none() && context.settings.public_url.is_none() {
        context.output.note("nobody serves links here now: a mount does, or 'outputfs serve'");
    }
    Ok(())
}

/// Where a process of this state directory serves links: it holds the lock `http-ADDRESS.lock` meanwhile.
fn listener(state_dir: &Path) -> Result<Option<SocketAddr>> {
    let entries = match std::fs::read_dir(state_dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(state_dir, &e)),
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let addr = name.to_str().and_then(|n| n.strip_prefix("http-")?.strip_suffix(".lock")?.parse().ok());
        // A file that cannot be opened or asked is of no listener that we could name.
        let held = || {
            let file = std::fs::File::open(entry.path()).ok()?;
            Some(matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
        };
        if let Some(addr) = addr
            && held() == Some(true)
        {
            return Ok(Some(addr));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_held_lock_is_a_listener() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(listener(&dir.path().join("none")).unwrap(), None);
        let file = std::fs::File::create(dir.path().join("http-127.0.0.1:81.lock")).unwrap();
        assert_eq!(listener(dir.path()).unwrap(), None);
        file.try_lock().unwrap();
        assert_eq!(listener(dir.path()).unwrap(), Some("127.0.0.1:81".parse().unwrap()));
    }
}
