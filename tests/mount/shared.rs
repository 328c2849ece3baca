//! Several mounts and commands on one state directory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{MountOptions, Sandbox, Store, TestMount, sh, try_sh, wait_until};

/// What others do shows here within this time (the contract says 100 ms; a debug build on a busy machine gets more).
const SHOWS: Duration = Duration::from_secs(2);

fn pair(options: &MountOptions) -> (TestMount, TestMount) {
    let sandbox = Arc::new(Sandbox::new(Store::Local));
    (TestMount::of(&sandbox, options.clone()), TestMount::of(&sandbox, options.clone()))
}

#[test]
fn changes_show_on_the_other_mount() {
    for options in [MountOptions::new().session("s1"), MountOptions::new().session("s1").no_passthrough()] {
        let (a, b) = pair(&options);
        let shows = |what: &str, script: &str| {
            let start = Instant::now();
            wait_until(what, SHOWS, || try_sh(script, b.path()).status.success());
            println!("{what}: {:?}", start.elapsed());
        };
        sh("echo one > f; mkdir d; echo x > d/x", a.path());
        shows("a new file", "[ \"$(cat f)\" = one ] && [ \"$(cat d/x)\" = x ]");
        sh("echo three > f", a.path());
        shows("new bytes", "[ \"$(cat f)\" = three ] && [ $(stat -c %s f) = 6 ]");
        sh("mv f g; chmod 600 g", a.path());
        shows("a rename", "[ ! -e f ] && [ \"$(cat g)\" = three ] && [ $(stat -c %a g) = 600 ]");
        sh("setfattr -n user.k -v v g; rm -r d", a.path());
        shows("a removal and an attribute", "[ ! -e d ] && [ \"$(getfattr --only-values -n user.k g)\" = v ]");
        sh("echo seal > .ctl", a.path());
        shows("the seal", "[ $(stat -c %a g) = 400 ] && refuses -e EROFS touch g");
    }
}

#[test]
fn what_the_cli_does_shows_on_the_mount() {
    let m = TestMount::with(Store::Local, MountOptions::new());
    let file = m.sandbox().path().join("report.txt");
    std::fs::write(&file, "pushed").unwrap();
    let out = m.sandbox().outputfs("push").arg(&file).arg("run_1/dir/").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    wait_until("the pushed file", SHOWS, || {
        try_sh("[ \"$(cat run_1/dir/report.txt)\" = pushed ]", m.path()).status.success()
    });
    let out = m.sandbox().outputfs("rm").arg("run_1/dir/report.txt").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    wait_until("the removal", SHOWS, || !m.join("run_1/dir/report.txt").exists());
}

#[test]
fn many_writers_in_many_mounts() {
    let sandbox = Arc::new(Sandbox::new(Store::Local));
    let mounts: Vec<_> = (0..3).map(|_| TestMount::of(&sandbox, MountOptions::new().session("s1"))).collect();
    std::thread::scope(|scope| {
        for (k, m) in mounts.iter().enumerate() {
            scope.spawn(move || sh(&format!("for i in $(seq 150); do echo {k}-$i > f{k}_$i; done"), m.path()));
        }
    });
    for m in &mounts {
        wait_until("all files on every mount", Duration::from_secs(10), || sh("ls | wc -l", m.path()) == "450");
        assert_eq!(sh("cat f* | sort | uniq | wc -l", m.path()), "450");
    }
}

/// One process replaces a file again and again on one mount; others read it there and on another mount. Each read finds a version, or
/// what a reader of a disk would find in between, and never an error.
const REPLACED: &str = r#"
import os, sys
writing, reading, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(f"{writing}/log", "wb") as f: f.write(b"\0" * size)
while not os.path.exists(f"{reading}/log"): pass
writer = os.fork()
if writer == 0:
    for n in range(400):
        with open(f"{writing}/log", "wb") as f: f.write(bytes([n % 256]) * size)
    os._exit(0)
reads = {writing: 0, reading: 0}
while os.waitpid(writer, os.WNOHANG)[0] == 0:
    for d in reads:
        with open(f"{d}/log", "rb") as f: found = f.read()
        # (Short: between the truncation and the last write.)
        assert len(found) <= size, (d, len(found))
        reads[d] += 1
