//! Where a mount differs from a local disk, programs fall back as they do elsewhere; and scratch seen from other doors.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use super::on_every_mount;
use crate::support::{MountOptions, Store, TestMount, sh, wait_until};

on_every_mount!(
    nameless_files,
    directories_cross_into_scratch_and_back,
    rules_for_files_match_files,
    whatever_is_moved_crosses,
    one_transaction_or_none
);

/// Programs that use a file without a name leave nothing; in a scratch directory `O_TMPFILE` is refused in the way that they know.
fn nameless_files(m: &TestMount) {
    sh(
        r#"mkdir d __pycache__; python3 - <<'P'
import errno, os, tempfile
for dir in ("d", "__pycache__"):
    with tempfile.TemporaryFile(dir=dir) as f:
        f.write(b"x" * 100_000); f.seek(0); assert len(f.read()) == 100_000 and os.fstat(f.fileno()).st_nlink == 0
try:
    os.open("__pycache__", os.O_TMPFILE | os.O_RDWR, 0o600); raise SystemExit("O_TMPFILE is there: say so in README")
except OSError as e:
    assert e.errno == errno.EOPNOTSUPP, e
with tempfile.SpooledTemporaryFile(max_size=10, dir="d") as f: f.write(b"y" * 100)
P
           [ -z "$(ls -A d)" ]; [ -z "$(ls .trash)" ]; sort --temporary-directory=d -S 64k <(seq 50000 -1 1) -o sorted -n; [ -z "$(ls -A d)" ]"#,
        m.path(),
    );
    assert_eq!(m.sandbox().cli("ls", &["s1", "--json"]).matches("\"artifact_id\"").count(), 1, "sorted alone");
}

/// The daemon dies: what had got a name is in the trash, as every file that was open then, and what had none is nowhere.
#[test]
fn nameless_files_at_a_crash() {
    let mut m = TestMount::with(Store::Local, MountOptions::new().session("s1"));
    let mut writer = m.sandbox().program("python3");
    writer.current_dir(m.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    writer.args([
        "-c",
        r#"import ctypes, os, sys
def made(text):
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR)
    os.write(fd, text)
    return fd
fds = [made(b"none"), made(b"named")]
assert ctypes.CDLL(None).linkat(-100, f"/proc/self/fd/{fds[1]}".encode(), -100, b"named", 0x400) == 0
print("written", flush=True)
sys.stdin.read()
"#,
    ]);
    let mut writer = writer.spawn().unwrap();
    let mut said = [0; 8];
    writer.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    m.kill9();
    drop(writer.stdin.take());
    writer.wait().unwrap();
    m.remount();
    assert_eq!(sh("ls -A .; cat .trash/*", m.path()), "named");
    let staging = sh("find mounts -type f -path '*staging*' | wc -l", &m.sandbox().state_dir());
    assert_eq!(staging.trim(), "0", "a staging file is left behind");
    m.sandbox().cli("check", &["--read-data"]);
}

/// `mv` of a directory from and to scratch names brings everything along, whether the mount renames it or `mv` copies.
fn directories_cross_into_scratch_and_back(m: &TestMount) {
    sh(
        r#"mkdir -p d/e; for i in 1 2 3; do seq $((i * 9000)) > d/e/$i; done; ln -s e/1 d/l; cp -a d want; mv d __pycache__; [ ! -e d ]; diff -r want __pycache__
           mv __pycache__ back; [ ! -e __pycache__ ]; diff -r want back; [ "$(readlink back/l)" = e/1 ]"#,
        m.path(),
    );
    let all = m.sandbox().cli("ls", &["s1", "--json"]);
    assert_eq!(all.matches("\"artifact_id\"").count(), 6, "{all}");
    assert!(!all.contains("__pycache__"), "{all}");
}

