//! The contract of [`BlobStore`], on every store that there is.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use outputfs::artifact::error::Kind;
use outputfs::blob::local::LocalStore;
use outputfs::blob::{BlobKey, BlobStore, Body, PresignHeaders};

use crate::support::{blobs::Blob, s3};

/// Around each boundary: empty, a chunk, the largest single request, several parts with a short last one.
const SIZES: [usize; 8] = [0, 1, 4096, 4 << 20, (4 << 20) + 1, 8 << 20, (8 << 20) + 1, (20 << 20) + 12_345];

async fn get_all(store: &dyn BlobStore, key: &BlobKey) -> Vec<u8> {
    store.get(key, None).await.unwrap().to_vec()
}

async fn round_trips(store: &dyn BlobStore) {
    let dir = tempfile::tempdir().unwrap();
    for (seed, size) in SIZES.into_iter().enumerate() {
        let memory = Blob::random(size, seed as u64);
        let file = Blob::random(size, 100 + seed as u64);
        store.put(&memory.key(), memory.body()).await.unwrap();
        store.put(&file.key(), file.file(dir.path()).1).await.unwrap();
        for blob in [&memory, &file] {
            assert!(get_all(store, &blob.key()).await == blob.bytes, "{size} bytes came back otherwise");
            assert_eq!(store.head(&blob.key()).await.unwrap(), Some(size as u64));
        }
    }
}

async fn ranges_are_exact(store: &dyn BlobStore) {
    let blob = Blob::random(5 << 20, 7);
    store.put(&blob.key(), blob.body()).await.unwrap();
    let end = blob.size();
    for range in [0..1, 0..end, 1..4096, end - 1..end, 4_194_303..4_194_305, 17..17] {
        let want = &blob.bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        assert!(store.get(&blob.key(), Some(range.clone())).await.unwrap() == want, "{range:?}");
    }
    for beyond in [end - 1..end + 1, end..end + 1, end + 10..end + 20] {
        let error = store.get(&blob.key(), Some(beyond.clone())).await.unwrap_err();
        assert_eq!(error.kind, Kind::Corrupt, "{beyond:?}: {error}");
    }
}

async fn missing_keys(store: &dyn BlobStore) {
    let blob = Blob::random(10, 8);
    assert_eq!(store.get(&blob.key(), None).await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(store.get(&blob.key(), Some(0..5)).await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(store.head(&blob.key()).await.unwrap(), None);
    store.delete(&blob.key()).await.unwrap();
    store.put(&blob.key(), blob.body()).await.unwrap();
    store.delete(&blob.key()).await.unwrap();
    store.delete(&blob.key()).await.unwrap();
    assert_eq!(store.head(&blob.key()).await.unwrap(), None);
    assert_eq!(store.get(&blob.key(), None).await.unwrap_err().kind, Kind::NotFound);
}

async fn putting_again_is_no_error(store: &dyn BlobStore) {
    let blob = Blob::random(9 << 20, 9);
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        store.put(&blob.key(), blob.body()).await.unwrap();
        store.put(&blob.key(), blob.file(dir.path()).1).await.unwrap();
    }
    let key = blob.key();
    let many = (0..8).map(|_| store.put(&key, blob.body()));
    for done in futures::future::join_all(many).await {
        done.unwrap();
    }
    assert!(get_all(store, &blob.key()).await == blob.bytes);
}

async fn changed_files_are_refused(store: &dyn BlobStore) {
    let dir = tempfile::tempdir().unwrap();
    for (seed, size) in [100, 4 << 20, (8 << 20) + 5, 20 << 20].into_iter().enumerate() {
        for shorten in [false, true] {
            let blob = Blob::random(size, 20 + seed as u64 + 50 * u64::from(shorten));
            let (path, body) = blob.file(dir.path());
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            if shorten {
                file.set_len(blob.size() - 1).unwrap();
            } else {
                let last = blob.bytes[size - 1];
                file.write_all_at(&[last ^ 1], blob.size() - 1).unwrap();
            }
            let error = store.put(&blob.key(), body).await.unwrap_err();
            assert_eq!(error.kind, Kind::Corrupt, "{size}: {error}");
            assert_eq!(store.head(&blob.key()).await.unwrap(), None, "something of {size} bytes is visible");
        }
    }
    // A file that has grown is still the blob that was promised.
    let blob = Blob::random(9 << 20, 30);
    let (path, body) = blob.file(dir.path());
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"more", blob.size()).unwrap();
    store.put(&blob.key(), body).await.unwrap();
    assert!(get_all(store, &blob.key()).await == blob.bytes);
}