assert min(reads.values()) > 20, reads
"#;

#[test]
fn what_is_replaced_all_the_time_can_be_read_all_the_time() {
    for store in [Store::Local, Store::S3] {
        let sandbox = Arc::new(Sandbox::new(store));
        let mounts = [0; 2].map(|_| TestMount::of(&sandbox, MountOptions::new().session("s1")));
        for size in ["100", "50000"] {
            let mut script = sandbox.program("python3");
            script.args(["-c", REPLACED]).args([mounts[0].path(), mounts[1].path()]).arg(size);
            let out = script.output().unwrap();
            assert!(out.status.success(), "{store:?} {size}: {}", String::from_utf8_lossy(&out.stderr));
        }
    }
}

/// As editors save: a new file under another name, then rename(2) over the old one. There is no moment without a file, and none with
/// another length than its bytes have.
const RENAMED: &str = r#"
import os, sys
writing, reading, temporary = sys.argv[1], sys.argv[2], sys.argv[3]
body = lambda n: bytes([1 + n % 250]) * (100 + n * 37 % 5000)
def save(n):
    with open(f"{writing}/{temporary}", "wb") as f: f.write(body(n))
    os.rename(f"{writing}/{temporary}", f"{writing}/saved")
save(0)
while not os.path.exists(f"{reading}/saved"): pass
writer = os.fork()
if writer == 0:
    for n in range(250): save(n)
    os._exit(0)
reads, stale = {writing: 0, reading: 0}, 0
while os.waitpid(writer, os.WNOHANG)[0] == 0:
    for d in reads:
        try:
            with open(f"{d}/saved", "rb") as f: found = f.read()
        except OSError as e:
            # The kernel looks the name up a second time; whoever meets another save there too is told so (as on NFS).
            if e.errno != 116: raise
            stale += 1
            continue
        assert found == body(found[0] - 1), (d, len(found), set(found))
        reads[d] += 1
assert min(reads.values()) > 20 and stale * 20 < sum(reads.values()), (reads, stale)
"#;

#[test]
fn what_is_saved_by_rename_is_always_there() {
    for (store, options) in [
        (Store::Local, MountOptions::new()),
        (Store::Local, MountOptions::new().no_passthrough()),
        (Store::S3, MountOptions::new()),
    ] {
        let sandbox = Arc::new(Sandbox::new(store));
        let mounts = [0; 2].map(|_| TestMount::of(&sandbox, options.clone().session("s1")));
        for temporary in ["saved.tmp", "saved_new"] {
            let mut script = sandbox.program("python3");
            script.args(["-c", RENAMED]).args([mounts[0].path(), mounts[1].path()]).arg(temporary);
            let out = script.output().unwrap();
            assert!(out.status.success(), "{store:?} {temporary}: {}", String::from_utf8_lossy(&out.stderr));
        }
    }
}

/// What another mount rewrote is read whole from its next open on, also where the kernel has not heard of it: never the bytes of one
/// version by the length of another.
#[cfg(feature = "failpoints")]
#[test]
fn an_open_finds_what_was_not_heard_of() {
    for options in [MountOptions::new(), MountOptions::new().no_passthrough()] {
        let sandbox = Arc::new(Sandbox::new(Store::Local));
        let writing = TestMount::of(&sandbox, options.clone().session("s1"));
        let reading =
            TestMount::of(&sandbox, options.clone().session("s1").env("FAILPOINTS", "changes::heard=return(eio)"));
        std::fs::write(writing.join("f"), "first").unwrap();
        wait_until("it is there", SHOWS, || reading.join("f").exists());
        for text in ["longer than that", "short", "and again as long as this"] {
            // Its length is known now.
            let _known = std::fs::metadata(reading.join("f")).unwrap().len();
            std::fs::write(writing.join("f"), text).unwrap();
            assert_eq!(std::fs::read_to_string(reading.join("f")).unwrap(), text, "{options:?}");
        }
    }
}
