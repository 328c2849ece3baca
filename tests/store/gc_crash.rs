//! `kill -9` at every named point of the collector: nothing needed is lost, the next sweep and the next commit go on.
//!
//! The work runs in a child: this very test binary, asked for [`child`] alone.

use outputfs::engine::gc::Depth;

use super::*;

const STATE: &str = "OUTPUTFS_GC_CRASH_STATE";
const GONE: [usize; 3] = [100_000, 100_001, 100_002];
const KEPT: usize = 100_010;

fn config(state: &str) -> StoreConfig {
    let mut config = StoreConfig::new(state).unwrap();
    config.options.keeping.blobs = Duration::ZERO;
    config.options.keeping.trash = Duration::ZERO;
    config
}

/// The child of the other test here: does nothing when it is run as a test of its own.
#[test]
fn child() {
    let Ok(state) = std::env::var(STATE) else { return };
    let _points = fail::FailScenario::setup();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open_light(&config(&state)).await.unwrap();
        // A day ahead: what lies about in the store is old.
        store.clock.advance(Duration::from_hours(25));
        store.gc(Depth::Full).await.unwrap();
    });
}

fn run(state: &Path, points: &str) -> bool {
    run_child("store::gc_crash::child", (STATE, state), points)
}

/// Three blobs that nothing needs, one that is needed, one object without a record.
async fn world() -> (World, std::sync::Arc<Store>) {
    let mut world = World::new();
    world.config = config(world.path("state").to_str().unwrap());
    let store = world.open().await;
    for size in GONE {
        push(&store, "run", &format!("f{size}"), &pattern(size)).await;
    }
    push(&store, "run", "kept", &pattern(KEPT)).await;
    store.settle_round(true).await.unwrap();
    for size in GONE {
        store.rm(&format!("run/f{size}")).await.unwrap();
    }
    let bytes = pattern(5000);
    let hash = outputfs::staging::hash::hash_bytes(&bytes).hash;
    store.blobs.put(&store.blob_key(hash), outputfs::blob::Body::Bytes { bytes: bytes.into(), hash }).await.unwrap();
    (world, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_the_collector_loses_nothing_and_leaves_nothing() {
    for point in [
        "gc::after_sweep",
        "gc::after_condemn",
        "gc::after_take",
        "gc::after_delete",
        "gc::after_forget",
        "gc::after_claim",
    ] {
        for then in ["sweep", "commit"] {
            let (world, store) = world().await;
            let state = world.config.state_dir.clone();
            assert!(run(&state, &format!("{point}=return")), "{point}: not passed");
            sound(&store).await;
            if then == "commit" {
                // The same bytes come again, in whatever state the dead collector left them.
                for size in GONE.into_iter().chain([5000]) {
                    let made = push(&store, "run", &format!("again{size}"), &pattern(size)).await;
                    assert_eq!(bytes_of(&store, &made).await, pattern(size), "{point}");
                }
                store.settle_round(true).await.unwrap();
                sound(&store).await;
            }
            assert!(!run(&state, ""), "{point}");
            sound(&store).await;
            let left = if then == "commit" { 5 } else { 1 };
            assert_eq!(files_below(&store.state.blobs_dir()), left, "{point}, then a {then}");
            let artifact = store.artifact("run/kept").await.unwrap();
            assert_eq!(bytes_of(&store, &artifact).await, pattern(KEPT));
        }
    }
}
