//! Small disks, full disks, disks without inodes, disks that turn read-only: what was acknowledged stays, what frees room works.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::full::write;
use crate::support::disk::SmallDisk;
use crate::support::proxy::{Fault, Proxy};
use crate::support::{MountOptions, Sandbox, Store, TestMount, s3_env, sh, try_sh, wait_until};

const SOON: Duration = Duration::from_secs(30);

/// Incompressible, no two alike.
fn body(n: usize) -> Vec<u8> {
    crate::support::blobs::Blob::random(300_000, n as u64).bytes.to_vec()
}

fn whole(m: &TestMount, kept: &[usize]) {
    for n in kept {
        assert!(std::fs::read(m.join(format!("f{n}"))).unwrap() == body(*n), "f{n}");
    }
}

fn fill(m: &TestMount) -> Vec<usize> {
    let mut kept = Vec::new();
    for n in 0..500 {
        match write(&m.join(format!("f{n}")), &body(n)) {
            Ok(()) => kept.push(n),
            Err(e) => {
                assert_eq!(e, libc::ENOSPC, "f{n}");
                break;
            }
        }
    }
    kept
}

/// Whatever frees room works on a disk that somebody else has filled to the last byte, and the room is used at once.
fn a_full_disk_can_be_freed(mib: u64, options: MountOptions) {
    let sandbox = Arc::new(Sandbox::new(Store::Local));
    let disk = SmallDisk::under(&sandbox, mib, None);
    let options = options.session("s1").args(&["--upload-timeout", "3s", "--gc-grace", "1ms"]);
    let mut m = TestMount::of(&sandbox, options);
    let mut kept = fill(&m);
    assert!(kept.len() > 4, "only {} files", kept.len());
    disk.fill();
    std::fs::remove_file(m.join("f0")).unwrap();
    sandbox.cli("rm", &["s1:f1"]);
    m.kill9();
    disk.fill();
    // Recovery makes its own room.
    m.remount();
    kept.drain(..2);
    whole(&m, &kept);
    std::fs::remove_file(m.join("f2")).unwrap();
    kept.remove(0);
    sandbox.cli("trash", &["empty", "--all"]);
    sandbox.cli("gc", &["--gc-grace", "1ms"]);
    // (The next one takes what the last one condemned, whatever the clock's grain.)
    wait_until("what was freed can be written to", SOON, || {
        sandbox.cli("gc", &["--gc-grace", "1ms"]);
        write(&m.join("new"), &body(1000)[..100_000]).is_ok()
    });
    sandbox.cli("status", &[] as &[&str]);
    m.sigterm();
    sandbox.cli("check", &["--read-data"]);
    disk.drain();
    m.remount();
    whole(&m, &kept);
    assert!(std::fs::read(m.join("new")).unwrap() == body(1000)[..100_000]);
    drop(m);
    drop(disk);
}

#[test]
fn a_full_disk_of_14_mib_can_be_freed() {
    a_full_disk_can_be_freed(14, MountOptions::new());
}

#[test]
fn a_full_disk_of_48_mib_can_be_freed_without_passthrough() {
    a_full_disk_can_be_freed(48, MountOptions::new().no_passthrough());
}

#[test]
fn without_inodes_garbage_goes_all_the_same() {
    let sandbox = Arc::new(Sandbox::new(Store::Local));
    let disk = SmallDisk::under(&sandbox, 32, Some(512));
    let options = MountOptions::new().session("s1").args(&["--upload-timeout", "3s"]);
    let mut m = TestMount::of(&sandbox, options);
    for n in 0..20 {
        write(&m.join(format!("f{n}")), &body(n)).unwrap();
    }
    wait_until("all is settled", SOON, || sandbox.cli("status", &["--json"]).contains("\"staged_files\":0"));
    disk.fill_inodes();
    assert_eq!(write(&m.join("more"), b"x"), Err(libc::ENOSPC));
    sh("rm f0 f1 f2 f3", m.path());
    // Also when nobody has the catalog open: its log and index are files too.
    m.kill9();
    sandbox.cli("trash", &["empty", "--all"]);
    let report = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap()["deleted"].as_u64().unwrap();
    let mut deleted = 0;
    wait_until("blobs leave the disk", SOON, || {
        deleted += report(sandbox.cli("gc", &["--json", "--gc-grace", "1ms"]));
        deleted >= 4
    });
    drop(m);
    drop(disk);
}

