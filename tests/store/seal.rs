//! Sealing and verifying.

use outputfs::artifact::Kind;
use outputfs::blob::BlobKey;
use outputfs::engine::progress::Progress;
use outputfs::engine::push::PushSource;

use super::*;

const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_session_is_proven_and_takes_nothing_more() {
    let world = World::new();
    let store = world.open().await;
    push(&store, "run", "a", b"a").await;
    push(&store, "run", "b", b"a").await;
    let large = PushSource::Stream { reader: Box::new(std::io::Cursor::new(pattern(9_000_000))), size: None };
    store.push(request("run", "c", large)).await.unwrap();
    let session = store.session("run").await.unwrap();
    let before = store.verify(&session, &Progress::none()).await.unwrap();
    assert!(before.is_ok() && !before.sealed && before.artifacts == 3, "{before:?}");

    // Another process seals while ours still stages.
    let other = world.light().await;
    let manifest = other.seal(&session, SOON, &Progress::none()).await.unwrap();
    assert_eq!(manifest.artifacts.len(), 3);
    let again = store.seal(&session, SOON, &Progress::none()).await.unwrap();
    assert_eq!(again.digest, manifest.digest);
    assert_eq!(try_push(&store, "run", "d", b"d").await.unwrap_err().kind, Kind::Sealed);
    assert_eq!(store.rm("run/a").await.unwrap_err().kind, Kind::Sealed);

    let session = store.session("run").await.unwrap();
    let report = store.verify(&session, &Progress::none()).await.unwrap();
    assert!(report.is_ok() && report.sealed, "{report:?}");
    assert_eq!(report.bytes, 9_000_001);
    assert_eq!(report.digest, Some(manifest.digest.to_hex()));
    sound(&store).await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_bad_bytes_lost_bytes_and_another_manifest() {
    let world = World::new();
    let store = world.open().await;
    let bad = push(&store, "run", "bad", &pattern(100_000)).await;
    let lost = push(&store, "run", "lost", b"lost").await;
    push(&store, "run", "good", b"good").await;
    let session = store.session("run").await.unwrap();
    store.seal(&session, SOON, &Progress::none()).await.unwrap();

    let path = |key: &BlobKey| store.blobs.local_path(key).unwrap();
    let bad_path = path(&store.blob_key(bad.hash));
    let mut bytes = pattern(100_000);
    bytes[70_000] ^= 1;
    std::fs::remove_file(&bad_path).unwrap();
    std::fs::write(&bad_path, bytes).unwrap();
    std::fs::remove_file(path(&store.blob_key(lost.hash))).unwrap();
    let report = store.verify(&session, &Progress::none()).await.unwrap();
    let mut named: Vec<_> = report.faults.iter().filter_map(|f| f.filename.as_deref()).collect();
    named.sort_unstable();
    assert_eq!(named, ["bad", "lost"], "{report:?}");
    assert_eq!(store.check(true, &Progress::none()).await.unwrap().faults.len(), 2);
    assert_eq!(store.check(false, &Progress::none()).await.unwrap().faults.len(), 1, "sizes alone");

    // The manifest beside the blobs: missing, then made again by another seal.
    let manifest = path(&BlobKey::manifest("default", "run"));
    let kept = std::fs::read(&manifest).unwrap();
    std::fs::remove_file(&manifest).unwrap();
    let report = store.verify(&session, &Progress::none()).await.unwrap();
    assert_eq!(report.faults.iter().filter(|f| f.artifact_id.is_none()).count(), 1);
    store.seal(&session, SOON, &Progress::none()).await.unwrap();
    assert!(std::fs::read(&manifest).unwrap() == kept);
    std::fs::remove_file(&manifest).unwrap();
    std::fs::write(&manifest, String::from_utf8(kept).unwrap().replace("\"good\"", "\"evil\"")).unwrap();
    let report = store.verify(&session, &Progress::none()).await.unwrap();
    assert_eq!(report.faults.iter().filter(|f| f.artifact_id.is_none()).count(), 1, "{report:?}");
}
