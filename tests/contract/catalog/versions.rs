//! The window in which versions replace one another, and how many a path keeps. In this world the window is 5 s, a path
//! keeps 3, and every commit is a second later than the one before.

use outputfs::artifact::ids::{ArtifactId, Ino};
use outputfs::artifact::metadata::Provenance;
use outputfs::artifact::record::{Life, Link, LinkTarget};
use outputfs::artifact::time::Timestamp;
use outputfs::catalog::{Commit, Committed, Outcome, Payload, RenameMode};

use super::world::{DAY, SECOND, World, hash, name};

fn by(process: &str, uid: u32, mut x: Commit) -> Commit {
    x.labels.provenance =
        Provenance { process: Some(process.into()), uid: Some(uid), door: "mount".into(), ..Provenance::default() };
    x
}

async fn saved(w: &World, ino: Ino, bytes: &str) -> Committed {
    w.commit(by("/bin/sh", 1, w.rewrite(ino, bytes.as_bytes()))).await
}

/// Its first version, by `/bin/sh` of user 1.
async fn born(w: &World, text: &str) -> Committed {
    w.commit(by("/bin/sh", 1, w.birth(w.root(), text, b"first"))).await
}

async fn numbers(w: &World, text: &str) -> Vec<u64> {
    w.versions(w.root(), text).await.into_iter().map(|v| v.0).collect()
}

async fn is_there(w: &World, id: ArtifactId) -> bool {
    w.cat.artifact(w.tenant.id, id, w.now()).await.unwrap().is_some()
}

pub async fn one_writer_s_versions_within_the_window_are_one(w: &World) {
    let first = born(w, "log").await;
    let second = saved(w, first.ino, "second").await;
    assert_eq!((second.outcome, second.artifact.version), (Outcome::Collapsed, 1));
    assert_eq!(w.versions(w.root(), "log").await, [(1, second.artifact.id)]);
    assert!(!is_there(w, first.artifact.id).await);
    let node = w.lookup(w.root(), "log").await.unwrap();
    assert_eq!((node.size, node.content), (6, Some((second.artifact.id, hash(b"second")))));
    // Its bytes are in the store: garbage for the collector, and no artifact needs them.
    let needed = w.cat.needed_blobs(w.tenant.id, None, 100).await.unwrap();
    assert_eq!(needed.iter().map(|b| b.hash).collect::<Vec<_>>(), [hash(b"second")]);
}

pub async fn the_window_does_not_slide(w: &World) {
    let first = born(w, "log").await;
    // A second between two of them, for 11 s: windows of 5 s begin at the 1st, the 6th and the 11th.
    for n in 0..11 {
        saved(w, first.ino, &format!("line {n}")).await;
    }
    assert_eq!(numbers(w, "log").await, [1, 2, 3]);
    w.advance(DAY);
    saved(w, first.ino, "next day").await;
    assert_eq!(numbers(w, "log").await, [2, 3, 4]);
}

pub async fn another_writer_s_versions_stay(w: &World) {
    let first = born(w, "log").await;
    for (executable, uid, version) in [("/bin/dash", 1, 2), ("/bin/dash", 2, 3)] {
        let done = w.commit(by(executable, uid, w.rewrite(first.ino, format!("{version}").as_bytes()))).await;
        assert_eq!((done.outcome, done.artifact.version), (Outcome::New, version));
    }
    // Nobody knows who: nobody's.
    let unknown = w.commit(w.rewrite(first.ino, b"x")).await;
    assert_eq!((unknown.outcome, unknown.artifact.version), (Outcome::New, 4));
    let unknown = w.commit(w.rewrite(first.ino, b"y")).await;
    assert_eq!((unknown.outcome, unknown.artifact.version), (Outcome::New, 5));
    // Pushed twice is meant twice.
    let mut pushed = by("/bin/outputfs", 1, w.rewrite(first.ino, b"p"));
    pushed.labels.provenance.door = "push".into();
    w.commit(pushed.clone()).await;
    let again = Commit { labels: pushed.labels, ..w.rewrite(first.ino, b"q") };
    assert_eq!(w.commit(again).await.outcome, Outcome::New);
}