async fn what_grew_is_its_base_and_its_tail(store: &dyn BlobStore) {
    let mut whole = Vec::new();
    let mut base: Option<Blob> = None;
    // Above and off every boundary: parts, chunks.
    for (seed, more) in [5 << 20, 1, 1024, 3 << 20, (4 << 20) + 7].into_iter().enumerate() {
        let tail = Blob::random(more, 300 + seed as u64).bytes;
        whole.extend_from_slice(&tail);
        let blob = Blob::of(whole.clone());
        let Some(before) = base.replace(blob.clone()) else {
            store.put(&blob.key(), blob.body()).await.unwrap();
            continue;
        };
        let (hash, chunks) = (blob.hash, blob.chunks.clone());
        let body = Body::Grown { base: before.key(), base_size: before.size(), tail, hash, chunks };
        // Twice: a retry after a lost answer.
        for _ in 0..2 {
            store.put(&blob.key(), body.clone()).await.unwrap();
            assert!(get_all(store, &blob.key()).await == blob.bytes, "{} bytes came back otherwise", blob.size());
        }
    }
    let (gone, tail) = (Blob::random(6 << 20, 310), Blob::random(5, 311).bytes);
    let grown = Blob::of([gone.bytes.clone(), tail.clone()].concat());
    let (base, base_size) = (gone.key(), gone.size());
    let body = Body::Grown { base, base_size, tail, hash: grown.hash, chunks: grown.chunks.clone() };
    assert_eq!(store.put(&grown.key(), body).await.unwrap_err().kind, Kind::Unsupported);
    assert_eq!(store.head(&grown.key()).await.unwrap(), None);
}

async fn missing_digests_are_refused(store: &dyn BlobStore) {
    let dir = tempfile::tempdir().unwrap();
    let blob = Blob::random(9 << 20, 31);
    let Body::File { file, path, size, hash, .. } = blob.file(dir.path()).1 else { unreachable!() };
    let unproven = Body::File { file, path, size, hash, chunks: outputfs::artifact::record::Chunks::default() };
    assert!(store.put(&blob.key(), unproven).await.is_err());
    assert_eq!(store.head(&blob.key()).await.unwrap(), None);
}

async fn adopts_files(store: &dyn BlobStore) {
    let dir = tempfile::tempdir().unwrap();
    for (seed, size) in [0, 100, 9 << 20].into_iter().enumerate() {
        let blob = Blob::random(size, 40 + seed as u64);
        let (path, _) = blob.file(dir.path());
        store.adopt(&blob.key(), &path, blob.size(), blob.hash, &blob.chunks).await.unwrap();
        assert!(get_all(store, &blob.key()).await == blob.bytes);
        if store.is_local() {
            store.adopt(&blob.key(), &path, blob.size(), blob.hash, &blob.chunks).await.expect("safe to call again");
        }
    }
}

async fn lists_in_key_order_by_pages(store: &dyn BlobStore) {
    let blob = Blob::random(3, 50);
    // `-` sorts before `/`, `0` after it: a walk that sorts names without their slash gets these wrong.
    let mut keys: Vec<String> =
        ["l/a/x", "l/a-b", "l/a0", "l/a/y/z", "l/b", "la", "l/a/x0"].map(str::to_owned).to_vec();
    keys.extend((0..1100).map(|n| format!("many/{:02}/{n:04}", n % 7)));
    let puts = keys.iter().map(|key| async { store.put(&BlobKey(key.clone()), blob.body()).await.unwrap() });
    futures::StreamExt::collect::<Vec<_>>(futures::StreamExt::buffer_unordered(futures::stream::iter(puts), 16)).await;
    for prefix in ["l/", "l", "l/a", "many/", "many/03/", "none", ""] {
        let mut want: Vec<String> = keys.iter().filter(|k| k.starts_with(prefix)).cloned().collect();
        want.sort_unstable();
        let (mut got, mut after) = (Vec::new(), None);
        loop {
            let page = store.list(prefix, after.as_ref()).await.unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() <= 1000, "a page of {}", page.len());
            assert_eq!(page.iter().find(|o| o.size != 3), None, "under '{prefix}'");
            after = Some(last.key.clone());
            got.extend(page.into_iter().map(|o| o.key.0));
        }
        assert_eq!(got, want, "under '{prefix}'");
    }
    let after = store.list("l/", Some(&BlobKey("l/a/w".into()))).await.unwrap();
    assert_eq!(after[0].key.0, "l/a/x", "a key that does not exist is a place as well");
}

