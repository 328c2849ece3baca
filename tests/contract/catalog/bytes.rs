use bytes::Bytes;
use outputfs::artifact::Kind;
use outputfs::artifact::ids::MountId;
use outputfs::artifact::record::{BlobPlace, Chunks, StoreState};
use outputfs::catalog::{Commit, CommitError, Origin, Outcome, Payload, PendingCount};
use ulid::Ulid;

use super::world::{World, hash, kind};

fn with(x: Commit, bytes: Payload) -> Commit {
    Commit { bytes, ..x }
}

fn inline(text: &'static [u8]) -> Payload {
    Payload::Inline(Bytes::from_static(text))
}

fn staged(file: &str) -> Payload {
    Payload::Provisional { file: file.to_owned() }
}

async fn place(w: &World, content: &[u8]) -> Option<BlobPlace> {
    w.cat.blob(w.tenant.id, hash(content)).await.unwrap().map(|b| b.place)
}

pub async fn a_known_blob_must_be_there(w: &World) {
    let gone = w.try_commit(with(w.birth(w.root(), "a", b"1"), Payload::Known)).await;
    assert_eq!(gone.unwrap_err(), CommitError::BlobGone);
    assert!(w.lookup(w.root(), "a").await.is_none());
    let x = Commit { chunks: Chunks(vec![[7; 32], [8; 32]]), ..w.birth(w.root(), "a", b"1") };
    w.commit(with(x, inline(b"1"))).await;
    let blob = w.cat.blob(w.tenant.id, hash(b"1")).await.unwrap().unwrap();
    assert_eq!((blob.size, blob.chunks.0.len()), (1, 2));
    assert_eq!(blob.place, BlobPlace::Inline(Bytes::from_static(b"1")));
    assert_eq!(w.commit(with(w.birth(w.root(), "b", b"1"), Payload::Known)).await.outcome, Outcome::New);
    // Blobs belong to a tenant.
    let other = w.cat.tenant(&"other".parse().unwrap(), w.now()).await.unwrap();
    assert_eq!(w.cat.blob(other.id, hash(b"1")).await.unwrap(), None);
}

pub async fn a_provisional_blob_is_no_target(w: &World) {
    let made = w.commit(with(w.birth(w.root(), "a", b"1"), staged("9-1"))).await;
    assert_eq!(made.artifact.store, StoreState::Pending);
    let here = BlobPlace::Provisional { mount: w.origin.0, file: "9-1".into() };
    assert_eq!(place(w, b"1").await, Some(here));
    let known = w.try_commit(with(w.birth(w.root(), "b", b"1"), Payload::Known)).await;
    assert_eq!(known.unwrap_err(), CommitError::BlobGone);
    // A second place, then the bytes themselves: each is better than the one before.
    w.commit(with(w.birth(w.root(), "b", b"1"), staged("9-2"))).await;
    assert_eq!(w.cat.unsettled(Some(w.origin.0), 10).await.unwrap().len(), 2);
    w.commit(with(w.birth(w.root(), "c", b"1"), inline(b"1"))).await;
    assert_eq!(place(w, b"1").await, Some(BlobPlace::Inline(Bytes::from_static(b"1"))));
    w.commit(with(w.birth(w.root(), "d", b"1"), Payload::Stored)).await;
    assert_eq!(place(w, b"1").await, Some(BlobPlace::Stored));
    w.commit(with(w.birth(w.root(), "e", b"1"), staged("9-3"))).await;
    assert_eq!(place(w, b"1").await, Some(BlobPlace::Stored));
    assert_eq!(w.cat.unsettled(Some(w.origin.0), 10).await.unwrap().len(), 0);
}

