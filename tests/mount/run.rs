//! `outputfs run`, `mount`, `umount` as people use them.

use std::sync::Arc;

use crate::support::{MountOptions, Sandbox, Store, TestMount, sh};

fn run(sandbox: &Sandbox, args: &[&str], script: &str) -> std::process::Output {
    let mut command = sandbox.outputfs("run");
    command.args(args).args(["--", "sh", "-c", script]).current_dir(sandbox.path());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn an_unmodified_command_leaves_artifacts() {
    for store in [Store::Local, Store::S3] {
        let s = Sandbox::new(store);
        let out = run(
            &s,
            &["--session", "demo", "--report", "report.json"],
            "echo out; echo err >&2; echo hi > outputs/a.txt; exit 7",
        );
        assert_eq!(out.status.code(), Some(7), "{}", text(&out.stderr));
        assert_eq!(text(&out.stdout), "out\n");
        assert!(text(&out.stderr).starts_with("err\n") && text(&out.stderr).contains("a.txt"), "{}", text(&out.stderr));
        sh(
            r#"python3 -c 'import json; d=json.load(open("report.json")); assert d["session_id"]=="demo" and d["exit_code"]==7 and d["sealed"] is False, d; a=d["artifacts"][0]; assert a["filename"]=="a.txt" and a["state"]=="stored" and a["size_bytes"]==3, d'
               [ ! -e outputs ]"#,
            s.path(),
        );
    }
}

#[test]
fn run_seals_names_sessions_and_keeps_quiet() {
    let s = Sandbox::new(Store::Local);
    let out =
        run(&s, &["--seal", "-q", "--report", "-"], "echo hi > outputs/a; echo $OUTPUTFS_SESSION_ID > outputs/name");
    assert!(out.status.success(), "{}", text(&out.stderr));
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let name = report["session_id"].as_str().unwrap();
    assert!(name.len() == 16 && name.starts_with("ses_"), "{name}");
    assert_eq!(report["sealed"], true);
    assert!(!text(&out.stderr).contains("art_"), "{}", text(&out.stderr));
    let again = run(&s, &["--session", name], "echo x > outputs/late");
    assert_ne!(again.status.code(), Some(0), "a sealed session takes no more");
    let verify = s.outputfs("verify").arg(name).output().unwrap();
    assert!(verify.status.success(), "{}", text(&verify.stderr));
}

#[test]
fn ten_runs_side_by_side() {
    let s = Arc::new(Sandbox::new(Store::Local));
    std::thread::scope(|scope| {
        for k in 0..10 {
            let s = s.clone();
            scope.spawn(move || {
                let dir = format!("m{k}");
                let script = format!("for i in $(seq 20); do echo {k}-$i > m{k}/f$i; done");
                let out = run(&s, &["--session", &format!("run_{k}"), "--mount", &dir], &script);
                assert!(out.status.success(), "{}", text(&out.stderr));
            });
        }
    });
    let out = s.outputfs("ls").arg("--json").output().unwrap();
    let listed: Vec<serde_json::Value> = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(listed.len(), 200);
    assert!(listed.iter().all(|a| a["state"] == "stored"));
}

#[test]
fn a_killed_command_and_signals() {
    let s = Sandbox::new(Store::Local);
    let out = run(&s, &["--session", "k"], "echo a > outputs/a; kill -9 $$");
    assert_eq!(out.status.code(), Some(137), "{}", text(&out.stderr));
    let out = run(&s, &["--session", "k2"], "exec /no/such/command");
    assert_eq!(out.status.code(), Some(127), "{}", text(&out.stderr));
    // SIGTERM goes to the command; what it wrote before is stored.
    let mut command = s.outputfs("run");
    command.args([
        "--session",
        "t",
        "--",
        "sh",
        "-c",
        "trap 'echo got > outputs/got; exit 5' TERM; echo up > up; while :; do sleep 0.05; done",
    ]);
    let mut child = command.current_dir(s.path()).spawn().unwrap();
    crate::support::wait_until("the command runs", std::time::Duration::from_secs(10), || s.path().join("up").exists());
    sh(&format!("kill -TERM {}", child.id()), s.path());
    assert_eq!(child.wait().unwrap().code(), Some(5));
    let out = s.outputfs("pull").args(["t/got", "pulled"]).current_dir(s.path()).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!(std::fs::read_to_string(s.path().join("pulled")).unwrap(), "got\n");
}

#[test]
fn a_daemon_mounts_and_unmounts() {
    let s = Sandbox::new(Store::Local);
    sh("mkdir mnt", s.path());
    let at = s.path().join("mnt");
    let out = s.outputfs("mount").arg(&at).args(["--session", "d", "--http", "off"]).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    sh("echo x > mnt/x; [ \"$(cat mnt/x)\" = x ]", s.path());
    // Busy: named and left alone.
    let busy = sh("exec 3< mnt/x; echo $$", s.path());
    assert!(!busy.is_empty());
    let mut holder = std::process::Command::new("sleep").arg("60").current_dir(&at).spawn().unwrap();
    let out = s.outputfs("umount").arg(&at).output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains(&holder.id().to_string()), "{}", text(&out.stderr));
    holder.kill().unwrap();
    holder.wait().unwrap();
    let out = s.outputfs("umount").arg(&at).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!(std::fs::read_dir(&at).unwrap().count(), 0);
}

#[test]
fn mistakes_get_one_clear_sentence() {
    let s = Sandbox::new(Store::Local);
    for (args, says) in [
        (vec!["mount", "/no/such/dir"], "/no/such/dir"),
        (vec!["mount", "/etc/passwd"], "/etc/passwd"),
        (vec!["ls", "--where", "nonsense"], "key=value"),
        (vec!["link", "none/such"], "none"),
        (vec!["seal", "a b"], "session name"),
    ] {
        let out = s.outputfs(args[0]).args(&args[1..]).output().unwrap();
        assert_eq!(out.status.code(), Some(1), "{args:?}: {}", text(&out.stderr));
        assert!(text(&out.stderr).contains(says), "{args:?}: {}", text(&out.stderr));
    }
}

#[test]
fn a_stale_mount_is_cleaned_up() {
    let mut m = TestMount::with(Store::Local, MountOptions::new().session("s1"));
    sh("echo a > a", m.path());
    m.kill9();
    assert!(std::fs::read_dir(m.path()).is_err(), "a dead daemon's mount answers nothing");
    m.remount();
    assert_eq!(sh("cat a", m.path()), "a");
}
