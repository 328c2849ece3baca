//! push, ls, inspect, pull, rm, restore, verify, check, seal without a mount.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::support::{MountOptions, Store, TestMount, bash, sh, wait_until};

#[test]
fn what_is_pushed_can_be_listed_inspected_and_pulled() {
    let sandbox = sandbox();
    write(sandbox.path(), "a.txt", "hello\n");
    let pushed = ok_json(&sandbox, &["push", "a.txt", "run_1/sub/b.txt", "--meta", "stage=final", "--agent", "w1"]);
    let id = pushed[0]["artifact_id"].as_str().expect("an ID");
    assert_eq!(pushed[0]["filename"], "sub/b.txt");
    assert_eq!(pushed[0]["state"], "stored");
    assert_eq!(pushed[0]["metadata"]["stage"], "final");
    assert_eq!(pushed[0]["agent_id"], "w1");

    for what in [id, "run_1/sub/b.txt", "run_1:sub/b.txt"] {
        assert_eq!(ok_json(&sandbox, &["inspect", what])["size_bytes"], 6);
    }
    assert_eq!(ok(&sandbox, &["pull", id, "-"]), "hello\n");
    ok(&sandbox, &["pull", "run_1/sub/b.txt"]);
    assert_eq!(std::fs::read_to_string(sandbox.path().join("b.txt")).expect("the file"), "hello\n");
}

#[test]
fn the_environment_labels_and_names_the_session() {
    let sandbox = sandbox();
    write(sandbox.path(), "a", "a");
    let with_env = |words: &[&str]| {
        let mut c = sandbox.program(env!("CARGO_BIN_EXE_outputfs"));
        c.env("OUTPUTFS_STATE_DIR", sandbox.state_dir()).env("OUTPUTFS_SESSION_ID", "env_session");
        c.env("OUTPUTFS_META_STAGE", "draft").env("OUTPUTFS_AGENT_ID", "env_agent").args(words);
        let out = c.output().expect("it starts");
        assert!(out.status.success(), "{words:?}: {}", stderr(&out));
        serde_json::from_str::<Value>(&stdout(&out)).expect("JSON")
    };
    let pushed = with_env(&["push", "a"]);
    assert_eq!(pushed[0]["session_id"], "env_session");
    assert_eq!(pushed[0]["metadata"]["stage"], "draft");
    assert_eq!(pushed[0]["agent_id"], "env_agent");
    assert_eq!(with_env(&["inspect", "a"])["filename"], "a");
    write(sandbox.path(), "b", "b");
    with_env(&["push", "b", "other/"]);
    assert_eq!(with_env(&["ls"]).as_array().map(Vec::len), Some(1));
    assert_eq!(with_env(&["ls", "--all"]).as_array().map(Vec::len), Some(2));
}

#[test]
fn listings_narrow() {
    let sandbox = sandbox();
    for (name, meta, agent) in [("x/a.csv", "k=1", "w1"), ("x/y/b.png", "k=2", "w1"), ("c.csv", "k=1", "w2")] {
        write(sandbox.path(), "f", name);
        ok(&sandbox, &["push", "f", &format!("s/{name}"), "--meta", meta, "--agent", agent]);
    }
    write(sandbox.path(), "f", "other");
    ok(&sandbox, &["push", "f", "t/a.csv"]);
    let names = |words: &[&str]| {
        let words: Vec<&str> = ["ls"].iter().chain(words).copied().collect();
        let list = ok_json(&sandbox, &words);
        let mut names: Vec<String> = list
            .as_array()
            .expect("an array")
            .iter()
            .map(|a| format!("{}/{}", a["session_id"].as_str().unwrap(), a["filename"].as_str().unwrap()))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&[]).len(), 4);
    assert_eq!(names(&["s"]).len(), 3);
    assert_eq!(names(&["s/x"]), ["s/x/a.csv", "s/x/y/b.png"]);
    assert_eq!(names(&["s/x/a.csv"]), ["s/x/a.csv"]);
    assert_eq!(names(&["--where", "k=1", "--agent", "w2"]), ["s/c.csv"]);
    assert_eq!(names(&["--type", "image/*"]), ["s/x/y/b.png"]);
    assert_eq!(names(&["--session", "t"]), ["t/a.csv"]);
    assert_eq!(names(&["--since", "1h"]).len(), 4);
    assert_eq!(names(&["--until", "2020-01-01T00:00:00Z"]), [""; 0]);
    assert_eq!(names(&["-n", "2"]).len(), 2);
    assert!(fails(&sandbox, 1, &["ls", "nosuch"]).contains("there is no session 'nosuch'"));
}

