//! What commands say, where silence or another word would mislead.

use serde_json::Value;

use crate::support::{MountOptions, Sandbox, Store, TestMount, sh, try_sh};

fn stderr(out: &std::process::Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn what_is_not_there_is_not_an_empty_list() {
    let m = TestMount::with(Store::Local, MountOptions::new().session("demo"));
    sh("mkdir empty d; echo x > d/file", m.path());
    for (what, found) in [("demo/d", 1), ("demo/d/file", 1), ("demo/empty", 0), ("demo", 1)] {
        let listed: Value = serde_json::from_str(&m.sandbox().cli("ls", &[what])).unwrap();
        assert_eq!(listed.as_array().unwrap().len(), found, "{what}");
    }
    for what in ["demo/nofile", "demo/d/nofile", "demo/d/file/below", "none"] {
        let out = m.sandbox().try_cli("ls", &[what]);
        assert_eq!((out.status.code(), out.stdout.is_empty()), (Some(1), true), "{what}: {}", stderr(&out));
        let said = stderr(&out);
        assert!(said.contains("there is no") || said.contains("is not a directory"), "{what}: {said}");
    }
    sh("rm d/file", m.path());
    let said = stderr(&m.sandbox().try_cli("ls", &["demo/d/file"]));
    assert!(said.contains("was deleted at 2") && said.contains("outputfs restore"), "{said}");
}

#[test]
fn the_trash_knows_who_deleted_and_is_emptied_in_one_word() {
    let m = TestMount::with(Store::Local, MountOptions::new().session("demo"));
    let sandbox = m.sandbox();
    sh("mkdir a b; for n in 1 2 3; do echo $n > a/$n; echo $n > b/$n; done", m.path());
    sandbox.cli("rm", &["-r", "demo/a"]);
    sandbox.cli("rm", &["demo/b/1"]);
    sh("rm -r b", m.path());
    let trash: Value = serde_json::from_str(&sandbox.cli("trash", &["ls"])).unwrap();
    let by: Vec<_> = trash.as_array().unwrap().iter().map(|i| i["deleted_by"].as_str().unwrap_or_default()).collect();
    assert_eq!(by.iter().filter(|b| b.starts_with("outputfs, uid ")).count(), 4, "{by:?}");
    assert_eq!(by.iter().filter(|b| b.starts_with("rm, uid ")).count(), 2, "{by:?}");
    let told: Value = serde_json::from_str(&sandbox.cli("trash", &["empty"])).unwrap();
    assert_eq!(told["purged"], 6);
    assert_eq!(sandbox.cli("trash", &["ls"]).trim(), "[]");
}

#[test]
fn a_link_that_only_this_machine_can_open_says_so() {
    let m = TestMount::with(Store::Local, MountOptions::new().session("demo"));
    sh("echo x > f", m.path());
    let out = m.sandbox().try_cli("link", &["demo/f"]);
    assert!(stderr(&out).contains("only this machine") && stderr(&out).contains("--public-url"), "{}", stderr(&out));
    assert_eq!(String::from_utf8_lossy(&out.stdout).lines().count(), 1, "the URL alone on standard output");
    let out = m.sandbox().try_cli("link", &["demo/f", "--public-url", "https://files.example.org"]);
    assert!(!stderr(&out).contains("only this machine"), "{}", stderr(&out));
    let answer: Value = serde_json::from_str(&m.ctl("json link f").unwrap()).unwrap();
    assert!(answer["note"].as_str().unwrap().contains("--public-url"), "{answer}");
    assert_eq!(m.ctl("link f").unwrap().lines().count(), 1, "a plain answer is the bare value");
}

#[test]
fn a_refused_close_is_explained_by_the_control_file() {
    let m = TestMount::with(Store::Local, MountOptions::new().session("demo"));
    let script = "echo one > first.new; echo two > second.new; OUTPUTFS_IDEMPOTENCY_KEY=op-1 cp first.new first; id=$(getfattr --only-values -n user.artifact.id first); \
        if OUTPUTFS_IDEMPOTENCY_KEY=op-1 cp second.new second 2> said; then exit 1; fi; grep -q 'File exists' said; \
        read answer < .ctl; echo \"$id $answer\"";
    let said = sh(script, m.path());
    let (id, answer) = said.split_once(' ').unwrap();
    assert!(answer.starts_with("error: ") && answer.contains("op-1") && answer.contains(id), "{said}");
}

#[test]
fn a_sealed_directory_shows_no_w_from_the_first_moment() {
    for by_command in [false, true, true, true, true] {
        let m = TestMount::with(Store::Local, MountOptions::new().session("demo"));
        sh("mkdir d; echo x > d/f; chmod 777 . d d/f; stat -c %a . d d/f; ls -la", m.path());
        let modes = || sh("stat -c %a . d d/f", m.path());
        if by_command {
            m.sandbox().cli("seal", &["demo"]);
        } else {
            m.ctl("seal").unwrap();
        }
        assert_eq!(modes(), "555\n555\n555", "{by_command}");
        assert!(!try_sh("touch d/g", m.path()).status.success());
    }
}

#[test]
fn a_replaced_id_is_not_called_expired() {
    let sandbox = Sandbox::new(Store::Local);
    let out = sandbox.try_cli("inspect", &["art_01M83B5CAP66VQKRT5Y2XQKMXR"]);
    assert!(stderr(&out).contains("there is no artifact") && !stderr(&out).contains("expired"), "{}", stderr(&out));
}
