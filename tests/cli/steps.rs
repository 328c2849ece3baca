//! Attempts of steps: retries that replace what earlier ones left, on real mounts.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Sandbox, Store, wait_until};

/// `outputfs run --session s1 --step NAME -- sh -c SCRIPT`.
fn attempt(sandbox: &Sandbox, step: &str, script: &str) -> Command {
    let mut c = sandbox.outputfs("run");
    c.args(["--http", "off", "--session", "s1", "--step", step, "--report", "report.json", "--", "sh", "-c", script]);
    c.stdin(Stdio::null());
    c
}

#[track_caller]
fn ends(sandbox: &Sandbox, step: &str, script: &str, code: i32) -> String {
    let out = attempt(sandbox, step, script).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(code), "{script}: {said}");
    said
}

fn json(sandbox: &Sandbox, command: &str, args: &[&str]) -> Value {
    serde_json::from_str(&sandbox.cli(command, args)).unwrap()
}

/// What stands in the session, by name.
fn listed(sandbox: &Sandbox) -> Vec<String> {
    let all = json(sandbox, "ls", &["s1", "--json"]);
    let mut names: Vec<_> =
        all.as_array().unwrap().iter().map(|a| a["filename"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn steps(sandbox: &Sandbox) -> Vec<(u64, String, Value)> {
    let all = json(sandbox, "steps", &["s1", "--json"]);
    all.as_array()
        .unwrap()
        .iter()
        .map(|a| (a["attempt"].as_u64().unwrap(), a["state"].as_str().unwrap().to_owned(), a["exit_code"].clone()))
        .collect()
}

fn consistent(sandbox: &Sandbox) {
    sandbox.cli("check", &["--read-data"]);
}

#[track_caller]
fn a_retry_replaces(store: Store) {
    let sandbox = Sandbox::new(store);
    // Before any step, and of another one: nobody's retry touches them.
    ends(&sandbox, "fetch", "echo data > outputs/data.csv", 0);
    let first =
        "echo same > outputs/same; echo one > outputs/report_103041.pdf; mkdir outputs/d; echo 1 > outputs/d/part";
    ends(&sandbox, "report", &format!("{first}; echo human > outputs/seen; exit 3"), 3);
    assert_eq!(
        listed(&sandbox),
        ["d/part", "data.csv", "report_103041.pdf", "same", "seen"],
        "a failure takes nothing"
    );
    let table = String::from_utf8(
        sandbox
            .program("script")
            .args([
                "-qec",
                &format!("{} ls s1 {}", env!("CARGO_BIN_EXE_outputfs"), sandbox.store_args().join(" ")),
                "/dev/null",
            ])
            .output()
            .unwrap()
            .stdout,
    )
    .unwrap();
    assert_eq!(table.matches("attempt failed").count(), 4, "{table}");
    let report = json(&sandbox, "ls", &["s1/report_103041.pdf", "--json"])[0].clone();
    assert_eq!((&report["attempt"]["number"], &report["attempt"]["state"]), (&1.into(), &"failed".into()));
    // A human goes over one of them: from then on it is not the attempt's.
    std::fs::write(sandbox.path().join("mine"), "kept by a human").unwrap();
    sandbox.cli("push", &[sandbox.path().join("mine").to_str().unwrap(), "s1/seen"]);

    let said = ends(&sandbox, "report", "echo same > outputs/same; echo two > outputs/report_103042.pdf", 0);
    assert!(said.contains("2 files of earlier attempts of step 'report' now in the trash"), "{said}");
    assert_eq!(listed(&sandbox), ["data.csv", "report_103042.pdf", "same", "seen"]);
    assert_eq!(steps(&sandbox)[1..], [(1, "failed".into(), 3.into()), (2, "succeeded".into(), 0.into())]);
    let told: Value = serde_json::from_slice(&std::fs::read(sandbox.path().join("report.json")).unwrap()).unwrap();
    assert_eq!((&told["step"]["attempt"], &told["step"]["replaced"]), (&2.into(), &2.into()));
    // Gone by its ID too, but not lost, and restorable.
    let id = report["artifact_id"].as_str().unwrap();
    assert_eq!(sandbox.try_cli("pull", &[id, "-"]).status.code(), Some(1));
    assert_eq!(sandbox.cli("pull", &["--deleted", id, "-"]), "one");
    let trash = json(&sandbox, "trash", &["ls", "s1", "--json"]);
    assert!(trash.to_string().contains("attempt 2 of step 'report'"), "{trash}");
    sandbox.cli("trash", &["restore", id]);
    assert!(listed(&sandbox).contains(&"report_103041.pdf".to_owned()));
    // What a human brought back stays, also after the next success.
    ends(&sandbox, "report", "echo three > outputs/report_103043.pdf", 0);
    assert_eq!(listed(&sandbox), ["data.csv", "report_103041.pdf", "report_103043.pdf", "seen"]);
    consistent(&sandbox);
}

#[test]
fn a_retry_replaces_what_it_did_not_write_again_local() {
    a_retry_replaces(Store::Local);
}

#[test]
fn a_retry_replaces_what_it_did_not_write_again_s3() {
    a_retry_replaces(Store::S3);
}

#[test]
fn a_push_within_the_command_is_the_attempts() {
    let sandbox = Sandbox::new(Store::Local);
    let push =
        |name: &str| format!("echo {name} > f; {} push -q f s1/{name} >/dev/null", env!("CARGO_BIN_EXE_outputfs"));
    ends(&sandbox, "p", &format!("{}; exit 1", push("old")), 1);
    assert_eq!(listed(&sandbox), ["old"]);
    ends(&sandbox, "p", &push("new"), 0);
    assert_eq!(listed(&sandbox), ["new"]);
    consistent(&sandbox);
}

/// Killed with all its family: the attempt is over when somebody notices, and a later one replaces its files.
fn killed(store: Store) {
    let sandbox = Sandbox::new(store);
    let mut run = attempt(&sandbox, "slow", "echo half > outputs/half; touch stored; exec sleep 600").spawn().unwrap();
    wait_until("the command has written", Duration::from_secs(20), || sandbox.path().join("stored").exists());
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.id())).unwrap();
    for pid in children.split_whitespace().map(|p| p.parse().unwrap()) {
        let _gone =
            rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL);
    }
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(steps(&sandbox), [(1, "abandoned".into(), Value::Null)]);
    assert_eq!(listed(&sandbox), ["half"]);
    ends(&sandbox, "slow", "echo whole > outputs/whole", 0);
    assert_eq!(listed(&sandbox), ["whole"]);
    consistent(&sandbox);
}

