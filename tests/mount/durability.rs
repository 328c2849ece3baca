//! `--durability fsync`: what a disk promises. A close is as good as write(2) on a disk, fsync(2) as good as a close otherwise.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use crate::support::disk::SmallDisk;
use crate::support::proxy::{Fault, Proxy};
use crate::support::{MountOptions, Sandbox, Store, TestMount, s3_env};

const FILES: usize = 40;

/// Small ones ride in the catalog, larger ones in staging files.
fn body(n: usize) -> Vec<u8> {
    format!("{n}-").bytes().cycle().take(if n % 8 == 7 { 40_000 } else { 50 + n }).collect()
}

fn name(n: usize) -> String {
    format!("f{n}")
}

fn fsync(path: &Path) -> std::io::Result<()> {
    File::options().append(true).open(path)?.sync_all()
}

/// Closes [`FILES`] files over earlier ones that were synced, then one more that is synced if `sync` says so; then the power fails.
/// Answers how many of the closed ones the disk has; each path has its old or its new content, whole.
fn left_by_a_power_failure(options: &MountOptions, sync: bool) -> usize {
    let sandbox = Arc::new(Sandbox::new(Store::Local));
    let disk = SmallDisk::under(&sandbox, 64, None);
    let options = options.clone().session("s1");
    let mut m = TestMount::of(&sandbox, options.clone());
    let old = |n: usize| format!("old-{n}-").repeat(3_000).into_bytes();
    for n in (0..FILES).step_by(5) {
        std::fs::write(m.join(name(n)), old(n)).unwrap();
        fsync(&m.join(name(n))).unwrap();
    }
    let small: Vec<usize> = (0..FILES).filter(|n| n % 8 != 7).collect();
    for n in &small {
        std::fs::write(m.join(name(*n)), body(*n)).unwrap();
    }
    if sync {
        for n in (0..FILES).filter(|n| n % 8 == 7) {
            std::fs::write(m.join(name(n)), body(n)).unwrap();
        }
        std::fs::write(m.join("last"), "last").unwrap();
        fsync(&m.join("last")).unwrap();
    }
    let image = disk.image_now();
    m.kill9();
    disk.go_on_from(&image);
    m.remount_with(options);
    let mut found = 0;
    for n in 0..FILES {
        match std::fs::read(m.join(name(n))) {
            Ok(bytes) if bytes == body(n) => found += 1,
            Ok(bytes) => assert!(n % 5 == 0 && bytes == old(n), "{}: {} bytes, half-written", name(n), bytes.len()),
            Err(e) => assert!(n % 5 != 0 && e.kind() == std::io::ErrorKind::NotFound, "{}: {e}", name(n)),
        }
    }
    if sync {
        assert_eq!(std::fs::read(m.join("last")).unwrap(), b"last");
    }
    m.sigterm();
    sandbox.cli("check", &["--read-data"]);
    drop(m);
    drop(disk);
    found
}

fn a_power_failure_takes_what_no_fsync_covered(options: &MountOptions) {
    // A version that takes an earlier one's place frees its staging file: not before the disk has the record.
    left_by_a_power_failure(options, false);
    // Anything durable of the background covers the closes before it: what matters is that no close waits for the disk by itself.
    let apart = options.clone().args(&["--version-window", "off"]);
    let behind = (0..4).any(|_| left_by_a_power_failure(&apart, false) < FILES / 2);
    assert!(behind, "each close waited for the disk");
    assert_eq!(left_by_a_power_failure(options, true), FILES, "fsync covers every close before it");
}

#[test]
fn a_power_failure_takes_what_no_fsync_covered_passthrough() {
    a_power_failure_takes_what_no_fsync_covered(&MountOptions::new().durability_fsync());
}

#[test]
fn a_power_failure_takes_what_no_fsync_covered_without_passthrough() {
    a_power_failure_takes_what_no_fsync_covered(&MountOptions::new().durability_fsync().no_passthrough());
}

/// A store that is down: closes go on, fsync says EIO, and works once the store answers.
fn fsync_waits_for_the_store(options: MountOptions) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let proxy = runtime.block_on(Proxy::start(&s3_env().endpoint));
    let sandbox = Arc::new(Sandbox::through(&proxy.url()));
    let m = TestMount::of(&sandbox, options.session("s1").args(&["--upload-timeout", "1s"]));
    proxy.always(Fault::Refuse);
    for (path, size) in [("small", 10), ("large", 300_000)] {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o644).open(m.join(path)).unwrap();
        file.write_all(&vec![b'x'; size]).unwrap();
        let error = file.sync_all().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO), "{path}: {error}");
        drop(file);
        assert_eq!(std::fs::read(m.join(path)).unwrap().len(), size);
    }
    assert!(sandbox.cli("ls", &["s1", "--json"]).contains("\"pending\""));
    proxy.always(Fault::Pass);
    for path in ["small", "large"] {
        fsync(&m.join(path)).unwrap();
    }
    assert!(!sandbox.cli("ls", &["s1", "--json"]).contains("\"pending\""));
}

#[test]
fn fsync_waits_for_the_store_passthrough() {
    fsync_waits_for_the_store(MountOptions::new().durability_fsync());
}

#[test]
fn fsync_waits_for_the_store_without_passthrough() {
    fsync_waits_for_the_store(MountOptions::new().durability_fsync().no_passthrough());
}
