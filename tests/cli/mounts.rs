//! `outputfs mount` as a daemon, and `umount`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::support::{mount::is_mounted, wait_until};

/// The daemon of the mount point, ended with the test whatever happens.
struct Daemon<'a>(&'a Sandbox, std::path::PathBuf);

impl<'a> Daemon<'a> {
    fn start(sandbox: &'a Sandbox, words: &[&str]) -> Self {
        let dir = sandbox.new_mountpoint();
        let mut all = vec!["mount", dir.to_str().expect("UTF-8"), "--http", "off"];
        all.extend(words);
        ok(sandbox, &all);
        Self(sandbox, dir)
    }
    fn path(&self) -> &str {
        self.1.to_str().expect("UTF-8")
    }
    fn pid(&self) -> Pid {
        let status = ok_json(self.0, &["status"]);
        let mounts = status["mounts"].as_array().expect("mounts");
        let real = self.1.canonicalize().unwrap_or_else(|_| self.1.clone());
        let pid = mounts.iter().find(|m| m["mountpoint"] == real.to_str().expect("UTF-8")).map(|m| m["pid"].clone());
        let pid = pid.and_then(|p| p.as_i64()).unwrap_or_else(|| panic!("no daemon: {status}"));
        Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid")
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if is_mounted(&self.1) {
            outputfs(self.0, &["umount", "--force", "--timeout", "20s", self.path()]);
        }
    }
}

#[test]
fn a_daemon_answers_when_mount_returns_and_is_gone_when_umount_does() {
    let sandbox = sandbox();
    let daemon = Daemon::start(&sandbox, &[]);
    std::fs::create_dir(daemon.1.join("run_1")).expect("a session");
    std::fs::write(daemon.1.join("run_1/f"), "text").expect("a file");
    assert_eq!(ok(&sandbox, &["pull", "run_1/f", "-"]), "text");
    let status = ok_json(&sandbox, &["status"]);
    assert_eq!((&status["mounts"][0]["alive"], &status["mounts"][0]["session_id"]), (&true.into(), &Value::Null));
    ok(&sandbox, &["umount", daemon.path()]);
    assert!(!is_mounted(&daemon.1));
    assert_eq!(ok_json(&sandbox, &["status"])["mounts"].as_array().map(Vec::len), Some(0));
    assert!(fails(&sandbox, 1, &["umount", daemon.path()]).contains("is not mounted"));
}

/// Wherever its state is, whether the daemon lives or was killed.
#[test]
fn umount_finds_the_state_directory_by_the_mount() {
    let sandbox = sandbox();
    let elsewhere = sandbox.path().join("an, other 100% state");
    let elsewhere = elsewhere.to_str().expect("UTF-8");
    let at = |dir: &str, args: &[&str]| {
        let mut c = sandbox.program(env!("CARGO_BIN_EXE_outputfs"));
        // Without a word of it, another one is the default.
        let default = sandbox.path().join("default");
        let out =
            c.env("OUTPUTFS_STATE_DIR", if dir.is_empty() { &default } else { Path::new(dir) }).args(args).output();
        let out = out.expect("outputfs starts");
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let mount = sandbox.new_mountpoint();
    let path = mount.to_str().expect("UTF-8");
    let start = || {
        let started = at(elsewhere, &["mount", path, "--session", "s", "--http", "off"]);
        assert_eq!(started.0, Some(0), "{}", started.1);
    };
    start();
    std::fs::write(mount.join("f"), "text").expect("a file");
    let ended = at("", &["umount", path]);
    assert_eq!((ended.0, is_mounted(&mount)), (Some(0), false), "{}", ended.1);

    start();
    let mut asked = sandbox.program(env!("CARGO_BIN_EXE_outputfs"));
    let status = asked.args(["status", "--json", "--state-dir", elsewhere]).output().expect("outputfs starts");
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    let pid = status["mounts"][0]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    kill_process(pid.expect("its pid"), Signal::KILL).expect("SIGKILL");
    wait_until("the daemon's end", Duration::from_secs(10), || std::fs::metadata(mount.join("f")).is_err());
    let ended = at("", &["umount", path]);
    assert_eq!((ended.0, is_mounted(&mount)), (Some(0), false), "{}", ended.1);
    assert!(!sandbox.path().join("default").exists(), "the default state directory was not asked");
}

#[test]
fn a_mount_in_use_stays_and_its_user_is_named() {
    let sandbox = sandbox();
    let daemon = Daemon::start(&sandbox, &["--session", "s"]);
    let mut user = Command::new("cat").current_dir(&daemon.1).stdin(Stdio::piped()).spawn().expect("cat");
    let said = fails(&sandbox, 1, &["umount", daemon.path()]);
    assert!(said.contains(&format!("is in use by cat ({}, working directory)", user.id())), "{said}");
    assert!(is_mounted(&daemon.1));
    drop(user.stdin.take());
    user.wait().expect("its end");
    ok(&sandbox, &["umount", daemon.path()]);
}

#[test]
fn why_a_daemon_does_not_mount_is_told() {
    let sandbox = sandbox();
    assert!(fails(&sandbox, 1, &["mount", "none"]).contains("none: no such directory to mount on"));
    write(sandbox.path(), "file", "");
    assert!(fails(&sandbox, 1, &["mount", "file"]).contains("is no directory to mount on"));
    assert!(fails(&sandbox, 1, &["mount", "state"]).contains("is not empty") || sandbox.state_dir().exists());
    let daemon = Daemon::start(&sandbox, &["--session", "s"]);
    assert!(fails(&sandbox, 1, &["mount", daemon.path()]).contains("is mounted there already"));
    let inside = daemon.1.join("state");
    let said = fails(&sandbox, 1, &["ls", "--state-dir", inside.to_str().expect("UTF-8")]);
    assert!(said.contains("outputfs cannot keep its own state there"), "{said}");
    let below = sandbox.new_mountpoint();
    let own = below.join("state");
    let words = ["mount", below.to_str().expect("UTF-8"), "--state-dir", own.to_str().expect("UTF-8"), "--http", "off"];
    let said = fails(&sandbox, 1, &words);
    assert!(said.contains("lies below the mount point"), "{said}");
}

#[test]
fn what_a_killed_daemon_left_is_cleaned_up_by_the_next() {
    let sandbox = sandbox();
    let daemon = Daemon::start(&sandbox, &["--session", "s"]);
    std::fs::write(daemon.1.join("f"), "text").expect("a file");
    let pid = daemon.pid();
    kill_process(pid, Signal::KILL).expect("SIGKILL");
    wait_until("the daemon's end", Duration::from_secs(10), || std::fs::metadata(daemon.1.join("f")).is_err());
    assert!(is_mounted(&daemon.1), "a dead mount stays");
    ok(&sandbox, &["mount", daemon.path(), "--session", "s", "--http", "off"]);
    assert_eq!(std::fs::read_to_string(daemon.1.join("f")).expect("the file"), "text");
    kill_process(daemon.pid(), Signal::KILL).expect("SIGKILL");
    wait_until("the daemon's end", Duration::from_secs(10), || std::fs::metadata(daemon.1.join("f")).is_err());
    ok(&sandbox, &["umount", daemon.path()]);
    assert!(!is_mounted(&daemon.1));
}