/// A folder that is called as programs call their half-written files holds results all the same; and what Jupyter and its kin leave
/// does not count.
fn rules_for_files_match_files(m: &TestMount) {
    sh(
        r#"mkdir -p lab-journal d.tmp/sub 4913 old~; echo 1 > lab-journal/day1.md; echo 2 > d.tmp/sub/f; echo 3 > 4913/f; echo 4 > old~/f
           for f in .~a.ipynb a.py___jb_tmp___ w.incomplete .tmpa1B2c3 lab-journal/x.tmp ._a; do echo $f > $f; done; mv d.tmp d"#,
        m.path(),
    );
    let names = r#"import json,sys; print(*sorted(a["filename"] for a in json.load(sys.stdin)))"#;
    let all = || sh(&format!("python3 -c '{names}' <<< '{}'", m.sandbox().cli("ls", &["s1", "--json"])), m.path());
    assert_eq!(all(), "4913/f d/sub/f lab-journal/day1.md old~/f");
    m.sandbox().cli("seal", &["s1"]);
    assert_eq!(all(), "4913/f d/sub/f lab-journal/day1.md old~/f");
    assert_eq!(sh("cat lab-journal/day1.md", m.path()), "1");
}

/// By rename(2) alone: no program has to copy.
fn whatever_is_moved_crosses(m: &TestMount) {
    sh(
        &format!(
            r#"python3 {}
               refuses -e ENOENT cat current.tmp; rm -r empty full .git current~ p~ s; [ -z "$(ls)" ]"#,
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mount/borders.py")
        ),
        m.path(),
    );
    m.sandbox().cli("check", &["--read-data"]);
}

/// A tree that does not fit leaves nothing half done; one that goes is in the trash as a whole.
fn one_transaction_or_none(m: &TestMount) {
    let all = || m.sandbox().cli("ls", &["s1", "--json"]).matches("\"artifact_id\"").count();
    sh("mkdir .git .git/d; for i in 1 2 3 4; do echo $i > .git/d/$i; done", m.path());
    m.sandbox().cli("quota", &["set", "--artifacts", "3"]);
    sh("refuses -e EDQUOT python3 -c 'import os; os.rename(\".git/d\", \"d\")'; [ ! -e d ]; cat .git/d/4", m.path());
    assert_eq!(all(), 0, "nothing of it");
    m.sandbox().cli("quota", &["set", "--artifacts", "none"]);
    sh("mv .git/d d; [ ! -e .git/d ]", m.path());
    assert_eq!(all(), 4);
    sh("mv d .git/e; [ $(cat .git/e/3) = 3 ]; [ $(find .trash -type f | wc -l) = 4 ]", m.path());
    assert_eq!(all(), 0);
    m.sandbox().cli("restore", &["s1/d/2"]);
    assert_eq!(sh("cat d/2; ls d", m.path()), "2\n2");
}

/// A rule written through one mount holds on another mount of the session.
#[test]
fn rules_reach_other_mounts() {
    let one = TestMount::with(Store::Local, MountOptions::new().session("s1"));
    let two = TestMount::of(one.sandbox(), MountOptions::new().session("s1"));
    sh("echo x > before.log", two.path());
    sh("echo '*.log' > .outputsignore", one.path());
    let artifact = |name: &str| two.sandbox().cli("ls", &["s1", "--json"]).contains(&format!("\"{name}\""));
    assert!(artifact("before.log"));
    let mut n = 0;
    wait_until("the other mount knows the rule", Duration::from_secs(10), || {
        n += 1;
        let name = format!("after{n}.log");
        sh(&format!("echo x > {name}"), two.path());
        !artifact(&name)
    });
    std::fs::remove_file(one.join(".outputsignore")).unwrap();
    wait_until("the other mount knows that it is gone", Duration::from_secs(10), || {
        n += 1;
        let name = format!("again{n}.log");
        sh(&format!("echo x > {name}"), two.path());
        artifact(&name)
    });
}

#[test]
fn a_pushed_folder_leaves_scratch_behind() {
    let m = TestMount::with(Store::Local, MountOptions::new().session("s1"));
    let home = m.sandbox().path().join("work");
    sh(
        r#"mkdir -p work/.git work/__pycache__ work/sub work/d~; cd work; for f in kept a.tmp .git/config __pycache__/m.pyc sub/kept sub/b.swp x~ d~/kept .~n.ipynb; do echo $f > $f; done"#,
        m.sandbox().path(),
    );
    m.sandbox().cli("push", &["-r", home.to_str().unwrap(), "pushed/"]);
    let all = m.sandbox().cli("ls", &["pushed", "--json"]);
    for (name, there) in [
        ("kept\"", true),
        ("sub/kept", true),
        ("d~/kept", true),
        (".~n.ipynb", false),
        (".tmp", false),
        (".git", false),
        ("m.pyc", false),
        (".swp", false),
    ] {
        assert_eq!(all.contains(name), there, "{name}: {all}");
    }
}
