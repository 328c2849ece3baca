//! The engine's use cases on a real catalog and a real store, without a mount.

#[cfg(feature = "failpoints")]
mod crash;
mod gc;
#[cfg(feature = "failpoints")]
mod gc_crash;
mod ingest;
mod links;
mod recover;
mod s3;
mod seal;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outputfs::artifact::Result;
use outputfs::artifact::record::{Artifact, Labels};
use outputfs::engine::ingest::Ingested;
use outputfs::engine::options::StoreConfig;
use outputfs::engine::progress::Progress;
use outputfs::engine::push::{PushRequest, PushSource};
use outputfs::engine::store::Store;

/// Runs the test `child` in a process of its own, with fail points; whether they killed it.
#[cfg(feature = "failpoints")]
fn run_child(child: &str, (variable, state): (&str, &Path), points: &str) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let out = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", child, "--nocapture"])
        .env(variable, state)
        .env("FAILPOINTS", points)
        .output()
        .unwrap();
    let killed = out.status.signal() == Some(9);
    assert!(
        killed || out.status.success(),
        "{points}: {}\n{}{}",
        out.status,
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    killed
}

pub struct World {
    pub dir: tempfile::TempDir,
    pub config: StoreConfig,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = StoreConfig::new(dir.path().join("state")).unwrap();
        config.options.upload_timeout = Duration::from_secs(10);
        Self { dir, config }
    }

    pub async fn open(&self) -> Arc<Store> {
        Store::open(&self.config).await.unwrap()
    }

    pub async fn light(&self) -> Arc<Store> {
        Store::open_light(&self.config).await.unwrap()
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
}

pub fn request(session: &str, path: &str, source: PushSource) -> PushRequest {
    PushRequest {
        session: session.parse().unwrap(),
        path: path.as_bytes().to_vec(),
        source,
        labels: Labels::default(),
        mode: None,
        mtime: None,
        progress: Progress::none(),
    }
}

pub async fn try_push(store: &Store, session: &str, path: &str, bytes: &[u8]) -> Result<Ingested> {
    store.push(request(session, path, PushSource::Bytes(bytes.to_vec().into()))).await
}

pub async fn push(store: &Store, session: &str, path: &str, bytes: &[u8]) -> Artifact {
    try_push(store, session, path, bytes).await.unwrap().committed.artifact
}

pub async fn bytes_of(store: &Store, artifact: &Artifact) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    store.pull_to(artifact, &mut out, &Progress::none()).await.unwrap();
    out.into_inner()
}

/// Every invariant of the store, bytes included.
pub async fn sound(store: &Store) {
    let report = store.check(true, &Progress::none()).await.unwrap();
    assert!(report.is_ok(), "{:#?}", report.faults);
}

pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i * 31 + i / 251) % 256).unwrap()).collect()
}

pub fn files_below(dir: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    // A put that was killed leaves its half in the store's own temporary directory until that is a day old.
    let kept = entries.flatten().filter(|e| e.file_name() != ".tmp");
    kept.map(|e| if e.path().is_dir() { files_below(&e.path()) } else { 1 }).sum()
}
