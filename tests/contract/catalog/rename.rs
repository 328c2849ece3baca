use outputfs::artifact::ids::Ino;
use outputfs::artifact::record::Life;
use outputfs::artifact::{Kind, Result};
use outputfs::catalog::{Removed, RenameMode};

use super::world::{World, kind, name};

async fn mv(w: &World, from: (Ino, &str), to: (Ino, &str), mode: RenameMode) -> Result<Option<Removed>> {
    let (a, b) = (name(from.1), name(to.1));
    w.cat.rename(w.origin, (from.0, &a), (to.0, &b), mode, (w.number(), w.number()), w.now()).await
}

use RenameMode::{Exchange, NoReplace, Replace};

pub async fn a_file_keeps_its_id_and_gets_a_version_of_its_new_path(w: &World) {
    let dir = w.mkdir(w.root(), "d").await;
    let made = w.file(w.root(), "a", b"1").await;
    let second = w.commit(w.rewrite(made.ino, b"2")).await;
    let before = w.stat(made.ino).await;
    assert_eq!(mv(w, (w.root(), "a"), (dir, "b"), Replace).await.unwrap(), None);
    assert_eq!(w.lookup(w.root(), "a").await, None);
    let after = w.lookup(dir, "b").await.unwrap();
    assert_eq!((after.ino, after.content, after.nlink), (made.ino, before.content, 1));
    assert!(after.ctime > before.ctime && after.mtime == before.mtime);
    let moved = w.artifact(second.artifact.id).await;
    assert_eq!((moved.filename.as_slice(), moved.version, moved.life), (&b"d/b"[..], 1, Life::Live));
    assert_eq!(w.versions(w.root(), "a").await, [(1, made.artifact.id)]);
    // Back at its old path, it is the newest version there.
    mv(w, (dir, "b"), (w.root(), "a"), Replace).await.unwrap();
    assert_eq!(w.versions(w.root(), "a").await, [(1, made.artifact.id), (2, second.artifact.id)]);
}

pub async fn a_replaced_file_is_an_earlier_version(w: &World) {
    let target = w.file(w.root(), "report", b"old").await;
    let draft = w.file(w.root(), "report.part", b"new").await;
    let gone = mv(w, (w.root(), "report.part"), (w.root(), "report"), Replace).await.unwrap().unwrap();
    assert_eq!((gone.ino, gone.nlink), (target.ino, 0));
    assert_eq!(w.versions(w.root(), "report").await, [(1, target.artifact.id), (2, draft.artifact.id)]);
    assert_eq!(w.artifact(target.artifact.id).await.life, Life::Superseded);
    assert_eq!(w.artifact(draft.artifact.id).await.life, Life::Live);
    assert_eq!(w.lookup(w.root(), "report").await.unwrap().ino, draft.ino);
    assert_eq!(w.names(w.root()).await, ["report"]);
}

pub async fn errors_of_rename(w: &World) {
    let (root, top) = (w.root(), w.tenant.root);
    let a = w.mkdir(root, "a").await;
    let b = w.mkdir(a, "b").await;
    let full = w.mkdir(root, "full").await;
    w.file(full, "x", b"x").await;
    w.file(root, "f", b"f").await;
    let other = w.session("other").await;
    let cases = [
        ((root, "none"), (root, "x"), Kind::NotFound),
        ((root, "a"), (b, "x"), Kind::Invalid),
        ((root, "a"), (a, "x"), Kind::Invalid),
        ((root, "a"), (root, "f"), Kind::NotADirectory),
        ((root, "f"), (root, "a"), Kind::IsADirectory),
        ((root, "a"), (root, "full"), Kind::NotEmpty),
        ((root, "f"), (other.root, "f"), Kind::CrossSession),
        ((root, "a"), (other.root, "a"), Kind::CrossSession),
        ((root, "a"), (top, "a"), Kind::CrossSession),
        ((root, "f"), (top, "f"), Kind::Reserved),
        ((top, "run"), (top, "run2"), Kind::Reserved),
        ((root, "f"), (root, ".ctl"), Kind::Reserved),
        ((root, "f"), (Ino(3), "f"), Kind::NotFound),
    ];
    for (from, to, expected) in cases {
        assert_eq!(kind(mv(w, from, to, Replace).await), expected, "{from:?} to {to:?}");
    }
    assert_eq!(kind(mv(w, (root, "f"), (root, "g"), Exchange).await), Kind::NotFound);
    assert_eq!(kind(mv(w, (b, "x"), (root, "a"), Exchange).await), Kind::NotFound);
    w.file(b, "y", b"y").await;
    assert_eq!(kind(mv(w, (b, "y"), (root, "a"), Exchange).await), Kind::Invalid);
    assert_eq!(w.names(root).await, ["a", "full", "f"]);
}

