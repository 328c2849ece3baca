//! What a dead owner left is recovered: by dropping the store without closing it, its lock is free as after `kill -9`.

use std::os::unix::fs::FileExt;

use outputfs::artifact::ids::Ino;
use outputfs::artifact::query::Query;
use outputfs::artifact::record::{Labels, Life};
use outputfs::catalog::{Birth, FileStat};
use outputfs::engine::ingest::{CommitMeta, Source};
use outputfs::engine::push::PushSource;
use outputfs::staging::file::StagingFile;
use outputfs::staging::hash::hash_bytes;
use outputfs::staging::journal::{Journal, Record};

use super::*;

/// What a mount does: a staging file with its story in the journal.
pub(super) struct Writer {
    file: StagingFile,
    ino: Ino,
    birth: Birth,
    session: outputfs::artifact::ids::SessionId,
}

pub(super) async fn open_file(store: &Store, journal: &Journal, name: &str, bytes: &[u8]) -> Writer {
    let session = store.ensure_session(&"run".parse().unwrap()).await.unwrap();
    let first = store.catalog.reserve(2).await.unwrap();
    let ino = Ino(first);
    let file = StagingFile::create(&store.staging().unwrap(), &format!("{ino}-1")).unwrap();
    file.file.write_all_at(bytes, 0).unwrap();
    let name = outputfs::artifact::name::Name::new(name.as_bytes()).unwrap();
    let birth = Birth { parent: session.root, name, cookie: first + 1, mode: 0o600, uid: 0, gid: 0, replaces: false };
    journal
        .append(&Record::Open {
            file: file.name.clone(),
            ino,
            tenant: store.tenant.id.0,
            session: session.id.0,
            parent: birth.parent,
            name: birth.name.as_bytes().to_vec(),
            cookie: birth.cookie,
            mode: 0o600,
            uid: 0,
            gid: 0,
            in_catalog: false,
            labels: Box::new(Labels::default()),
        })
        .unwrap();
    Writer { file, ino, birth, session: session.id }
}

async fn commit(store: &Store, journal: &Journal, writer: &Writer, bytes: &[u8]) -> Artifact {
    let digest = hash_bytes(bytes);
    let meta = CommitMeta {
        session: writer.session,
        ino: writer.ino,
        birth: Some(writer.birth.clone()),
        id: store.new_artifact_id(),
        collapse: None,
        name: writer.birth.name.as_bytes().to_vec(),
        labels: Labels::default(),
        durable: true,
        mtime: store.clock.now(),
        stat: FileStat::default(),
        hashing: Duration::ZERO,
    };
    let source = Source::File { staging: writer.file.clone(), digest: digest.clone() };
    let done = store.ingest(source, meta).await.unwrap();
    journal
        .append(&Record::Committed { file: writer.file.name.clone(), size: digest.size, hash: digest.hash })
        .unwrap();
    done.committed.artifact
}

pub(super) fn journal(store: &Store) -> Journal {
    Journal::open(&store.mount_dir.as_ref().unwrap().journal_path()).unwrap().0
}

