//! The tree of CONTRACT §2, and what `ls`, `stat`, `find`, `du`, `df` say of it.

use super::on_every_mount;
use crate::support::{MountOptions, Store, TestMount, python, sh, try_sh};

on_every_mount!(directories_and_links, renames, attributes, hidden_entries, many_files);

fn directories_and_links(m: &TestMount) {
    sh(
        r#"mkdir -p x/y/z; echo d > x/y/z/d; [ "$(find x -type f)" = x/y/z/d ]; [ $(stat -c %h x) = 3 ]
           ln -s y/z x/l; [ "$(cat x/l/d)" = d ]; [ "$(readlink x/l)" = y/z ]
           echo h > h1; ln h1 h2; [ $(stat -c %h h1) = 2 ]; echo more >> h2; [ "$(cat h1)" = "$(printf 'h\nmore')" ]; rm h1; [ "$(tail -1 h2)" = more ]
           mkfifo p; [ -p p ]; refuses -e ENOTEMPTY rmdir x; rm -r x; [ ! -e x ]"#,
        m.path(),
    );
}

fn renames(m: &TestMount) {
    sh(
        r#"id() { getfattr --only-values -n user.artifact.id "$1"; }
           echo r > r1; a=$(id r1); mv r1 r2; [ "$(id r2)" = "$a" ]; [ ! -e r1 ]
           echo old > t; echo new > t.new; n=$(id t.new); mv t.new t; [ "$(id t)" = "$n" ]; [ "$(cat .versions/t/1)" = old ]
           mkdir d e; echo f > d/f; i=$(id d/f); mv d/f e/g; [ "$(id e/g)" = "$i" ]; mv e d/e; [ "$(cat d/e/g)" = f ]; refuses -e EINVAL python3 -c 'import os; os.rename("d", "d/e/d2")'
           exec 3>o; echo 1 >&3; mv o o2; echo 2 >&3; exec 3>&-; [ "$(cat o2)" = "$(printf '1\n2')" ]; [ ! -e o ]
           mv -n r2 t; [ -e r2 ]; [ "$(cat t)" = new ]"#,
        m.path(),
    );
}

fn attributes(m: &TestMount) {
    sh(
        r#"echo m > m; chmod 640 m; [ $(stat -c %a m) = 640 ]; touch -d '2020-01-02 03:04:05.123456789Z' m
           [ "$(TZ=UTC stat -c %y m | cut -c1-29)" = '2020-01-02 03:04:05.123456789' ]; [ "$(cat m)" = m ]
           [ $(stat -c %s m) = 2 ]; [ $(du --apparent-size -b m | cut -f1) = 2 ]
           install -m 600 m i; [ $(stat -c %a i) = 600 ]; cp -p m q; [ "$(stat -c %Y q)" = "$(stat -c %Y m)" ]
           df . | tail -1 | grep -q outputfs; [ "$(stat -f -c %T .)" = fuseblk ] || [ "$(stat -f -c %T .)" = fuse ]
           dd if=/dev/zero of=sp bs=1 count=1 seek=1048575 status=none; [ $(stat -c %s sp) = 1048576 ]"#,
        m.path(),
    );
    if rustix::process::geteuid().is_root() {
        sh("echo o > o; chown 12:34 o; [ \"$(stat -c %u:%g o)\" = 12:34 ]", m.path());
    }
}

fn hidden_entries(m: &TestMount) {
    sh(
        r#"echo a > a; lacks '^\.(ctl|by-id|where|versions|trash)$' ls -a
           [ -e .ctl ]; [ -d .versions ]; [ -d .where ]; [ -d .by-id ]; [ "$(find . -type f)" = ./a ]
           refuses -e EEXIST mkdir .by-id; refuses -e EPERM mv a .ctl; refuses -e EPERM rm .ctl; refuses -e EPERM ln a .where; mkdir d; echo x > d/.ctl; [ "$(cat d/.ctl)" = x ]"#,
        m.path(),
    );
}

fn many_files(m: &TestMount) {
    sh(
        r#"mkdir many; cd many; for i in $(seq 1200); do echo $i > f$i; done
           [ $(ls | wc -l) = 1200 ]; [ $(ls -f | sort -u | wc -l) = 1202 ]; [ $(cat f* | sort -n | tail -1) = 1200 ]
           [ $(find . -type f -size -2 | wc -l) = 1200 ]; rm -r ../many; [ ! -e ../many ]"#,
        m.path(),
    );
}

#[test]
fn the_tenants_root_holds_sessions() {
    let m = TestMount::new(Store::Local);
    sh(
        r#"mkdir run_42; echo a > run_42/a; ls | grep -qx run_42; [ "$(cat run_42/a)" = a ]
           mkdir b; cp run_42/a b/a; mv run_42/a b/moved; [ "$(cat b/moved)" = a ]; [ ! -e run_42/a ]"#,
        m.path(),
    );
    for (script, errno) in [
        ("echo x > file", "Operation not permitted"),
        ("mkdir '.bad'", "Invalid argument"),
        ("mkdir 'a b'", "Invalid argument"),
        ("mkdir .where", "File exists"),
        ("ln -s x y", "Operation not permitted"),
        ("python3 -c 'import os; os.rename(\"b/a\", \"run_42/a\")'", "Invalid cross-device link"),
    ] {
        let out = try_sh(script, m.path());
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains(errno), "{script}: {said}");
    }
}

#[test]
fn everything_is_there_after_a_remount() {
    for options in [MountOptions::new(), MountOptions::new().no_passthrough()] {
        let mut m = TestMount::with(Store::S3, options.session("s1"));
        sh(
            "mkdir -p d; echo a > d/a; echo b > b; chmod 600 b; ln -s b l; head -c 9000000 /dev/urandom > big",
            m.path(),
        );
        let before = sh("find . | sort | xargs stat -c '%n %F %a %s %Y %i'; sha256sum big b d/a", m.path());
        m.sigterm();
        m.remount();
        assert_eq!(sh("find . | sort | xargs stat -c '%n %F %a %s %Y %i'; sha256sum big b d/a", m.path()), before);
    }
}

/// A listing looks at what is committed and at what is not, one after the other: a file that goes from here to there meanwhile is listed.
fn a_file_committed_during_a_listing_is_listed(options: MountOptions) {
    let options = options.session("s1").env("FAILPOINTS", "list::after_catalog=sleep(5)");
    let m = TestMount::with(Store::Local, options);
    python(
        r#"import os, threading
made = []
def make():
    # (An empty file is committed at its release, for which close(2) does not wait.)
    for i in range(600):
        os.close(os.open(f"e{i}", os.O_CREAT | os.O_WRONLY))
        made.append(f"e{i}")
maker = threading.Thread(target=make)
maker.start()
while maker.is_alive():
    before = set(made)
    names = os.listdir(".")
    assert before <= set(names) and len(names) == len(set(names)), (sorted(before - set(names)), len(names))
maker.join()"#,
        m.path(),
    );
}

#[test]
fn a_file_committed_during_a_listing_is_listed_with_passthrough() {
    a_file_committed_during_a_listing_is_listed(MountOptions::new());
}

#[test]
fn a_file_committed_during_a_listing_is_listed_without_passthrough() {
    a_file_committed_during_a_listing_is_listed(MountOptions::new().no_passthrough());
}
