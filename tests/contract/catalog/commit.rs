use outputfs::artifact::Kind;
use outputfs::artifact::ids::{Ino, SessionId};
use outputfs::artifact::quota::Quota;
use outputfs::artifact::record::{Life, Link, LinkTarget, NodeKind, StoreState};
use outputfs::artifact::time::Timestamp;
use outputfs::catalog::{Commit, CommitError, Outcome};

use super::world::{DAY, World, artifact_id, commit_kind, hash, name};

pub async fn a_first_commit_makes_a_file(w: &World) {
    let x = w.birth(w.root(), "report.txt", b"hello");
    let done = w.commit(x.clone()).await;
    assert_eq!((done.outcome, done.ino), (Outcome::New, x.ino));
    let a = &done.artifact;
    assert_eq!((a.id, a.ino, a.version, a.size, a.hash), (x.id, x.ino, 1, 5, hash(b"hello")));
    assert_eq!((a.filename.as_slice(), a.content_type.as_str()), (&b"report.txt"[..], "text/plain"));
    assert_eq!((a.life, a.store, a.created, a.recovered), (Life::Live, StoreState::Stored, x.now, false));
    assert_eq!(a.expires, Some(Timestamp(x.now.0 + 30 * DAY)));
    assert_eq!(a.session_name.as_ref().unwrap().as_str(), "run");
    assert_eq!(*a, w.artifact(x.id).await);
    let node = w.lookup(w.root(), "report.txt").await.unwrap();
    assert_eq!((node.ino, node.kind, node.mode, node.nlink), (x.ino, NodeKind::File, 0o644, 1));
    assert_eq!((node.size, node.mtime, node.content), (5, x.mtime, Some((x.id, x.hash))));
    let other = w.cat.tenant(&"other".parse().unwrap(), w.now()).await.unwrap();
    assert_eq!(w.cat.artifact(other.id, x.id, w.now()).await.unwrap(), None);
}

pub async fn the_same_bytes_change_nothing(w: &World) {
    let made = w.file(w.root(), "a", b"x").await;
    let again = w.rewrite(made.ino, b"x");
    let mtime = again.mtime;
    let done = w.commit(again).await;
    assert_eq!((done.outcome, done.artifact.id, done.ino), (Outcome::Same, made.artifact.id, made.ino));
    assert_eq!(w.stat(made.ino).await.mtime, mtime);
    assert_eq!(w.versions(w.root(), "a").await.len(), 1);
    // Deleted bytes do not count.
    w.cat.unlink(w.origin, w.root(), &name("a"), w.now()).await.unwrap();
    let fresh = w.file(w.root(), "a", b"x").await;
    assert_eq!((fresh.outcome, fresh.artifact.version), (Outcome::New, 2));
    assert_ne!(fresh.artifact.id, made.artifact.id);
}

pub async fn other_bytes_are_a_new_version(w: &World) {
    let made = w.file(w.root(), "a", b"1").await;
    let second = w.commit(w.rewrite(made.ino, b"22")).await;
    assert_eq!((second.outcome, second.artifact.version, second.ino), (Outcome::New, 2, made.ino));
    let old = w.artifact(made.artifact.id).await;
    assert_eq!((old.life, old.version, old.filename.as_slice()), (Life::Superseded, 1, &b"a"[..]));
    let node = w.stat(made.ino).await;
    assert_eq!((node.size, node.content.unwrap().0), (2, second.artifact.id));
    assert!(w.cat.blob(w.tenant.id, hash(b"1")).await.unwrap().is_some());
}

pub async fn versions_of_one_handle_collapse(w: &World) {
    let made = w.file(w.root(), "a", b"1").await;
    let second = w.commit(w.rewrite(made.ino, b"2")).await;
    let third = Commit { collapse: Some(second.artifact.id), ..w.rewrite(made.ino, b"3") };
    let third = w.commit(third).await;
    assert_eq!((third.outcome, third.artifact.version), (Outcome::Collapsed, 2));
    assert_eq!(w.versions(w.root(), "a").await, [(1, made.artifact.id), (2, third.artifact.id)]);
    let gone = w.cat.artifact(w.tenant.id, second.artifact.id, w.now()).await.unwrap();
    assert_eq!(gone, None);
    // Two handles taking turns: each leaves its last.
    let other = w.commit(w.rewrite(made.ino, b"other")).await;
    let fourth = Commit { collapse: Some(third.artifact.id), ..w.rewrite(made.ino, b"4") };
    let fourth = w.commit(fourth).await;
    let left = [(1, made.artifact.id), (3, other.artifact.id), (4, fourth.artifact.id)];
    assert_eq!(w.versions(w.root(), "a").await, left);
}

pub async fn a_linked_version_does_not_collapse(w: &World) {
    let made = w.file(w.root(), "a", b"1").await;
    let link = Link {
        id: String::from("lnk_abcdefgh"),
        token_hash: hash(b"token"),
        tenant: w.tenant.id,
        target: LinkTarget::Artifact(made.artifact.id),
        created: w.now(),
        expires: None,
        revoked: None,
    };
    w.cat.add_link(link).await.unwrap();
    let second = w.commit(Commit { collapse: Some(made.artifact.id), ..w.rewrite(made.ino, b"2") }).await;
    assert_eq!((second.outcome, second.artifact.version), (Outcome::New, 2));
    assert_eq!(w.artifact(made.artifact.id).await.life, Life::Superseded);
}

