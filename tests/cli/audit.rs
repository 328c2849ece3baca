//! The audit trail: each door, each kind of change, and nothing but additions.

use serde_json::Value;

use crate::support::{MountOptions, Store, TestMount, sh};

#[test]
fn every_change_is_on_record_with_who_and_through_which_door() {
    let m = TestMount::with(Store::Local, MountOptions::new().session("s1").args(&["--version-window", "off"]));
    sh(
        "echo one > a; setfattr -n user.stage -v final a; mv a b; echo two >> b; cp b c; rm c; \
         OUTPUTFS_AGENT_ID=writer-7 sh -c 'mkdir d; echo x > d/x'; mkdir g; mv g d/h; echo 'ttl b 90d' > .ctl; echo 'link b 1h' > .ctl",
        m.path(),
    );
    let sandbox = m.sandbox();
    let id = |name: &str| sh(&format!("getfattr --only-values -n user.artifact.id {name}"), m.path());
    let b = id("b");
    let link = sandbox.cli("link", &["s1/b"]);
    sandbox.cli("revoke", &[link.trim()]);
    sandbox.cli("restore", &["s1/c"]);
    sandbox.cli("seal", &["s1"]);
    let all: Vec<Value> = serde_json::from_str(&sandbox.cli("log", &["s1", "--json"])).unwrap();
    let seen: Vec<_> = all
        .iter()
        .map(|e| {
            let text = |key: &str| e[key].as_str().unwrap_or_default().to_owned();
            (text("what"), text("filename"), text("door"), text("who"))
        })
        .collect();
    let has = |what: &str, path: &str, door: &str, who: &str| {
        assert!(
            seen.iter().any(|(w, p, d, by)| w == what && p == path && d == door && by.contains(who)),
            "{what} {path} by {door} ({who}) is missing: {seen:#?}"
        );
    };
    has("create", "a", "mount", "uid 0");
    has("metadata", "a", "mount", "setfattr, uid 0");
    has("rename", "b", "mount", "mv, uid 0");
    has("rename", "d/h", "mount", "mv, uid 0");
    assert!(all.iter().any(|e| e["detail"] == "directory, from g"), "{all:#?}");
    has("version", "b", "mount", "uid 0");
    has("create", "d/x", "mount", "writer-7");
    has("delete", "c", "mount", "rm, uid 0");
    has("ttl", "b", "mount", "uid 0");
    has("link", "b", "mount", "uid 0");
    has("link", "b", "cli", "outputfs, uid 0");
    has("revoke", "b", "cli", "outputfs, uid 0");
    has("restore", "c", "cli", "outputfs, uid 0");
    has("seal", "", "cli", "outputfs, uid 0");
    assert!(all.iter().any(|e| e["artifact_id"] == b.as_str()));
    assert!(
        all.windows(2)
            .all(|w| w[0]["seq"].as_u64() < w[1]["seq"].as_u64() && w[0]["at"].as_str() <= w[1]["at"].as_str())
    );
    // Pages go backwards.
    let last: Vec<Value> = serde_json::from_str(&sandbox.cli("log", &["s1", "-n", "2", "--json"])).unwrap();
    assert_eq!(last, all[all.len() - 2..]);
    let before = last[0]["seq"].to_string();
    let page: Vec<Value> =
        serde_json::from_str(&sandbox.cli("log", &["s1", "-n", "3", "--before", &before, "--json"])).unwrap();
    assert_eq!(page, all[all.len() - 5..all.len() - 2]);
    // Nobody rewrites it, not even with the file in hand.
    for sql in ["delete from audit", "update audit set who = 'nobody'"] {
        let mut sqlite = sandbox.program("sqlite3");
        let out = sqlite.arg(sandbox.state_dir().join("catalog.db")).arg(sql).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains("the audit trail only grows"), "{sql}: {said}");
    }
}