pub async fn what_somebody_was_told_of_is_not_replaced(w: &World) {
    let first = born(w, "log").await;
    assert_eq!(w.cat.pin(vec![first.artifact.id]).await.unwrap(), []);
    let second = saved(w, first.ino, "second").await;
    assert_eq!((second.outcome, second.artifact.version), (Outcome::New, 2));
    // Told too late: it is said that it is no more.
    let third = saved(w, first.ino, "third").await;
    assert_eq!(third.outcome, Outcome::Collapsed);
    assert_eq!(w.cat.pin(vec![third.artifact.id, second.artifact.id]).await.unwrap(), [second.artifact.id]);
    // Neither does one open file replace what it wrote before.
    let fourth = Commit { collapse: Some(third.artifact.id), ..by("/bin/sh", 1, w.rewrite(first.ino, b"4")) };
    let fourth = w.commit(fourth).await;
    assert_eq!((fourth.outcome, fourth.artifact.version), (Outcome::New, 3));
    // The same process with another label; the same run in another process.
    let mut labelled = by("/bin/sh", 1, w.rewrite(first.ino, b"5"));
    labelled.labels.env_agent_id = Some("a".into());
    assert_eq!(w.commit(labelled).await.outcome, Outcome::New);
    let of_run = |process: &str, text: &[u8]| {
        let mut x = by(process, 1, w.rewrite(first.ino, text));
        x.labels.provenance.run = Some("r".into());
        x
    };
    assert_eq!(w.commit(of_run("/bin/a", b"6")).await.outcome, Outcome::New);
    assert_eq!(w.commit(of_run("/bin/b", b"7")).await.outcome, Outcome::Collapsed);
}

pub async fn the_same_bytes_with_other_labels_are_the_same_artifact(w: &World) {
    let first = born(w, "log").await;
    let again = saved(w, first.ino, "first").await;
    assert_eq!((again.outcome, again.artifact.id), (Outcome::Same, first.artifact.id));
    let mut said = by("/bin/other", 1, w.rewrite(first.ino, b"first"));
    said.labels.explicit.set("stage", b"final").unwrap();
    said.labels.ttl = Some("1h".into());
    let done = w.commit(said.clone()).await;
    assert_eq!((done.outcome, done.artifact.id), (Outcome::Updated, first.artifact.id));
    assert_eq!(done.artifact.metadata.get("stage"), Some("final"));
    assert_eq!(done.artifact.expires, first.artifact.expires, "the later of the two");
    said.labels.ttl = Some("never".into());
    let done = w.commit(Commit { now: w.now(), ..said.clone() }).await;
    assert_eq!((done.outcome, done.artifact.expires), (Outcome::Updated, None));
    let done = w.commit(Commit { now: w.now(), ..said }).await;
    assert_eq!(done.outcome, Outcome::Same);
}

async fn link_to(w: &World, id: ArtifactId, link: &str, expires: Option<Timestamp>) {
    let target = LinkTarget::Artifact(id);
    let (token_hash, created) = (hash(link.as_bytes()), w.now());
    let link = Link { id: link.into(), token_hash, tenant: w.tenant.id, target, created, expires, revoked: None };
    w.cat.add_link(link).await.unwrap();
}

pub async fn what_is_held_on_to_is_not_replaced(w: &World) {
    let first = born(w, "log").await;
    link_to(w, first.artifact.id, "lnk_aaaaaaaa", None).await;
    let second = saved(w, first.ino, "second").await;
    assert_eq!((second.outcome, second.artifact.version), (Outcome::New, 2));
    assert_eq!(w.artifact(first.artifact.id).await.life, Life::Superseded);
    // A key names one operation.
    let mut keyed = by("/bin/sh", 1, w.rewrite(first.ino, b"third"));
    keyed.labels.idempotency_key = Some("k".into());
    assert_eq!(w.commit(keyed).await.outcome, Outcome::New);
    assert_eq!(saved(w, first.ino, "fourth").await.outcome, Outcome::New);
    // What was deleted meanwhile is not replaced: it can be restored.
    w.cat.unlink(w.origin, w.root(), &name("log"), w.now()).await.unwrap();
    let fresh = born(w, "log").await;
    assert_eq!((fresh.outcome, fresh.artifact.version), (Outcome::New, 5));
}