pub async fn a_birth_onto_a_name_of_another_mount(w: &World) {
    let first = w.file(w.root(), "a", b"1").await;
    let second = w.file(w.root(), "a", b"2").await;
    assert_eq!((second.ino, second.outcome, second.artifact.version), (first.ino, Outcome::New, 2));
    let same = w.file(w.root(), "a", b"2").await;
    assert_eq!((same.ino, same.outcome, same.artifact.id), (first.ino, Outcome::Same, second.artifact.id));
    assert_eq!(w.names(w.root()).await, ["a"]);
}

pub async fn commits_to_impossible_places(w: &World) {
    let dir = w.mkdir(w.root(), "d").await;
    w.cat.make(w.origin, w.node(w.root(), "s", NodeKind::Symlink)).await.unwrap();
    assert_eq!(commit_kind(w.try_commit(w.birth(w.root(), "d", b"x")).await), Kind::IsADirectory);
    assert_eq!(commit_kind(w.try_commit(w.birth(w.root(), "s", b"x")).await), Kind::Exists);
    assert_eq!(commit_kind(w.try_commit(w.birth(w.root(), ".ctl", b"x")).await), Kind::Reserved);
    w.file(dir, ".ctl", b"x").await;
    assert_eq!(commit_kind(w.try_commit(w.birth(Ino(3), "x", b"x")).await), Kind::NotFound);
    let top = Commit { session: SessionId::NONE, ..w.birth(w.tenant.root, "x", b"x") };
    assert_eq!(commit_kind(w.try_commit(top).await), Kind::Reserved);
    let other = w.session("other").await;
    assert_eq!(commit_kind(w.try_commit(w.birth(other.root, "x", b"x")).await), Kind::CrossSession);
    // Nothing of a failed commit is left, not even its blob.
    assert_eq!(commit_kind(w.try_commit(w.birth(w.root(), "d", b"unseen")).await), Kind::IsADirectory);
    assert_eq!(w.cat.blob(w.tenant.id, hash(b"unseen")).await.unwrap(), None);
}

pub async fn a_deleted_file_cannot_be_committed(w: &World) {
    let made = w.file(w.root(), "a", b"1").await;
    w.cat.unlink(w.origin, w.root(), &name("a"), w.now()).await.unwrap();
    assert_eq!(commit_kind(w.try_commit(w.rewrite(made.ino, b"2")).await), Kind::NotFound);
}

pub async fn a_lost_answer_is_given_again(w: &World) {
    let x = w.birth(w.root(), "a", b"1");
    let first = w.commit(x.clone()).await;
    let again = w.commit(x).await;
    assert_eq!((again.ino, again.artifact), (first.ino, first.artifact));
    assert_eq!(w.names(w.root()).await, ["a"]);
}

fn keyed(mut x: Commit, key: &str) -> Commit {
    x.labels.idempotency_key = Some(key.to_owned());
    x
}

pub async fn idempotency_keys(w: &World) {
    let first = w.commit(keyed(w.birth(w.root(), "a", b"1"), "k")).await;
    assert_eq!(first.artifact.idempotency_key.as_deref(), Some("k"));
    let dir = w.mkdir(w.root(), "d").await;
    let second = w.commit(keyed(w.birth(dir, "b", b"1"), "k")).await;
    assert_eq!((second.outcome, second.artifact.id, second.ino), (Outcome::Idempotent, first.artifact.id, first.ino));
    let node = w.lookup(dir, "b").await.unwrap();
    assert_eq!((node.ino, node.nlink), (first.ino, 2));
    // The same file closed again under its own key.
    assert_eq!(w.commit(keyed(w.rewrite(first.ino, b"1"), "k")).await.outcome, Outcome::Same);
    // Other bytes, or another session: refused with the first one's name, nothing stored.
    let Err(CommitError::Failed(e)) = w.try_commit(keyed(w.birth(w.root(), "c", b"2"), "k")).await else {
        panic!("the key was taken")
    };
    assert_eq!(e.kind, Kind::Exists);
    assert!(e.message.contains(&first.artifact.id.to_string()), "{e}");
    let other = w.session("other").await;
    let elsewhere = Commit { session: other.id, ..keyed(w.birth(other.root, "a", b"1"), "k") };
    assert_eq!(commit_kind(w.try_commit(elsewhere).await), Kind::Exists);
    assert_eq!(w.names(w.root()).await, ["a", "d"]);
    assert_eq!(w.cat.blob(w.tenant.id, hash(b"2")).await.unwrap(), None);
    // A file that stood under the second name is an earlier version of it.
    let stood = w.file(w.root(), "e", b"stood").await;
    let taken = w.commit(keyed(w.rewrite(stood.ino, b"1"), "k")).await;
    assert_eq!((taken.outcome, taken.ino), (Outcome::Idempotent, first.ino));
    assert_eq!(w.artifact(stood.artifact.id).await.life, Life::Superseded);
    assert_eq!(w.lookup(w.root(), "e").await.unwrap().nlink, 3);
    // Versions of one handle are one operation.
    let one = w.commit(keyed(w.birth(w.root(), "h", b"one"), "h")).await;
    let two = Commit { collapse: Some(one.artifact.id), ..keyed(w.rewrite(one.ino, b"two"), "h") };
    assert_eq!(w.commit(two).await.outcome, Outcome::Collapsed);
    // After the window the key is free.
    w.advance(DAY);
    assert_eq!(w.commit(keyed(w.birth(w.root(), "c", b"2"), "k")).await.outcome, Outcome::New);
}