#[test]
fn pull_never_overwrites_unasked() {
    let sandbox = sandbox();
    write(sandbox.path(), "a", "new");
    ok(&sandbox, &["push", "a", "s/a"]);
    write(sandbox.path(), "a", "mine");
    let said = fails(&sandbox, 1, &["pull", "s/a"]);
    assert!(said.contains("a exists") && said.contains("hint: --force"), "{said}");
    assert_eq!(std::fs::read_to_string(sandbox.path().join("a")).expect("a"), "mine");
    ok(&sandbox, &["pull", "s/a", "--force"]);
    assert_eq!(std::fs::read_to_string(sandbox.path().join("a")).expect("a"), "new");
}

#[test]
fn folders_go_and_come_whole() {
    let sandbox = sandbox();
    std::fs::create_dir_all(sandbox.path().join("d/e")).expect("folders");
    write(sandbox.path(), "d/a", "A");
    write(sandbox.path(), "d/e/b", "B");
    assert!(fails(&sandbox, 1, &["push", "d", "s/"]).contains("--recursive"));
    ok(&sandbox, &["push", "-r", "d", "s/"]);
    ok(&sandbox, &["pull", "s", "all"]);
    ok(&sandbox, &["pull", "s/d/e", "part"]);
    assert_eq!(std::fs::read_to_string(sandbox.path().join("all/d/e/b")).expect("b"), "B");
    assert_eq!(std::fs::read_to_string(sandbox.path().join("part/e/b")).expect("b"), "B");
}

#[test]
fn standard_input_is_pushed_under_a_name() {
    let sandbox = sandbox();
    let script = format!("printf data | '{}' push - s/in.txt", env!("CARGO_BIN_EXE_outputfs"));
    let mut c = sandbox.program("bash");
    let out = bash(&mut c, &script).env("OUTPUTFS_STATE_DIR", sandbox.state_dir()).output().expect("bash");
    assert!(out.status.success(), "{}", stderr(&out));
    assert_eq!(ok(&sandbox, &["pull", "s/in.txt", "-"]), "data");
    assert!(fails(&sandbox, 1, &["push", "-", "s/"]).contains("needs a name"));
}

#[test]
fn an_output_that_cannot_be_written_is_told() {
    let sandbox = sandbox();
    write(sandbox.path(), "f", "text");
    ok(&sandbox, &["push", "f", "s/f"]);
    let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let out = sandbox.outputfs("pull").args(["s/f", "-"]).stdout(full).output().expect("it starts");
    assert!(!out.status.success());
    assert!(stderr(&out).contains("the output cannot be written"), "{}", stderr(&out));
}

#[test]
fn deleted_files_and_earlier_versions_come_back() {
    let sandbox = sandbox();
    for text in ["one", "two"] {
        write(sandbox.path(), "f", text);
        ok(&sandbox, &["push", "f", "s/f"]);
    }
    let versions = ok_json(&sandbox, &["inspect", "s/f", "--versions"]);
    assert_eq!(versions.as_array().map(Vec::len), Some(2));
    ok(&sandbox, &["rm", "s/f"]);
    assert!(fails(&sandbox, 1, &["inspect", "s/f"]).contains("there is no 'f'"));
    ok(&sandbox, &["restore", "s/f"]);
    assert_eq!(ok(&sandbox, &["pull", "s/f", "-"]), "two");
    ok(&sandbox, &["restore", "s/f", "--version", "1"]);
    assert_eq!(ok(&sandbox, &["pull", "s/f", "-"]), "one");
}

#[test]
fn a_sealed_session_takes_nothing_and_proves_itself() {
    let sandbox = sandbox();
    write(sandbox.path(), "f", "text");
    ok(&sandbox, &["push", "f", "s/f"]);
    let sealed = ok_json(&sandbox, &["seal", "s"]);
    assert_eq!(sealed["artifacts"], 1);
    assert_eq!(ok_json(&sandbox, &["seal", "s"])["digest"], sealed["digest"]);
    assert!(fails(&sandbox, 1, &["push", "f", "s/g"]).contains("Session 's' is sealed"));
    assert!(fails(&sandbox, 1, &["rm", "s/f"]).contains("is sealed"));
    let verified = ok_json(&sandbox, &["verify", "s"]);
    assert_eq!((&verified["ok"], &verified["digest"]), (&Value::Bool(true), &sealed["digest"]));
}

