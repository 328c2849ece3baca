//! What comes back from the trash is what went; what is emptied out of it is gone.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::support::{MountOptions, Sandbox, Store, TestMount, sh, try_sh, wait_until};

const SHOWS: Duration = Duration::from_secs(5);

fn json(sandbox: &Sandbox, command: &str, args: &[&str]) -> Value {
    serde_json::from_str(&sandbox.cli(command, args)).unwrap()
}

/// Exit code and what was said, of a command that fails.
fn refused(sandbox: &Sandbox, args: &[&str]) -> (Option<i32>, String) {
    let out = sandbox.try_cli(args[0], &args[1..]);
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

super::on_every_mount!(every version: a_restored_file_is_what_it_was, an_emptied_trash_ends_earlier_versions);

/// Owner, mode, times, blocks, attributes and expiry.
fn shape(m: &TestMount) -> String {
    sh(
        "stat -c '%a %u %g %Y %X %b' f; cat f | md5sum; getfattr -d f 2>/dev/null; getfattr --only-values -n user.artifact.expires_at f",
        m.path(),
    )
}

fn a_restored_file_is_what_it_was(m: &TestMount) {
    let make = "truncate -s 4M f; printf one | dd of=f conv=notrunc status=none; setfattr -n user.stage -v final f; \
        echo 'ttl f never' > .ctl; chmod 4600 f; chown 65534:12 f; chmod 4600 f; touch -d @1000000000 f";
    sh(make, m.path());
    let was = shape(m);
    assert!(was.starts_with("4600 65534 12 1000000000 1000000000 8\n") && was.ends_with("never"), "{was}");
    let back = |how: &str| {
        wait_until(how, SHOWS, || m.join("f").exists() && shape(m) == was);
    };
    sh("rm f", m.path());
    m.sandbox().cli("restore", &["s1/f"]);
    back("by the command");
    sh("rm f; echo 'restore f' > .ctl", m.path());
    back("by the control file");
    sh("rm f; mv .trash/f~* f", m.path());
    back("by its name in the trash");
    // Over another file: the file that comes is what counts, as with every rename.
    sh("rm f; echo other > f; chmod 644 f; mv -f .trash/f~* f", m.path());
    back("over another file");
    // An earlier version.
    let number = sh("getfattr --only-values -n user.artifact.version f", m.path());
    sh("echo two > f; chmod 666 f; chown 0:0 f; touch f", m.path());
    m.sandbox().cli("restore", &["s1/f", &number]);
    wait_until("by the version's number", SHOWS, || {
        m.join("f").exists() && but_its_mtime(&shape(m)) == but_its_mtime(&was)
    });
}

/// Without passthrough the kernel tells of the time of a write before the close: the version before it has that time then.
fn but_its_mtime(shape: &str) -> String {
    let mut words: Vec<&str> = shape.split(' ').collect();
    words.remove(3);
    words.join(" ")
}

fn an_emptied_trash_ends_earlier_versions(m: &TestMount) {
    sh("for f in a b c keep; do for n in 1 2 3; do echo $f$n > $f; done; done", m.path());
    let first = sh("getfattr --only-values -n user.artifact.id .versions/keep/1", m.path());
    m.sandbox().cli("link", &[&first]);
    sh("rm a b c keep; [ \"$(ls .versions/a)\" = \"1\n2\" ]", m.path());
    // One path by its name in the trash, one by its ID, the rest together.
    sh("rm .trash/a~*", m.path());
    let trash = json(m.sandbox(), "trash", &["ls", "s1"]);
    let id = |name: &str| {
        let item = trash.as_array().unwrap().iter().find(|i| i["filename"] == name).unwrap();
        item["artifact_id"].as_str().unwrap().to_owned()
    };
    let told = json(m.sandbox(), "trash", &["empty", &id("b")]);
    assert_eq!((&told["purged"], &told["versions"]), (&1.into(), &2.into()), "{told}");
    let told = json(m.sandbox(), "trash", &["empty"]);
    assert_eq!((&told["purged"], &told["versions"]), (&2.into(), &3.into()), "{told}");
    for gone in ["a", "b", "c"] {
        assert!(!try_sh(&format!("ls .versions/{gone}"), m.path()).status.success(), "{gone} has versions");
        let (code, _) = refused(m.sandbox(), &["restore", &format!("s1/{gone}"), "1"]);
        assert_eq!(code, Some(1), "{gone} comes back");
    }
    assert_eq!(sh("ls .versions/keep; cat .versions/keep/1", m.path()), "1\nkeep1", "what a link leads to stays");
    // Their bytes are nobody's any more.
    let needed: usize = json(m.sandbox(), "check", &[])["artifacts"].as_u64().unwrap().try_into().unwrap();
    assert_eq!(needed, 1);
}

#[test]
fn a_session_goes_and_comes_back_as_a_directory() {
    let sandbox = Arc::new(Sandbox::new(Store::Local));
    let m = TestMount::of(&sandbox, MountOptions::new());
    let sessions = || json(&sandbox, "session", &["ls"]).as_array().unwrap().len();
    sh(
        "mkdir run_42; cd run_42; echo early > early; rm early; mkdir -p d/e; echo a > a; echo b > d/e/b; chmod 640 d/e/b; \
         ln -s d/e/b link; ln -s nowhere empty-link; mkdir -p empty/deep; chmod 700 empty; mkfifo -m 620 pipe; \
         setfattr -n user.stage -v draft empty",
        m.path(),
    );
    // (What was deleted a while before a session stays deleted: the contract's test has a clock for that.)
    sh("rm -rf run_42; [ -z \"$(ls)\" ]", m.path());
    assert_eq!(sessions(), 0, "no empty session stays in lists");
    let (code, said) = refused(&sandbox, &["ls", "run_42"]);
    assert!(code == Some(1) && said.contains("was deleted at 2") && said.contains("session restore run_42"), "{said}");
    let trash = json(&sandbox, "trash", &["ls", "run_42"]);
    assert!(
        trash.as_array().unwrap().iter().all(|i| i["deleted_by"].as_str().unwrap().starts_with("rm, uid ")),
        "{trash}"
    );
    assert_eq!(sandbox.cli("pull", &["--deleted", "run_42/d/e/b", "-"]), "b");

    // A new one of that name knows nothing of it, and is in the way.
    sh("mkdir run_42; [ -z \"$(ls -A run_42; ls run_42/.trash)\" ]; echo new > run_42/new", m.path());
    let (code, said) = refused(&sandbox, &["session", "restore", "run_42"]);
    assert!(code == Some(1) && said.contains("--as NAME"), "{said}");
    sandbox.cli("session", &["restore", "run_42", "--as", "old"]);
    wait_until("the session under its new name", SHOWS, || m.join("old/d/e/b").exists());
    let all = "cat old/a old/link; stat -c %a old/d/e/b; cat run_42/*";
    assert_eq!(sh(all, m.path()), "a\nb\n640\nnew");
    let rest =
        "cd old; find -printf '%P %y %m\n' | sort; readlink empty-link; getfattr --only-values -n user.stage empty";
    let whole = sh(rest, m.path());
    for line in ["empty d 700", "empty/deep d 755", "empty-link l 777", "link l 777", "pipe p 620", "nowhere", "draft"]
    {
        assert!(whole.lines().any(|l| l == line), "{line}: {whole}");
    }

    // The same by the command, and by it alone where nothing is mounted by itself.
    let told = sandbox.cli("session", &["rm", "run_42", "old"]);
    assert_eq!(told.lines().count(), 2, "{told}");
    wait_until("both are gone on the mount", SHOWS, || sh("ls", m.path()).is_empty());
    assert_eq!(sessions(), 0);
    sandbox.cli("restore", &["old"]);
    wait_until("it is back", SHOWS, || m.join("old/a").exists());
    assert_eq!(sh(rest, m.path()), whole, "as often as it goes");
    let single = TestMount::of(&sandbox, MountOptions::new().session("old"));
    let (code, said) = refused(&sandbox, &["session", "rm", "old"]);
    assert!(code == Some(1) && said.contains("is mounted at"), "{said}");
    drop(single);

    // One file alone brings its session back.
    let trash = json(&sandbox, "trash", &["ls", "run_42"]);
    sandbox.cli("restore", &[trash[0]["artifact_id"].as_str().unwrap()]);
    wait_until("the file", SHOWS, || m.join("run_42/new").exists());

    // Sealed, it stays.
    sandbox.cli("seal", &["old"]);
    let (code, said) = refused(&sandbox, &["session", "rm", "old"]);
    assert!(code == Some(1) && said.contains("is sealed"), "{said}");
    let out = try_sh("rm -rf old", m.path());
    assert!(!out.status.success() && String::from_utf8_lossy(&out.stderr).contains("Read-only file system"));
    assert_eq!(sh("cat old/a", m.path()), "a");

    // Emptied, it is no more.
    sandbox.cli("session", &["rm", "run_42"]);
    sandbox.cli("trash", &["empty", "run_42"]);
    assert_eq!(refused(&sandbox, &["session", "restore", "run_42"]).0, Some(1));
    sandbox.cli("check", &["--read-data"]);
}
