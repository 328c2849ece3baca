use std::collections::BTreeMap;

use outputfs::artifact::ids::Ino;
use outputfs::artifact::metadata::Metadata;
use outputfs::artifact::record::Labels;
use outputfs::artifact::time::Timestamp;
use outputfs::artifact::{Kind, Result};
use outputfs::catalog::{Commit, LabelChange, MustExist};

use super::world::{DAY, World, commit_kind, kind};

fn meta(pairs: &[(&str, &str)]) -> Metadata {
    Metadata(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>())
}

fn change(pairs: &[(&str, Option<&str>)]) -> LabelChange {
    let metadata = pairs.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect();
    LabelChange { metadata, ..LabelChange::default() }
}

async fn set(w: &World, ino: Ino, change: LabelChange) -> Result<()> {
    w.cat.set_labels(w.origin, ino, change, w.now()).await
}

pub async fn sources_win_in_their_order(w: &World) {
    let dir = w.mkdir(w.root(), "d").await;
    let root = LabelChange {
        agent_id: Some(Some("root-agent".into())),
        ttl: Some(Some("7d".into())),
        ..change(&[("a", Some("root")), ("b", Some("root")), ("c", Some("root")), ("d", Some("root"))])
    };
    set(w, w.root(), root).await.unwrap();
    set(w, dir, change(&[("a", Some("dir")), ("b", Some("dir")), ("c", Some("dir"))])).await.unwrap();
    let labels = Labels {
        explicit: meta(&[("a", "explicit")]),
        environment: meta(&[("a", "env"), ("b", "env")]),
        env_agent_id: Some("env-agent".into()),
        content_type: Some("text/csv".into()),
        ..Labels::default()
    };
    let x = Commit { labels, ..w.birth(dir, "f", b"x") };
    let now = x.now;
    let made = w.commit(x).await.artifact;
    assert_eq!(made.metadata, meta(&[("a", "explicit"), ("b", "env"), ("c", "dir"), ("d", "root")]));
    assert_eq!(made.agent_id.as_deref(), Some("env-agent"));
    assert_eq!(made.content_type, "text/csv");
    assert_eq!(made.expires, Some(Timestamp(now.0 + 7 * DAY)));
    let plain = w.file(dir, "g", b"x").await.artifact;
    assert_eq!(plain.agent_id.as_deref(), Some("root-agent"));
    // All that a file's labels show together is its metadata.
    let shown = w.cat.labels(made.ino).await.unwrap();
    assert_eq!(shown.explicit, meta(&[("a", "explicit")]));
    assert_eq!(shown.explicit.over(&shown.environment), made.metadata);
    let never = Labels { ttl: Some("never".into()), env_ttl: Some("1h".into()), ..Labels::default() };
    let kept = w.commit(Commit { labels: never, ..w.birth(dir, "h", b"x") }).await;
    assert_eq!(kept.artifact.expires, None);
    let bad = Labels { ttl: Some("soon".into()), ..Labels::default() };
    assert_eq!(commit_kind(w.try_commit(Commit { labels: bad, ..w.birth(dir, "i", b"x") }).await), Kind::Invalid);
}

pub async fn explicit_labels_stay_with_later_versions(w: &World) {
    let labels = Labels {
        explicit: meta(&[("k", "v")]),
        environment: meta(&[("e", "1")]),
        agent_id: Some("me".into()),
        ttl: Some("2d".into()),
        content_type: Some("text/csv".into()),
        idempotency_key: Some("once".into()),
        ..Labels::default()
    };
    let made = w.commit(Commit { labels, ..w.birth(w.root(), "f", b"1") }).await;
    set(w, made.ino, change(&[("later", Some("set"))])).await.unwrap();
    let next = w.rewrite(made.ino, b"2");
    let now = next.now;
    let next = w.commit(next).await.artifact;
    assert_eq!(next.metadata, meta(&[("k", "v"), ("later", "set")]));
    assert_eq!((next.agent_id.as_deref(), next.content_type.as_str()), (Some("me"), "text/csv"));
    assert_eq!(next.expires, Some(Timestamp(now.0 + 2 * DAY)));
    assert_eq!(next.idempotency_key, None);
}

