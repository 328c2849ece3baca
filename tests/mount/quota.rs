//! Limits of a tenant: at the write that is sure to exceed them, and however many write at once.

use std::sync::Arc;

use serde_json::Value;

use crate::support::{MountOptions, Sandbox, Store, TestMount, sh};

fn json(sandbox: &Sandbox, command: &str, args: &[&str]) -> Value {
    serde_json::from_str(&sandbox.cli(command, args)).unwrap()
}

#[track_caller]
fn refused_at_the_write(store: Store, options: MountOptions) {
    let sandbox = Arc::new(Sandbox::new(store));
    sandbox.cli("quota", &["set", "--bytes", "1MiB", "--file-bytes", "600KiB", "--artifacts", "6"]);
    let m = TestMount::of(&sandbox, options.session("s1"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mount/quota.py");
    sh(&format!("python3 {script} {}", m.path().display()), m.sandbox().path());
    let shown = json(m.sandbox(), "quota", &["--json"]);
    assert_eq!((&shown["used"]["artifacts"], &shown["limits"]["max_artifacts"]), (&6.into(), &6.into()), "{shown}");
    m.sandbox().cli("check", &["--read-data"]);
}

#[test]
fn writes_are_refused_when_they_are_sure_to_exceed_local() {
    refused_at_the_write(Store::Local, MountOptions::new());
}

#[test]
fn writes_are_refused_when_they_are_sure_to_exceed_s3() {
    refused_at_the_write(Store::S3, MountOptions::new());
}

/// The kernel collects no writes of files that may meet a limit.
#[test]
fn writes_are_refused_when_they_are_sure_to_exceed_without_passthrough() {
    refused_at_the_write(Store::Local, MountOptions::new().no_passthrough());
}

#[test]
fn racing_writers_cannot_pass_a_limit_together() {
    let sandbox = Arc::new(Sandbox::new(Store::Local));
    sandbox.cli("quota", &["set", "--bytes", "100000"]);
    let mounts: Vec<_> = (0..2).map(|_| TestMount::of(&sandbox, MountOptions::new().session("s1"))).collect();
    std::thread::scope(|scope| {
        for (k, m) in mounts.iter().enumerate() {
            for t in 0..4 {
                scope.spawn(move || {
                    for n in 0..50 {
                        // Refused or not: what matters is the sum.
                        std::fs::write(m.join(format!("w{k}-{t}-{n}")), vec![b'x'; 1000 + n]).unwrap_or_default();
                    }
                });
            }
        }
    });
    let used = json(&sandbox, "usage", &["--json"])["logical_bytes"].as_u64().unwrap();
    assert!((90_000..=100_000).contains(&used), "{used} bytes live of 100000");
    drop(mounts);
    sandbox.cli("check", &["--read-data"]);
}

#[test]
fn use_is_shown_by_session_agent_and_day_and_links_are_limited() {
    let sandbox = Sandbox::new(Store::Local);
    for (session, agent, size) in [("a", "one", 10), ("b", "one", 20), ("b", "two", 30)] {
        std::fs::write(sandbox.path().join(agent), vec![b'x'; size]).unwrap();
        let file = sandbox.path().join(agent);
        sandbox.cli("push", &["-q", "--agent", agent, file.to_str().unwrap(), &format!("{session}/{agent}")]);
    }
    let by = |what: &str| {
        let all = json(&sandbox, "usage", &["--by", what, "--json"]);
        all.as_array().unwrap().iter().map(|s| (s["key"].clone(), s["logical_bytes"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(by("session"), [("b".into(), 50.into()), ("a".into(), 10.into())]);
    assert_eq!(by("agent"), [("one".into(), 30.into()), ("two".into(), 30.into())]);
    assert_eq!(by("day").len(), 1);
    sandbox.cli("quota", &["set", "--links", "1"]);
    sandbox.cli("link", &["a/one"]);
    let out = sandbox.try_cli("link", &["b/one"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && said.contains("the tenant has 1 links of 1"), "{said}");
    sandbox.cli("quota", &["set", "--links", "none"]);
    sandbox.cli("link", &["b/one"]);
    // Larger, smaller, and like a pattern.
    let names = |args: &[&str]| {
        let all = json(&sandbox, "ls", args);
        all.as_array().unwrap().iter().map(|a| a["filename"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["b", "--larger", "25", "--json"]), ["two"]);
    assert_eq!(names(&["b", "--smaller", "25", "--json"]), ["one"]);
    let file = sandbox.path().join("one");
    sandbox.cli("push", &["-q", "--meta", "model=claude-5", file.to_str().unwrap(), "c/x"]);
    sandbox.cli("push", &["-q", "--meta", "model=other", file.to_str().unwrap(), "c/y"]);
    assert_eq!(names(&["--where", "model~claude-*", "--json"]), ["x"]);
    assert_eq!(names(&["--where", "model~*e*", "--type", "text/*", "--json"]).len(), 2);
    assert!(names(&["--where", "model~gpt*", "--json"]).is_empty());
}

#[test]
fn what_is_refused_leaves_no_session_behind() {
    let sandbox = Arc::new(Sandbox::new(Store::Local));
    let file = sandbox.path().join("a.txt");
    std::fs::write(&file, "some bytes").unwrap();
    let file = file.to_str().unwrap();
    sandbox.cli("push", &[file, "--session", "first"]);
    let sessions = || sandbox.cli("session", &["ls", "--json"]).matches("\"session_id\"").count();
    assert_eq!(sessions(), 1);
    // Before the bytes are read; and in the transaction.
    for (limit, of) in [("--file-bytes", "5"), ("--artifacts", "1")] {
        sandbox.cli("quota", &["set", "--file-bytes", "1GiB", "--artifacts", "1000"]);
        sandbox.cli("quota", &["set", limit, of]);
        let refused = sandbox.try_cli("push", &[file, "--session", "second"]);
        assert!(!refused.status.success(), "{limit}");
        assert_eq!(sessions(), 1, "{limit}");
    }
}
