//! `outputfs run`, on real mounts.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::support::{mount::is_mounted, sh, wait_until, with_deadline};

/// `outputfs run … -- sh -c SCRIPT` without a listener.
fn run(sandbox: &Sandbox, words: &[&str], script: &str) -> Command {
    let mut c = sandbox.program(env!("CARGO_BIN_EXE_outputfs"));
    c.env("OUTPUTFS_STATE_DIR", sandbox.state_dir()).arg("run").args(["--http", "off"]).args(words);
    c.args(["--", "sh", "-c", script]).stdin(Stdio::null());
    c
}

#[test]
fn files_become_artifacts_and_the_folder_goes() {
    let sandbox = sandbox();
    let script = "echo out; echo err >&2; echo hello > outputs/a.txt; mkdir outputs/d; echo $OUTPUTFS_SESSION_ID $OUTPUTFS_DIR > outputs/d/b";
    let out = run(&sandbox, &["--session", "demo", "--report", "r.json"], script).output().expect("it starts");
    assert!(out.status.success(), "{}", stderr(&out));
    assert_eq!(stdout(&out), "out\n");
    assert!(stderr(&out).starts_with("err\n"), "{}", stderr(&out));
    assert!(stderr(&out).contains("a.txt") && stderr(&out).contains("stored"), "{}", stderr(&out));
    assert!(!sandbox.path().join("outputs").exists());

    let report: Value =
        serde_json::from_slice(&std::fs::read(sandbox.path().join("r.json")).expect("it")).expect("JSON");
    assert_eq!(
        (&report["session_id"], &report["exit_code"], &report["sealed"]),
        (&"demo".into(), &0.into(), &false.into())
    );
    let names: Vec<_> =
        report["artifacts"].as_array().expect("artifacts").iter().map(|a| a["filename"].clone()).collect();
    assert_eq!(names, ["a.txt", "d/b"]);
    let told = ok(&sandbox, &["pull", "demo/d/b", "-"]);
    assert_eq!(told, format!("demo {}\n", sandbox.path().canonicalize().expect("it").join("outputs").display()));
    assert_eq!(ok_json(&sandbox, &["status"])["mounts"].as_array().map(Vec::len), Some(0), "nothing stays behind");
}

#[test]
fn exit_codes_are_the_commands() {
    let sandbox = sandbox();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -9 $$", 137)] {
        let out = run(&sandbox, &["-q"], script).output().expect("it starts");
        assert_eq!(out.status.code(), Some(code), "{script}: {}", stderr(&out));
        assert_eq!(stderr(&out), "");
    }
    write(sandbox.path(), "plain", "no program");
    for (program, code) in [("nonesuch-program", 127), ("./plain", 126)] {
        let said = fails(&sandbox, code, &["run", "-q", "--http", "off", "--", program]);
        assert!(said.starts_with(&format!("outputfs: {program}: ")), "{said}");
    }
    assert!(!sandbox.path().join("outputs").exists());
}

#[test]
fn the_report_may_go_to_standard_output_and_a_name_is_made() {
    let sandbox = sandbox();
    let out = run(&sandbox, &["-q", "--report", "-"], "echo x > outputs/x; exit 3").output().expect("it starts");
    assert_eq!(out.status.code(), Some(3));
    let report: Value = serde_json::from_str(&stdout(&out)).expect("one JSON object");
    assert_eq!(report["exit_code"], 3);
    assert!(report["session_id"].as_str().is_some_and(|s| s.starts_with("ses_") && s.len() == 16));
    assert_eq!(report["artifacts"][0]["state"], "stored");
}

