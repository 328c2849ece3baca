//! A close that comes while another process writes: what is committed is never a state between the two.

use crate::support::{MountOptions, Store, TestMount};

fn torn(store: Store, options: MountOptions) {
    let m = TestMount::with(store, options.session("s1"));
    let slow = TestMount::with(Store::Local, MountOptions::new().session("s1").no_passthrough());
    let mut script = m.sandbox().program("python3");
    script.args(["-c", include_str!("torn.py")]).arg(m.path()).arg(slow.path()).arg(slow.pid().to_string());
    let out = script.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let told = String::from_utf8_lossy(&out.stdout).into_owned();
    let (recorded, held) = told.trim().split_once(' ').unwrap();
    assert_eq!(recorded, held, "the artifact is not what the file holds");
    m.sandbox().cli("check", &["--read-data"]);
}

#[test]
fn local() {
    torn(Store::Local, MountOptions::new());
}

#[test]
fn local_without_passthrough() {
    torn(Store::Local, MountOptions::new().no_passthrough());
}

#[test]
fn s3() {
    torn(Store::S3, MountOptions::new());
}
