//! kill -9 in the middle of commits: what was acknowledged is there, whole; nothing else is half there.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use outputfs::artifact::ids::{ArtifactId, Ino, MountId};
use outputfs::artifact::record::{BlobPlace, Chunks, Labels};
use outputfs::artifact::time::Timestamp;
use outputfs::catalog::sqlite::{SqliteCatalog, SqliteOptions};
use outputfs::catalog::{Artifacts as _, Blobs as _, Sessions as _, Tree as _};
use outputfs::catalog::{Birth, Commit, FileStat, Origin, Payload};
use ulid::Ulid;

use super::world::{START, hash, name};

const CHILD: &str = "OUTPUTFS_TEST_CATALOG_CHILD";
const NOW: Timestamp = Timestamp(START);

fn open(path: &Path) -> Arc<SqliteCatalog> {
    SqliteCatalog::open(path, SqliteOptions::default()).unwrap()
}

/// Not a test of its own: what the killed process runs. Prints the ID of each acknowledged commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let cat = open(Path::new(&path));
    let tenant = cat.tenant(&"default".parse().unwrap(), NOW).await.unwrap();
    let origin = Origin(MountId(Ulid::new()));
    let session = cat.ensure_session(origin, tenant.id, &"run".parse().unwrap(), 0, 0, NOW).await.unwrap();
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let cat = Arc::clone(&cat);
        let (tenant, session) = (tenant.id, session.clone());
        tasks.push(tokio::spawn(async move {
            loop {
                let first = cat.reserve(2).await.unwrap();
                let content = format!("content of {first}").into_bytes();
                let commit = Commit {
                    tenant,
                    session: session.id,
                    ino: Ino(first),
                    birth: Some(Birth {
                        parent: session.root,
                        name: name(&format!("f{first}")),
                        cookie: first + 1,
                        mode: 0o644,
                        uid: 0,
                        gid: 0,
                        replaces: false,
                    }),
                    id: ArtifactId(Ulid::new()),
                    collapse: None,
                    kept: false,
                    hash: hash(&content),
                    size: content.len() as u64,
                    chunks: Chunks::default(),
                    midstate: None,
                    bytes: Payload::Inline(content.into()),
                    begun: 0,
                    bytes_type: Some(String::from("text/plain")),
                    labels: Labels::default(),
                    attempt: None,
                    durable: true,
                    mtime: NOW,
                    stat: FileStat::default(),
                    now: NOW,
                };
                let done = cat.commit(origin, commit).await.unwrap();
                writeln!(std::io::stdout(), "acknowledged {}", done.artifact.id).unwrap();
            }
        }));
    }
    // Until killed, or until one of them fails.
    futures::future::select_all(tasks).await.0.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_nothing_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    let mut acknowledged = Vec::new();
    for round in 1..=3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["contract::catalog::crash::child", "--exact", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut fresh = 0;
        for line in lines {
            // libtest writes its own words before the first of ours.
            let line = line.unwrap();
            let Some((_, id)) = line.split_once("acknowledged ") else { continue };
            acknowledged.push(id.parse::<ArtifactId>().unwrap());
            fresh += 1;
            if fresh == 40 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(fresh >= 40 * round, "the child ended by itself");
        check(&path, &acknowledged).await;
    }
}

async fn check(path: &Path, acknowledged: &[ArtifactId]) {
    let cat = open(path);
    let tenant = cat.tenant(&"default".parse().unwrap(), NOW).await.unwrap();
    let session = cat.session(tenant.id, &"run".parse().unwrap()).await.unwrap().unwrap();
    for id in acknowledged {
        let a = cat.artifact(tenant.id, *id, NOW).await.unwrap();
        assert!(a.is_some(), "{id} was acknowledged and is gone");
    }
    let entries = cat.list(session.root, 0, 100_000, NOW).await.unwrap();
    assert!(entries.len() >= acknowledged.len());
    for entry in &entries {
        let (id, hash_of) = entry.node.content.unwrap();
        let a = cat.artifact(tenant.id, id, NOW).await.unwrap().unwrap();
        assert_eq!(a.filename, entry.name.as_bytes());
        let blob = cat.blob(tenant.id, hash_of).await.unwrap().unwrap();
        let BlobPlace::Inline(bytes) = blob.place else { panic!("{:?}", blob.place) };
        assert_eq!(hash(&bytes), hash_of);
    }
    let usage = cat.usage(tenant.id, NOW).await.unwrap();
    assert_eq!(usage.artifacts, entries.len() as u64);
    let first = cat.reserve(1).await.unwrap();
    assert!(entries.iter().all(|e| e.node.ino.0 < first && e.cookie < first));
}
