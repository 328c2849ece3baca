//! kill -9 of the daemon, at named points and at random moments: every acknowledged close is there, whole, by its hash.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::support::{MountOptions, Store, TestMount, sh};

/// What `close` said of each file: the hash of its bytes, if it returned 0.
type Acked = HashMap<String, String>;

fn content(name: &str, size: usize) -> Vec<u8> {
    name.bytes().cycle().take(size.max(1)).collect()
}

/// Writes, closes, renames and overwrites until the mount dies or `rounds` are done.
fn load(dir: &Path, worker: &str, rounds: usize, stop: &AtomicBool, answered: &AtomicUsize) -> Acked {
    let mut acked = Acked::new();
    for i in 0..rounds {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // Small ones ride in the catalog, larger ones in staging files.
        let size = [10, 5000, 40_000, 300_000][i % 4];
        let name = format!("{worker}_{}", i % 37);
        let bytes = content(&format!("{name}-{i}-"), size);
        let file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(dir.join(&name));
        let Ok(mut file) = file else { break };
        // From here on the old bytes may be gone: only a close that returns 0 vouches again.
        let before = acked.remove(&name);
        if file.write_all(&bytes).is_err() {
            break;
        }
        if close(file).is_err() {
            break;
        }
        drop(before);
        answered.fetch_add(1, Ordering::Relaxed);
        acked.insert(name, hex::encode(Sha256::digest(&bytes)));
    }
    acked
}

/// `close(2)` with its answer.
fn close(file: std::fs::File) -> Result<(), i32> {
    use std::os::fd::IntoRawFd;
    // SAFETY: the descriptor was just taken out of its owner and is closed once.
    match unsafe { libc::close(file.into_raw_fd()) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}

/// Everything acknowledged is there with its hash; nothing half-written shows.
fn examine(m: &TestMount, acked: &Acked, what: &str) {
    for (name, hash) in acked {
        let bytes = std::fs::read(m.join(name)).unwrap_or_else(|e| panic!("{what}: {name}: {e}\n{}", m.log()));
        assert_eq!(&hex::encode(Sha256::digest(&bytes)), hash, "{what}: {name} has {} other bytes", bytes.len());
    }
    for entry in std::fs::read_dir(m.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let bytes = std::fs::read(entry.path()).unwrap_or_else(|e| panic!("{what}: {name}: {e}"));
        let whole = bytes.is_empty() || {
            let unit: Vec<u8> = bytes.iter().copied().take_while(|b| *b != b'-').collect();
            bytes.starts_with(name.as_bytes())
                && unit == name.as_bytes()
                && [10, 5000, 40_000, 300_000].contains(&bytes.len())
        };
        assert!(whole, "{what}: {name} is half-written ({} bytes)", bytes.len());
    }
    let out = m.sandbox().outputfs("check").arg("--read-data").output().unwrap();
    assert!(
        out.status.success(),
        "{what}: {}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}

fn survive(store: Store, options: MountOptions, points: &[&str]) {
    for point in points {
        let mut m =
            TestMount::with(store, options.clone().session("s1").env("FAILPOINTS", &format!("{point}=3%return")));
        let stop = Arc::new(AtomicBool::new(false));
        let dir = m.path().to_path_buf();
        let acked: Acked = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..3)
                .map(|k| {
                    let (dir, stop) = (dir.clone(), stop.clone());
                    scope.spawn(move || load(&dir, &format!("w{k}"), 400, &stop, &AtomicUsize::new(0)))
                })
                .collect();
            workers.into_iter().flat_map(|w| w.join().unwrap()).collect()
        });
        // Points that this load does not pass leave the daemon alive.
        let died = crate::support::wait::holds_within(Duration::from_millis(500), || !m.is_alive());
        if died {
            m.wait_end(Duration::from_secs(5));
        } else {
            m.kill9();
        }
        println!("{point}: {} acknowledged, died at the point: {died}", acked.len());
        m.remount_with(options.clone().session("s1"));
        examine(&m, &acked, point);
    }
}

