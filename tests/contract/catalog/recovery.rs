use outputfs::artifact::Kind;
use outputfs::artifact::ids::Ino;
use outputfs::artifact::query::Query;
use outputfs::artifact::record::{Labels, Life};
use outputfs::catalog::Commit;

use super::world::{World, artifact_id, kind, name};

pub async fn found_bytes_go_to_the_trash(w: &World) {
    let dir = w.mkdir(w.root(), "d").await;
    let x = w.birth(dir, "a", b"half");
    let found = w.cat.trash_recovered(w.origin, x.clone()).await.unwrap().unwrap();
    assert_eq!((found.life, found.recovered, found.filename.as_slice()), (Life::Trashed, true, &b"d/a"[..]));
    assert_eq!(found.deleted, Some(x.now));
    assert_eq!(w.lookup(dir, "a").await, None);
    // Recovery that is interrupted comes again.
    let again = w.cat.trash_recovered(w.origin, x).await.unwrap().unwrap();
    assert_eq!(again, found);
    // Of a file that has versions, it is none of them.
    let made = w.file(w.root(), "f", b"1").await;
    let newer = w.cat.trash_recovered(w.origin, w.rewrite(made.ino, b"12")).await.unwrap().unwrap();
    assert_eq!(newer.filename, b"f");
    assert_eq!(w.versions(w.root(), "f").await, [(1, made.artifact.id)]);
    assert_eq!(w.stat(made.ino).await.content.unwrap().0, made.artifact.id);
    // Where nothing is known of its place any more, the session's root takes it.
    let lost = w.cat.trash_recovered(w.origin, w.birth(Ino(3), "g", b"x")).await.unwrap().unwrap();
    assert_eq!(lost.filename, b"g");
    let nameless = w.cat.trash_recovered(w.origin, w.rewrite(Ino(w.number()), b"y")).await.unwrap().unwrap();
    assert!(nameless.filename.starts_with(b"recovered-"));
    let trash = Query { life: Life::Trashed, ..Query::all(w.tenant.id) };
    assert_eq!(w.cat.find(&trash, w.now()).await.unwrap().artifacts.len(), 4);
    let none = Commit { session: outputfs::artifact::ids::SessionId(999), ..w.birth(w.root(), "z", b"z") };
    assert_eq!(w.cat.trash_recovered(w.origin, none).await.unwrap(), None);
}

async fn restore(w: &World, id: outputfs::artifact::ids::ArtifactId) -> outputfs::artifact::record::Artifact {
    let fresh = (Ino(w.number()), w.number());
    w.cat.restore(w.origin, id, artifact_id(), fresh, w.now()).await.unwrap()
}

pub async fn restore_from_trash_and_versions(w: &World) {
    let mut x = w.birth(w.root(), "a", b"1");
    x.labels = Labels { agent_id: Some("me".into()), idempotency_key: Some("k".into()), ..Labels::default() };
    let made = w.commit(x).await;
    let second = w.commit(w.rewrite(made.ino, b"2")).await;
    // An earlier version of a file that exists.
    let back = restore(w, made.artifact.id).await;
    assert_eq!((back.version, back.hash, back.life), (3, made.artifact.hash, Life::Live));
    assert_eq!((back.agent_id.as_deref(), back.idempotency_key), (Some("me"), None));
    assert_ne!(back.ino, made.ino, "a file of its own, with its own owner and times");
    assert_eq!(w.artifact(second.artifact.id).await.life, Life::Superseded);
    assert_eq!(w.lookup(w.root(), "a").await.unwrap().content.unwrap().0, back.id);
    // A deleted one.
    w.cat.unlink(w.origin, w.root(), &name("a"), w.now()).await.unwrap();
    let again = restore(w, back.id).await;
    assert_eq!((again.version, again.life), (4, Life::Live));
    assert_eq!(w.lookup(w.root(), "a").await.unwrap().ino, again.ino);
    assert_eq!(w.artifact(back.id).await.life, Life::Superseded);
    // What lives already stays as it is.
    assert_eq!(restore(w, again.id).await, again);
    let fresh = (Ino(w.number()), w.number());
    let none = w.cat.restore(w.origin, artifact_id(), artifact_id(), fresh, w.now()).await;
    assert_eq!(kind(none), Kind::NotFound);
}

pub async fn restore_revives_directories(w: &World) {
    let outer = w.mkdir(w.root(), "outer").await;
    let inner = w.mkdir(outer, "inner").await;
    let a = w.file(inner, "a", b"1").await;
    let b = w.file(inner, "b", b"2").await;
    for text in ["a", "b"] {
        w.cat.unlink(w.origin, inner, &name(text), w.now()).await.unwrap();
    }
    w.cat.rmdir(w.origin, outer, &name("inner"), w.now()).await.unwrap();
    w.cat.rmdir(w.origin, w.root(), &name("outer"), w.now()).await.unwrap();
    let back = restore(w, a.artifact.id).await;
    assert_eq!(back.filename, b"outer/inner/a");
    assert_eq!(w.cat.path(back.ino).await.unwrap(), b"outer/inner/a");
    let dir = w.lookup(w.root(), "outer").await.unwrap();
    assert_eq!((dir.nlink, w.stat(w.root()).await.nlink), (3, 3));
    // Another directory at the path takes what comes back.
    w.cat.unlink(w.origin, inner, &name("a"), w.now()).await.unwrap();
    w.cat.rmdir(w.origin, dir.ino, &name("inner"), w.now()).await.unwrap();
    let other = w.mkdir(dir.ino, "inner").await;
    let back = restore(w, b.artifact.id).await;
    assert_eq!(back.filename, b"outer/inner/b");
    assert_eq!(w.lookup(other, "b").await.unwrap().ino, back.ino);
    // A file in the way is left alone.
    let lone = w.mkdir(w.root(), "lone").await;
    let c = w.file(lone, "c", b"3").await;
    w.cat.unlink(w.origin, lone, &name("c"), w.now()).await.unwrap();
    w.cat.rmdir(w.origin, w.root(), &name("lone"), w.now()).await.unwrap();
    w.file(w.root(), "lone", b"file").await;
    let fresh = (Ino(w.number()), w.number());
    assert_eq!(kind(w.cat.restore(w.origin, c.artifact.id, artifact_id(), fresh, w.now()).await), Kind::Exists);
}