pub async fn two_names_of_one_file(w: &World) {
    let made = w.file(w.root(), "a", b"x").await;
    w.cat.link(w.origin, made.ino, w.root(), name("b"), w.number(), w.now()).await.unwrap();
    assert_eq!(mv(w, (w.root(), "a"), (w.root(), "b"), Replace).await.unwrap(), None);
    assert_eq!(w.names(w.root()).await, ["a", "b"]);
    assert_eq!(mv(w, (w.root(), "a"), (w.root(), "a"), Replace).await.unwrap(), None);
    // The artifact is filed under its oldest name: moving the other leaves it.
    mv(w, (w.root(), "b"), (w.root(), "c"), Replace).await.unwrap();
    assert_eq!(w.artifact(made.artifact.id).await.filename, b"a");
    // Replacing one name leaves the file under the other.
    w.file(w.root(), "new", b"y").await;
    let gone = mv(w, (w.root(), "new"), (w.root(), "a"), Replace).await.unwrap().unwrap();
    assert_eq!((gone.ino, gone.nlink), (made.ino, 1));
    let moved = w.artifact(made.artifact.id).await;
    assert_eq!((moved.life, moved.filename.as_slice()), (Life::Live, &b"c"[..]));
}

pub async fn no_replace_and_exchange(w: &World) {
    let dir = w.mkdir(w.root(), "d").await;
    let sub = w.mkdir(dir, "sub").await;
    let a = w.file(w.root(), "a", b"1").await;
    let b = w.file(dir, "b", b"2").await;
    assert_eq!(kind(mv(w, (w.root(), "a"), (dir, "b"), NoReplace).await), Kind::Exists);
    assert_eq!(kind(mv(w, (w.root(), "a"), (w.root(), "a"), NoReplace).await), Kind::Exists);
    assert_eq!(mv(w, (w.root(), "a"), (dir, "b"), Exchange).await.unwrap(), None);
    assert_eq!(w.lookup(w.root(), "a").await.unwrap().ino, b.ino);
    assert_eq!(w.lookup(dir, "b").await.unwrap().ino, a.ino);
    assert_eq!(w.artifact(a.artifact.id).await.filename, b"d/b");
    assert_eq!(w.artifact(b.artifact.id).await.filename, b"a");
    assert_eq!(w.artifact(b.artifact.id).await.life, Life::Live);
    // A directory for a file: link counts of both parents follow.
    assert_eq!((w.stat(w.root()).await.nlink, w.stat(dir).await.nlink), (3, 3));
    mv(w, (w.root(), "a"), (dir, "sub"), Exchange).await.unwrap();
    assert_eq!(w.lookup(w.root(), "a").await.unwrap().ino, sub);
    assert_eq!((w.stat(w.root()).await.nlink, w.stat(dir).await.nlink), (4, 2));
    mv(w, (w.root(), "a"), (w.root(), "fresh"), NoReplace).await.unwrap();
    assert_eq!(w.lookup(w.root(), "fresh").await.unwrap().ino, sub);
}

pub async fn a_directory_takes_its_history_along(w: &World) {
    let (a, b) = (w.mkdir(w.root(), "a").await, w.mkdir(w.root(), "b").await);
    let made = w.file(a, "f", b"1").await;
    let second = w.commit(w.rewrite(made.ino, b"2")).await;
    mv(w, (w.root(), "a"), (b, "moved"), Replace).await.unwrap();
    assert_eq!(w.artifact(second.artifact.id).await.filename, b"b/moved/f");
    assert_eq!(w.versions(a, "f").await, [(1, made.artifact.id), (2, second.artifact.id)]);
    assert_eq!((w.stat(w.root()).await.nlink, w.stat(b).await.nlink), (3, 3));
    assert_eq!(w.cat.path(a).await.unwrap(), b"b/moved");
}

pub async fn a_directory_replaces_an_empty_one(w: &World) {
    let (a, b) = (w.mkdir(w.root(), "a").await, w.mkdir(w.root(), "b").await);
    w.file(a, "f", b"1").await;
    let lost = w.file(b, "g", b"2").await;
    w.cat.unlink(w.origin, b, &name("g"), w.now()).await.unwrap();
    let gone = mv(w, (w.root(), "a"), (w.root(), "b"), Replace).await.unwrap().unwrap();
    assert_eq!(gone.ino, b);
    assert_eq!(w.names(w.root()).await, ["b"]);
    assert_eq!(w.names(a).await, ["f"]);
    assert_eq!(w.stat(w.root()).await.nlink, 3);
    assert_eq!(w.artifact(lost.artifact.id).await.filename, b"b/g");
}