const POINTS: [&str; 6] = [
    "ingest::before_put",
    "ingest::after_put",
    "ingest::before_commit",
    "ingest::after_commit",
    "settle::before_adopt",
    "settle::after_adopt",
];

#[test]
fn at_named_points_local() {
    survive(Store::Local, MountOptions::new(), &POINTS[2..]);
}

#[test]
fn at_named_points_local_without_passthrough() {
    survive(Store::Local, MountOptions::new().no_passthrough(), &POINTS[2..4]);
}

#[test]
fn at_named_points_s3() {
    survive(Store::S3, MountOptions::new(), &POINTS[..4]);
}

#[test]
fn at_named_points_s3_durability_local() {
    survive(Store::S3, MountOptions::new().durability_local(), &POINTS);
}

#[test]
fn at_named_points_s3_durability_fsync() {
    survive(Store::S3, MountOptions::new().durability_fsync(), &POINTS);
}

#[test]
fn at_named_points_local_durability_fsync_without_passthrough() {
    survive(Store::Local, MountOptions::new().durability_fsync().no_passthrough(), &POINTS[2..4]);
}

/// One store, killed over and over; what was acknowledged in any life stays.
fn random_moments(store: Store, options: &MountOptions, times: usize) {
    let mut m = TestMount::with(store, options.clone().session("s1"));
    let mut all = Acked::new();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..times {
        let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
        let dir = m.path().to_path_buf();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = Duration::from_micros((seed >> 33) % 60_000);
        let acked: Acked = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..3)
                .map(|k| {
                    scope.spawn({
                        let (dir, stop, answered) = (&dir, &stop, &answered);
                        move || load(dir, &format!("r{round}w{k}"), 100_000, stop, answered)
                    })
                })
                .collect();
            // On a busy machine every moment would otherwise fall before the first answer.
            if round % 2 == 0 {
                crate::support::wait_until("a first close is answered", Duration::from_secs(20), || {
                    answered.load(Ordering::Relaxed) > 0
                });
            }
            // The random moment itself, not a wait for something to happen.
            std::thread::park_timeout(moment);
            m.kill9();
            stop.store(true, Ordering::Relaxed);
            workers.into_iter().flat_map(|w| w.join().unwrap()).collect()
        });
        m.remount();
        for (name, hash) in &acked {
            let bytes =
                std::fs::read(m.join(name)).unwrap_or_else(|e| panic!("round {round}: {name}: {e}\n{}", m.log()));
            assert_eq!(
                &hex::encode(Sha256::digest(&bytes)),
                hash,
                "round {round}: {name} has {} other bytes",
                bytes.len()
            );
        }
        all.extend(acked);
    }
    assert!(all.len() >= times / 2, "only {} files were acknowledged: the load proves nothing", all.len());
    examine(&m, &all, "random moments");
}

/// 200 moments over these; fewer with `scripts/test --quick`, so many at each with `OUTPUTFS_TEST_KILLS` (`--long`: 200).
fn times(full: usize) -> usize {
    if let Some(said) = std::env::var("OUTPUTFS_TEST_KILLS").ok().and_then(|n| n.parse().ok()) {
        return said;
    }
    if std::env::var_os("OUTPUTFS_TEST_QUICK").is_some() { 5 } else { full }
}

#[test]
fn at_random_moments_local() {
    random_moments(Store::Local, &MountOptions::new(), times(80));
}

#[test]
fn at_random_moments_local_without_passthrough() {
    random_moments(Store::Local, &MountOptions::new().no_passthrough(), times(40));
}

#[test]
fn at_random_moments_s3() {
    random_moments(Store::S3, &MountOptions::new(), times(40));
}

#[test]
fn at_random_moments_s3_durability_local() {
    random_moments(Store::S3, &MountOptions::new().durability_local(), times(40));
}

#[test]
fn at_random_moments_s3_durability_fsync() {
    random_moments(Store::S3, &MountOptions::new().durability_fsync(), times(20));
}