pub(super) async fn trash(store: &Store) -> Vec<Artifact> {
    store.find_all(Query { life: Life::Trashed, ..Query::all(store.tenant.id) }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pushed_bytes_of_a_dead_process_reach_the_store() {
    let world = World::new();
    let store = world.open().await;
    push(&store, "run", "small", b"small").await;
    let large = PushSource::Stream { reader: Box::new(std::io::Cursor::new(pattern(9_000_000))), size: None };
    let large = store.push(request("run", "large", large)).await.unwrap().committed.artifact;
    // A push that was killed before its commit.
    std::fs::write(store.staging().unwrap().join("push-half"), "half").unwrap();
    drop(store);

    let store = world.light().await;
    let recovery = store.recovery().unwrap();
    assert_eq!((recovery.owners, recovery.settled), (1, 1), "{recovery:?}");
    assert!(recovery.left.is_empty() && recovery.trashed.is_empty());
    assert!(store.state.mounts().unwrap().is_empty());
    assert!(bytes_of(&store, &large).await == pattern(9_000_000));
    sound(&store).await;
    drop(store);
    assert!(world.light().await.recovery().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_files_are_kept_and_open_ones_go_to_the_trash() {
    let world = World::new();
    let store = world.open().await;
    let told = journal(&store);
    let body = pattern(100_000);
    // Closed and committed, then more was written through another handle.
    let mut more = body.clone();
    more.extend(b"unsaved");
    let appended = open_file(&store, &told, "appended", &body).await;
    let first = commit(&store, &told, &appended, &body).await;
    appended.file.file.write_all_at(b"unsaved", body.len() as u64).unwrap();
    // Never closed; never written; closed without the store.
    open_file(&store, &told, "open", b"never closed").await;
    open_file(&store, &told, "untouched", b"").await;
    let failed = open_file(&store, &told, "failed", b"EIO at close").await;
    let digest = hash_bytes(b"EIO at close");
    let retry = Record::Retry {
        file: failed.file.name.clone(),
        size: digest.size,
        hash: digest.hash,
        labels: Box::new(Labels { agent_id: Some("me".into()), ..Labels::default() }),
    };
    told.append_durable(&retry).unwrap();
    drop((told, appended, failed, store));

    let store = world.light().await;
    let mut recovery = store.recovery().unwrap();
    recovery.trashed.sort();
    assert!(recovery.left.is_empty(), "{recovery:?}");
    assert_eq!(recovery.committed, ["failed"]);
    assert_eq!(recovery.trashed, ["appended", "open"]);
    assert!(store.state.mounts().unwrap().is_empty());
    let kept = store.artifact("run/appended").await.unwrap();
    assert_eq!(kept.id, first.id);
    assert!(bytes_of(&store, &kept).await == body);
    let made_up = store.artifact("run/failed").await.unwrap();
    assert_eq!(made_up.agent_id.as_deref(), Some("me"));
    assert_eq!(bytes_of(&store, &made_up).await, b"EIO at close");
    let trash = trash(&store).await;
    assert_eq!(trash.len(), 2);
    for artifact in &trash {
        assert!(artifact.recovered);
        let want = if artifact.filename == b"open" { b"never closed".to_vec() } else { more.clone() };
        assert!(bytes_of(&store, artifact).await == want);
    }
    assert!(store.artifact("run/open").await.is_err() && store.artifact("run/untouched").await.is_err());
    sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_living_owner_is_left_alone_and_two_recoveries_do_the_work_once() {
    let world = World::new();
    let living = world.open().await;
    let told = journal(&living);
    let _open = open_file(&living, &told, "mine", b"mine").await;
    let dead = world.open().await;
    let told = journal(&dead);
    for i in 0..20 {
        open_file(&dead, &told, &format!("f{i}"), format!("bytes {i}").as_bytes()).await;
    }
    drop((told, dead));
    let (a, b) = tokio::join!(world.light(), world.light());
    let trashed: usize = [&a, &b].iter().map(|s| s.recovery().map_or(0, |r| r.trashed.len())).sum();
    assert_eq!(trashed, 20);
    assert_eq!(trash(&a).await.len(), 20);
    assert_eq!(a.state.mounts().unwrap().len(), 1);
    sound(&a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leftovers_of_a_sealed_session_are_dropped_as_sealing_says() {
    let world = World::new();
    let store = world.open().await;
    let told = journal(&store);
    let writer = open_file(&store, &told, "late", b"too late").await;
    let session = store.session("run").await.unwrap();
    store.seal(&session, Duration::from_secs(5), &outputfs::engine::progress::Progress::none()).await.unwrap();
    drop((told, writer, store));
    let store = world.light().await;
    assert_eq!(store.recovery().unwrap().dropped, ["late"]);
    assert!(trash(&store).await.is_empty());
    assert!(store.state.mounts().unwrap().is_empty());
}
