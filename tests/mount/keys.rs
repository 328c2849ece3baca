//! Idempotency keys: the same operation twice, by two processes at once.

use std::sync::Arc;

use crate::support::{MountOptions, Sandbox, Store, TestMount, sh};

#[track_caller]
fn two_processes_race(store: Store) {
    let rounds = if std::env::var_os("OUTPUTFS_TEST_QUICK").is_some() { 100 } else { 1000 };
    let sandbox = Arc::new(Sandbox::new(store));
    let mount = || TestMount::of(&sandbox, MountOptions::new().session("s1"));
    let (a, b) = (mount(), mount());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mount/keys.py");
    let made = sh(&format!("python3 {script} {rounds} {} {}", a.path().display(), b.path().display()), sandbox.path());
    assert_eq!(made.trim(), rounds.to_string(), "one artifact an operation");
    drop((a, b));
    let usage: serde_json::Value = serde_json::from_str(&sandbox.cli("ls", &["s1", "--json"])).unwrap();
    assert_eq!(usage.as_array().unwrap().len(), rounds, "nothing is counted twice");
    sandbox.cli("check", &["--read-data"]);
}

#[test]
fn two_processes_race_for_each_key_local() {
    two_processes_race(Store::Local);
}

#[test]
fn two_processes_race_for_each_key_s3() {
    two_processes_race(Store::S3);
}
