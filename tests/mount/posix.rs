//! What a local disk does, on mounts: the scenarios of `posix.py`. Each cause of a `pjdfstest` failure has one there.
//! (`scripts/conformance` runs the suites themselves.)

use std::time::Duration;

use super::on_every_mount;
use crate::support::{MountOptions, Store, TestMount, sh, wait_until};

on_every_mount!(
    closed_files,
    modes_of_closed_files,
    directory_times,
    file_times,
    links_and_renames,
    sparse_files,
    ranges,
    locks,
    removed_directories,
    nameless,
    names,
);

const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mount/posix.py");

fn run(m: &TestMount, scenario: &str) {
    let dir = scenario.split(' ').next().unwrap_or(scenario);
    sh(&format!("mkdir {dir}; cd {dir}; exec python3 {SCENARIOS} {scenario}"), m.path());
}

/// `scenario` on a plain directory: it asks nothing that a disk does not do.
fn on_disk(scenario: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    sh(&format!("exec python3 {SCENARIOS} {scenario}"), dir.path());
}

fn closed_files(m: &TestMount) {
    run(m, "closed_files");
}

fn modes_of_closed_files(m: &TestMount) {
    run(m, "modes_of_closed_files");
}

fn directory_times(m: &TestMount) {
    run(m, "directory_times");
}

fn file_times(m: &TestMount) {
    run(m, "file_times");
}

fn links_and_renames(m: &TestMount) {
    run(m, "links_and_renames");
}

fn sparse_files(m: &TestMount) {
    run(m, "sparse_files");
}

fn ranges(m: &TestMount) {
    run(m, "ranges");
}

fn locks(m: &TestMount) {
    run(m, "locks");
}

fn removed_directories(m: &TestMount) {
    run(m, "removed_directories");
}

fn nameless(m: &TestMount) {
    run(m, "nameless");
    let mut all = String::new();
    // d/out is second's other name; d/taken and d/empty, which is committed at its release: the kernel sends that after close(2).
    wait_until("all three are recorded", Duration::from_secs(20), || {
        all = m.sandbox().cli("ls", &["s1", "--json"]);
        all.matches("\"artifact_id\"").count() == 3
    });
    assert!(all.contains(r#""stage":"draft""#), "{all}");
}

fn names(m: &TestMount) {
    run(m, "names");
}

/// A local store keeps the holes themselves; from S3 they come back as zeros.
#[test]
fn holes_survive_in_a_local_store() {
    let mut m = TestMount::with(Store::Local, MountOptions::new().session("s1"));
    run(&m, "sparse_files keeps-holes");
    m.remount();
    let blocks = sh("stat -c %b sparse_files/s", m.path());
    assert_eq!(blocks, "8");
}

#[test]
fn users_and_set_id_bits() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for options in [MountOptions::new(), MountOptions::new().no_passthrough()] {
        let m = TestMount::with(Store::Local, options.session("s1").args(&["--allow-other"]));
        run(&m, "owners");
    }
}

/// JSON keeps names that are not UTF-8 apart, and readable: percent-encoded.
#[test]
fn names_that_are_not_utf8_in_json() {
    let m = TestMount::with(Store::Local, MountOptions::new().session("s1"));
    sh(r"echo a > $'odd\xff%41.txt'; echo b > plain", m.path());
    let out = m.sandbox().outputfs("ls").args(["s1", "--json"]).output().expect("outputfs runs");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("odd%FF%2541.txt") && said.contains("plain"), "{said}");
}

#[test]
fn the_scenarios_hold_on_a_disk() {
    for scenario in [
        "closed_files",
        "directory_times",
        "links_and_renames",
        "sparse_files keeps-holes",
        "ranges",
        "locks",
        "nameless",
        "names",
    ] {
        on_disk(scenario);
    }
}
