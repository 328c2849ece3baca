//! The mount beside the API: one store, the same rules through every door.

use std::path::Path;

use super::succeeded;
use crate::support::{MountOptions, Store, TestMount};

#[track_caller]
fn one_session_through_both(store: Store) {
    let mount = TestMount::with(store, MountOptions::new().session("s1"));
    let sandbox = mount.sandbox();
    let mut python = sandbox.program("python3");
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rest/doors.py"));
    python.arg(env!("CARGO_BIN_EXE_outputfs")).args(sandbox.store_args()).arg(mount.path());
    succeeded(python);
}

#[test]
fn one_session_through_mount_and_client_local() {
    one_session_through_both(Store::Local);
}

#[test]
fn one_session_through_mount_and_client_s3() {
    one_session_through_both(Store::S3);
}
