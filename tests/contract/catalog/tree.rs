use outputfs::artifact::Kind;
use outputfs::artifact::ids::{Ino, SessionId};
use outputfs::artifact::query::Query;
use outputfs::artifact::record::{Life, NodeKind};
use outputfs::catalog::AttrChange;

use super::world::{SECOND, World, artifact_id, kind, name};

pub async fn a_tenant_is_made_once(w: &World) {
    let again = w.cat.tenant(&"default".parse().unwrap(), w.now()).await.unwrap();
    assert_eq!(again, w.tenant);
    let other = w.cat.tenant(&"other".parse().unwrap(), w.now()).await.unwrap();
    assert_ne!(other.id, w.tenant.id);
    assert_ne!(other.root, w.tenant.root);
    let root = w.stat(w.tenant.root).await;
    assert_eq!((root.kind, root.session, root.nlink), (NodeKind::Dir, SessionId::NONE, 3));
    assert_eq!(w.cat.session(other.id, &"run".parse().unwrap()).await.unwrap(), None);
}

pub async fn a_session_is_a_directory_of_the_root(w: &World) {
    let made = w.mkdir(w.tenant.root, "run_42").await;
    let session = w.cat.session(w.tenant.id, &"run_42".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(session.root, made);
    assert_eq!(w.session("run_42").await, session);
    assert_eq!(w.cat.session_by_id(session.id).await.unwrap(), Some(session.clone()));
    assert_eq!(w.stat(made).await.session, session.id);
    assert_eq!(w.lookup(w.tenant.root, "run_42").await.unwrap().ino, made);
    assert_eq!(w.names(w.tenant.root).await, ["run", "run_42"]);
    let again = w.cat.make(w.origin, w.node(w.tenant.root, "run_42", NodeKind::Dir)).await;
    assert_eq!(kind(again), Kind::Exists);
    w.cat.rmdir(w.origin, w.tenant.root, &name("run_42"), w.now()).await.unwrap();
    assert_eq!(w.cat.session_by_id(session.id).await.unwrap(), None);
    assert_eq!(w.cat.session(w.tenant.id, &"run_42".parse().unwrap()).await.unwrap(), None);
}

pub async fn names_that_are_refused(w: &World) {
    let make = |parent, text, k| w.cat.make(w.origin, w.node(parent, text, k));
    assert_eq!(kind(make(w.tenant.root, "a b", NodeKind::Dir).await), Kind::Invalid);
    assert_eq!(kind(make(w.tenant.root, ".ctl", NodeKind::Dir).await), Kind::Reserved);
    assert_eq!(kind(make(w.tenant.root, "link", NodeKind::Symlink).await), Kind::Reserved);
    assert_eq!(kind(make(w.root(), ".trash", NodeKind::Dir).await), Kind::Reserved);
    let below = w.mkdir(w.root(), "below").await;
    make(below, ".trash", NodeKind::Dir).await.unwrap();
    assert_eq!(kind(make(Ino(7), "x", NodeKind::Dir).await), Kind::NotFound);
    let file = w.file(w.root(), "f", b"x").await.ino;
    assert_eq!(kind(make(file, "x", NodeKind::Dir).await), Kind::NotADirectory);
    assert_eq!(kind(make(w.root(), "f", NodeKind::Symlink).await), Kind::Exists);
    let link = |parent, text| w.cat.link(w.origin, file, parent, name(text), w.number(), w.now());
    assert_eq!(kind(link(w.root(), ".ctl").await), Kind::Reserved);
    assert_eq!(kind(link(w.tenant.root, "x").await), Kind::Reserved);
}

pub async fn kinds_of_nodes(w: &World) {
    for (n, k) in
        [NodeKind::Symlink, NodeKind::Fifo, NodeKind::Socket, NodeKind::Char, NodeKind::Block].into_iter().enumerate()
    {
        let mut node = w.node(w.root(), &format!("n{n}"), k);
        node.mode = 0o107_640;
        node.rdev = 259;
        let made = w.cat.make(w.origin, node.clone()).await.unwrap();
        assert_eq!(made, w.stat(node.ino).await);
        assert_eq!((made.kind, made.mode, made.rdev, made.nlink), (k, 0o7640, 259, 1));
        assert_eq!(made.target, node.target);
        assert_eq!(made.size, if k == NodeKind::Symlink { 6 } else { 0 });
        assert_eq!((made.uid, made.mtime, made.content), (1000, node.now, None));
    }
}

pub async fn link_counts_and_times(w: &World) {
    let dir = w.mkdir(w.root(), "d").await;
    let before = w.stat(dir).await;
    assert_eq!((before.nlink, before.size), (2, 4096));
    w.mkdir(dir, "sub").await;
    let after = w.stat(dir).await;
    assert_eq!(after.nlink, 3);
    assert!(after.mtime > before.mtime && after.ctime > before.ctime);
    w.file(dir, "f", b"x").await;
    let with_file = w.stat(dir).await;
    assert_eq!(with_file.nlink, 3);
    assert!(with_file.mtime > after.mtime);
    w.cat.rmdir(w.origin, dir, &name("sub"), w.now()).await.unwrap();
    w.cat.unlink(w.origin, dir, &name("f"), w.now()).await.unwrap();
    let last = w.stat(dir).await;
    assert_eq!(last.nlink, 2);
    assert!(last.mtime > with_file.mtime);
}

pub async fn listing_resumes_after_a_cookie(w: &World) {
    for n in 0..50 {
        w.mkdir(w.root(), &format!("d{n:02}")).await;
    }
    let mut seen = Vec::new();
    let mut after = 0;
    loop {
        let page = w.cat.list(w.root(), after, 7, w.now()).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 7);
        after = last.cookie;
        for entry in &page {
            assert_eq!(entry.node, w.stat(entry.node.ino).await);
            seen.push(entry.name.to_string());
        }
        // What is removed behind and made ahead disturbs nothing.
        w.cat.rmdir(w.origin, w.root(), &page[0].name, w.now()).await.unwrap();
    }
    assert_eq!(seen, (0..50).map(|n| format!("d{n:02}")).collect::<Vec<_>>());
    assert_eq!(w.names(Ino(5)).await, Vec::<String>::new());
}

