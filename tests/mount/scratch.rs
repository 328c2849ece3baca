//! Scratch: what matches the ignore rules is a file for programs and never an artifact (CONTRACT §3.5).

use super::on_every_mount;
use crate::support::{MountOptions, Sandbox, Store, TestMount, python, sh};
use std::sync::Arc;

on_every_mount!(
    a_full_file_and_no_artifact,
    saved_through_a_temporary_name,
    renamed_while_open,
    backups_by_rename,
    links,
    directories,
    rules_of_a_session,
    sqlite,
    git,
    remounted,
    killed,
    sealed,
);

/// Names of the session's live artifacts, as `outputfs ls` has them.
const ARTIFACTS: &str = r#"artifacts() { ls .by-id | while read i; do getfattr --only-values -n user.artifact.filename -- ".by-id/$i" 2>/dev/null || python3 -c 'import json,os,sys; print(json.loads(os.getxattr(sys.argv[1],"user.artifact"))["filename"])' ".by-id/$i"; done | sort | tr '\n' ' '; }
"#;

fn check(script: &str, m: &TestMount) {
    sh(&format!("{ARTIFACTS}{script}"), m.path());
}

fn a_full_file_and_no_artifact(m: &TestMount) {
    check(
        r#"mkdir d; echo 1 > d/a.tmp; echo 2 >> d/a.tmp; [ "$(cat d/a.tmp)" = "$(printf '1\n2')" ]
           [ "$(ls d)" = a.tmp ]; [ "$(stat -c '%s %h' d/a.tmp)" = "4 1" ]
           chmod 640 d/a.tmp; [ $(stat -c %a d/a.tmp) = 640 ]; touch -d @1000000000.5 d/a.tmp; [ $(stat -c %Y d/a.tmp) = 1000000000 ]
           truncate -s 2 d/a.tmp; [ "$(cat d/a.tmp)" = 1 ]; setfattr -n user.k -v v d/a.tmp; [ "$(getfattr --only-values -n user.k d/a.tmp)" = v ]
           [ "$(getfattr --only-values -n user.artifact.state d/a.tmp)" = scratch ]
           mv d/a.tmp d/b.swp; [ "$(ls d)" = b.swp ]; ln -s x 'd/.#l'; [ "$(readlink 'd/.#l')" = x ]; mkfifo d/p.tmp; [ -p d/p.tmp ]
           flock d/b.swp true; refuses -e ENOTEMPTY rmdir d; rm d/b.swp; refuses -e ENOENT cat d/b.swp; rm 'd/.#l' d/p.tmp; rmdir d
           head -c 3000000 /dev/urandom > big.tmp; cp big.tmp /tmp/outputfs-big.$$; cmp big.tmp /tmp/outputfs-big.$$; rm /tmp/outputfs-big.$$
           exec 5<>o.tmp; echo open >&5; rm o.tmp; [ "$(cat /proc/$$/fd/5)" = open ]; exec 5>&-"#,
        m,
    );
    python(
        r#"
import mmap, os
with open("m.tmp", "w+b") as f:
    f.truncate(8192)
    with mmap.mmap(f.fileno(), 8192) as p:
        p[4096:4101] = b"hello"
assert open("m.tmp","rb").read()[4096:4101] == b"hello"
try:
    os.open("m.tmp", os.O_CREAT | os.O_EXCL | os.O_WRONLY); raise SystemExit("O_EXCL")
except FileExistsError: pass
"#,
        m.path(),
    );
    check(r#"[ -z "$(artifacts)" ]; [ "$(ls)" = "$(printf 'big.tmp\nm.tmp')" ]"#, m);
}

fn saved_through_a_temporary_name(m: &TestMount) {
    check(
        r#"for i in 1 2 3; do seq $i 20000 > report.csv.tmp; mv report.csv.tmp report.csv; cmp report.csv <(seq $i 20000); done
           [ "$(artifacts)" = "report.csv " ]; [ "$(ls)" = report.csv ]; [ "$(cat report.csv | wc -l)" = 19998 ]
           [ -z "$(ls .trash)" ]; echo small > s.tmp; setfattr -n user.stage -v final s.tmp; mv s.tmp s; [ "$(cat s)" = small ]
           [ "$(getfattr --only-values -n user.stage s)" = final ]; : > e.tmp; mv e.tmp e; [ -e e ]; [ "$(artifacts)" = "e report.csv s " ]
           echo n > n.tmp; mv -n n.tmp s; [ "$(cat s)" = small ]; rm -f n.tmp"#,
        m,
    );
}

fn renamed_while_open(m: &TestMount) {
    check(
        r#"python3 - <<'PY'
import os
f = open("a.part", "wb", buffering=0); f.write(b"one "); ino = os.fstat(f.fileno()).st_ino
os.rename("a.part", "a"); assert os.stat("a").st_ino == ino
assert open("a").read() == "one "
f.write(b"two"); f.close(); assert open("a").read() == "one two"
g = open("b", "w+"); g.write("x"); g.flush(); os.rename("b", "b.tmp"); g.write("y"); g.close()
assert open("b.tmp").read() == "xy"
PY
           [ "$(artifacts)" = "a " ]; [ "$(ls .versions/a | wc -l)" = 1 ]"#,
        m,
    );
}

fn backups_by_rename(m: &TestMount) {
    check(
        r#"echo 1 > f; setfattr -n user.k -v v f; mv f f~; [ "$(cat f~)" = 1 ]; [ "$(getfattr --only-values -n user.k f~)" = v ]
           [ -z "$(artifacts)" ]; echo 2 > f; [ "$(artifacts)" = "f " ]; [ "$(ls .versions/f | tail -n 1)" = 2 ]; rm f~; [ "$(cat f)" = 2 ]
           head -c 500000 /dev/zero > g; mv g g.tmp; mv g.tmp h; [ "$(stat -c %s h)" = 500000 ]; [ "$(artifacts)" = "f h " ]"#,
        m,
    );
    python(
        r#"
# Renamed the moment it is closed: the kernel tells of the release later.
import os, threading
for i in range(100):
    with open("c", "w") as f: f.write(str(i))
    os.rename("c", "c~")
    assert os.getxattr("c~", "user.artifact.state") == b"scratch", i
# Or another descriptor is closed meanwhile.
f = open("c", "w"); f.write("held"); f.flush(); g = os.dup(f.fileno()); f.close()
t = threading.Thread(target=os.rename, args=("c", "c~")); t.start(); os.close(g); t.join()
assert open("c~").read() == "held"
"#,
        m.path(),
    );
    check(r#"[ "$(artifacts)" = "f h " ]"#, m);
}

fn links(m: &TestMount) {
    check(
        r#"echo 1 > a.tmp; ln a.tmp b.tmp; echo 2 >> b.tmp; [ "$(cat a.tmp)" = "$(printf '1\n2')" ]; [ $(stat -c %h a.tmp) = 2 ]
           [ $(stat -c %i a.tmp) = $(stat -c %i b.tmp) ]; rm a.tmp; [ $(stat -c %h b.tmp) = 1 ]
           ln b.tmp c; rm b.tmp; [ "$(cat c)" = "$(printf '1\n2')" ]; [ "$(artifacts)" = "c " ]; [ "$(ls)" = c ]"#,
        m,
    );
}

fn directories(m: &TestMount) {
    check(
        r#"mkdir -p __pycache__/x; echo 1 > __pycache__/x/f; echo 2 > __pycache__/m.txt; mv __pycache__/x __pycache__/y
           [ "$(cat __pycache__/y/f)" = 1 ]; [ "$(ls __pycache__)" = "$(printf 'm.txt\ny')" ]
           mv __pycache__/m.txt out.txt; [ "$(cat out.txt)" = 2 ]; mkdir d; echo 3 > d/s.tmp; mv d e; [ "$(cat e/s.tmp)" = 3 ]
           mv __pycache__ real; [ "$(cat real/y/f)" = 1 ]; [ ! -e __pycache__ ]; [ "$(artifacts)" = "out.txt real/y/f " ]
           mv real __pycache__; [ "$(cat __pycache__/y/f)" = 1 ]; [ "$(artifacts)" = "out.txt " ]; rm -r __pycache__ e
           mkdir __pycache__; i=0; while [ $i -lt 700 ]; do : > __pycache__/$i; i=$((i+1)); done; [ $(ls __pycache__ | wc -l) = 700 ]; rm -r __pycache__"#,
        m,
    );
}

fn rules_of_a_session(m: &TestMount) {
    check(
        r#"printf '*.bak\n!keep.tmp\n/only-top\nbuild/\n' > .outputsignore
           mkdir sub build; for f in a.bak keep.tmp only-top sub/only-top sub/x.tmp build/o; do echo $f > $f; done
           [ "$(artifacts)" = ".outputsignore keep.tmp sub/only-top " ]
           echo '!.git/' > .outputsignore; mkdir .git; echo c > .git/config; echo b > new.bak
           [ "$(artifacts)" = ".git/config .outputsignore keep.tmp new.bak sub/only-top " ]
           rm .outputsignore; mkdir r; echo x > r/z.bak; echo x > z2.tmp; [ -n "$(artifacts | grep r/z.bak)" ]; lacks z2 artifacts"#,
        m,
    );
}

fn sqlite(m: &TestMount) {
    python(
        r#"
import os, sqlite3, multiprocessing as mp
def reader(path, q):
    c = sqlite3.connect(path, timeout=30)
    q.put(c.execute("select count(*) from t").fetchone()[0])
for mode in ("wal", "delete", "truncate", "persist"):
    path = f"{mode}.db"
    c = sqlite3.connect(path, timeout=30)
    assert c.execute(f"pragma journal_mode={mode}").fetchone()[0] == mode
    c.execute("create table t(x)"); c.commit()
    for i in range(20):
        c.execute("insert into t values(?)", (os.urandom(2000),)); c.commit()
    q = mp.Queue(); p = mp.Process(target=reader, args=(path, q)); p.start(); assert q.get(timeout=60) == 20; p.join()
    c.execute("begin"); c.execute("delete from t"); c.rollback()
    assert c.execute("pragma integrity_check").fetchone()[0] == "ok"
    c.close()
"#,
        m.path(),
    );
    check(r#"[ "$(artifacts)" = "delete.db persist.db truncate.db wal.db " ]"#, m);
    for mode in ["wal", "delete"] {
        check(
            &format!(
                r#"i=$(python3 -c 'import json,os; print(json.loads(os.getxattr("{mode}.db","user.artifact"))["artifact_id"])'); cp .by-id/$i /tmp/outputfs-$$.db
                   python3 -c 'import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); assert c.execute("pragma integrity_check").fetchone()[0]=="ok"; assert c.execute("select count(*) from t").fetchone()[0]==20' /tmp/outputfs-$$.db; rm -f /tmp/outputfs-$$.db*"#
            ),
            m,
        );
    }
}

fn git(m: &TestMount) {
    check(
        r#"export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
           git init -q -b main r; cd r; for i in 1 2 3 4 5; do echo $i > f$i; git add f$i; git commit -qm $i; done
           git gc -q; git fsck --no-progress; [ -z "$(git status --porcelain)" ]; cd ..; git clone -q r c; git -C c log --oneline | wc -l | grep -qx 5
           [ "$(cat c/f5)" = 5 ]; git -C c checkout -q -b x; git -C c rm -q f1; git -C c commit -qm rm; [ ! -e c/f1 ]
           artifacts | grep -q c/f5; lacks '\.git/' artifacts"#,
        m,
    );
}

/// The daemon ends and comes back: the same sandbox, the same session, another mount.
fn again(m: &TestMount, kill: bool) -> TestMount {
    let sandbox: Arc<Sandbox> = m.sandbox().clone();
    let options = MountOptions::new().session("s2");
    let mut first = TestMount::of(&sandbox, options.clone());
    sh(
        "mkdir -p d .git/objects; echo s > d/s.tmp; setfattr -n user.k -v v d/s.tmp; ln d/s.tmp t.tmp; echo o > .git/objects/o; echo a > a; ln -s a l.tmp",
        first.path(),
    );
    if kill {
        // Written and never closed.
        let mut open = std::fs::File::create(first.join("half.part")).unwrap();
        std::io::Write::write_all(&mut open, b"half").unwrap();
        std::io::Write::flush(&mut open).unwrap();
        rustix::fs::fsync(&open).unwrap();
        first.kill9();
        drop(open);
        first.remount();
        return first;
    }
    drop(first);
    TestMount::of(&sandbox, options)
}

const STILL_THERE: &str = r#"[ "$(cat d/s.tmp)" = s ]; [ "$(getfattr --only-values -n user.k d/s.tmp)" = v ]; [ $(stat -c %i d/s.tmp) = $(stat -c %i t.tmp) ]
    [ "$(cat .git/objects/o)" = o ]; [ "$(readlink l.tmp)" = a ]; [ "$(artifacts)" = "a " ]; [ -z "$(ls .trash)" ]
    mv d/s.tmp d/s; [ "$(cat d/s)" = s ]"#;

fn remounted(m: &TestMount) {
    let second = again(m, false);
    check("[ -e d/s.tmp ]; rm t.tmp; ln d/s.tmp t.tmp", &second);
    check(STILL_THERE, &second);
}

fn killed(m: &TestMount) {
    let second = again(m, true);
    check(r#"[ "$(cat half.part)" = half ]"#, &second);
    check(STILL_THERE, &second);
}

fn sealed(m: &TestMount) {
    check(
        r#"mkdir d .git; echo 1 > a.tmp; echo 2 > d/b.tmp; echo 3 > .git/c; echo 4 > f; echo seal > .ctl
           [ "$(ls -A)" = "$(printf 'd\nf')" ]; [ -z "$(ls -A d)" ]; refuses -e ENOENT cat a.tmp
           refuses -e EROFS eval 'echo x > n.tmp'; refuses -e EROFS mkdir __pycache__"#,
        m,
    );
}

#[test]
fn the_limit_bounds_it() {
    let options = MountOptions::new().session("s1").args(&["--scratch-limit", "1MiB"]);
    for options in [options.clone(), options.no_passthrough()] {
        let m = TestMount::with(Store::Local, options);
        sh(
            r#"head -c 900000 /dev/zero > a.tmp; refuses -e ENOSPC eval 'head -c 900000 /dev/zero > b.tmp'
               head -c 3000000 /dev/zero > artifact; rm a.tmp b.tmp; head -c 900000 /dev/zero > c.tmp; [ $(stat -c %s c.tmp) = 900000 ]"#,
            m.path(),
        );
    }
}

#[test]
fn every_mount_of_a_tenant_has_its_sessions_scratch() {
    let m = TestMount::new(Store::Local);
    sh(
        r#"mkdir s1 s2; echo 1 > s1/a.tmp; echo 2 > s2/a.tmp; echo '*.log' > s1/.outputsignore; echo l > s1/x.log; echo l > s2/x.log
           [ "$(cat s2/a.tmp)" = 2 ]; refuses -e EXDEV python3 -c 'import os; os.rename("s1/a.tmp","s2/b")'; lacks x.log ls s1/.versions; [ -n "$(ls s2/.versions | grep x.log)" ]"#,
        m.path(),
    );
    let one = TestMount::of(m.sandbox(), MountOptions::new().session("s1"));
    sh(r#"[ "$(cat a.tmp)" = 1 ]; [ "$(cat x.log)" = l ]"#, one.path());
}