pub async fn changes_of_a_file(w: &World) {
    let labels = Labels { environment: meta(&[("e", "1")]), ..Labels::default() };
    let made = w.commit(Commit { labels, ..w.birth(w.root(), "f", b"1") }).await;
    let before = w.stat(made.ino).await;
    set(w, made.ino, change(&[("k", Some("v")), ("e", None)])).await.unwrap();
    assert_eq!(w.artifact(made.artifact.id).await.metadata, meta(&[("k", "v")]));
    let typed = LabelChange {
        content_type: Some(Some("a/b".into())),
        agent_id: Some(Some("me".into())),
        ..LabelChange::default()
    };
    set(w, made.ino, typed).await.unwrap();
    let now = w.artifact(made.artifact.id).await;
    assert_eq!((now.content_type.as_str(), now.agent_id.as_deref()), ("a/b", Some("me")));
    assert_eq!((now.hash, now.version, now.expires), (made.artifact.hash, 1, made.artifact.expires));
    let cleared = LabelChange { content_type: Some(None), agent_id: Some(None), ..LabelChange::default() };
    set(w, made.ino, cleared).await.unwrap();
    let now = w.artifact(made.artifact.id).await;
    assert_eq!((now.content_type.as_str(), now.agent_id.as_deref()), ("text/plain", None));
    let after = w.stat(made.ino).await;
    assert!(after.ctime > before.ctime && after.mtime == before.mtime);
    // A change that fails in the middle changes nothing.
    let long = "x".repeat(1025);
    assert_eq!(kind(set(w, made.ino, change(&[("k", Some("w")), ("l", Some(&long))])).await), Kind::MetadataTooLarge);
    assert_eq!(kind(set(w, made.ino, change(&[("k", Some("w")), ("no key", Some("v"))])).await), Kind::Invalid);
    assert_eq!(w.artifact(made.artifact.id).await.metadata, meta(&[("k", "v")]));
    assert_eq!(kind(set(w, Ino(3), change(&[("k", Some("w"))])).await), Kind::NotFound);
}

pub async fn defaults_of_directories(w: &World) {
    let dir = w.mkdir(w.root(), "d").await;
    let deep = w.mkdir(dir, "deep").await;
    set(w, w.root(), change(&[("a", Some("1")), ("b", Some("1"))])).await.unwrap();
    set(w, dir, LabelChange { ttl: Some(Some("1h".into())), ..change(&[("b", Some("2"))]) }).await.unwrap();
    let all = w.cat.defaults(deep).await.unwrap();
    assert_eq!(all.metadata, meta(&[("a", "1"), ("b", "2")]));
    assert_eq!((all.ttl.as_deref(), all.agent_id), (Some("1h"), None));
    let own = w.cat.labels(dir).await.unwrap();
    assert_eq!((own.explicit, own.ttl.as_deref()), (meta(&[("b", "2")]), Some("1h")));
    assert_eq!(w.cat.labels(deep).await.unwrap(), Labels::default());
    set(w, dir, LabelChange { ttl: Some(None), ..change(&[("b", None)]) }).await.unwrap();
    assert_eq!(w.cat.defaults(deep).await.unwrap().metadata, meta(&[("a", "1"), ("b", "1")]));
    let bad = LabelChange { ttl: Some(Some("soon".into())), ..LabelChange::default() };
    assert_eq!(kind(set(w, dir, bad).await), Kind::Invalid);
    assert_eq!(kind(w.cat.labels(Ino(3)).await), Kind::NotFound);
}

pub async fn must_exist_and_must_not(w: &World) {
    let made = w.file(w.root(), "f", b"1").await;
    for ino in [made.ino, w.root()] {
        let new = LabelChange { must: MustExist::New, ..change(&[("k", Some("1"))]) };
        let old = LabelChange { must: MustExist::Old, ..change(&[("k", Some("2"))]) };
        assert_eq!(kind(set(w, ino, old.clone()).await), Kind::NoSuchAttribute);
        assert_eq!(kind(set(w, ino, change(&[("k", None)])).await), Kind::NoSuchAttribute);
        set(w, ino, new.clone()).await.unwrap();
        assert_eq!(kind(set(w, ino, new).await), Kind::AttributeExists);
        set(w, ino, old).await.unwrap();
        assert_eq!(w.cat.labels(ino).await.unwrap().explicit, meta(&[("k", "2")]));
    }
}

pub async fn a_lifetime_counts_from_its_change(w: &World) {
    let made = w.file(w.root(), "f", b"1").await;
    w.advance(DAY);
    let now = w.now();
    let ttl = |text: Option<&str>| LabelChange { ttl: Some(text.map(str::to_owned)), ..LabelChange::default() };
    w.cat.set_labels(w.origin, made.ino, ttl(Some("7d")), now).await.unwrap();
    assert_eq!(w.artifact(made.artifact.id).await.expires, Some(Timestamp(now.0 + 7 * DAY)));
    w.cat.set_labels(w.origin, made.ino, ttl(Some("never")), now).await.unwrap();
    assert_eq!(w.artifact(made.artifact.id).await.expires, None);
    w.cat.set_labels(w.origin, made.ino, ttl(None), now).await.unwrap();
    assert_eq!(w.artifact(made.artifact.id).await.expires, Some(Timestamp(now.0 + 30 * DAY)));
}