#[test]
fn damage_is_found() {
    let sandbox = sandbox();
    write(sandbox.path(), "f", "text");
    ok(&sandbox, &["push", "f", "s/f"]);
    assert_eq!(ok_json(&sandbox, &["check", "--read-data"])["ok"], true);
    let out = sandbox.program("find").args(["state/blobs", "-type", "f"]).output().expect("find");
    let blob = stdout(&out).lines().next().expect("a blob").to_owned();
    std::fs::remove_file(sandbox.path().join(&blob)).expect("the blob");
    write(sandbox.path(), &blob, "tex!");
    let verified = outputfs(&sandbox, &["verify", "s"]);
    assert_eq!(verified.status.code(), Some(2), "{}", stderr(&verified));
    assert!(stdout(&verified).contains("\"ok\":false"));
    assert_eq!(outputfs(&sandbox, &["check", "--read-data"]).status.code(), Some(2));
    assert_eq!(outputfs(&sandbox, &["pull", "s/f", "out"]).status.code(), Some(2));
    assert!(!sandbox.path().join("out").exists());
}

#[test]
fn a_tree_goes_in_few_transactions_and_can_come_back() {
    let sandbox = Arc::new(Sandbox::new(Store::Local));
    let m = TestMount::of(&sandbox, MountOptions::new().session("s1"));
    sh(
        "mkdir -p d/e/f; for i in $(seq 700); do echo $i > d/e/$i; done; echo x > d/e/f/x; ln d/e/1 keep; echo y > y",
        m.path(),
    );
    let told: serde_json::Value = serde_json::from_str(&sandbox.cli("rm", &["-r", "s1/d"])).unwrap();
    assert_eq!((told["files"].as_u64(), told["directories"].as_u64()), (Some(701), Some(3)), "{told}");
    wait_until("it shows on the mount", Duration::from_secs(5), || !m.join("d").exists());
    assert_eq!(sh("ls; cat keep", m.path()), "keep\ny\n1");
    sandbox.cli("restore", &["s1/d/e/f/x"]);
    assert_eq!(sh("find d -type f", m.path()), "d/e/f/x");
    // Of a session what is in it; of a file the file; of what is sealed nothing.
    sandbox.cli("rm", &["-r", "s1/y", "s1"]);
    wait_until("it is empty", Duration::from_secs(5), || sh("ls", m.path()).is_empty());
    sh("mkdir -p g; echo z > g/z", m.path());
    sandbox.cli("seal", &["s1"]);
    let refused = sandbox.try_cli("rm", &["-r", "s1"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("sealed"),
        "{}",
        String::from_utf8_lossy(&refused.stderr)
    );
    assert_eq!(sh("cat g/z", m.path()), "z");
    sandbox.cli("check", &["--read-data"]);
}

/// A file with holes stays one: on disk, for `du` on a mount, and byte for byte.
#[test]
fn holes_are_kept_by_push() {
    use std::os::unix::fs::{FileExt, MetadataExt};
    let mount = TestMount::new(Store::Local);
    let sandbox = mount.sandbox();
    let file = std::fs::File::create(sandbox.path().join("sparse")).expect("a file");
    for at in [0, 5 << 20, (20 << 20) + 4090] {
        file.write_all_at(b"data across a page's border", at).expect("data");
    }
    file.set_len(40 << 20).expect("a hole at its end");
    ok(sandbox, &["push", "sparse", "s/"]);
    let pushed = mount.join("s/sparse");
    let (source, shown) = (file.metadata().expect("stat"), std::fs::metadata(&pushed).expect("stat"));
    assert_eq!(shown.len(), source.len());
    assert!(shown.blocks() <= source.blocks(), "{} blocks became {}", source.blocks(), shown.blocks());
    sh(&format!("cmp sparse '{}'", pushed.display()), sandbox.path());
    let stored = sh("du -sk state/blobs | cut -f1", sandbox.path()).parse::<u64>().expect("KiB");
    assert!(stored < 10 << 10, "{stored} KiB are stored of 40 MiB that are holes");
}
