//! The same use cases with the bytes on a real S3 server.

use outputfs::artifact::Kind;
use outputfs::artifact::record::StoreState;
use outputfs::blob::BlobKey;
use outputfs::engine::options::Durability;
use outputfs::engine::progress::Progress;
use outputfs::engine::push::PushSource;
use outputfs::engine::settle::Scope;

use super::*;
use crate::support::s3_env;

fn world() -> World {
    let env = s3_env();
    let mut world = World::new();
    world.config.store = Some(format!("s3://{}/store-{}", env.bucket, ulid::Ulid::new()));
    world.config.endpoint = Some(env.endpoint);
    world.config.path_style = true;
    world.config.region = Some(env.region);
    world
}

fn large() -> PushSource {
    PushSource::Stream { reader: Box::new(std::io::Cursor::new(pattern(20_000_000))), size: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_means_stored_and_sealed_means_provable_from_the_bucket() {
    let world = world();
    let store = world.open().await;
    for (path, source) in [("small", PushSource::Bytes("small".into())), ("large", large())] {
        let done = store.push(request("run", path, source)).await.unwrap();
        assert!(!done.holds_staging);
        let artifact = done.committed.artifact;
        assert_eq!(store.blobs.head(&store.blob_key(artifact.hash)).await.unwrap(), Some(artifact.size));
    }
    assert_eq!(files_below(&store.staging().unwrap()), 0);
    assert!(store.push(request("run", "copy", large())).await.unwrap().dedup);
    let session = store.session("run").await.unwrap();
    store.seal(&session, Duration::from_secs(20), &Progress::none()).await.unwrap();
    assert!(store.blobs.head(&BlobKey::manifest("default", "run")).await.unwrap().is_some());
    let report = store.verify(&session, &Progress::none()).await.unwrap();
    assert!(report.is_ok() && report.bytes == 20_000_005, "{report:?}");
    sound(&store).await;
    store.close().await.unwrap();

    // A later command need not name the store again.
    let mut plain = StoreConfig::new(world.config.state_dir.clone()).unwrap();
    plain.options.upload_timeout = Duration::from_secs(10);
    let again = Store::open_light(&plain).await.unwrap();
    let artifact = again.artifact("run/large").await.unwrap();
    assert!(bytes_of(&again, &artifact).await == pattern(20_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn durable_locally_first_and_uploaded_after() {
    let mut world = world();
    world.config.options.durability = Durability::Local;
    let store = world.open().await;
    push(&store, "run", "small", b"small").await;
    let done = store.push(request("run", "large", large())).await.unwrap();
    assert!(done.holds_staging);
    let key = store.blob_key(done.committed.artifact.hash);
    assert_eq!(store.blobs.head(&key).await.unwrap(), None);
    assert_eq!(store.status().await.unwrap().pending_artifacts, 2);
    let left = store.settle_all(Scope::Own, Duration::from_secs(20), &Progress::none()).await.unwrap();
    assert_eq!(left.artifacts, 0);
    assert_eq!(store.blobs.head(&key).await.unwrap(), Some(20_000_000));
    assert_eq!(files_below(&store.staging().unwrap()), 0);
    sound(&store).await;

    // Uploaded by the next command when its owner died first.
    let medium = push(&store, "run", "medium", &pattern(10_000)).await;
    let other = PushSource::Stream { reader: Box::new(std::io::Cursor::new(pattern(3_000_000))), size: None };
    let other = store.push(request("run", "other", other)).await.unwrap().committed.artifact;
    drop(store);
    let store = world.light().await;
    assert_eq!(store.recovery().unwrap().owners, 1);
    assert_eq!(store.catalog.store_state(other.id).await.unwrap(), Some(StoreState::Stored));
    assert_eq!(bytes_of(&store, &medium).await, pattern(10_000));
    sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_store_fails_in_time_and_is_told_of() {
    let mut world = world();
    // Nobody listens there: refused at once, so that every try fails.
    world.config.endpoint = Some(String::from("http://127.0.0.1:9"));
    world.config.options.upload_timeout = Duration::from_secs(1);
    let store = world.open().await;
    let started = std::time::Instant::now();
    let error = try_push(&store, "run", "a", b"bytes").await.unwrap_err();
    assert_eq!(error.kind, Kind::StoreUnavailable, "{error}");
    assert!(started.elapsed() < Duration::from_secs(8));
    let status = store.status().await.unwrap();
    let failure = status.mounts[0].report.store_failure.as_ref().unwrap();
    assert!(failure.attempts >= 1 && !failure.message.is_empty());
    // The bytes are kept, in the record itself, and go to the store when it answers.
    let kept = store.artifact("run/a").await.unwrap();
    assert_eq!(store.catalog.store_state(kept.id).await.unwrap(), Some(StoreState::Pending));

    // Local durability takes bytes all the same; they wait, and sealing says why it cannot be done.
    let mut local = world.config.clone();
    local.options.durability = Durability::Local;
    let other = Store::open(&local).await.unwrap();
    push(&other, "run", "b", b"bytes").await;
    let session = other.session("run").await.unwrap();
    let error = other.seal(&session, Duration::from_secs(2), &Progress::none()).await.unwrap_err();
    assert_eq!(error.kind, Kind::StoreUnavailable, "{error}");
    assert!(other.session("run").await.unwrap().sealed.is_none());
    assert_eq!(other.status().await.unwrap().pending_artifacts, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collector_frees_a_bucket_and_ends_uploads_that_nobody_finishes() {
    use outputfs::engine::gc::Depth;
    let world = world();
    let store = world.open().await;
    let kept = push(&store, "run", "kept", &pattern(100_000)).await;
    let gone = push(&store, "run", "gone", &pattern(200_000)).await;
    store.settle_round(true).await.unwrap();
    store.rm("run/gone").await.unwrap();
    store.purge(&[gone.id]).await.unwrap();
    let bytes = pattern(5000);
    let hash = outputfs::staging::hash::hash_bytes(&bytes).hash;
    let body = outputfs::blob::Body::Bytes { bytes: bytes.into(), hash };
    store.blobs.put(&store.blob_key(hash), body).await.unwrap();
    // An upload in parts that nobody finishes, begun by another client than ours.
    let (env, key) = (s3_env(), store.blob_key(hash).0);
    let (bucket, prefix) = world.config.store.as_ref().unwrap()[5..].split_once('/').unwrap();
    let begin = "import boto3, sys
boto3.client('s3', endpoint_url=sys.argv[1]).create_multipart_upload(Bucket=sys.argv[2], Key=sys.argv[3])";
    let begun = std::process::Command::new("python3")
        .args(["-c", begin, &env.endpoint, bucket, &format!("{prefix}/{key}")])
        .env("AWS_ACCESS_KEY_ID", &env.access_key)
        .env("AWS_SECRET_ACCESS_KEY", &env.secret_key)
        .env("AWS_DEFAULT_REGION", &env.region)
        .output()
        .unwrap();
    assert!(begun.status.success(), "{}", String::from_utf8_lossy(&begun.stderr));
    let first = store.gc(Depth::Full).await.unwrap();
    assert_eq!((first.condemned, first.orphans, first.missing.len()), (1, 0, 0), "{first:?}");
    store.clock.advance(Duration::from_hours(25));
    let second = store.gc(Depth::Full).await.unwrap();
    assert_eq!((second.deleted, second.orphans, second.orphan_bytes, second.uploads), (1, 1, 5000, 1), "{second:?}");
    assert_eq!(store.blobs.head(&store.blob_key(gone.hash)).await.unwrap(), None);
    assert_eq!(store.blobs.head(&store.blob_key(hash)).await.unwrap(), None);
    assert_eq!(bytes_of(&store, &kept).await, pattern(100_000));
    sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_drops_cached_copies_that_nothing_needs() {
    let world = world();
    let store = world.open().await;
    let gone = push(&store, "run", "gone", &pattern(200_000)).await;
    let earlier = push(&store, "run", "twice", &pattern(210_000)).await;
    let later = push(&store, "run", "twice", &pattern(220_000)).await;
    let shared = push(&store, "run", "shared", &pattern(230_000)).await;
    let kept = push(&store, "run", "also/shared", &pattern(230_000)).await;
    assert_eq!(shared.hash, kept.hash);
    store.settle_round(true).await.unwrap();
    for artifact in [&gone, &earlier, &later, &shared] {
        bytes_of(&store, artifact).await;
        assert!(store.cache.open_file(artifact.hash).is_some(), "{} is cached once it was read", artifact.size);
    }
    for path in ["run/gone", "run/twice", "run/shared"] {
        store.rm(path).await.unwrap();
    }
    assert!(store.cache.open_file(gone.hash).is_some(), "what is in the trash can come back");
    let ended = store.purge(&[gone.id, later.id, shared.id]).await.unwrap();
    assert_eq!((ended.purged, ended.pruned), (3, 1));
    let cached = [&gone, &earlier, &later, &kept].map(|artifact| store.cache.open_file(artifact.hash).is_some());
    assert_eq!(cached, [false, false, false, true]);
    assert_eq!(bytes_of(&store, &kept).await, pattern(230_000));
    // The bytes themselves wait for the collector.
    assert_eq!(store.blobs.head(&store.blob_key(gone.hash)).await.unwrap(), Some(200_000));
    sound(&store).await;
}