async fn presigned_urls_work_without_credentials(store: &dyn BlobStore) {
    let blob = Blob::random(5000, 60);
    store.put(&blob.key(), blob.body()).await.unwrap();
    let headers = PresignHeaders {
        content_type: Some("application/pdf".into()),
        content_disposition: Some("attachment; filename*=UTF-8''r%C3%A9sum%C3%A9.pdf".into()),
    };
    let url = store.presign_get(&blob.key(), Duration::from_mins(1), headers.clone()).await.unwrap();
    assert_eq!(url.is_none(), store.is_local());
    let Some(url) = url else { return };
    tokio::task::spawn_blocking(move || {
        let mut answer = ureq::get(&url).call().unwrap();
        let header = |name: &str| answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        assert_eq!(header("content-type"), headers.content_type);
        assert_eq!(header("content-disposition"), headers.content_disposition);
        assert!(answer.body_mut().read_to_vec().unwrap() == blob.bytes);
        let forged = url.replace("Signature=", "Signature=0");
        assert!(matches!(ureq::get(&forged).call(), Err(ureq::Error::StatusCode(400 | 403))));
    })
    .await
    .unwrap();
}

async fn examines_as_healthy(store: &dyn BlobStore) {
    for check in outputfs::blob::doctor::examine(store).await {
        assert!(check.ok, "{}: {}", check.name, check.detail);
    }
    assert_eq!(store.list("", None).await.unwrap(), [], "the examination left something behind");
}

/// The suite for one way to open a store; what it opens is dropped after the test.
macro_rules! suite {
    ($name:ident, $open:expr, [$($test:ident),* $(,)?]) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let (store, _keep) = $open.await;
                    super::$test(&*store).await;
                }
            )*
        }
    };
    ($name:ident, $open:expr) => {
        suite!($name, $open, [
            round_trips,
            ranges_are_exact,
            missing_keys,
            putting_again_is_no_error,
            changed_files_are_refused,
            missing_digests_are_refused,
            what_grew_is_its_base_and_its_tail,
            adopts_files,
            lists_in_key_order_by_pages,
            presigned_urls_work_without_credentials,
            examines_as_healthy,
        ]);
    };
}

fn open_local() -> (Arc<dyn BlobStore>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Arc::new(LocalStore::open(dir.path()).unwrap()), dir)
}

async fn open_s3() -> (Arc<dyn BlobStore>, ()) {
    (Arc::new(s3::store().await), ())
}

suite!(local, std::future::ready(super::open_local()));
suite!(s3_server, super::open_s3());

#[tokio::test]
async fn local_blobs_are_read_only_and_moved_not_copied() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(&dir.path().join("store")).unwrap();
    let put = Blob::random(10, 70);
    store.put(&put.key(), put.body()).await.unwrap();
    let adopted = Blob::random(10, 71);
    let (path, _) = adopted.file(dir.path());
    let inode = std::fs::metadata(&path).unwrap().ino();
    store.adopt(&adopted.key(), &path, adopted.size(), adopted.hash, &adopted.chunks).await.unwrap();
    assert!(!path.exists());
    for blob in [&put, &adopted] {
        let meta = std::fs::metadata(store.local_path(&blob.key()).unwrap()).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o400);
    }
    assert_eq!(std::fs::metadata(store.local_path(&adopted.key()).unwrap()).unwrap().ino(), inode);
    for bad in ["", "/etc/passwd", "../x", "a//b", "a/./b", ".tmp/x"] {
        assert_eq!(store.put(&BlobKey(bad.into()), put.body()).await.unwrap_err().kind, Kind::Invalid, "{bad}");
    }
    assert_eq!(std::fs::read_dir(dir.path().join("store/.tmp")).unwrap().count(), 0, "temporary files are left");
}
