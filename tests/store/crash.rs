//! `kill -9` at every named point of the engine: what was acknowledged is there, whole, and nothing is left over.
//!
//! The work runs in a child: this very test binary, asked for [`child`] alone.

use std::io::Write;
use std::path::Path;

use outputfs::engine::progress::Progress;
use outputfs::engine::push::PushSource;
use outputfs::staging::hash::hash_bytes;

use super::*;

const STATE: &str = "OUTPUTFS_CRASH_STATE";

/// What the child pushes: inline, through staging, in a directory, and the same bytes twice.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("small", b"small".to_vec()),
        ("dir/large", pattern(2_500_000)),
        ("dir/again", pattern(2_500_000)),
        ("medium", pattern(100_000)),
    ]
}

/// The child of the other tests here: does nothing when it is run as a test of its own.
#[test]
fn child() {
    let Ok(state) = std::env::var(STATE) else { return };
    // Points are read from FAILPOINTS.
    let _points = fail::FailScenario::setup();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let config = StoreConfig::new(&state).unwrap();
        let mut acks = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(Path::new(&state).with_extension("acks"))
            .unwrap();
        let store = Store::open(&config).await.unwrap();
        for (path, bytes) in files() {
            let source = PushSource::Stream { reader: Box::new(std::io::Cursor::new(bytes)), size: None };
            let done = store.push(request("run", path, source)).await.unwrap();
            writeln!(acks, "{path} {}", done.committed.artifact.hash).unwrap();
        }
        store.settle_round(true).await.unwrap();
        let session = store.session("run").await.unwrap();
        store.seal(&session, Duration::from_secs(10), &Progress::none()).await.unwrap();
        writeln!(acks, "sealed -").unwrap();
        store.close().await.unwrap();
    });
}

/// Runs the child; whether it was killed.
fn run(state: &Path, points: &str) -> bool {
    run_child("store::crash::child", (STATE, state), points)
}

/// Everything acknowledged so far is there; nothing is broken or left over.
async fn proven(world: &World, point: &str) {
    let store = world.light().await;
    if let Some(recovery) = store.recovery() {
        assert!(recovery.left.is_empty() && recovery.trashed.is_empty(), "{point}: {recovery:?}");
    }
    assert!(store.state.mounts().unwrap().is_empty(), "{point}");
    sound(&store).await;
    let acks = std::fs::read_to_string(world.config.state_dir.with_extension("acks")).unwrap_or_default();
    for line in acks.lines() {
        let (path, hash) = line.split_once(' ').unwrap();
        if path == "sealed" {
            assert!(store.session("run").await.unwrap().sealed.is_some());
            continue;
        }
        let artifact = store.artifact(&format!("run/{path}")).await.unwrap();
        assert_eq!(artifact.hash.to_hex(), hash, "{point}: {path}");
        assert_eq!(hash_bytes(&bytes_of(&store, &artifact).await).hash, artifact.hash, "{point}: {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_nothing_acknowledged_is_lost() {
    for (point, nth) in [
        ("ingest::before_put", 1),
        ("ingest::after_put", 1),
        ("ingest::before_commit", 1),
        ("ingest::before_commit", 2),
        ("ingest::after_commit", 1),
        ("ingest::after_commit", 2),
        ("ingest::after_commit", 4),
        ("settle::before_adopt", 1),
        ("settle::after_adopt", 1),
        ("settle::after_adopt", 2),
        ("settle::after_mark", 1),
        ("settle::after_mark", 2),
        ("seal::before", 1),
        ("seal::after_commit", 1),
        ("seal::after_manifest", 1),
    ] {
        let world = World::new();
        let state = world.config.state_dir.clone();
        // Passed over `nth - 1` times first.
        let action = if nth == 1 { String::from("return") } else { format!("{}*off->return", nth - 1) };
        assert!(run(&state, &format!("{point}={action}")), "{point}: never passed {nth} times");
        proven(&world, point).await;
        let sealed = world.light().await.session("run").await.is_ok_and(|s| s.sealed.is_some());
        if !sealed {
            assert!(!run(&state, ""), "{point}");
            proven(&world, point).await;
        }
        let store = world.light().await;
        let session = store.session("run").await.unwrap();
        // A seal whose manifest was not stored any more is finished by sealing again.
        store.seal(&session, Duration::from_secs(10), &Progress::none()).await.unwrap();
        let report = store.verify(&session, &Progress::none()).await.unwrap();
        assert!(report.is_ok() && report.artifacts == 4, "{point}: {report:?}");
        assert_eq!(files_below(&store.state.blobs_dir()), 4, "{point}: three blobs and the manifest");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_recovering_the_next_one_finishes() {
    for point in ["recover::after_take", "settle::before_adopt", "settle::after_adopt", "settle::after_mark"] {
        let world = World::new();
        let state = world.config.state_dir.clone();
        assert!(run(&state, "ingest::after_commit=3*off->return"));
        assert!(run(&state, &format!("{point}=return")), "{point}: not passed while recovering");
        assert!(run(&state, &format!("{point}=return")) || point != "recover::after_take", "{point}");
        proven(&world, point).await;
        assert!(!run(&state, ""), "{point}");
        proven(&world, point).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_the_steps_of_a_story_nothing_comes_twice() {
    for point in ["recover::after_commit", "recover::after_done"] {
        for nth in [1, 2] {
            let world = World::new();
            let store = world.open().await;
            let told = super::recover::journal(&store);
            for name in ["one", "two", "three"] {
                super::recover::open_file(&store, &told, name, name.repeat(9000).as_bytes()).await;
            }
            drop((told, store));
            assert!(
                run(&world.config.state_dir, &format!("{point}={}return", if nth == 1 { "" } else { "1*off->" })),
                "{point}"
            );
            let store = world.light().await;
            let recovery = store.recovery().unwrap();
            // The first one, and the one that was killed recovering it.
            assert!(recovery.owners == 2 && recovery.left.is_empty(), "{point}: {recovery:?}");
            let mut names: Vec<_> = super::recover::trash(&store)
                .await
                .into_iter()
                .map(|a| String::from_utf8(a.filename).unwrap())
                .collect();
            names.sort();
            assert_eq!(names, ["one", "three", "two"], "{point}");
            sound(&store).await;
        }
    }
}
