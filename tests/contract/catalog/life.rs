use std::collections::BTreeSet;

use outputfs::artifact::Kind;
use outputfs::artifact::ids::Ino;
use outputfs::artifact::life::Bounds;
use outputfs::artifact::record::{Life, LinkTarget, NodeKind};
use outputfs::artifact::time::Timestamp;
use outputfs::catalog::upkeep::Doomed;
use outputfs::catalog::{ChangeKind, CommitError, Origin, Payload};

use super::world::{DAY, SECOND, World, artifact_id, hash, kind, name};

fn bounds(now: Timestamp) -> Bounds {
    Bounds { now, trashed: Timestamp(now.0 - 7 * DAY), versions: None }
}

/// Trash and expired alike.
fn all(now: Timestamp) -> Bounds {
    Bounds { now, trashed: now, versions: Some(now) }
}

async fn condemned(w: &World) -> Vec<Doomed> {
    let suspects = w.cat.suspects(w.tenant.id, 100).await.unwrap();
    w.cat.condemn(w.tenant.id, suspects, w.now()).await.unwrap()
}

pub async fn sweeping_ends_what_is_due_and_nothing_else(w: &World) {
    let dir = w.mkdir(w.root(), "d").await;
    let short = w.file(dir, "short", b"1").await;
    let linked_name = w.cat.link(w.origin, short.ino, w.root(), name("second"), w.number(), w.now()).await.unwrap();
    assert_eq!(linked_name.nlink, 2);
    let end = Timestamp(w.now().0 + DAY);
    w.cat.set_expiry(w.origin, short.artifact.id, Some(end)).await.unwrap();
    w.file(dir, "long", b"2").await;
    w.file(w.root(), "gone", b"3").await;
    w.cat.unlink_by(w.origin, w.root(), &name("gone"), Some("planner (rm, uid 7)".into()), w.now()).await.unwrap();
    let none = w.cat.sweep(w.tenant.id, bounds(w.now()), 100).await.unwrap();
    assert_eq!(none.total(), 0);
    w.advance(DAY);
    let expired = w.cat.expired_names(w.tenant.id, Timestamp(end.0 - 1), end, 10).await.unwrap();
    assert_eq!(expired.len(), 2, "one for each name");
    assert!(w.cat.expired_names(w.tenant.id, end, w.now(), 10).await.unwrap().is_empty());
    let seq = w.cat.last_change().await.unwrap();
    let b = bounds(w.now());
    let told = w.cat.survey(w.tenant.id, b).await.unwrap();
    let swept = w.cat.sweep(w.tenant.id, b, 100).await.unwrap();
    assert_eq!((swept.expired, swept.purged, swept.bytes), (1, 0, 1));
    assert_eq!((told.expired, told.purged, told.bytes), (1, 0, 1));
    // Every mount hears of both names.
    let heard = w.cat.changes(seq, Origin::NOBODY, std::time::Duration::ZERO).await.unwrap();
    assert!(heard.is_empty(), "nobody hears nobody");
    let heard = w.cat.changes(seq, w.origin, std::time::Duration::ZERO).await.unwrap();
    let names: BTreeSet<_> = heard
        .into_iter()
        .filter_map(|c| match c.kind {
            ChangeKind::Entry { name, .. } => Some(name.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(names, BTreeSet::from(["second".into(), "short".into()]));
    assert_eq!(w.names(dir).await, ["long"]);
    w.check().await;
    w.advance(7 * DAY);
    assert_eq!(w.cat.sweep(w.tenant.id, bounds(w.now()), 100).await.unwrap().purged, 1);
    assert_eq!(condemned(w).await.len(), 2);
}

pub async fn the_trash_knows_who_and_gives_back_under_another_name(w: &World) {
    let dir = w.mkdir(w.root(), "d").await;
    let made = w.file(dir, "a", b"old").await;
    w.cat.unlink_by(w.origin, dir, &name("a"), Some("rm, uid 7".into()), w.now()).await.unwrap();
    assert_eq!(w.artifact(made.artifact.id).await.deleted_by.as_deref(), Some("rm, uid 7"));
    let other = w.file(w.root(), "b", b"new").await;
    let fresh = (Ino(w.number()), w.number());
    let root = w.root();
    let b = name("b");
    let back = w.cat.restore_to(w.origin, made.artifact.id, (root, &b), artifact_id(), fresh, w.now()).await.unwrap();
    assert_eq!((back.filename.as_slice(), back.hash), (&b"b"[..], hash(b"old")));
    assert_ne!(back.ino, other.ino, "what stood there gives way, as to a rename");
    assert!(w.names(dir).await.is_empty());
    let again = w.cat.restore_to(w.origin, back.id, (root, &b), artifact_id(), fresh, w.now()).await;
    assert_eq!(kind(again), Kind::NotFound, "only what is in the trash");
    // Not into another session.
    let elsewhere = w.session("elsewhere").await;
    w.cat.unlink(w.origin, root, &b, w.now()).await.unwrap();
    let across = w.cat.restore_to(w.origin, back.id, (elsewhere.root, &b), artifact_id(), fresh, w.now()).await;
    assert_eq!(kind(across), Kind::CrossSession);
    assert_eq!(w.cat.purge(w.tenant.id, vec![back.id, other.artifact.id], w.now()).await.unwrap().purged, 1);
    assert_eq!(w.cat.artifact(w.tenant.id, back.id, w.now()).await.unwrap(), None);
}

pub async fn age_spares_what_is_linked_live_or_sealed(w: &World) {
    let made = w.file(w.root(), "f", b"1").await;
    let linked = w.commit(w.rewrite(made.ino, b"2")).await;
    w.commit(w.rewrite(made.ino, b"3")).await;
    let link = outputfs::artifact::record::Link {
        id: "lnk_x".into(),
        token_hash: hash(b"token"),
        tenant: w.tenant.id,
        target: LinkTarget::Artifact(linked.artifact.id),
        created: w.now(),
        expires: None,
        revoked: None,
    };
    w.cat.add_link(link).await.unwrap();
    assert_eq!(w.cat.sweep(w.tenant.id, all(w.now()), 100).await.unwrap().pruned, 1);
    assert_eq!(w.versions(w.root(), "f").await.len(), 2);
    w.cat.revoke(w.tenant.id, "lnk_x", w.now()).await.unwrap();
    w.cat.seal(w.origin, w.session.id, w.now()).await.unwrap();
    assert_eq!(w.cat.sweep(w.tenant.id, all(w.now()), 100).await.unwrap().total(), 0);
    assert_eq!(w.versions(w.root(), "f").await.len(), 2);
}

pub async fn condemned_blobs_are_rescued_by_every_kind_of_commit(w: &World) {
    for (n, payload) in [
        Payload::Known,
        Payload::Stored,
        Payload::Inline(b"same".to_vec().into()),
        Payload::Provisional { file: "f".into() },
    ]
    .into_iter()
    .enumerate()
    {
        let made = w.file(w.root(), "a", b"same").await;
        w.cat.unlink(w.origin, w.root(), &name("a"), w.now()).await.unwrap();
        w.cat.purge(w.tenant.id, vec![made.artifact.id], w.now()).await.unwrap();
        assert_eq!(condemned(w).await.len(), 1, "{n}");
        let garbage = w.cat.garbage(w.tenant.id, w.now()).await.unwrap();
        assert_eq!((garbage.condemned, garbage.due), (1, 1));
        let mut again = w.birth(w.root(), "b", b"same");
        again.bytes = payload;
        let again = w.commit(again).await;
        assert_eq!(w.cat.garbage(w.tenant.id, w.now()).await.unwrap().condemned, 0);
        assert!(w.cat.take_condemned(w.tenant.id, w.now(), 10, w.now()).await.unwrap().is_empty());
        assert_eq!(w.cat.pending(None, None).await.unwrap().artifacts, 0, "what is stored stays stored");
        w.cat.unlink(w.origin, w.root(), &name("b"), w.now()).await.unwrap();
        w.cat.purge(w.tenant.id, vec![again.artifact.id], w.now()).await.unwrap();
        w.check().await;
    }
}

pub async fn nobody_uses_a_blob_that_is_being_deleted(w: &World) {
    let made = w.file(w.root(), "a", b"same").await;
    w.cat.unlink(w.origin, w.root(), &name("a"), w.now()).await.unwrap();
    w.cat.purge(w.tenant.id, vec![made.artifact.id], w.now()).await.unwrap();
    condemned(w).await;
    let held = w.cat.hold(w.tenant.id, vec![hash(b"same")], w.now()).await.unwrap();
    assert_eq!(held, 1);
    let early = Timestamp(w.now().0 - 100 * SECOND);
    assert!(w.cat.take_condemned(w.tenant.id, early, 10, w.now()).await.unwrap().is_empty(), "in its grace period");
    let taken = w.cat.take_condemned(w.tenant.id, w.now(), 10, w.now()).await.unwrap();
    assert_eq!(taken, [Doomed { hash: hash(b"same"), size: 4 }]);
    assert_eq!(w.cat.deleting(w.tenant.id, None, 10).await.unwrap(), taken);
    for payload in [
        Payload::Known,
        Payload::Stored,
        Payload::Inline(b"same".to_vec().into()),
        Payload::Provisional { file: "f".into() },
    ] {
        let mut x = w.birth(w.root(), "b", b"same");
        x.bytes = payload;
        assert_eq!(w.try_commit(x).await.unwrap_err(), CommitError::BlobGone);
    }
    assert!(w.cat.deleting_since(w.tenant.id, hash(b"same")).await.unwrap().is_some());
    w.cat.settled(w.tenant.id, hash(b"same")).await.unwrap();
    assert!(
        w.cat.deleting_since(w.tenant.id, hash(b"same")).await.unwrap().is_some(),
        "a late settler changes nothing"
    );
    w.cat.forget_deleted(w.tenant.id, vec![hash(b"same")], w.now()).await.unwrap();
    assert_eq!(w.cat.blob(w.tenant.id, hash(b"same")).await.unwrap(), None);
    w.file(w.root(), "b", b"same").await;
    // Orphans: only what has no record is claimed, and then it is being deleted like any other.
    let orphan = Doomed { hash: hash(b"orphan"), size: 6 };
    assert!(!w.cat.claim_orphan(w.tenant.id, Doomed { hash: hash(b"same"), size: 4 }, w.now()).await.unwrap());
    assert_eq!(w.cat.unknown_blobs(w.tenant.id, vec![orphan.hash, hash(b"same")]).await.unwrap(), [orphan.hash]);
    assert!(w.cat.claim_orphan(w.tenant.id, orphan, w.now()).await.unwrap());
    let late = w.try_commit(w.birth(w.root(), "c", b"orphan")).await;
    assert_eq!(late.unwrap_err(), CommitError::BlobGone);
    w.cat.forget_deleted(w.tenant.id, vec![orphan.hash], w.now()).await.unwrap();
    // Whose upload began before the deletion uploads again.
    let late = outputfs::catalog::Commit { begun: 1, ..w.birth(w.root(), "c", b"orphan") };
    assert_eq!(w.try_commit(late).await.unwrap_err(), CommitError::BlobGone);
    let begun = w.cat.deletions().await.unwrap();
    assert_eq!(begun, 2);
    w.commit(outputfs::catalog::Commit { begun, ..w.birth(w.root(), "c", b"orphan") }).await;
}

pub async fn a_walk_over_all_blobs_finds_what_nothing_needs(w: &World) {
    let mut ids = Vec::new();
    for n in 0..20u8 {
        ids.push(w.file(w.root(), &format!("f{n}"), &[n]).await.artifact.id);
    }
    for n in (0..20u8).step_by(2) {
        w.cat.unlink(w.origin, w.root(), &name(&format!("f{n}")), w.now()).await.unwrap();
    }
    w.cat.purge(w.tenant.id, ids, w.now()).await.unwrap();
    let (mut after, mut found, mut pages) = (None, BTreeSet::new(), 0);
    loop {
        let page = w.cat.unneeded(w.tenant.id, after, 7).await.unwrap();
        found.extend(page.blobs.iter().map(|b| b.hash));
        pages += 1;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, 3);
    assert_eq!(found, (0..20u8).step_by(2).map(|n| hash(&[n])).collect());
    let page = w.cat.condemn(w.tenant.id, (0..20u8).map(|n| hash(&[n])).collect(), w.now()).await.unwrap();
    assert_eq!(page.len(), 10, "what is needed is not condemned");
    assert!(w.cat.suspects(w.tenant.id, 100).await.unwrap().is_empty());
    assert_eq!(
        w.cat
            .find(
                &outputfs::artifact::query::Query {
                    life: Life::Live,
                    ..outputfs::artifact::query::Query::all(w.tenant.id)
                },
                w.now()
            )
            .await
            .unwrap()
            .artifacts
            .len(),
        10
    );
}

pub async fn bytes_on_their_way_hold_a_sweep_up_and_dead_directories_go(w: &World) {
    let dir = w.mkdir(w.root(), "d").await;
    let deep = w.mkdir(dir, "e").await;
    let mut x = w.birth(deep, "f", b"bytes");
    x.bytes = Payload::Provisional { file: "f".into() };
    let made = w.commit(x).await;
    w.cat.unlink(w.origin, deep, &name("f"), w.now()).await.unwrap();
    w.cat.rmdir(w.origin, dir, &name("e"), w.now()).await.unwrap();
    w.cat.rmdir(w.origin, w.root(), &name("d"), w.now()).await.unwrap();
    assert_eq!(w.cat.sweep(w.tenant.id, all(w.now()), 100).await.unwrap().total(), 0);
    w.cat.settled(w.tenant.id, hash(b"bytes")).await.unwrap();
    assert_eq!(w.artifact(made.artifact.id).await.filename, b"d/e/f");
    assert_eq!(w.cat.sweep(w.tenant.id, all(w.now()), 100).await.unwrap().purged, 1);
    assert_eq!(w.cat.place(dir).await.unwrap(), None);
    assert_eq!(w.cat.artifact(w.tenant.id, made.artifact.id, w.now()).await.unwrap(), None);
    let _dir: NodeKind = w.stat(w.root()).await.kind;
}