pub async fn unlink_and_its_errors(w: &World) {
    let made = w.file(w.root(), "f", b"x").await;
    w.mkdir(w.root(), "d").await;
    let unlink = |text| {
        let text = name(text);
        async move { w.cat.unlink(w.origin, w.root(), &text, w.now()).await }
    };
    assert_eq!(kind(unlink("none").await), Kind::NotFound);
    assert_eq!(kind(unlink("d").await), Kind::IsADirectory);
    let gone = unlink("f").await.unwrap();
    assert_eq!((gone.ino, gone.kind, gone.nlink), (made.ino, NodeKind::File, 0));
    assert_eq!(w.lookup(w.root(), "f").await, None);
    assert_eq!(w.cat.node(made.ino, w.now()).await.unwrap(), None);
    let trashed = w.artifact(made.artifact.id).await;
    assert_eq!(trashed.life, Life::Trashed);
    assert!(trashed.deleted.is_some());
    assert_eq!(trashed.filename, b"f");
    assert_eq!(kind(unlink("f").await), Kind::NotFound);
}

pub async fn rmdir_and_its_errors(w: &World) {
    let dir = w.mkdir(w.root(), "d").await;
    let inner = w.mkdir(dir, "inner").await;
    let made = w.file(inner, "f", b"x").await;
    let rmdir = |parent, text: &str| {
        let text = name(text);
        async move { w.cat.rmdir(w.origin, parent, &text, w.now()).await }
    };
    assert_eq!(kind(rmdir(w.root(), "d").await), Kind::NotEmpty);
    assert_eq!(kind(rmdir(dir, "inner").await), Kind::NotEmpty);
    assert_eq!(kind(rmdir(inner, "f").await), Kind::NotADirectory);
    assert_eq!(kind(rmdir(inner, "none").await), Kind::NotFound);
    w.cat.unlink(w.origin, inner, &name("f"), w.now()).await.unwrap();
    assert_eq!(rmdir(dir, "inner").await.unwrap().ino, inner);
    assert_eq!(rmdir(w.root(), "d").await.unwrap().ino, dir);
    assert_eq!(w.cat.node(inner, w.now()).await.unwrap(), None);
    assert_eq!(kind(w.cat.make(w.origin, w.node(inner, "x", NodeKind::Dir)).await), Kind::NotFound);
    // The directories are gone, the path of what was in them is not.
    assert_eq!(w.artifact(made.artifact.id).await.filename, b"d/inner/f");
}