pub async fn settling_ends_all_places(w: &World) {
    let a = w.commit(with(w.birth(w.root(), "a", b"1"), inline(b"1"))).await;
    let b = w.commit(with(w.birth(w.root(), "b", b"22"), inline(b"22"))).await;
    w.commit(with(w.birth(w.root(), "c", b"333"), staged("f"))).await;
    let todo = w.cat.unsettled(None, 10).await.unwrap();
    assert_eq!(todo.iter().map(|u| u.hash).collect::<Vec<_>>(), [hash(b"1"), hash(b"22")]);
    assert_eq!(todo[0].place, BlobPlace::Inline(Bytes::from_static(b"1")));
    assert_eq!(w.cat.unsettled(None, 1).await.unwrap().len(), 1);
    let mine = w.cat.unsettled(Some(w.origin.0), 10).await.unwrap();
    assert_eq!((mine.len(), mine[0].size, mine[0].hash), (1, 3, hash(b"333")));
    assert!(w.cat.unsettled(Some(MountId(Ulid::new())), 10).await.unwrap().is_empty());
    for content in [&b"1"[..], b"333"] {
        w.cat.settled(w.tenant.id, hash(content)).await.unwrap();
        assert_eq!(place(w, content).await, Some(BlobPlace::Stored));
    }
    assert_eq!(w.cat.store_state(a.artifact.id).await.unwrap(), Some(StoreState::Stored));
    assert_eq!(w.cat.store_state(b.artifact.id).await.unwrap(), Some(StoreState::Pending));
    assert_eq!(w.cat.store_state(super::world::artifact_id()).await.unwrap(), None);
    assert!(w.cat.unsettled(Some(w.origin.0), 10).await.unwrap().is_empty());
    assert_eq!(w.artifact(a.artifact.id).await.store, StoreState::Stored);
}

pub async fn the_last_copy_is_not_forgotten(w: &World) {
    let forget = |file: &'static str| w.cat.forget_provisional(w.tenant.id, hash(b"1"), w.origin.0, file);
    let made = w.commit(with(w.birth(w.root(), "a", b"1"), staged("f"))).await;
    assert_eq!(kind(forget("f").await), Kind::Busy);
    assert!(place(w, b"1").await.is_some());
    w.commit(with(w.birth(w.root(), "b", b"1"), staged("g"))).await;
    forget("f").await.unwrap();
    assert_eq!(kind(forget("g").await), Kind::Busy);
    w.cat.settled(w.tenant.id, hash(b"1")).await.unwrap();
    forget("g").await.unwrap();
    forget("never").await.unwrap();
    // A collapsed version's provisional blob ceases with it.
    let first = w.commit(with(w.rewrite(made.ino, b"tmp"), staged("h"))).await;
    let next = Commit { collapse: Some(first.artifact.id), ..w.rewrite(made.ino, b"final") };
    w.commit(with(next, staged("h"))).await;
    assert_eq!(place(w, b"tmp").await, None);
    w.cat.forget_provisional(w.tenant.id, hash(b"tmp"), w.origin.0, "h").await.unwrap();
}

pub async fn pending_counts_what_is_not_stored(w: &World) {
    let other = Origin(MountId(Ulid::new()));
    w.commit(with(w.birth(w.root(), "a", b"1"), inline(b"1"))).await;
    w.commit(with(w.birth(w.root(), "b", b"22"), staged("f"))).await;
    w.file(w.root(), "c", b"stored").await;
    w.cat.commit(other, with(w.birth(w.root(), "d", b"4444"), staged("f"))).await.unwrap();
    let count = |artifacts, bytes| PendingCount { artifacts, bytes };
    assert_eq!(w.cat.pending(None, None).await.unwrap(), count(3, 7));
    assert_eq!(w.cat.pending(Some(w.session.id), None).await.unwrap(), count(3, 7));
    assert_eq!(w.cat.pending(None, Some(w.origin.0)).await.unwrap(), count(1, 2));
    assert_eq!(w.cat.pending(Some(w.session.id), Some(other.0)).await.unwrap(), count(1, 4));
    let empty = w.session("empty").await;
    assert_eq!(w.cat.pending(Some(empty.id), None).await.unwrap(), count(0, 0));
}