#[test]
fn sealing_follows_success_alone() {
    let sandbox = sandbox();
    let out = run(&sandbox, &["-q", "--session", "s", "--seal", "--report", "-"], "echo x > outputs/x; exit 1");
    let out = { out }.output().expect("it starts");
    assert_eq!(serde_json::from_str::<Value>(&stdout(&out)).expect("JSON")["sealed"], false);
    assert!(stderr(&out).is_empty() || stderr(&out).contains("is not sealed"));
    let out = run(&sandbox, &["-q", "--session", "s", "--seal", "--report", "-"], "true").output().expect("it starts");
    assert_eq!(serde_json::from_str::<Value>(&stdout(&out)).expect("JSON")["sealed"], true);
    assert_eq!(ok_json(&sandbox, &["verify", "s"])["ok"], true);
    let out = run(&sandbox, &["--session", "s"], "touch ran").output().expect("it starts");
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("Session 's' is sealed"), "{}", stderr(&out));
    assert!(!sandbox.path().join("ran").exists(), "a command that cannot write is not run");
}

#[test]
fn the_mount_point_must_be_free() {
    let sandbox = sandbox();
    std::fs::create_dir(sandbox.path().join("outputs")).expect("a folder");
    let out = run(&sandbox, &["-q"], "echo x > outputs/x").output().expect("it starts");
    assert!(out.status.success(), "{}", stderr(&out));
    assert!(sandbox.path().join("outputs").is_dir(), "what was there stays");
    write(sandbox.path(), "outputs/mine", "x");
    let out = run(&sandbox, &[], "true").output().expect("it starts");
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("outputs: is not empty"), "{}", stderr(&out));
    // Another folder will do.
    let out = run(&sandbox, &["-q", "--mount", "elsewhere"], "echo x > elsewhere/x").output().expect("it starts");
    assert!(out.status.success(), "{}", stderr(&out));
}

#[test]
fn two_runs_in_one_place_do_not_share_a_folder() {
    let sandbox = sandbox();
    let mut first = run(&sandbox, &["-q"], "read line < go").spawn_with_fifo(&sandbox);
    wait_until("the first mount", Duration::from_secs(30), || is_mounted(&sandbox.path().join("outputs")));
    let out = run(&sandbox, &["-q"], "true").output().expect("it starts");
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("is mounted there already"), "{}", stderr(&out));
    std::fs::write(sandbox.path().join("go"), "\n").expect("go");
    assert!(first.wait().expect("its end").success());
}

#[test]
fn signals_reach_the_command_and_its_files_are_kept() {
    let sandbox = sandbox();
    let script = "trap 'echo caught > outputs/caught; exit 9' TERM; echo pid > outputs/started; while :; do read line < go; done";
    let mut child = run(&sandbox, &["-q", "--session", "s"], script).spawn_with_fifo(&sandbox);
    wait_until("the command", Duration::from_secs(30), || sandbox.path().join("outputs/started").exists());
    kill_process(Pid::from_child(&child), Signal::TERM).expect("SIGTERM");
    let status = with_deadline(Duration::from_secs(30), move || child.wait().expect("its end")).expect("it ends");
    assert_eq!((status.code(), status.signal()), (Some(9), None));
    assert_eq!(ok(&sandbox, &["pull", "s/caught", "-"]), "caught\n");
}

#[test]
fn ten_runs_side_by_side_share_one_state_directory() {
    let sandbox = sandbox();
    let runs: Vec<_> = (0..10)
        .map(|i| {
            let dir = format!("out{i}");
            let script = format!("for n in 1 2 3 4 5; do echo {i} $n > {dir}/$n; done");
            let session = format!("s{i}");
            let words = ["-q", "--session", &session, "--mount", &dir];
            run(&sandbox, &words, &script).stderr(Stdio::piped()).spawn().expect("it starts")
        })
        .collect();
    for child in runs {
        let out = child.wait_with_output().expect("its end");
        assert!(out.status.success(), "{}", stderr(&out));
    }
    let list = ok_json(&sandbox, &["ls"]);
    assert_eq!(list.as_array().map(Vec::len), Some(50));
    assert_eq!(ok_json(&sandbox, &["check", "--read-data"])["ok"], true);
}

