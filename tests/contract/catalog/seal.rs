use outputfs::artifact::Kind;
use outputfs::artifact::record::{Artifact, Link, LinkTarget, NodeKind};
use outputfs::artifact::time::Timestamp;
use outputfs::catalog::{AttrChange, Commit, LabelChange, Payload, RenameMode};

use super::world::{DAY, World, artifact_id, commit_kind, hash, kind, name};

pub async fn nothing_changes_after_a_seal(w: &World) {
    let dir = w.mkdir(w.root(), "d").await;
    let made = w.file(w.root(), "a", b"1").await;
    let old = w.file(w.root(), "b", b"2").await;
    w.cat.unlink(w.origin, w.root(), &name("b"), w.now()).await.unwrap();
    w.cat.seal(w.origin, w.session.id, w.now()).await.unwrap();
    assert!(w.cat.session_by_id(w.session.id).await.unwrap().unwrap().sealed.is_some());
    for ino in [w.root(), dir, made.ino] {
        assert!(w.stat(ino).await.sealed);
    }
    let (o, root) = (w.origin, w.root());
    let (file_name, dir_name) = (name("a"), name("d"));
    let cookies = (w.number(), w.number());
    let mut seen = vec![
        commit_kind(w.try_commit(w.birth(root, "new", b"3")).await),
        commit_kind(w.try_commit(w.birth(dir, "new", b"3")).await),
        commit_kind(w.try_commit(w.rewrite(made.ino, b"3")).await),
        commit_kind(w.try_commit(w.rewrite(made.ino, b"1")).await),
        kind(w.cat.make(o, w.node(root, "n", NodeKind::Dir)).await),
        kind(w.cat.link(o, made.ino, dir, name("l"), w.number(), w.now()).await),
        kind(w.cat.unlink(o, root, &file_name, w.now()).await),
        kind(w.cat.rmdir(o, root, &dir_name, w.now()).await),
        kind(w.cat.rmdir(o, w.tenant.root, &name("run"), w.now()).await),
        kind(w.cat.set_attributes(o, made.ino, AttrChange { mode: Some(0), ..AttrChange::default() }).await),
        kind(w.cat.set_labels(o, made.ino, LabelChange::default(), w.now()).await),
        kind(w.cat.set_labels(o, dir, LabelChange::default(), w.now()).await),
        kind(w.cat.restore(o, old.artifact.id, artifact_id(), (made.ino, 1), w.now()).await),
    ];
    for mode in [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange] {
        seen.push(kind(w.cat.rename(o, (root, &file_name), (dir, &file_name), mode, cookies, w.now()).await));
    }
    assert!(seen.iter().all(|k| *k == Kind::Sealed), "{seen:?}");
    let trash = w.cat.trash_recovered(o, w.birth(root, "x", b"x")).await.unwrap();
    assert_eq!(trash, None);
    let e = w.cat.unlink(o, root, &file_name, w.now()).await.unwrap_err();
    assert_eq!(e.message, "Session 'run' is sealed. No new artifacts can be added.");
    // Other sessions live on, and links may still be issued.
    let other = w.session("other").await;
    w.commit(Commit { session: other.id, ..w.birth(other.root, "a", b"1") }).await;
    let link = Link {
        id: "lnk_sealed00".into(),
        token_hash: hash(b"t"),
        tenant: w.tenant.id,
        target: LinkTarget::Session(w.session.id),
        created: w.now(),
        expires: None,
        revoked: None,
    };
    w.cat.add_link(link).await.unwrap();
    w.cat.revoke(w.tenant.id, "lnk_sealed00", w.now()).await.unwrap();
}

pub async fn pending_bytes_hold_a_seal_up(w: &World) {
    let inline = Payload::Inline(bytes::Bytes::from_static(b"1"));
    w.commit(Commit { bytes: inline, ..w.birth(w.root(), "a", b"1") }).await;
    assert_eq!(kind(w.cat.seal(w.origin, w.session.id, w.now()).await), Kind::Busy);
    assert_eq!(w.cat.manifest(w.session.id).await.unwrap(), None);
    w.file(w.root(), "b", b"still open").await;
    w.cat.settled(w.tenant.id, hash(b"1")).await.unwrap();
    w.cat.seal(w.origin, w.session.id, w.now()).await.unwrap();
    let none = outputfs::artifact::ids::SessionId(999);
    assert_eq!(kind(w.cat.seal(w.origin, none, w.now()).await), Kind::NotFound);
}

pub async fn the_manifest_is_the_one_of_the_seal(w: &World) {
    let dir = w.mkdir(w.root(), "z").await;
    w.file(dir, "b", b"1").await;
    let last = w.file(w.root(), "zz", b"2").await;
    let first = w.file(w.root(), "a", b"3").await;
    w.commit(w.rewrite(first.ino, b"4")).await;
    w.file(w.root(), "gone", b"5").await;
    w.cat.unlink(w.origin, w.root(), &name("gone"), w.now()).await.unwrap();
    let sealed = w.cat.seal(w.origin, w.session.id, w.now()).await.unwrap();
    let paths: Vec<_> = sealed.artifacts.iter().map(|a| a.filename.clone()).collect();
    assert_eq!(paths, [&b"a"[..], b"z/b", b"zz"]);
    let as_sealed = Artifact { fleeting: None, ..w.artifact(last.artifact.id).await };
    assert_eq!(sealed.artifacts[2], as_sealed);
    assert_eq!(sealed.session_id.as_str(), "run");
    // Again, from any handle, at any time: the same, even after all has expired.
    w.advance(100 * DAY);
    assert_eq!(w.cat.seal(w.origin, w.session.id, w.now()).await.unwrap(), sealed);
    assert_eq!(w.another().manifest(w.session.id).await.unwrap(), Some(sealed.clone()));
    let other = w.session("other").await;
    let empty = w.cat.seal(w.origin, other.id, w.now()).await.unwrap();
    assert!(empty.artifacts.is_empty());
    assert_ne!(empty.digest, sealed.digest);
}

pub async fn expiry_may_only_grow(w: &World) {
    let made = w.file(w.root(), "a", b"1").await;
    let at = made.artifact.expires.unwrap();
    let set = |t: Option<i64>| w.cat.set_expiry(w.origin, made.artifact.id, t.map(Timestamp));
    assert_eq!(set(Some(at.0 - DAY)).await.unwrap().expires, Some(Timestamp(at.0 - DAY)));
    w.cat.seal(w.origin, w.session.id, w.now()).await.unwrap();
    assert_eq!(kind(set(Some(at.0 - 2 * DAY)).await), Kind::Sealed);
    assert_eq!(set(Some(at.0)).await.unwrap().expires, Some(at));
    assert_eq!(set(None).await.unwrap().expires, None);
    assert_eq!(kind(set(Some(at.0)).await), Kind::Sealed);
    assert_eq!(kind(w.cat.set_expiry(w.origin, artifact_id(), None).await), Kind::NotFound);
}