pub async fn a_session_that_held_artifacts_goes_into_the_trash(w: &World) {
    w.file(w.root(), "f", b"x").await;
    let rmdir = || async { w.cat.rmdir(w.origin, w.tenant.root, &name("run"), w.now()).await };
    assert_eq!(kind(rmdir().await), Kind::NotEmpty);
    let early = w.file(w.root(), "early", b"e").await.artifact.id;
    w.cat.unlink(w.origin, w.root(), &name("early"), w.now()).await.unwrap();
    w.advance(3600 * SECOND);
    w.cat.unlink(w.origin, w.root(), &name("f"), w.now()).await.unwrap();
    rmdir().await.unwrap();
    let named = || async { w.cat.session(w.tenant.id, &"run".parse().unwrap()).await.unwrap() };
    assert!(named().await.is_none() && w.cat.sessions(w.tenant.id, w.now()).await.unwrap().is_empty());
    let [removed] = w.cat.removed_sessions(w.tenant.id).await.unwrap().try_into().unwrap();
    assert_eq!((removed.id, removed.name.as_str()), (w.session.id, "run"));

    // Its name is free. Under another one it comes back with what went with it, and only that.
    let other = w.session("run").await;
    assert_ne!(other.id, w.session.id);
    let restore = |name: Option<&str>| {
        let ids = (0..3).map(|_| artifact_id()).collect();
        w.cat.restore_session(w.origin, w.session.id, name.map(|n| n.parse().unwrap()), ids, None, w.now())
    };
    assert_eq!(kind(restore(None).await), Kind::Exists);
    let back = restore(Some("again")).await.unwrap();
    assert_eq!((back.files, back.more, back.session.name.as_str()), (1, false, "again"));
    assert_eq!(w.cat.list(w.root(), 0, 10, w.now()).await.unwrap().len(), 1);
    assert_eq!(w.artifact(early).await.life, Life::Trashed);

    // Emptied of all that could come back, it is no more.
    w.cat.unlink(w.origin, w.root(), &name("f"), w.now()).await.unwrap();
    w.cat.rmdir(w.origin, w.tenant.root, &name("again"), w.now()).await.unwrap();
    let trash = Query { life: Life::Trashed, ..Query::all(w.tenant.id) };
    let ids = w.cat.find(&trash, w.now()).await.unwrap().artifacts.iter().map(|a| a.id).collect();
    assert_eq!(w.cat.purge(w.tenant.id, ids, w.now()).await.unwrap().purged, 2);
    assert!(w.cat.session_by_id(w.session.id).await.unwrap().is_none());
    assert!(w.cat.session_by_id(other.id).await.unwrap().is_some());
}