pub async fn freed_staging_files_are_told(w: &World) {
    let provisional = |file: &str, x: Commit| Commit { bytes: Payload::Provisional { file: file.into() }, ..x };
    let first = w.commit(provisional("a-1", by("/bin/sh", 1, w.birth(w.root(), "log", b"first")))).await;
    let second = w.commit(provisional("a-2", by("/bin/sh", 1, w.rewrite(first.ino, b"second")))).await;
    assert_eq!((second.outcome, second.freed), (Outcome::Collapsed, vec![String::from("a-1")]));
    assert_eq!(w.cat.blob(w.tenant.id, hash(b"first")).await.unwrap(), None);
    // The next lives in the same file: it is not free.
    let third = w.commit(provisional("a-2", by("/bin/sh", 1, w.rewrite(first.ino, b"second third")))).await;
    assert_eq!((third.outcome, third.freed), (Outcome::Collapsed, Vec::new()));
    // Another file's artifact has the same bytes.
    let twin = w.commit(provisional("b-1", w.birth(w.root(), "twin", b"second third"))).await;
    assert_eq!(twin.outcome, Outcome::New);
    let fourth = w.commit(by("/bin/sh", 1, w.rewrite(first.ino, b"4"))).await;
    assert_eq!((fourth.outcome, fourth.freed), (Outcome::Collapsed, Vec::new()));
}

pub async fn a_path_keeps_its_newest(w: &World) {
    let first = w.file(w.root(), "a", b"0").await;
    for n in 1..6 {
        w.commit(w.rewrite(first.ino, format!("{n}").as_bytes())).await;
        let numbers = numbers(w, "a").await;
        assert!(numbers.len() <= 3 && numbers.last() == Some(&(n + 1)), "{numbers:?}");
    }
    assert_eq!(numbers(w, "a").await, [4, 5, 6]);
    assert!(!is_there(w, first.artifact.id).await);
    // An earlier one comes back as the newest; the oldest goes for it.
    let (_, oldest) = w.versions(w.root(), "a").await[0];
    let fresh = (Ino(w.number()), w.number());
    let back = w.cat.restore(w.origin, oldest, super::world::artifact_id(), fresh, w.now()).await.unwrap();
    assert_eq!((back.version, back.hash), (7, hash(b"3")));
    assert_eq!(numbers(w, "a").await, [5, 6, 7]);
}

pub async fn pinned_versions_stay_besides(w: &World) {
    let first = w.file(w.root(), "a", b"0").await;
    link_to(w, first.artifact.id, "lnk_aaaaaaaa", None).await;
    let passing = w.commit(w.rewrite(first.ino, b"1")).await;
    let soon = Timestamp(w.now().0 + 2 * SECOND);
    link_to(w, passing.artifact.id, "lnk_bbbbbbbb", Some(soon)).await;
    let mut keyed = w.rewrite(first.ino, b"2");
    keyed.labels.idempotency_key = Some("k".into());
    w.commit(keyed).await;
    let pending = Commit { bytes: Payload::Provisional { file: "f-1".into() }, ..w.rewrite(first.ino, b"3") };
    w.commit(pending).await;
    for n in 4..9 {
        w.commit(w.rewrite(first.ino, format!("{n}").as_bytes())).await;
    }
    // Linked, keyed, not in the store yet; and the newest three.
    assert_eq!(numbers(w, "a").await, [1, 3, 4, 7, 8, 9]);
    // A day later nobody retries under the key, the link is revoked and the bytes are stored.
    w.advance(2 * DAY);
    w.cat.revoke(w.tenant.id, "lnk_aaaaaaaa", w.now()).await.unwrap();
    w.cat.settled(w.tenant.id, hash(b"3")).await.unwrap();
    w.commit(w.rewrite(first.ino, b"9")).await;
    assert_eq!(numbers(w, "a").await, [8, 9, 10]);
}

pub async fn a_rename_prunes_too(w: &World) {
    for n in 0..5 {
        w.file(w.root(), "a.new", format!("{n}").as_bytes()).await;
        let (from, to) = (name("a.new"), name("a"));
        let cookies = (w.number(), w.number());
        let ends = ((w.root(), &from), (w.root(), &to));
        w.cat.rename(w.origin, ends.0, ends.1, RenameMode::Replace, cookies, w.now()).await.unwrap();
    }
    assert_eq!(numbers(w, "a").await, [3, 4, 5]);
}

pub async fn a_kept_blob_is_shared(w: &World) {
    let first = w.file(w.root(), "a", b"0").await;
    w.file(w.root(), "twin", b"0").await;
    for n in 1..5 {
        w.commit(w.rewrite(first.ino, format!("{n}").as_bytes())).await;
    }
    assert!(!is_there(w, first.artifact.id).await);
    let blob = w.cat.blob(w.tenant.id, hash(b"0")).await.unwrap();
    assert!(blob.is_some(), "the twin needs it");
}
