//! Collection: what goes, what stays, and what happens to those who come in between.

use std::time::Duration;

use outputfs::artifact::ids::BlobHash;
use outputfs::artifact::record::{Life, LinkTarget};
use outputfs::artifact::time::Ttl;
use outputfs::engine::gc::{Depth, GcReport};
use outputfs::engine::links::Resolved;
use outputfs::staging::sweep_lock::SweepLock;

use super::*;

pub const DAY: Duration = Duration::from_hours(24);
/// Above what rides inline.
const LARGE: usize = 100_000;

pub fn has(store: &Store, hash: BlobHash) -> bool {
    store.blobs.local_path(&store.blob_key(hash)).unwrap().exists()
}

/// Everything in the store, nothing on its way.
async fn settled(store: &Store) {
    store.settle_round(true).await.unwrap();
    assert_eq!(store.catalog.pending(None, None).await.unwrap().artifacts, 0);
}

/// Sweeps, lets the grace period pass, sweeps.
async fn collect(store: &Store) -> GcReport {
    let first = store.gc(Depth::Full).await.unwrap();
    store.clock.advance(Duration::from_hours(2));
    let second = store.gc(Depth::Full).await.unwrap();
    GcReport {
        condemned: first.condemned,
        expired: first.expired,
        purged: first.purged,
        pruned: first.pruned,
        ..second
    }
}

