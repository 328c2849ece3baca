//! `outputfs ls`.

use crate::artifact::name::split_path;
use crate::artifact::query::Query;
use crate::artifact::record::Artifact;
use crate::artifact::{Kind, Result};
use crate::cli::Context;
use crate::cli::args::LsArgs;
use crate::cli::failure::Outcome;
use crate::cli::output::{artifacts, record};
use crate::cli::target::split;
use crate::cli::value::Condition;
use crate::engine::store::Store;

pub async fn run(context: &Context, args: LsArgs) -> Outcome {
    let store = context.open_light().await?;
    let (session, prefix) = place(&store, &args).await?;
    let one = session.is_some();
    let now = store.clock.now();
    let mut query = Query::all(store.tenant.id);
    query.session = match &session {
        Some(name) => Some(store.session(name).await?.id),
        None => None,
    };
    query.agent = args.agent;
    for condition in args.conditions {
        match condition {
            Condition::Is(key, value) => query.metadata.push((key, value)),
            Condition::Like(key, pattern) => query.patterns.push((key, pattern)),
        }
    }
    query.sizes = (args.larger, args.smaller);
    query.since = args.since.map(|m| m.resolve(now));
    query.until = args.until.map(|m| m.resolve(now));
    query.content_type = args.content_type;
    if let (Some(id), false) = (query.session, prefix.is_empty()) {
        // Nothing found in what is there is an answer; what is not there is a mistake.
        store.must_stand(id, &prefix).await?;
    }
    let found = select(&store, query, &prefix, args.limit.unwrap_or(usize::MAX)).await?;
    let items: Vec<_> = found.iter().map(record).collect();
    context.output.list(&items, || artifacts(&found, !one))?;
    Ok(())
}

/// The session, and the path below which to look.
async fn place(store: &Store, args: &LsArgs) -> Result<(Option<String>, Vec<u8>)> {
    let default = args.session.session.as_ref().map(ToString::to_string);
    let Some(what) = &args.what else {
        return Ok((default.filter(|_| !args.all), Vec::new()));
    };
    let (first, rest) = split(what);
    let (session, path) = match (store.session(first).await, default) {
        // A path in the default session, as everywhere.
        (Err(e), Some(default)) if matches!(e.kind, Kind::NotFound | Kind::Deleted | Kind::Invalid) => {
            (default, what.as_str())
        }
        (Err(e), _) => return Err(e),
        (Ok(_), _) => (first.to_owned(), rest),
    };
    if path.trim_matches('/').is_empty() {
        return Ok((Some(session), Vec::new()));
    }
    let names = split_path(path.as_bytes())?;
    let parts: Vec<_> = names.iter().map(crate::artifact::name::Name::as_bytes).collect();
    Ok((Some(session), parts.join(&b'/')))
}

/// Page by page, so that a small limit asks for little.
async fn select(store: &Store, mut query: Query, prefix: &[u8], limit: usize) -> Result<Vec<Artifact>> {
    if prefix.is_empty() {
        query.limit = query.limit.min(u32::try_from(limit).unwrap_or(u32::MAX).max(1));
    }
    let mut found = Vec::new();
    loop {
        let page = store.find(&query).await?;
        found.extend(page.artifacts.into_iter().filter(|a| below(&a.filename, prefix)));
        if found.len() >= limit {
            found.truncate(limit);
            return Ok(found);
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(found),
        }
    }
}

/// True for the path itself and for what is below it.
pub fn below(path: &[u8], prefix: &[u8]) -> bool {
    prefix.is_empty() || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_holds_what_is_below_it() {
        assert!(below(b"a/b", b"a") && below(b"a", b"a") && below(b"a", b""));
        assert!(!below(b"ab", b"a") && !below(b"a", b"a/b"));
    }
}