#[test]
fn a_killed_attempt_is_abandoned_and_its_files_are_replaced_local() {
    killed(Store::Local);
}

#[test]
fn a_killed_attempt_is_abandoned_and_its_files_are_replaced_s3() {
    killed(Store::S3);
}

#[cfg(feature = "failpoints")]
#[test]
fn a_crash_at_the_end_moves_all_or_nothing() {
    for (point, left, state) in [
        ("steps::after_begin", &["old", "older"][..], "abandoned"),
        ("steps::before_end", &["new", "old", "older"], "abandoned"),
        ("steps::after_end", &["new"], "succeeded"),
    ] {
        let sandbox = Sandbox::new(Store::Local);
        ends(&sandbox, "s", "echo 1 > outputs/old; echo 1 > outputs/older; exit 1", 1);
        let crash = attempt(&sandbox, "s", "echo 2 > outputs/new")
            .env("FAILPOINTS", format!("{point}=return"))
            .output()
            .unwrap();
        assert!(!crash.status.success(), "{point}");
        assert_eq!(listed(&sandbox), left, "{point}");
        assert_eq!(steps(&sandbox)[1].1, state, "{point}");
        ends(&sandbox, "s", "echo 3 > outputs/newest", 0);
        assert_eq!(listed(&sandbox), ["newest"], "{point}");
        consistent(&sandbox);
    }
}

#[test]
fn a_sealed_session_takes_no_attempt() {
    let sandbox = Sandbox::new(Store::Local);
    ends(&sandbox, "a", "echo 1 > outputs/f", 0);
    sandbox.cli("seal", &["s1"]);
    let said = ends(&sandbox, "a", "echo 2 > outputs/g", 1);
    assert!(said.contains("sealed"), "{said}");
    assert!(sandbox.try_cli("steps", &["no-such-session"]).status.code() == Some(1));
}

/// What an agent stores through its MCP server within a step belongs to the attempt, as what it pushes does.
#[test]
fn what_comes_by_mcp_within_the_command_is_the_attempts() {
    let sandbox = Sandbox::new(Store::Local);
    let program = env!("CARGO_BIN_EXE_outputfs");
    let script = |name: &str, code: u8| {
        let client = format!(
            r#"import json, subprocess, sys
server = subprocess.Popen([{program:?}, "mcp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
def ask(id, method, **params):
    print(json.dumps({{"jsonrpc": "2.0", "id": id, "method": method, "params": params}}), file=server.stdin, flush=True)
    return json.loads(server.stdout.readline())
ask(1, "initialize", protocolVersion="2025-06-18", capabilities={{}}, clientInfo={{"name": "t", "version": "1"}})
print(json.dumps({{"jsonrpc": "2.0", "method": "notifications/initialized"}}), file=server.stdin, flush=True)
made = ask(2, "tools/call", name="store_artifact", arguments={{"session_id": "s1", "filename": "{name}", "content": "x"}})
assert not made["result"].get("isError"), made
server.stdin.close()
assert server.wait(30) == 0
sys.exit({code})"#
        );
        std::fs::write(sandbox.path().join("client.py"), client).expect("written");
        "exec python3 client.py"
    };
    ends(&sandbox, "extract", script("first.txt", 7), 7);
    assert_eq!(listed(&sandbox), ["first.txt"]);
    ends(&sandbox, "extract", script("second.txt", 0), 0);
    assert_eq!(listed(&sandbox), ["second.txt"]);
    consistent(&sandbox);
}