pub async fn hard_links(w: &World) {
    let made = w.file(w.root(), "a", b"x").await;
    let dir = w.mkdir(w.root(), "d").await;
    let before = w.stat(made.ino).await;
    let linked = w.cat.link(w.origin, made.ino, dir, name("b"), w.number(), w.now()).await.unwrap();
    assert_eq!((linked.ino, linked.nlink), (made.ino, 2));
    assert!(linked.ctime > before.ctime);
    assert_eq!(kind(w.cat.link(w.origin, made.ino, dir, name("b"), w.number(), w.now()).await), Kind::Exists);
    assert_eq!(kind(w.cat.link(w.origin, dir, dir, name("c"), w.number(), w.now()).await), Kind::Reserved);
    assert_eq!(kind(w.cat.link(w.origin, Ino(9), dir, name("c"), w.number(), w.now()).await), Kind::NotFound);
    let other = w.session("other").await;
    assert_eq!(
        kind(w.cat.link(w.origin, made.ino, other.root, name("c"), w.number(), w.now()).await),
        Kind::CrossSession
    );
    assert_eq!(w.cat.place(made.ino).await.unwrap(), Some((w.root(), name("a"))));
    let left = w.cat.unlink(w.origin, w.root(), &name("a"), w.now()).await.unwrap();
    assert_eq!(left.nlink, 1);
    // The artifact lives on under the name that is left.
    let moved = w.artifact(made.artifact.id).await;
    assert_eq!((moved.life, moved.filename.as_slice(), moved.version), (Life::Live, &b"d/b"[..], 1));
    w.cat.unlink(w.origin, dir, &name("b"), w.now()).await.unwrap();
    assert_eq!(w.artifact(made.artifact.id).await.life, Life::Trashed);
}

pub async fn attributes_change_alone(w: &World) {
    let made = w.file(w.root(), "a", b"x").await;
    let before = w.stat(made.ino).await;
    let now = w.now();
    let change = AttrChange { mode: Some(0o100_600), mtime: Some(now), ..AttrChange::default() };
    let after = w.cat.set_attributes(w.origin, made.ino, change).await.unwrap();
    assert_eq!((after.mode, after.mtime), (0o600, now));
    assert_eq!(
        (after.uid, after.atime, after.ctime, after.content),
        (1000, before.atime, before.ctime, before.content)
    );
    let owner = AttrChange { uid: Some(5), gid: Some(6), atime: Some(now), ctime: Some(now), ..AttrChange::default() };
    let last = w.cat.set_attributes(w.origin, made.ino, owner.clone()).await.unwrap();
    assert_eq!((last.uid, last.gid, last.atime, last.ctime, last.mode), (5, 6, now, now, 0o600));
    assert_eq!(last, w.stat(made.ino).await);
    assert_eq!(kind(w.cat.set_attributes(w.origin, Ino(9), owner).await), Kind::NotFound);
}

pub async fn places_and_paths(w: &World) {
    let a = w.mkdir(w.root(), "a").await;
    let b = w.mkdir(a, "b").await;
    let made = w.file(b, "c", b"x").await;
    assert_eq!(made.artifact.filename, b"a/b/c");
    assert_eq!(w.cat.path(made.ino).await.unwrap(), b"a/b/c");
    assert_eq!(w.cat.path(b).await.unwrap(), b"a/b");
    assert_eq!(w.cat.path(w.root()).await.unwrap(), b"");
    assert_eq!(w.cat.path(w.tenant.root).await.unwrap(), b"");
    assert_eq!(kind(w.cat.path(Ino(3)).await), Kind::NotFound);
    assert_eq!(w.cat.place(b).await.unwrap(), Some((a, name("b"))));
    assert_eq!(w.cat.place(w.tenant.root).await.unwrap(), None);
}

pub async fn numbers_are_never_given_twice(w: &World) {
    let first = w.cat.reserve(10).await.unwrap();
    let second = w.cat.reserve(1).await.unwrap();
    assert!(second >= first + 10);
    let session = w.session("fresh").await;
    assert!(session.root.0 > second);
    assert!(w.another().reserve(1).await.unwrap() > session.root.0);
}
