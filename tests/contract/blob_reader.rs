//! Reading remote blobs through the cache, with a real S3 server behind a proxy.

use std::io::{Seek, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use outputfs::artifact::error::Kind;
use outputfs::blob::BlobStore;
use outputfs::blob::cache::BlobCache;
use outputfs::blob::reader::{Content, ContentReader};
use outputfs::blob::retry::Policy;
use outputfs::blob::s3::{S3Config, S3Store};

use crate::support::blobs::Blob;
use crate::support::proxy::{Fault, Proxy};
use crate::support::s3;

struct Setup {
    proxy: Proxy,
    store: Arc<dyn BlobStore>,
    cache: Arc<BlobCache>,
    dir: tempfile::TempDir,
}

impl Setup {
    async fn new() -> Self {
        let proxy = Proxy::start(&s3::endpoint()).await;
        let retry = Policy { deadline: Duration::from_secs(20) };
        let config = S3Config { endpoint: Some(proxy.url()), retry, ..s3::config() };
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(dir.path(), 1 << 30).unwrap();
        Self { proxy, store: Arc::new(S3Store::open(config).await), cache, dir }
    }

    async fn put(&self, blob: &Blob) {
        self.store.put(&blob.key(), blob.body()).await.unwrap();
        self.proxy.take_requests();
    }

    fn reader(&self, blob: &Blob) -> ContentReader {
        let content =
            Content { label: "art_1 f".into(), hash: blob.hash, size: blob.size(), chunks: blob.chunks.clone() };
        ContentReader::stored(content, blob.key(), &self.store, &self.cache).unwrap()
    }
}

async fn read_all(reader: &ContentReader, step: usize) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let piece = reader.read_at(all.len() as u64, step).await.unwrap();
        if piece.is_empty() {
            return all;
        }
        all.extend_from_slice(&piece);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_is_fetched_once_and_then_read_from_the_cache() {
    let setup = Setup::new().await;
    for (seed, (size, gets)) in [(0, 0), (1, 1), (5000, 1), (4 << 20, 1), ((21 << 20) + 5, 6)].into_iter().enumerate() {
        let blob = Blob::random(size, seed as u64);
        setup.put(&blob).await;
        let reader = setup.reader(&blob);
        assert!(read_all(&reader, 128 << 10).await == blob.bytes);
        assert!(read_all(&reader, 3 << 20).await == blob.bytes);
        let (file, path) = reader.as_file().await.unwrap();
        let mut copy = vec![0; size];
        file.read_exact_at(&mut copy, 0).unwrap();
        assert!(copy == blob.bytes && std::fs::read(path).unwrap() == blob.bytes);
        drop(reader);
        assert!(read_all(&setup.reader(&blob), 1 << 20).await == blob.bytes);
        let requests = setup.proxy.take_requests();
        assert_eq!(requests.len(), gets, "{size}: {requests:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_readers_share_one_get() {
    let setup = Setup::new().await;
    for (seed, size) in [5000, 9 << 20].into_iter().enumerate() {
        let blob = Blob::random(size, 10 + seed as u64);
        setup.put(&blob).await;
        setup.proxy.next([Fault::Hold]);
        let readers: Vec<_> = (0..20)
            .map(|n| {
                let (reader, blob) = (setup.reader(&blob), blob.clone());
                tokio::spawn(async move {
                    let got = reader.read_at(n * 100, 100).await.unwrap();
                    assert!(got == blob.bytes[usize::try_from(n).unwrap() * 100..][..100]);
                })
            })
            .collect();
        setup.proxy.arrived(1).await;
        setup.proxy.release(1);
        for reader in readers {
            reader.await.unwrap();
        }
        let first_chunk = |r: &String| !r.contains("bytes=");
        assert!(setup.proxy.take_requests().iter().filter(|r| first_chunk(r)).count() <= 2, "its chunk and the next");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequential_reader_has_four_chunks_in_flight_and_a_random_one_one() {
    let setup = Setup::new().await;
    let blob = Blob::random(60 << 20, 20);
    setup.put(&blob).await;
    let random = setup.reader(&blob);
    random.read_at(40 << 20, 100).await.unwrap();
    random.read_at(20 << 20, 100).await.unwrap();
    assert_eq!(setup.proxy.take_requests().len(), 2);
    drop(random);

    let reader = setup.reader(&blob);
    for chunk in 0..3_u64 {
        reader.read_at(chunk << 22, 100).await.unwrap();
    }
    setup.proxy.take_requests();
    // Everything not yet asked for is held back: what arrives now is in flight at one time.
    setup.proxy.always(Fault::Hold);
    let next = tokio::spawn(async move { read_all(&reader, 1 << 20).await });
    setup.proxy.arrived(4).await;
    setup.proxy.release(100);
    assert!(next.await.unwrap() == blob.bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_damaged_on_the_way_or_in_the_store_are_never_served() {
    let setup = Setup::new().await;
    for (seed, size) in [5000, 9 << 20].into_iter().enumerate() {
        let blob = Blob::random(size, 30 + seed as u64);
        setup.put(&blob).await;
        let reader = setup.reader(&blob);
        // The last chunk's, so that read-ahead has nothing to do.
        let at = blob.size() - 10;
        setup.proxy.next([Fault::Flip]);
        assert_eq!(reader.read_at(at, 5).await.unwrap_err().kind, Kind::Corrupt);
        drop(reader);
        let other = Blob::random(size, 40 + seed as u64);
        setup.store.put(&blob.key(), other.body()).await.unwrap();
        let reader = setup.reader(&blob);
        assert_eq!(reader.read_at(at, 5).await.unwrap_err().kind, Kind::Corrupt);
        assert_eq!(reader.as_file().await.err().unwrap().kind, Kind::Corrupt);
        assert_eq!(setup.cache.open_file(blob.hash).map(drop), None, "bad bytes were cached");
        setup.store.put(&blob.key(), Blob::random(size - 1, 9).body()).await.unwrap();
        assert_eq!(setup.reader(&blob).read_at(at, 5).await.unwrap_err().kind, Kind::Corrupt, "too short");
        setup.store.delete(&blob.key()).await.unwrap();
        assert_eq!(setup.reader(&blob).read_at(at, 5).await.unwrap_err().kind, Kind::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_cached_copy_is_dropped_and_fetched_again() {
    let setup = Setup::new().await;
    for (seed, size) in [5000, 9 << 20].into_iter().enumerate() {
        let blob = Blob::random(size, 50 + seed as u64);
        setup.put(&blob).await;
        setup.reader(&blob).as_file().await.unwrap();
        let (_, path) = setup.cache.open_file(blob.hash).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(std::io::SeekFrom::Start(100)).unwrap();
        file.write_all(&[!blob.bytes[100]]).unwrap();
        setup.proxy.take_requests();
        let reader = setup.reader(&blob);
        assert!(read_all(&reader, 1 << 20).await == blob.bytes);
        assert!(!setup.proxy.take_requests().is_empty());
        assert!(read_all(&setup.reader(&blob), 1 << 20).await == blob.bytes);
        assert!(setup.proxy.take_requests().is_empty(), "the new copy is kept");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_goes_on_without_a_cache_and_through_faults() {
    let setup = Setup::new().await;
    let blob = Blob::random(9 << 20, 60);
    setup.put(&blob).await;
    // Nothing can be made in it any more: stands for a full or read-only disk, for root too.
    std::fs::remove_dir_all(setup.dir.path().join("partial")).unwrap();
    let reader = setup.reader(&blob);
    setup.proxy.next([Fault::Refuse, Fault::Reset]);
    assert!(read_all(&reader, 2 << 20).await == blob.bytes);
    assert_eq!(reader.as_file().await.err().unwrap().kind, Kind::NoSpace);
}
