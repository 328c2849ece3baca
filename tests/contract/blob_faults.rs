//! What the network and the server do to us: a real S3 server behind a proxy that fails on demand.

use std::time::{Duration, Instant};

use outputfs::artifact::error::Kind;
use outputfs::blob::retry::Policy;
use outputfs::blob::s3::{S3Config, S3Store};
use outputfs::blob::{BlobKey, BlobStore};

use crate::support::blobs::Blob;
use crate::support::proxy::{Fault, Proxy};
use crate::support::s3;

/// A store behind a proxy that gives up after `deadline`.
async fn behind_proxy(deadline: Duration) -> (Proxy, S3Store) {
    let proxy = Proxy::start(&s3::endpoint()).await;
    let config = S3Config { endpoint: Some(proxy.url()), retry: Policy { deadline }, ..s3::config() };
    (proxy, S3Store::open(config).await)
}

const LONG: Duration = Duration::from_secs(20);
/// Every fault that may pass by itself and answers at once.
const PASSING: [Fault; 4] = [Fault::Refuse, Fault::Reset, Fault::FailAfter, Fault::ResetAfter];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_put_is_one_request_and_so_is_a_read() {
    let (proxy, store) = behind_proxy(LONG).await;
    let blob = Blob::random(4096, 1);
    store.put(&blob.key(), blob.body()).await.unwrap();
    let requests = proxy.take_requests();
    assert!(requests.len() == 1 && requests[0].starts_with("PUT "), "{requests:?}");
    store.get(&blob.key(), Some(0..10)).await.unwrap();
    let requests = proxy.take_requests();
    assert!(requests.len() == 1 && requests[0].starts_with("GET "), "{requests:?}");
    let large = Blob::random(17 << 20, 2);
    store.put(&large.key(), large.body()).await.unwrap();
    let requests = proxy.take_requests();
    assert_eq!(requests.len(), 5, "create, three parts, complete: {requests:?}");
    assert!(requests.iter().all(|r| r.starts_with("PUT ") || r.starts_with("POST ")), "{requests:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passing_faults_are_survived_by_every_method() {
    let (proxy, store) = behind_proxy(LONG).await;
    for (seed, fault) in PASSING.into_iter().enumerate() {
        let blob = Blob::random(5000, 10 + seed as u64);
        proxy.next([fault, fault]);
        store.put(&blob.key(), blob.body()).await.unwrap();
        proxy.next([fault]);
        assert!(store.get(&blob.key(), None).await.unwrap() == blob.bytes);
        proxy.next([fault]);
        assert_eq!(store.head(&blob.key()).await.unwrap(), Some(5000));
        proxy.next([fault]);
        assert_eq!(store.list(&blob.key().0, None).await.unwrap().len(), 1);
        proxy.next([fault]);
        store.delete(&blob.key()).await.unwrap();
        assert_eq!(store.head(&blob.key()).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_in_parts_survives_a_fault_at_every_request() {
    let (proxy, store) = behind_proxy(LONG).await;
    let dir = tempfile::tempdir().unwrap();
    for (seed, fault) in PASSING.into_iter().enumerate() {
        let blob = Blob::random((9 << 20) + seed, 20 + seed as u64);
        // Create, two parts and complete: each fails once. A complete whose answer is lost may have to begin anew.
        proxy.next([fault, Fault::Pass, fault, fault, Fault::Pass, Fault::Pass, fault]);
        store.put(&blob.key(), blob.file(dir.path()).1).await.unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        let direct = store.get(&blob.key(), None).await.unwrap();
        assert!(direct == blob.bytes, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_ends_at_the_deadline() {
    let (proxy, store) = behind_proxy(Duration::from_secs(1)).await;
    let blob = Blob::random(4096, 30);
    proxy.always(Fault::BlackHole);
    let started = Instant::now();
    let put = store.put(&blob.key(), blob.body()).await.unwrap_err();
    let get = store.get(&blob.key(), Some(0..10)).await.unwrap_err();
    assert_eq!((put.kind, get.kind), (Kind::StoreUnavailable, Kind::StoreUnavailable), "{put} {get}");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    proxy.always(Fault::Pass);
    store.put(&blob.key(), blob.body()).await.expect("the store works again after it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_store_is_unavailable_after_the_deadline_and_a_dead_one_too() {
    let (proxy, store) = behind_proxy(Duration::from_secs(1)).await;
    let blob = Blob::random(4096, 31);
    proxy.always(Fault::Refuse);
    let error = store.put(&blob.key(), blob.body()).await.unwrap_err();
    assert_eq!(error.kind, Kind::StoreUnavailable);
    assert!(error.message.contains("503"), "{error}");
    assert!(proxy.take_requests().len() > 2, "it was tried again");
    drop(proxy);
    let error = store.put(&blob.key(), blob.body()).await.unwrap_err();
    assert_eq!(error.kind, Kind::StoreUnavailable, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_fails_is_abandoned() {
    let (proxy, store) = behind_proxy(LONG).await;
    let dir = tempfile::tempdir().unwrap();
    let blob = Blob::random(20 << 20, 40);
    let (path, body) = blob.file(dir.path());
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[blob.bytes[0] ^ 1], 0).unwrap();
    assert_eq!(store.put(&blob.key(), body).await.unwrap_err().kind, Kind::Corrupt);
    let deadline = Instant::now() + LONG;
    let mut seen = 1;
    loop {
        proxy.arrived(seen).await;
        let requests = proxy.take_requests();
        if requests.iter().any(|r| r.starts_with("DELETE ") && r.contains("uploadId=")) {
            break;
        }
        assert!(
            Instant::now() < deadline && !requests.iter().any(|r| r.starts_with("POST ") && r.contains("uploadId"))
        );
        seen = 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_will_not_pass_is_told_at_once_in_plain_words() {
    let missing = S3Store::open(S3Config { bucket: "no-such-bucket-here".into(), ..s3::config() }).await;
    let blob = Blob::random(100, 50);
    let started = Instant::now();
    for error in [
        missing.put(&blob.key(), blob.body()).await.unwrap_err(),
        missing.get(&blob.key(), None).await.unwrap_err(),
        missing.list("", None).await.unwrap_err(),
    ] {
        assert!(matches!(error.kind, Kind::NotFound | Kind::Forbidden), "{error}");
        assert!(error.message.contains("no-such-bucket-here"), "{error}");
    }
    let checks = outputfs::blob::doctor::examine(&missing).await;
    assert!(checks.len() == 1 && !checks[0].ok && checks[0].detail.contains("no-such-bucket-here"), "{checks:?}");
    assert!(started.elapsed() < Duration::from_secs(5), "it was tried again: {:?}", started.elapsed());
    let nobody = S3Config {
        endpoint: Some("http://127.0.0.1:9".into()),
        retry: Policy { deadline: Duration::from_millis(300) },
        ..s3::config()
    };
    let error = S3Store::open(nobody).await.put(&BlobKey("k".into()), blob.body()).await.unwrap_err();
    assert_eq!(error.kind, Kind::StoreUnavailable);
    assert!(error.message.contains("refused"), "{error}");
}
