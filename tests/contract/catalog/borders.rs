use outputfs::artifact::ids::Ino;
use outputfs::artifact::quota::Quota;
use outputfs::artifact::record::{Life, NodeKind};
use outputfs::artifact::time::Timestamp;
use outputfs::artifact::{Kind, Result};
use outputfs::catalog::borders::{Graft, GraftNode, Grafted};
use outputfs::catalog::{Commit, CommitError, LabelChange, RenameMode};

use super::world::{World, kind, name};

fn node(w: &World, parent: Ino, text: &str, kind: NodeKind, labels: LabelChange) -> GraftNode {
    GraftNode { node: w.node(parent, text, kind), atime: Timestamp(1), mtime: Timestamp(2), labels }
}

async fn graft(w: &World, nodes: Vec<GraftNode>, files: Vec<Commit>, mode: RenameMode) -> Result<Grafted> {
    let links = files.first().map(|f| (f.ino, nodes[0].node.ino, name("same"), w.number())).into_iter().collect();
    let graft = Graft { nodes, files, links, mode, now: w.now() };
    w.cat.graft(w.origin, graft).await.map_err(|e| match e {
        CommitError::Failed(e) => e,
        CommitError::BlobGone => panic!("the blob is gone"),
    })
}

pub async fn a_tree_comes_whole_or_not_at_all(w: &World) {
    let labels = LabelChange {
        attributes: vec![(b"9".to_vec(), Some(b"\0".to_vec())), (b"stage".to_vec(), Some(b"final".to_vec()))],
        ..LabelChange::default()
    };
    let top = node(w, w.root(), "d", NodeKind::Dir, labels);
    let sub = node(w, top.node.ino, "sub", NodeKind::Dir, LabelChange::default());
    let link = node(w, sub.node.ino, "l", NodeKind::Symlink, LabelChange::default());
    let files = vec![w.birth(sub.node.ino, "a.csv", b"1"), w.birth(top.node.ino, "b", b"2")];
    let (dir, inner) = (top.node.ino, sub.node.ino);
    let nodes = vec![top, sub, link];
    w.quota(Quota { max_artifacts: Some(1), ..Quota::default() }).await;
    assert_eq!(kind(graft(w, nodes.clone(), files.clone(), RenameMode::Replace).await), Kind::OverQuota);
    assert!(w.names(w.root()).await.is_empty() && w.cat.node(dir, w.now()).await.unwrap().is_none());
    w.quota(Quota::default()).await;
    let done = graft(w, nodes, files, RenameMode::Replace).await.unwrap();
    assert_eq!((done.replaced, done.files.len()), (None, 2));
    assert_eq!(
        (w.names(dir).await, w.names(inner).await),
        (vec!["sub".into(), "b".into(), "same".into()], vec!["l".into(), "a.csv".into()])
    );
    let a = &done.files[0].artifact;
    assert_eq!(
        (a.filename.as_slice(), a.content_type.as_str(), a.metadata.get("stage")),
        (&b"d/sub/a.csv"[..], "text/csv", Some("final"))
    );
    assert_eq!(w.cat.labels(dir).await.unwrap().aside.get(b"9"), Some(&b"\0"[..]));
    let seen = w.stat(dir).await;
    assert_eq!((seen.nlink, seen.atime, seen.mtime, w.stat(a.ino).await.nlink), (3, Timestamp(1), Timestamp(2), 2));
    // Over what stands there: as rename(2) has it.
    let again = |text: &str, kind| vec![node(w, w.root(), text, kind, LabelChange::default())];
    assert_eq!(kind(graft(w, again("d", NodeKind::Dir), vec![], RenameMode::Replace).await), Kind::NotEmpty);
    assert_eq!(kind(graft(w, again("d", NodeKind::Symlink), vec![], RenameMode::Replace).await), Kind::IsADirectory);
    w.mkdir(w.root(), "empty").await;
    assert_eq!(kind(graft(w, again("empty", NodeKind::Dir), vec![], RenameMode::NoReplace).await), Kind::Exists);
    assert!(graft(w, again("empty", NodeKind::Dir), vec![], RenameMode::Replace).await.unwrap().replaced.is_some());
    let file = w.file(w.root(), "f", b"3").await;
    assert_eq!(kind(graft(w, again("f", NodeKind::Dir), vec![], RenameMode::Replace).await), Kind::NotADirectory);
    graft(w, again("f", NodeKind::Symlink), vec![], RenameMode::Replace).await.unwrap();
    assert_eq!(w.artifact(file.artifact.id).await.life, Life::Superseded);
}

pub async fn a_tree_goes_to_the_trash_at_once(w: &World) {
    let dir = w.mkdir(w.root(), "d").await;
    let sub = w.mkdir(dir, "sub").await;
    let (a, b) = (w.file(sub, "a", b"1").await, w.file(dir, "b", b"2").await);
    w.cat.link(w.origin, b.ino, w.root(), name("elsewhere"), w.number(), w.now()).await.unwrap();
    let gone = w.cat.uproot(w.origin, w.root(), &name("d"), w.now()).await.unwrap();
    assert_eq!(gone.len(), 4);
    assert_eq!(w.names(w.root()).await, ["elsewhere"]);
    assert_eq!(w.artifact(a.artifact.id).await.life, Life::Trashed);
    assert_eq!(w.artifact(a.artifact.id).await.filename, b"d/sub/a");
    // What has a name elsewhere lives on there.
    assert_eq!((w.artifact(b.artifact.id).await.life, w.stat(b.ino).await.nlink), (Life::Live, 1));
    assert_eq!(kind(w.cat.uproot(w.origin, w.root(), &name("d"), w.now()).await), Kind::NotFound);
    w.cat.seal(w.origin, w.session.id, w.now()).await.unwrap();
    assert_eq!(kind(w.cat.uproot(w.origin, w.root(), &name("elsewhere"), w.now()).await), Kind::Sealed);
}

pub async fn a_guessed_type_follows_the_name(w: &World) {
    let made = w.file(w.root(), "tmp123", b"1").await;
    let mv = async |from: &str, to: &str| {
        let (a, b) = (name(from), name(to));
        let cookies = (w.number(), w.number());
        w.cat.rename(w.origin, (w.root(), &a), (w.root(), &b), RenameMode::Replace, cookies, w.now()).await.unwrap();
        w.artifact(made.artifact.id).await.content_type
    };
    assert_eq!(made.artifact.content_type, "text/plain");
    assert_eq!(mv("tmp123", "a.csv").await, "text/csv");
    assert_eq!(mv("a.csv", "a").await, "text/plain");
    let set = |to: Option<&str>| LabelChange { content_type: Some(to.map(Into::into)), ..LabelChange::default() };
    w.cat.set_labels(w.origin, made.ino, set(Some("x/y")), w.now()).await.unwrap();
    assert_eq!(mv("a", "a.md").await, "x/y");
    w.cat.set_labels(w.origin, made.ino, set(None), w.now()).await.unwrap();
    assert_eq!(w.artifact(made.artifact.id).await.content_type, "text/markdown");
    // What grew begins as it did, whatever the version before was called.
    let grown = w.commit(Commit { bytes_type: None, ..w.rewrite(made.ino, b"2") }).await;
    assert_eq!(grown.artifact.content_type, "text/markdown");
}