fn a_disk_that_turns_read_only(options: MountOptions) {
    let sandbox = Arc::new(Sandbox::new(Store::Local));
    let disk = SmallDisk::under(&sandbox, 64, None);
    let mut m = TestMount::of(&sandbox, options.session("s1").args(&["--upload-timeout", "3s"]));
    write(&m.join("f0"), &body(0)).unwrap();
    let open = std::fs::File::create(m.join("open")).unwrap();
    disk.break_down();
    assert!(write(&m.join("f1"), &body(1)).is_err());
    for _ in 0..2 {
        assert!(sandbox.cli("ls", &["s1", "--json"]).contains("\"f0\""));
        assert!(sandbox.cli("status", &["--json"]).contains("\"mounts\""));
        let refused = sandbox.try_cli("rm", &["s1:f0"]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("read-only"), "{refused:?}");
        if !m.is_alive() {
            break;
        }
        drop(open.try_clone());
        let begun = Instant::now();
        let said = sandbox.try_cli("umount", &["--force", "--timeout", "30s", &m.path().display().to_string()]);
        m.wait_end(SOON);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}: {said:?}\n{}", begun.elapsed(), m.log());
        assert!(!crate::support::mount::is_mounted(m.path()));
        if said.status.success() {
            break;
        }
    }
    drop(open);
    assert!(sandbox.cli("ls", &["s1", "--json"]).contains("\"f0\""));
    drop(m);
    drop(disk);
}

#[test]
fn a_disk_that_turns_read_only_can_be_read_and_let_go() {
    a_disk_that_turns_read_only(MountOptions::new());
}

#[test]
fn a_disk_that_turns_read_only_can_be_read_and_let_go_without_passthrough() {
    a_disk_that_turns_read_only(MountOptions::new().no_passthrough());
}

/// A store that does not answer: whoever mounts is not held up, nothing is lost, a reader waits once.
#[test]
fn a_mount_does_not_wait_for_a_store_that_is_down() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let proxy = runtime.block_on(Proxy::start(&s3_env().endpoint));
    let sandbox = Arc::new(Sandbox::through(&proxy.url()));
    let options = || MountOptions::new().session("s1").durability_local().args(&["--upload-timeout", "4s"]);
    let mut m = TestMount::of(&sandbox, options());
    write(&m.join("cold"), &body(0)).unwrap();
    wait_until("it is stored", SOON, || sandbox.cli("status", &["--json"]).contains("\"pending_artifacts\":0"));
    for fault in [Fault::Refuse, Fault::BlackHole] {
        proxy.always(fault);
        write(&m.join("closed"), &body(1)).unwrap();
        m.kill9();
        let begun = Instant::now();
        m.remount_with(options());
        assert!(begun.elapsed() < Duration::from_secs(12), "{fault:?}: the mount took {:?}", begun.elapsed());
        assert!(std::fs::read(m.join("closed")).unwrap() == body(1), "{fault:?}: its bytes are here, on this disk");
        wait_until("status tells what waits", SOON, || sandbox.cli("status", &["--json"]).contains("does not answer"));
        proxy.always(Fault::Pass);
        wait_until("it is stored", SOON * 2, || {
            let status = sandbox.cli("status", &["--json"]);
            status.contains("\"pending_artifacts\":0") && status.contains("\"recovering\":[]")
        });
        assert!(std::fs::read(m.join("closed")).unwrap() == body(1), "{fault:?}");
        std::fs::write(m.join("closed"), "other").unwrap();
    }
    // Cold: not in this cache. A read fails once, after the time-out said.
    m.sigterm();
    std::fs::remove_dir_all(sandbox.state_dir().join("cache")).unwrap();
    m.remount_with(options());
    proxy.always(Fault::BlackHole);
    let begun = Instant::now();
    let said = try_sh("cat cold >/dev/null", m.path());
    assert!(!said.status.success());
    assert!(begun.elapsed() < Duration::from_secs(7), "a cold read failed after {:?}", begun.elapsed());
    proxy.always(Fault::Pass);
    wait_until("it is read again", SOON, || std::fs::read(m.join("cold")).is_ok_and(|bytes| bytes == body(0)));
    // What nothing needs leaves the cache, and the catalog's log the disk.
    std::fs::remove_file(m.join("cold")).unwrap();
    sandbox.cli("trash", &["empty", "--all"]);
    sandbox.cli("gc", &[] as &[&str]);
    assert_eq!(cached(&sandbox.state_dir()), 0, "bytes of a purged artifact are still in the cache");
    m.sigterm();
    let log = std::fs::metadata(sandbox.state_dir().join("catalog.db-wal")).map_or(0, |m| m.len());
    assert_eq!(log, 0, "the catalog's log keeps its size");
}

/// Whole blobs of that size in the cache.
fn cached(state: &Path) -> usize {
    let out = sh(&format!("find {}/cache -type f -size +100k | wc -l", state.display()), state);
    out.parse().unwrap()
}