#[test]
fn at_random_moments_local_durability_fsync_without_passthrough() {
    random_moments(Store::Local, &MountOptions::new().durability_fsync().no_passthrough(), times(20));
}

/// Lines appended to a stored file, each by an open of its own, until the daemon dies at a point. Every acknowledged line is there,
/// in its place; of what follows there is a whole line at most, and never a hole.
fn appends_survive(store: Store, options: &MountOptions, points: &[&str]) {
    let base: Vec<u8> = content("base-", (6 << 20) + 17);
    let line = |n: usize| format!("{n:0>99}\n").into_bytes();
    for point in points {
        let mut m = TestMount::with(store, options.clone().session("s1").args(&["--version-window", "off"]));
        std::fs::write(m.join("log"), &base).unwrap();
        m.remount_with(options.clone().session("s1").env("FAILPOINTS", &format!("{point}=5%return")));
        let mut acked = 0;
        while acked < 300 {
            let file = std::fs::OpenOptions::new().append(true).open(m.join("log"));
            let Ok(mut file) = file else { break };
            if file.write_all(&line(acked)).is_err() || close(file).is_err() {
                break;
            }
            acked += 1;
        }
        if m.is_alive() {
            m.kill9();
        } else {
            m.wait_end(Duration::from_secs(5));
        }
        println!("{point}: {acked} lines acknowledged");
        m.remount_with(options.clone().session("s1"));
        let got = std::fs::read(m.join("log")).unwrap();
        assert!(got.starts_with(&base), "{point}: what was there first is not whole");
        let lines: Vec<_> = got[base.len()..].chunks(100).collect();
        assert!((acked..=acked + 1).contains(&lines.len()), "{point}: {acked} acknowledged, {} there", lines.len());
        assert!(lines.iter().enumerate().all(|(n, l)| *l == line(n)), "{point}: a line is not what was written");
        m.sandbox().cli("check", &["--read-data"]);
    }
}

#[test]
fn appends_at_named_points_local() {
    appends_survive(Store::Local, &MountOptions::new(), &POINTS[2..]);
}

#[test]
fn appends_at_named_points_s3() {
    appends_survive(Store::S3, &MountOptions::new(), &POINTS[..4]);
}

#[test]
fn appends_at_named_points_s3_durability_local() {
    appends_survive(Store::S3, &MountOptions::new().durability_local(), &POINTS);
}

/// A tree that is removed is gone for every process at once, sealed without it, and after a crash each of its files is where it was or
/// in the trash, whole.
#[test]
fn a_removed_tree_is_gone_for_all_and_a_crash_leaves_no_half() {
    let mut m = TestMount::with(Store::Local, MountOptions::new().session("s1"));
    let fill = |m: &TestMount| sh("mkdir -p d; for i in $(seq 300); do echo $i > d/$i; done", m.path());
    let count =
        |m: &TestMount, command: &str, args: &[&str]| m.sandbox().cli(command, args).matches("\"artifact_id\"").count();
    fill(&m);
    for left in (0..300).rev().step_by(60) {
        sh(&format!("rm $(ls -d d/* | tail -n +{})", left + 1), m.path());
        // Another process, right behind it.
        assert_eq!(count(&m, "ls", &["s1", "--json"]), left);
        assert_eq!(count(&m, "trash", &["ls", "s1", "--json"]), 300 - left);
    }
    fill(&m);
    std::process::Command::new("rm").arg("-r").arg(m.join("d")).status().expect("rm runs");
    m.kill9();
    m.sandbox().cli("check", &["--read-data"]);
    let (there, trashed) = (count(&m, "ls", &["s1", "--json"]), count(&m, "trash", &["ls", "s1", "--json"]));
    // (241 had gone there before.)
    assert_eq!(there + trashed, 541, "{there} are there, {trashed} in the trash");
    m.remount();
    sh("rm -rf d", m.path());
    m.sandbox().cli("seal", &["s1"]);
    assert_eq!(count(&m, "ls", &["s1", "--json"]), 0);
}