trait WithFifo {
    fn spawn_with_fifo(&mut self, sandbox: &Sandbox) -> std::process::Child;
}

impl WithFifo for Command {
    /// With a named pipe `go` that the command waits at.
    fn spawn_with_fifo(&mut self, sandbox: &Sandbox) -> std::process::Child {
        let made = Command::new("mkfifo").arg(sandbox.path().join("go")).status().expect("mkfifo");
        assert!(made.success());
        self.spawn().expect("it starts")
    }
}

#[test]
fn what_a_folder_holds_is_adopted() {
    let sandbox = Sandbox::new(Store::Local);
    sh(
        "mkdir -p outputs/d; echo old > outputs/a.txt; echo deep > outputs/d/b.txt; ln -s a.txt outputs/link; touch -d 2001-02-03 outputs/a.txt
         chmod 600 outputs/a.txt; echo x > outputs/scratch.tmp",
        sandbox.path(),
    );
    let run = |args: &[&str], script: &str| {
        let mut command = sandbox.outputfs("run");
        command.args(["--session", "s1", "--http", "off", "--report", "report.json"]).args(args);
        command.args(["--", "sh", "-ec", script]).output().unwrap()
    };
    let refused = run(&[], "true");
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("--adopt"), "{}", stderr(&refused));
    let adopted = run(
        &["--adopt"],
        "cd outputs; cat a.txt d/b.txt link; stat -c '%a %y' a.txt; test ! -e scratch.tmp; echo new > a.txt; echo n > n",
    );
    assert_eq!(adopted.status.code(), Some(0), "{}", stderr(&adopted));
    let said = String::from_utf8_lossy(&adopted.stdout).into_owned();
    assert!(said.starts_with("old\ndeep\nold\n600 2001-02-03"), "{said}");
    // In place underneath; the run tells of what it wrote itself.
    assert_eq!(
        sh("cat outputs/a.txt outputs/scratch.tmp; ls outputs", sandbox.path()),
        "old\nx\na.txt\nd\nlink\nscratch.tmp"
    );
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(sandbox.path().join("report.json")).unwrap()).unwrap();
    let names: Vec<_> =
        report["artifacts"].as_array().unwrap().iter().map(|a| a["filename"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["a.txt", "n"]);
    // Again: what the session holds by now is not put back.
    let again = run(&["--adopt"], "cat outputs/a.txt");
    assert_eq!(
        (again.status.code(), String::from_utf8_lossy(&again.stdout).as_ref()),
        (Some(0), "new\n"),
        "{}",
        stderr(&again)
    );
    // The other door.
    sh("mkdir -p all/s2; echo m > all/s2/m", sandbox.path());
    assert!(stderr(&sandbox.outputfs("mount").args(["all", "--http", "off"]).output().unwrap()).contains("--adopt"));
    sandbox.cli("mount", &["all", "--http", "off", "--adopt"]);
    let seen = sh("cat all/s2/m all/s1/d/b.txt", sandbox.path());
    sandbox.cli("umount", &["all"]);
    assert_eq!((seen.as_str(), sh("cat all/s2/m", sandbox.path()).as_str()), ("m\ndeep", "m"));
}

#[test]
fn what_is_not_adopted_is_named_with_its_reason() {
    let sandbox = sandbox();
    sh(
        "mkdir -p outputs/d; echo 1 > outputs/d/f; mkfifo outputs/pipe; echo 1 > outputs/x.tmp; mkdir outputs/.git; echo 1 > outputs/.git/config",
        sandbox.path(),
    );
    let out = run(&sandbox, &["--session", "demo", "--adopt"], "true").output().expect("it starts");
    let said = stderr(&out);
    assert!(out.status.success() && said.contains("1 file taken in, 0 in the session already, left out: "), "{said}");
    for named in ["'pipe' (a pipe)", "'x.tmp' (scratch)", "'.git' (scratch)"] {
        assert!(said.contains(named), "{named}: {said}");
    }
}