/// A store in which the one blob was condemned two hours ago, and the artifact that it was of.
async fn condemned() -> (World, Arc<Store>, Artifact) {
    let world = World::new();
    let store = world.open().await;
    let first = push(&store, "run", "a", &pattern(LARGE)).await;
    settled(&store).await;
    store.rm("run/a").await.unwrap();
    store.purge(&[first.id]).await.unwrap();
    assert_eq!(store.gc(Depth::Usual).await.unwrap().condemned, 1);
    store.clock.advance(Duration::from_hours(2));
    (world, store, first)
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_bytes_leave_after_trash_and_grace_and_shared_ones_stay() {
    let world = World::new();
    let store = world.open().await;
    let gone = push(&store, "run", "gone", &pattern(LARGE)).await;
    let shared = push(&store, "run", "a", &pattern(LARGE + 1)).await;
    push(&store, "other", "b", &pattern(LARGE + 1)).await;
    settled(&store).await;
    store.rm("run/gone").await.unwrap();
    store.rm("run/a").await.unwrap();
    let report = collect(&store).await;
    assert_eq!((report.purged, report.condemned, report.deleted), (0, 0, 0), "the trash keeps its bytes: {report:?}");
    assert!(has(&store, gone.hash));
    store.clock.advance(7 * DAY);
    let dry = store.gc_dry_run().await.unwrap();
    assert_eq!((dry.purged, dry.condemned), (2, 0), "{dry:?}");
    let first = store.gc(Depth::Usual).await.unwrap();
    assert_eq!((first.purged, first.condemned, first.deleted, first.waiting), (2, 1, 0, 1), "{first:?}");
    assert!(has(&store, gone.hash), "condemned, in its grace period");
    store.clock.advance(Duration::from_hours(2));
    let second = store.gc(Depth::Usual).await.unwrap();
    assert_eq!((second.deleted, second.deleted_bytes, second.waiting), (1, LARGE as u64, 0), "{second:?}");
    assert!(!has(&store, gone.hash) && has(&store, shared.hash));
    sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_rescues_a_condemned_blob_without_an_upload() {
    let (_world, store, _) = condemned().await;
    let again = try_push(&store, "run", "b", &pattern(LARGE)).await.unwrap();
    assert!(again.dedup);
    let report = store.gc(Depth::Full).await.unwrap();
    assert_eq!((report.deleted, report.waiting), (0, 0), "{report:?}");
    assert_eq!(bytes_of(&store, &again.committed.artifact).await, pattern(LARGE));
    sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_meets_a_deletion_waits_for_it_and_uploads_again() {
    let (_world, store, first) = condemned().await;
    // A sweep that stands still in the middle of a deletion: its lock is held, its row says so, its bytes are there.
    let lock = SweepLock::try_take(&store.state, "default").unwrap().unwrap();
    let now = store.clock.now();
    let taken = store.catalog.take_condemned(store.tenant.id, now, 10, now).await.unwrap();
    assert_eq!(taken.len(), 1);
    let writer = {
        let store = store.clone();
        tokio::spawn(async move { try_push(&store, "run", "b", &pattern(LARGE)).await })
    };
    let waiting = tokio::time::timeout(Duration::from_millis(300), async {
        while !writer.is_finished() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(waiting.is_err(), "committed while its blob was being deleted");
    store.blobs.delete(&store.blob_key(first.hash)).await.unwrap();
    store.catalog.forget_deleted(store.tenant.id, vec![first.hash], now).await.unwrap();
    let again = writer.await.unwrap().unwrap();
    drop(lock);
    assert!(!again.dedup);
    settled(&store).await;
    assert!(has(&store, first.hash));
    sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_deleter_began_the_next_commit_finishes() {
    let (_world, store, _) = condemned().await;
    let now = store.clock.now();
    store.catalog.take_condemned(store.tenant.id, now, 10, now).await.unwrap();
    // Nobody holds the lock.
    let again = push(&store, "run", "b", &pattern(LARGE)).await;
    settled(&store).await;
    assert_eq!(bytes_of(&store, &again).await, pattern(LARGE));
    assert_eq!(store.gc(Depth::Full).await.unwrap().deleted, 0);
    sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_is_gone_at_that_second_and_swept_later_links_too() {
    let world = World::new();
    let store = world.open().await;
    let a = push(&store, "run", "dir/a", &pattern(LARGE)).await;
    settled(&store).await;
    let link = store.create_link(LinkTarget::Artifact(a.id), Some(Ttl::Never)).await.unwrap();
    let token = link.url.rsplit('/').next().unwrap().to_owned();
    assert_eq!(link.link.expires, a.expires, "a link does not outlive its artifact");
    let sooner = store.set_ttl("run/dir/a", "90m".parse().unwrap()).await.unwrap();
    let left = sooner.expires.unwrap().0 - store.clock.now().0;
    store.clock.advance(Duration::from_nanos(left.unsigned_abs()).saturating_sub(Duration::from_secs(5)));
    assert!(store.artifact("run/dir/a").await.is_ok());
    assert!(matches!(store.resolve_link(&token).await.unwrap(), Resolved::Artifact(..)));
    // Later after all, by the moment of its end.
    let end = outputfs::artifact::time::Timestamp(store.clock.now().0 + 3_600_000_000_000);
    store.set_ttl("run/dir/a", end.to_rfc3339().parse().unwrap()).await.unwrap();
    store.clock.advance(Duration::from_secs(10));
    assert!(store.artifact("run/dir/a").await.is_ok());
    store.clock.advance(Duration::from_hours(1));
    assert!(store.artifact("run/dir/a").await.is_err());
    assert!(store.artifact(&a.id.to_string()).await.is_err());
    assert!(matches!(store.resolve_link(&token).await.unwrap(), Resolved::Expired | Resolved::Gone(_)));
    assert!(store.restore_artifact(a.id).await.is_err());
    let report = collect(&store).await;
    assert_eq!((report.expired, report.deleted), (1, 1), "{report:?}");
    assert!(!has(&store, a.hash));
    assert!(
        matches!(store.resolve_link(&token).await.unwrap(), Resolved::Expired | Resolved::Gone(_)),
        "410, not 404, also after the sweep"
    );
    sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn age_prunes_versions_but_not_linked_or_sealed_ones() {
    let mut world = World::new();
    world.config.options.keeping.versions = Some(3 * DAY);
    let store = world.open().await;
    for session in ["free", "sealed"] {
        for n in 0..4 {
            push(&store, session, "f", &pattern(LARGE + n)).await;
        }
    }
    settled(&store).await;
    let free = store.session("free").await.unwrap();
    let pinned = store.versions(&free, b"f").await.unwrap().remove(1);
    store.create_link(LinkTarget::Artifact(pinned.id), Some("20d".parse().unwrap())).await.unwrap();
    let sealed = store.session("sealed").await.unwrap();
    store.seal(&sealed, Duration::from_secs(10), &Progress::none()).await.unwrap();
    store.clock.advance(4 * DAY);
    let report = collect(&store).await;
    assert_eq!(report.pruned, 2, "{report:?}");
    let left: Vec<u64> = store.versions(&free, b"f").await.unwrap().iter().map(|a| a.version).collect();
    assert_eq!(left, [2, 4]);
    assert_eq!(store.versions(&sealed, b"f").await.unwrap().len(), 4);
    // An old version comes back as a new one, with the old bytes and no upload.
    let before = files_below(&store.state.blobs_dir());
    let again = store.restore(&free, b"f", Some(2)).await.unwrap();
    assert_eq!((again.version, again.hash, again.life), (5, pinned.hash, Life::Live));
    assert_eq!(files_below(&store.state.blobs_dir()), before);
    sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_without_a_record_go_after_a_day_and_lost_ones_are_reported() {
    let world = World::new();
    let store = world.open().await;
    let kept = push(&store, "run", "a", &pattern(LARGE)).await;
    let lost = push(&store, "run", "b", &pattern(LARGE + 1)).await;
    settled(&store).await;
    let bytes = pattern(5000);
    let hash = outputfs::staging::hash::hash_bytes(&bytes).hash;
    let body = outputfs::blob::Body::Bytes { bytes: bytes.into(), hash };
    store.blobs.put(&store.blob_key(hash), body).await.unwrap();
    let young = store.gc(Depth::Full).await.unwrap();
    assert_eq!((young.orphans, young.missing.len()), (0, 0), "{young:?}");
    store.clock.advance(DAY + Duration::from_mins(1));
    store.blobs.delete(&store.blob_key(lost.hash)).await.unwrap();
    let dry = store.gc_dry_run().await.unwrap();
    assert_eq!((dry.orphans, dry.missing.as_slice()), (1, [lost.hash.to_hex()].as_slice()), "{dry:?}");
    assert!(has(&store, hash), "a dry run changes nothing");
    let report = store.gc(Depth::Full).await.unwrap();
    assert_eq!((report.orphans, report.orphan_bytes, report.missing_blobs), (1, 5000, 1), "{report:?}");
    assert!(!has(&store, hash) && has(&store, kept.hash));
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_directories_are_forgotten_with_their_last_artifact() {
    let world = World::new();
    let store = world.open().await;
    let a = push(&store, "run", "x/y/a", b"small").await;
    settled(&store).await;
    store.rm("run/x/y/a").await.unwrap();
    let back = store.restore_artifact(a.id).await.unwrap();
    assert_eq!(back.filename, b"x/y/a");
    store.rm("run/x/y/a").await.unwrap();
    let listed = store.trash(None).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(store.purge(&[back.id, a.id]).await.unwrap().purged, 1);
    assert!(store.trash(None).await.unwrap().is_empty());
    sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_race_the_collector() {
    let rounds = if std::env::var_os("OUTPUTFS_TEST_QUICK").is_some() { 15 } else { 60 };
    let mut world = World::new();
    world.config.options.keeping.blobs = Duration::ZERO;
    world.config.options.keeping.trash = Duration::ZERO;
    let stores = [world.open().await, world.open().await, world.open().await];
    let mut tasks = Vec::new();
    for (n, store) in stores.iter().cloned().enumerate() {
        tasks.push(tokio::spawn(async move {
            for round in 0..rounds {
                // Few contents, so that each is deleted and made again by all.
                let (name, content) = (format!("f{n}"), pattern(LARGE + (round + n) % 3));
                let artifact = push(&store, "run", &name, &content).await;
                assert_eq!(bytes_of(&store, &artifact).await, content, "round {round} of writer {n}");
                store.settle_round(true).await.unwrap();
                store.rm(&format!("run/{name}")).await.unwrap();
            }
        }));
    }
    let (stop, store) = (std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)), stores[0].clone());
    let stopped = stop.clone();
    let collector = tokio::spawn(async move {
        let mut deleted = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            deleted += store.gc(Depth::Usual).await.unwrap().deleted;
        }
        deleted
    });
    for task in tasks {
        task.await.unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let deleted = collector.await.unwrap();
    assert!(deleted > 0, "the race never met");
    sound(&stores[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_version_replaced_leaves_within_a_minute_but_not_under_a_reader() {
    let world = World::new();
    let store = world.open().await;
    let mut versions = Vec::new();
    for n in 0..3 {
        let mut log = request("run", "log", PushSource::Bytes(pattern(LARGE + n).into()));
        let writer = &mut log.labels.provenance;
        (writer.door, writer.process, writer.uid) = ("mount".into(), Some("p".into()), Some(0));
        versions.push(store.push(log).await.unwrap().committed.artifact);
        settled(&store).await;
    }
    let [first, second, last] = &versions[..] else { panic!() };
    assert_eq!(last.version, 1, "they replaced each other");
    let kept = || [first, second, last].map(|a| has(&store, a.hash));
    store.release_replaced().await.unwrap();
    // The first is open; as the version is gone, by what was known of it.
    let reader = store.stream(first).await.unwrap();
    assert_eq!(kept(), [true, true, true]);
    store.clock.advance(Duration::from_secs(50));
    store.release_replaced().await.unwrap();
    store.hold_streams().await.unwrap();
    assert_eq!(kept(), [true, true, true]);
    store.clock.advance(Duration::from_secs(15));
    store.release_replaced().await.unwrap();
    assert_eq!(kept(), [true, false, true]);
    // What was deleted by people waits as ever.
    push(&store, "run", "other", &pattern(LARGE + 9)).await;
    settled(&store).await;
    let other = store.rm("run/other").await.unwrap();
    store.purge(&[other.id]).await.unwrap();
    store.release_replaced().await.unwrap();
    store.clock.advance(Duration::from_mins(10));
    store.release_replaced().await.unwrap();
    assert!(has(&store, other.hash));
    drop(reader);
    store.clock.advance(Duration::from_hours(2));
    let report = store.gc(Depth::Usual).await.unwrap();
    store.clock.advance(Duration::from_hours(2));
    assert_eq!(report.deleted + store.gc(Depth::Usual).await.unwrap().deleted, 2);
    assert_eq!(kept(), [false, false, true]);
    sound(&store).await;
}

/// A check reads its list of blobs first: what nothing needs any more when it comes to a blob is no fault.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_beside_the_collector_tells_of_no_blob_that_nothing_needs() {
    let world = World::new();
    let store = world.open().await;
    for n in 0..60 {
        push(&store, "run", &format!("f{n}"), &pattern(LARGE + n)).await;
    }
    settled(&store).await;
    let (ended, beside) = (Arc::new(std::sync::Once::new()), store.clone());
    let once = ended.clone();
    let progress = Progress::new(move |_| {
        let end_all = async {
            for n in 0..60 {
                beside.rm(&format!("run/f{n}")).await.unwrap();
            }
            beside.clock.advance(7 * DAY);
            beside.gc(Depth::Usual).await.unwrap();
            beside.clock.advance(Duration::from_hours(2));
            assert_eq!(beside.gc(Depth::Usual).await.unwrap().deleted, 60);
        };
        once.call_once(|| tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(end_all)));
    });
    let report = store.check(true, &progress).await.unwrap();
    assert!(ended.is_completed() && report.is_ok(), "{report:?}");
    // One that an artifact needs is told of all the same.
    let kept = push(&store, "run", "kept", &pattern(LARGE)).await;
    settled(&store).await;
    store.blobs.delete(&store.blob_key(kept.hash)).await.unwrap();
    assert_eq!(store.check(false, &Progress::none()).await.unwrap().faults.len(), 1);
}
