//! Nothing that goes wrong beside the work stops the work: log lines that cannot be written, a long-lived task that panics.

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{MountOptions, Sandbox, Store, TestMount, sh, wait_until};

const SOON: Duration = Duration::from_secs(20);

/// Every door writes a line for what it does, and the end some more.
fn works(m: &TestMount) {
    std::fs::write(m.join("a.txt"), "one").unwrap();
    let script =
        "echo two > b.txt; mkdir d; mv b.txt d/; rm a.txt; rm -r d; echo three > c.txt; test $(cat c.txt) = three";
    sh(script, m.path());
    m.ctl("status").unwrap();
}

#[test]
fn a_log_that_takes_no_line_fails_nobody() {
    // Each write fails as on a full disk.
    for options in [MountOptions::new(), MountOptions::new().no_passthrough()] {
        let options = options.session("s1").stderr("/dev/full").env("OUTPUTFS_LOG", "trace");
        let mut m = TestMount::with(Store::Local, options);
        works(&m);
        assert!(m.sigterm().success());
    }
}

/// `read`: whether somebody holds the other end, without ever reading.
fn stderr_is_a_pipe(read: bool) {
    let sandbox = Arc::new(Sandbox::new(Store::Local));
    let at = sandbox.new_mountpoint();
    let (reader, writer) = std::io::pipe().unwrap();
    let kept = read.then_some(reader);
    let mut c = sandbox.outputfs("run");
    let script = "for i in $(seq 200); do echo $i > f$i; done; rm f1; cat f200; outputfs ls s1 | grep -c f";
    let path = format!(
        "{}:{}",
        std::path::Path::new(env!("CARGO_BIN_EXE_outputfs")).parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    c.arg("--quiet")
        .arg("--mount")
        .arg(&at)
        .args(["--session", "s1", "--", "bash", "-ec"])
        .arg(format!("cd {}; {script}", at.display()));
    c.env("OUTPUTFS_LOG", "trace").env("PATH", path);
    let child = c.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(OwnedFd::from(writer)).spawn().unwrap();
    drop(c);
    let out = crate::support::with_deadline(SOON * 3, move || child.wait_with_output().unwrap());
    let out = out.expect("a run whose standard error nobody reads ends");
    // (`grep`'s own message is lost with the rest of standard error; its answer is not.)
    assert!(out.status.success(), "{}: {}", out.status, String::from_utf8_lossy(&out.stdout));
    assert_eq!(String::from_utf8_lossy(&out.stdout).split_whitespace().collect::<Vec<_>>(), ["200", "199"]);
    drop(kept);
}

#[test]
fn standard_error_without_a_reader_fails_nobody() {
    stderr_is_a_pipe(false);
}

#[test]
fn standard_error_that_nobody_reads_holds_nobody_up() {
    stderr_is_a_pipe(true);
}

#[test]
fn the_catalogs_writer_goes_on_after_a_panic() {
    let env = "catalog::writer=20*off->3*panic->off";
    let mut m = TestMount::with(Store::Local, MountOptions::new().session("s1").env("FAILPOINTS", env));
    for i in 0..40 {
        // (Closes that were told EIO are retried: the bytes are kept.)
        std::fs::write(m.join(format!("f{i}")), "x").unwrap();
    }
    works(&m);
    assert_eq!(m.log().matches("the catalog's writer broke down").count(), 3, "{}", m.log());
    assert!(m.sigterm().success(), "all is stored in the end");
    m.remount_with(MountOptions::new().session("s1"));
    for i in 0..40 {
        assert_eq!(std::fs::read_to_string(m.join(format!("f{i}"))).unwrap(), "x");
    }
    m.sandbox().cli("check", &["--read-data"]);
}

#[test]
fn long_lived_tasks_are_begun_anew() {
    let sandbox = Arc::new(Sandbox::new(Store::S3));
    // More tasks than these has no mount: each of them panics at its first begin, some at the second.
    let env = "supervise::begin=9*panic->off";
    let one = TestMount::of(
        &sandbox,
        MountOptions::new().session("s1").env("FAILPOINTS", env).args(&["--http", "127.0.0.1:0"]),
    );
    let two = TestMount::of(&sandbox, MountOptions::new().session("s1"));
    // The settler, and the teller of others' changes: a name that was asked for in vain shows as soon as another makes it.
    std::fs::write(one.join("mine"), "x".repeat(100_000)).unwrap();
    assert!(std::fs::metadata(one.join("theirs")).is_err());
    std::fs::write(two.join("theirs"), "y").unwrap();
    wait_until("a change from elsewhere is seen", SOON, || std::fs::metadata(one.join("theirs")).is_ok());
    wait_until("all is stored", SOON, || {
        let status: serde_json::Value = serde_json::from_str(&sandbox.cli("status", &["--json"])).unwrap();
        status["pending_artifacts"] == 0
    });
    assert_eq!(one.log().matches("begun anew").count(), 9, "{}", one.log());
}

#[test]
fn a_request_thread_that_panics_ends_the_daemon_and_the_next_takes_over() {
    let mut m = TestMount::with(
        Store::Local,
        MountOptions::new().session("s1").env("FAILPOINTS", "fuse::release=2*off->1*panic->off"),
    );
    for i in 0..3 {
        // (The file's own close has answered by then: it is in the catalog.)
        std::fs::write(m.join(format!("f{i}")), "kept").unwrap();
    }
    let status = m.wait_end(SOON);
    assert_eq!(status.code(), Some(2), "{}", m.log());
    assert!(m.log().contains("mount it again"), "{}", m.log());
    m.remount_with(MountOptions::new().session("s1"));
    assert_eq!(std::fs::read_to_string(m.join("f2")).unwrap(), "kept");
    works(&m);
}
