//! The mount beside the API: one store, the same rules through every door.

use std::path::Path;

use super::succeeded;
use crate::support::{MountOptions, Store, TestMount};

#[track_caller]
fn one_session_through_both(store: Store) {
    drop(beside_a_mount("doors.py", store, MountOptions::new()));
}

/// Runs a script of this folder with a mount of session `s1`.
#[track_caller]
fn beside_a_mount(script: &str, store: Store, options: MountOptions) -> TestMount {
    let mount = TestMount::with(store, options.session("s1"));
    let sandbox = mount.sandbox();
    let mut python = sandbox.program("python3");
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rest").join(script));
    python.arg(env!("CARGO_BIN_EXE_outputfs")).args(sandbox.store_args()).arg(mount.path());
    succeeded(python);
    mount
}

#[test]
fn one_session_through_mount_and_client_local() {
    one_session_through_both(Store::Local);
}

#[test]
fn one_session_through_mount_and_client_s3() {
    one_session_through_both(Store::S3);
}

/// A window in which every version could go, if nobody were told its ID.
fn long_window() -> MountOptions {
    MountOptions::new().args(&["--version-window", "1h", "--keep-versions", "all"])
}

#[test]
fn what_was_told_stays_local() {
    beside_a_mount("told.py", Store::Local, long_window().no_passthrough());
}

#[test]
fn what_was_told_stays_s3() {
    beside_a_mount("told.py", Store::S3, long_window());
}

#[test]
fn what_is_gone_is_gone_at_every_door_local() {
    drop(beside_a_mount("gone.py", Store::Local, MountOptions::new()));
}

#[test]
fn what_is_gone_is_gone_at_every_door_s3_without_passthrough() {
    drop(beside_a_mount("gone.py", Store::S3, MountOptions::new().no_passthrough()));
}

#[test]
fn what_is_said_is_bounded_at_every_door() {
    let mount = beside_a_mount("limits.py", Store::Local, MountOptions::new());
    let log = mount.log();
    let told = log.lines().filter(|line| line.contains("labels of a writer's environment are left out"));
    let told: Vec<_> = told.filter(|line| line.contains("OUTPUTFS_META_BIG (")).collect();
    assert!(told.len() == 1 && told[0].contains("OUTPUTFS_AGENT_ID ("), "{log}");
}

#[test]
fn what_is_staged_counts_against_limits_local() {
    beside_a_mount("staged.py", Store::Local, MountOptions::new());
}

#[test]
fn what_is_staged_counts_against_limits_s3_without_passthrough() {
    beside_a_mount("staged.py", Store::S3, MountOptions::new().no_passthrough());
}
