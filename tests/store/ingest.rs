//! Pushing, reading back, deduplication, settling.

use outputfs::artifact::Kind;
use outputfs::artifact::name::display_bytes;
use outputfs::artifact::query::Query;
use outputfs::artifact::record::StoreState;
use outputfs::catalog::Outcome;
use outputfs::engine::progress::Progress;
use outputfs::engine::push::PushSource;

use super::*;

const LARGE: usize = 9_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_is_there_and_read_back() {
    let world = World::new();
    let store = world.open().await;
    let small = push(&store, "run", "a/b/small.txt", b"hello").await;
    assert_eq!(display_bytes(&small.filename), "a/b/small.txt");
    assert_eq!((small.size, small.version, small.content_type.as_str()), (5, 1, "text/plain"));
    assert_eq!(small.provenance.door, "push");
    let file = world.path("large.bin");
    std::fs::write(&file, pattern(LARGE)).unwrap();
    let large = store.push(request("run", "large.bin", PushSource::File(file))).await.unwrap();
    assert!(large.holds_staging && !large.dedup);
    let large = large.committed.artifact;
    let stream = PushSource::Stream { reader: Box::new(std::io::Cursor::new(pattern(2_000_000))), size: None };
    let streamed = store.push(request("run", "streamed", stream)).await.unwrap().committed.artifact;
    let empty = push(&store, "run", "empty", b"").await;

    for (artifact, want) in
        [(&small, b"hello".to_vec()), (&large, pattern(LARGE)), (&streamed, pattern(2_000_000)), (&empty, Vec::new())]
    {
        assert!(bytes_of(&store, artifact).await == want, "{}", artifact.id);
    }
    assert_eq!(store.artifact("run/large.bin").await.unwrap().id, large.id);
    assert_eq!(store.artifact(&small.id.to_string()).await.unwrap().id, small.id);
    assert_eq!(store.find_all(Query { limit: 2, ..Query::all(store.tenant.id) }).await.unwrap().len(), 4);
    sound(&store).await;

    let to = world.path("out");
    std::fs::write(&to, "before").unwrap();
    store.pull_to_file(&large, &to, &Progress::none()).await.unwrap();
    assert!(std::fs::read(&to).unwrap() == pattern(LARGE));
    assert_eq!(std::fs::read_dir(world.dir.path()).unwrap().count(), 3, "state, large.bin, out: nothing half-written");

    // After closing, everything is in the store and the staging directory is gone.
    store.close().await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = world.light().await;
    assert!(store.state.mounts().unwrap().is_empty());
    assert_eq!(files_below(&store.state.blobs_dir()), 4);
    assert_eq!(store.status().await.unwrap().pending_artifacts, 0);
    assert!(bytes_of(&store, &store.artifact("run/large.bin").await.unwrap()).await == pattern(LARGE));
    assert!(store.recovery().is_none());
    sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn same_bytes_are_stored_once_and_same_path_makes_versions() {
    let world = World::new();
    let store = world.open().await;
    let first = try_push(&store, "run", "a", &pattern(50_000)).await.unwrap();
    let again = try_push(&store, "run", "a", &pattern(50_000)).await.unwrap();
    assert_eq!(again.committed.outcome, Outcome::Same);
    assert_eq!(again.committed.artifact.id, first.committed.artifact.id);
    let copy = try_push(&store, "other", "b", &pattern(50_000)).await.unwrap();
    assert!(copy.dedup && copy.committed.artifact.id != first.committed.artifact.id);
    let newer = push(&store, "run", "a", b"newer").await;
    assert_eq!(newer.version, 2);
    let session = store.session("run").await.unwrap();
    let versions: Vec<_> = store.versions(&session, b"a").await.unwrap().iter().map(|a| a.version).collect();
    assert_eq!(versions, [1, 2]);
    store.close().await.unwrap();
    assert_eq!(files_below(&store.state.blobs_dir()), 2);
    sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_places_are_refused_and_leave_nothing() {
    let world = World::new();
    let store = world.open().await;
    push(&store, "run", "dir/file", b"x").await;
    let large = pattern(LARGE);
    for (path, kind) in [
        (".ctl", Kind::Reserved),
        (".versions/x", Kind::Reserved),
        ("dir", Kind::IsADirectory),
        ("dir/file/x", Kind::NotADirectory),
        ("../x", Kind::Invalid),
        ("", Kind::Invalid),
    ] {
        let stream = PushSource::Stream { reader: Box::new(std::io::Cursor::new(large.clone())), size: None };
        let error = store.push(request("run", path, stream)).await.unwrap_err();
        assert_eq!(error.kind, kind, "{path}: {error}");
    }
    assert_eq!(files_below(&store.staging().unwrap()), 0);
    let missing = PushSource::File(world.path("missing"));
    assert!(store.push(request("run", "x", missing)).await.unwrap_err().message.contains("missing"));
    sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pushes_at_once_to_one_path_and_many() {
    let world = World::new();
    let store = world.open().await;
    let other = world.open().await;
    let jobs = (0..40).map(|i| {
        let store = if i % 2 == 0 { store.clone() } else { other.clone() };
        tokio::spawn(async move {
            let path = if i % 4 == 0 { String::from("d/same") } else { format!("d/e{}/f{i}", i % 3) };
            push(&store, "run", &path, format!("content {i}").as_bytes()).await
        })
    });
    for job in futures::future::join_all(jobs).await {
        job.unwrap();
    }
    let session = store.session("run").await.unwrap();
    let live = store.find_all(Query { session: Some(session.id), ..Query::all(store.tenant.id) }).await.unwrap();
    assert_eq!(live.len(), 31);
    assert_eq!(store.versions(&session, b"d/same").await.unwrap().len(), 10);
    sound(&store).await;
    store.close().await.unwrap();
    other.close().await.unwrap();
    sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settler_moves_bytes_in_the_background() {
    let world = World::new();
    let store = world.open().await;
    let settler = store.spawn_settler();
    let artifact = push(&store, "run", "a", b"inline").await;
    let large = PushSource::Stream { reader: Box::new(std::io::Cursor::new(pattern(LARGE))), size: None };
    let large = store.push(request("run", "b", large)).await.unwrap().committed.artifact;
    tokio::time::timeout(Duration::from_secs(20), async {
        for id in [artifact.id, large.id] {
            while store.catalog.store_state(id).await.unwrap() != Some(StoreState::Stored) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    })
    .await
    .unwrap();
    settler.stop().await;
    assert_eq!(files_below(&store.staging().unwrap()), 0);
    sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_and_restored() {
    let world = World::new();
    let store = world.light().await;
    let artifact = push(&store, "run", "d/a", b"one").await;
    store.rm("run/d/a").await.unwrap();
    assert_eq!(store.artifact("run/d/a").await.unwrap_err().kind, Kind::Deleted);
    assert_eq!(store.rm("run/d/a").await.unwrap_err().kind, Kind::Deleted);
    let session = store.session("run").await.unwrap();
    let back = store.restore(&session, b"d/a", None).await.unwrap();
    assert!(back.id != artifact.id && back.hash == artifact.hash);
    let two = push(&store, "run", "d/a", b"two").await;
    store.rm(&two.id.to_string()).await.unwrap();
    let first = store.restore(&session, b"d/a", Some(artifact.version)).await.unwrap();
    assert_eq!(first.hash, artifact.hash);
    assert_eq!(store.restore(&session, b"d/a", Some(99)).await.unwrap_err().kind, Kind::NotFound);
    sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_during_its_commit_takes_no_bytes_along() {
    let world = World::new();
    let store = world.open().await;
    let received = store.receive(&mut std::io::Cursor::new(pattern(3_000_000))).await.unwrap();
    let (hash, session, id) = (received.hash(), "run".parse().unwrap(), store.new_artifact_id());
    let labels = Labels::default();
    let mut keeping = Box::pin(store.keep(received, Some(&session), b"a.bin", &labels, id));
    loop {
        assert!(futures::poll!(keeping.as_mut()).is_pending(), "it was not cut off in time");
        // What it has asked the catalog for is done by then.
        store.catalog.sync().await.unwrap();
        if store.catalog.blob(store.tenant.id, hash).await.unwrap().is_some() {
            break;
        }
    }
    drop(keeping);
    let artifact = store.artifact("run/a.bin").await.unwrap();
    assert!(bytes_of(&store, &artifact).await == pattern(3_000_000));
    // Nor one later, when it was looked whether they are needed.
    store.close().await.unwrap();
    assert!(bytes_of(&store, &artifact).await == pattern(3_000_000));
    sound(&store).await;
}
