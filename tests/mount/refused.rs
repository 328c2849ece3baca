//! After a refusal: what `close()` acknowledged is kept, and what is shown is what is kept.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::support::{MountOptions, Sandbox, Store, TestMount};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mount/refused.py");

fn python(m: &TestMount, mode: &str) -> Command {
    let mut c = m.sandbox().program("python3");
    c.args([SCRIPT, mode]).arg(m.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    c
}

fn retried_after_a_seal(options: MountOptions) {
    let m = TestMount::with(Store::Local, options);
    assert!(python(&m, "seal").status().unwrap().success());
}

#[test]
fn retried_at_once_after_a_seal() {
    retried_after_a_seal(MountOptions::new());
}

#[test]
fn retried_at_once_after_a_seal_without_passthrough() {
    retried_after_a_seal(MountOptions::new().no_passthrough());
}

/// The files are written before the limit is set: their closes are what is refused.
fn retried_after_a_limit(options: MountOptions, limit: &[&str], code: &str) {
    let sandbox = Arc::new(Sandbox::new(Store::Local));
    let m = TestMount::of(&sandbox, options.session("s1"));
    let mut child = python(&m, "limit").arg(code).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "open");
    sandbox.cli("quota", &[&["set"], limit].concat());
    child.stdin.take().unwrap().write_all(b"now\n").unwrap();
    line.clear();
    said.read_line(&mut line).unwrap();
    assert!(child.wait().unwrap().success());
    let list: serde_json::Value = serde_json::from_str(&sandbox.cli("ls", &["s1", "--json"])).unwrap();
    // A file whose first write is refused is there and empty, as on a disk.
    let kept = list.as_array().unwrap().iter().filter(|a| a["size_bytes"] != 0);
    let mut kept: Vec<_> = kept.map(|a| a["filename"].as_str().unwrap()).collect();
    kept.sort_unstable();
    assert_eq!(serde_json::json!(kept), serde_json::from_str::<serde_json::Value>(&line).unwrap());
    drop(m);
    sandbox.cli("check", &["--read-data"]);
}

#[test]
fn retried_at_once_after_a_limit() {
    retried_after_a_limit(MountOptions::new(), &["--bytes", "4000"], "EDQUOT");
    retried_after_a_limit(MountOptions::new(), &["--file-bytes", "1000"], "EFBIG");
}

#[test]
fn retried_at_once_after_a_limit_without_passthrough() {
    retried_after_a_limit(MountOptions::new().no_passthrough(), &["--bytes", "4000"], "EDQUOT");
    retried_after_a_limit(MountOptions::new().no_passthrough(), &["--file-bytes", "1000"], "EFBIG");
}

/// Overwritten, appended to, cut: what is shown after the refusal is what is stored.
fn shown_as_it_is_kept(options: &MountOptions, code: &str, refuse: impl FnOnce(&TestMount)) {
    let m = TestMount::with(Store::Local, options.clone().session("s1"));
    let mut child = python(&m, "shown").arg(code).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "open");
    refuse(&m);
    child.stdin.take().unwrap().write_all(b"now\n").unwrap();
    assert!(child.wait().unwrap().success(), "{code}");
}

fn shown_as_it_is_kept_after_each(options: &MountOptions) {
    shown_as_it_is_kept(options, "EROFS", |m| drop(m.ctl("seal").unwrap()));
    for (code, limit) in [("EDQUOT", "--bytes"), ("EFBIG", "--file-bytes")] {
        shown_as_it_is_kept(options, code, |m| drop(m.sandbox().cli("quota", &["set", limit, "1000"])));
    }
}

#[test]
fn refused_bytes_are_not_shown() {
    shown_as_it_is_kept_after_each(&MountOptions::new());
}

#[test]
fn refused_bytes_are_not_shown_without_passthrough() {
    shown_as_it_is_kept_after_each(&MountOptions::new().no_passthrough());
}

/// The scratch files of one session end with its seal; numbers of theirs that the file system gives to others do not bring it there.
fn seals_beside_scratch(options: MountOptions) {
    let m = TestMount::with(Store::Local, options);
    assert!(python(&m, "scratch").status().unwrap().success());
}

#[test]
fn a_seal_ends_the_scratch_of_its_own_session_alone() {
    seals_beside_scratch(MountOptions::new());
}

#[test]
fn a_seal_ends_the_scratch_of_its_own_session_alone_without_passthrough() {
    seals_beside_scratch(MountOptions::new().no_passthrough());
}