pub async fn quotas(w: &World) {
    w.quota(Quota { max_bytes: Some(10), max_artifacts: Some(3), max_file_bytes: Some(8), max_links: None }).await;
    assert_eq!(commit_kind(w.try_commit(w.birth(w.root(), "big", b"123456789")).await), Kind::FileTooLarge);
    let a = w.file(w.root(), "a", b"12345678").await;
    assert_eq!(commit_kind(w.try_commit(w.birth(w.root(), "b", b"123")).await), Kind::OverQuota);
    assert_eq!(w.names(w.root()).await, ["a"]);
    // What a version replaces makes room for it.
    w.commit(w.rewrite(a.ino, b"87654321")).await;
    w.commit(w.rewrite(a.ino, b"1")).await;
    w.file(w.root(), "b", b"2").await;
    w.file(w.root(), "c", b"3").await;
    assert_eq!(commit_kind(w.try_commit(w.birth(w.root(), "d", b"4")).await), Kind::OverQuota);
    w.cat.unlink(w.origin, w.root(), &name("c"), w.now()).await.unwrap();
    let short = {
        let mut x = w.birth(w.root(), "d", b"4");
        x.labels.ttl = Some(String::from("1h"));
        w.commit(x).await
    };
    // Expired ones need no room, swept or not.
    assert_eq!(commit_kind(w.try_commit(w.birth(w.root(), "e", b"5")).await), Kind::OverQuota);
    w.advance(DAY);
    assert_eq!(w.file(w.root(), "e", b"5").await.outcome, Outcome::New);
    assert_ne!(short.artifact.id, artifact_id());
    let usage = w.cat.usage(w.tenant.id, w.now()).await.unwrap();
    assert_eq!((usage.artifacts, usage.logical_bytes, usage.max_bytes, usage.max_artifacts), (3, 3, Some(10), Some(3)));
}

pub async fn expired_files_do_not_exist(w: &World) {
    let dir = w.mkdir(w.root(), "d").await;
    let mut x = w.birth(dir, "a", b"1");
    x.labels.ttl = Some(String::from("1h"));
    let made = w.commit(x).await;
    let expiry = made.artifact.expires.unwrap();
    let before = Timestamp(expiry.0 - 1);
    assert!(w.cat.lookup(dir, &name("a"), before).await.unwrap().is_some());
    assert!(w.cat.lookup(dir, &name("a"), expiry).await.unwrap().is_none());
    w.advance(DAY);
    assert_eq!(w.names(dir).await, Vec::<String>::new());
    assert_eq!(w.cat.node(made.ino, w.now()).await.unwrap(), None);
    assert_eq!(w.cat.artifact(w.tenant.id, made.artifact.id, w.now()).await.unwrap(), None);
    assert_eq!(w.versions(dir, "a").await, []);
    let unlink = w.cat.unlink(w.origin, dir, &name("a"), w.now()).await;
    assert_eq!(unlink.unwrap_err().kind, Kind::NotFound);
    // A new file takes the name, and is not the same as the old, whatever its bytes.
    let fresh = w.file(dir, "a", b"1").await;
    assert_eq!((fresh.outcome, fresh.artifact.version), (Outcome::New, 2));
    assert_ne!(fresh.ino, made.ino);
    // Nor is it when a handle of before writes them again.
    let mut x = w.birth(dir, "open", b"3");
    x.labels.ttl = Some(String::from("1h"));
    let open = w.commit(x).await;
    w.advance(DAY);
    let again = w.commit(w.rewrite(open.ino, b"3")).await;
    assert_eq!((again.outcome, again.artifact.version), (Outcome::New, 2));
    w.cat.unlink(w.origin, dir, &name("open"), w.now()).await.unwrap();
    // And a directory that holds only expired files is empty.
    let mut x = w.birth(dir, "b", b"2");
    x.labels.ttl = Some(String::from("1h"));
    w.commit(x).await;
    w.cat.unlink(w.origin, dir, &name("a"), w.now()).await.unwrap();
    w.advance(DAY);
    w.cat.rmdir(w.origin, w.root(), &name("d"), w.now()).await.unwrap();
}

pub async fn names_of_deleted_files_keep_counting(w: &World) {
    for version in 1..=3 {
        let made = w.file(w.root(), "a", b"x").await;
        assert_eq!(made.artifact.version, version);
        w.cat.unlink(w.origin, w.root(), &name("a"), w.now()).await.unwrap();
    }
}
