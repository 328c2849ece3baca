//! `run --watch`: a plain folder where nothing can be mounted.

use std::path::Path;
use std::process::{Command, Output};

use std::sync::Arc;
use std::time::Duration;

use crate::support::{MountOptions, Sandbox, Store, TestMount, sh, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_outputfs");
/// `has PATH`: the command waits until the path is an artifact.
const HAS: &str = concat!(
    "has() { n=0; until '",
    env!("CARGO_BIN_EXE_outputfs"),
    r#"' ls w --json | grep -q "\"$1\""; do n=$((n + 1)); [ $n -lt 200 ]; sleep 0.05; done; }
"#
);

fn run(s: &Sandbox, args: &[&str], script: &str) -> Output {
    let mut command = s.outputfs("run");
    command.args(["--watch", "--session", "w"]).args(args).args(["--", "sh", "-ec", script]);
    command.current_dir(s.path()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ran(s: &Sandbox, args: &[&str], script: &str) -> String {
    let out = run(s, args, script);
    assert!(out.status.success(), "{}", text(&out.stderr));
    text(&out.stderr)
}

/// Path, size and type of all that the session holds, by path.
fn listed(s: &Sandbox) -> Vec<(String, u64, String)> {
    let all: Vec<serde_json::Value> = serde_json::from_str(&s.cli("ls", &["w", "--json"])).unwrap();
    let of = |a: &serde_json::Value, key: &str| a[key].as_str().unwrap_or_default().to_owned();
    let mut list: Vec<_> =
        all.iter().map(|a| (of(a, "filename"), a["size_bytes"].as_u64().unwrap(), of(a, "state"))).collect();
    list.sort();
    list
}

fn names(s: &Sandbox) -> Vec<String> {
    listed(s).into_iter().map(|(name, ..)| name).collect()
}

#[test]
fn what_is_closed_in_a_plain_folder_is_stored_by_the_end() {
    for store in [Store::Local, Store::S3] {
        let s = Arc::new(Sandbox::new(store));
        let said = ran(
            &s,
            &["--report", "report.json"],
            r#"[ "$OUTPUTFS_DIR" = "$PWD/outputs" ]; cd outputs
               echo hi > a.txt; mkdir -p d/e; echo deep > d/e/f; mkdir empty; ln -s a.txt link; : > none
               echo 1 > x.tmp; mkdir -p d/__pycache__; echo 1 > d/__pycache__/i.pyc; echo new > y.tmp; mv y.tmp y
               mkfifo pipe; exec 3> held; echo open >&3; sh -c 'sleep 30 2> /dev/null & echo $!' > ../sleeper"#,
        );
        assert!(said.contains("a.txt") && !said.contains("x.tmp"), "{said}");
        let want = ["a.txt", "d/e/f", "held", "none", "y"];
        assert_eq!(names(&s), want);
        assert!(listed(&s).iter().all(|(.., state)| state == "stored"), "{:?}", listed(&s));
        sh(
            r#"python3 -c 'import json; d = json.load(open("report.json")); assert [len(d["artifacts"]), d["sealed"], d["exit_code"]] == [5, False, 0], d'
               kill "$(cat sleeper)"; cat outputs/a.txt; test -p outputs/pipe"#,
            s.path(),
        );
        // What is there is not this run's, but what changes is.
        ran(&s, &[], "echo changed > outputs/a.txt");
        assert_eq!(s.cli("pull", &["w/a.txt", "-"]), "changed");
        assert_eq!(names(&s), want);
        let m = TestMount::of(&s, MountOptions::new().session("w"));
        sh(r#"[ "$(readlink link)" = a.txt ]; [ -d empty ]; [ "$(cat d/e/f)" = deep ]"#, m.path());
    }
}

#[test]
fn renames_removals_and_other_kinds_are_followed() {
    let s = Sandbox::new(Store::Local);
    let script = format!(
        r"{HAS}cd outputs; mkdir old; echo 1 > old/f; echo 2 > gone; echo 3 > a; echo 4 > kind; ln -s a l; echo 5 > hard; ln hard hard2
          has old/f; has gone; has a; has kind; has hard2; mv old new; rm gone; mv a b; rm kind; mkdir kind; echo 6 > kind/f; ln -sfn b l"
    );
    ran(&s, &[], &script);
    assert_eq!(names(&s), ["b", "hard", "hard2", "kind/f", "new/f"]);
    // What an earlier run took is known by its size and time.
    ran(&s, &[], "rm -r outputs/kind; echo 7 > outputs/kind; mv outputs/b outputs/new/b; rm outputs/hard");
    assert_eq!(names(&s), ["hard2", "kind", "new/b", "new/f"]);
    assert_eq!(s.cli("pull", &["w/kind", "-"]), "7");
    assert_eq!(s.cli("pull", &["w/new/b", "-"]), "3");
}

/// The command waits for what it has closed to be an artifact: that comes from being told, not from the look at the end.
#[test]
fn what_is_closed_is_an_artifact_soon() {
    let s = Sandbox::new(Store::Local);
    let script = format!(
        r#"{HAS}cd outputs; echo 1 > first; has first
           mkdir -p a/b/c; echo 2 > a/b/c/deep; has a/b/c/deep
           echo 3 > t.tmp; mv t.tmp placed; has placed
           mkdir dir.tmp; echo 4 > dir.tmp/in; mv dir.tmp dir; has dir/in"#
    );
    ran(&s, &[], &script);
    assert_eq!(names(&s), ["a/b/c/deep", "dir/in", "first", "placed"]);
}

#[test]
fn each_closed_state_is_a_version_and_labels_are_those_of_the_run() {
    let s = Sandbox::new(Store::Local);
    let mut command = s.outputfs("run");
    command.args(["--watch", "--session", "w", "--step", "extract", "--", "sh", "-c", "echo 1 > outputs/r; exit 3"]);
    command.env("OUTPUTFS_AGENT_ID", "alice").current_dir(s.path());
    assert_eq!(command.output().unwrap().status.code(), Some(3));
    let mut command = s.outputfs("run");
    command.args(["--watch", "--session", "w", "--step", "extract", "--", "sh", "-c", "echo 2 > outputs/s"]);
    command.env("OUTPUTFS_AGENT_ID", "alice").current_dir(s.path());
    let out = command.output().unwrap();
    assert!(out.status.success() && text(&out.stderr).contains("of earlier attempts"), "{}", text(&out.stderr));
    assert_eq!(names(&s), ["s"], "a retried step replaces what its failed attempt left");
    let one: serde_json::Value = serde_json::from_str(&s.cli("inspect", &["w/s", "--json"])).unwrap();
    assert_eq!(one["agent_id"], "alice");
    assert_eq!((&one["provenance"]["door"], &one["provenance"]["argv0"]), (&"watch".into(), &"sh".into()), "{one}");
}

#[test]
fn what_is_refused_is_named_and_stays_in_the_folder() {
    let s = Sandbox::new(Store::Local);
    ran(&s, &["--seal"], "echo 1 > outputs/a");
    let out = run(&s, &[], "echo 2 > outputs/late");
    assert_eq!(out.status.code(), Some(1), "a sealed session takes no command");
    assert!(text(&out.stderr).contains("sealed"), "{}", text(&out.stderr));

    let s = Sandbox::new(Store::Local);
    let seal = format!("echo 1 > outputs/a; '{PROGRAM}' seal w; echo 2 > outputs/late");
    let out = run(&s, &[], &seal);
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("'late' (Session 'w' is sealed"), "{}", text(&out.stderr));
    assert_eq!(std::fs::read_to_string(s.path().join("outputs/late")).unwrap(), "2\n");

    let s = Sandbox::new(Store::Local);
    s.cli("quota", &["set", "--file-bytes", "100"]);
    let out =
        run(&s, &[], "head -c 1000 /dev/zero > outputs/big; echo 1 > outputs/small; echo 1 > outputs/.ctl; exit 9");
    assert_eq!(out.status.code(), Some(9), "the command's own failure is the news");
    let said = text(&out.stderr);
    assert!(said.contains("2 files of") && said.contains("'.ctl'") && said.contains("'big'"), "{said}");
    assert_eq!(names(&s), ["small"]);
    assert!(Path::new(&s.path().join("outputs/big")).exists());
}

#[test]
fn what_is_there_is_taken_in_when_asked_for() {
    let s = Sandbox::new(Store::Local);
    sh("mkdir outputs; echo old > outputs/old", s.path());
    ran(&s, &[], "echo new > outputs/new");
    assert_eq!(names(&s), ["new"]);
    ran(&s, &["--adopt"], "true");
    assert_eq!(names(&s), ["new", "old"]);
}

/// No device, no right to mount: as in a container that was given neither.
#[test]
fn where_nothing_can_be_mounted_the_folder_is_watched_with_one_line() {
    let s = Sandbox::new(Store::Local);
    let mut inner = s.outputfs("run");
    inner.args(["--session", "w", "--", "sh", "-c", "echo 1 > outputs/a; if mountpoint -q outputs; then exit 5; fi"]);
    let words: Vec<_> = std::iter::once(inner.get_program()).chain(inner.get_args()).map(ToOwned::to_owned).collect();
    for without in [
        &["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"][..],
        &["unshare", "-m", "sh", "-c", "mount -t tmpfs none /dev && exec \"$@\"", "sh"][..],
    ] {
        let out = Command::new(without[0]).args(&without[1..]).args(&words).current_dir(s.path()).output().unwrap();
        let said = text(&out.stderr);
        assert!(out.status.success(), "{said}");
        assert!(said.lines().filter(|l| l.contains("as with --watch")).count() == 1, "{said}");
        assert_eq!(names(&s), ["a"]);
        sh("rm outputs/a", s.path());
        s.cli("rm", &["w/a"]);
    }
}

#[test]
fn many_files_written_by_many_processes_are_all_there() {
    let s = Sandbox::new(Store::S3);
    ran(
        &s,
        &[],
        r"for k in 1 2 3 4; do (for i in $(seq 100); do mkdir -p outputs/d$k/$i; echo $k-$i > outputs/d$k/$i/f; done) & done; wait",
    );
    assert_eq!(names(&s).len(), 400);
    let check = s.try_cli("check", &["--read-data"]);
    assert!(check.status.success(), "{}", text(&check.stdout));
}

/// A command that is interrupted ends, and its files are stored all the same.
#[test]
fn an_interrupted_command_leaves_its_files_stored() {
    let s = Sandbox::new(Store::Local);
    let mut command = s.outputfs("run");
    command.args(["--watch", "--session", "w", "--", "sh", "-c", "echo 1 > outputs/a; echo > started; exec sleep 60"]);
    let mut child = command.current_dir(s.path()).spawn().unwrap();
    wait_until("the command", Duration::from_secs(20), || s.path().join("started").exists());
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(names(&s), ["a"]);
}
