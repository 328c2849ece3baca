//! What is on its way when a mount ends: bytes that are written and not closed, files that the store has not taken.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::proxy::{Fault, Proxy};
use crate::support::wait::with_deadline;
use crate::support::{MountOptions, Sandbox, Store, TestMount, s3_env, sh, wait_until};

const WRITES: &str = r#"
import os, sys
new = os.open(sys.argv[1] + "/new", os.O_RDWR | os.O_CREAT)
os.write(new, b"n" * 3_000_000)
old = os.open(sys.argv[1] + "/old", os.O_RDWR)
os.pwrite(old, b"o" * 5000, 1000)
print("written", flush=True)
sys.stdin.read()
"#;

fn open_when_the_mount_ends(options: MountOptions) {
    let mut m = TestMount::with(Store::Local, options.session("s1"));
    std::fs::write(m.join("old"), vec![b'x'; 10_000]).unwrap();
    let mut c = m.sandbox().program("python3");
    let mut child = c.args(["-c", WRITES]).arg(m.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "written");
    // The first asks; the second takes the mount from under the program.
    kill_process(Pid::from_raw(i32::try_from(m.pid()).unwrap()).unwrap(), Signal::TERM).unwrap();
    wait_until("the daemon waits for the program", Duration::from_secs(20), || {
        m.log().contains("waiting for processes that use the mount")
    });
    m.sigterm();
    child.kill().unwrap();
    child.wait().unwrap();
    m.remount();
    sh(
        r#"[ "$(cat .trash/new~* | tr -d n | wc -c)" = 0 ]; [ "$(cat .trash/new~* | wc -c)" = 3000000 ]
           [ "$(cat .trash/old~* | tr -d x | wc -c)" = 5000 ]; [ "$(cat .trash/old~* | wc -c)" = 10000 ]
           [ "$(tr -d x < old | wc -c)" = 0 ]; [ "$(stat -c %s old)" = 10000 ]"#,
        m.path(),
    );
}

#[test]
fn what_was_written_and_not_closed_is_in_the_trash() {
    open_when_the_mount_ends(MountOptions::new());
}

#[test]
fn what_was_written_and_not_closed_is_in_the_trash_without_passthrough() {
    open_when_the_mount_ends(MountOptions::new().no_passthrough());
}

/// A store that takes nothing.
struct Refusing {
    sandbox: Arc<Sandbox>,
    proxy: Proxy,
    _runtime: tokio::runtime::Runtime,
}

impl Refusing {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let proxy = runtime.block_on(Proxy::start(&s3_env().endpoint));
        Self { sandbox: Arc::new(Sandbox::through(&proxy.url())), proxy, _runtime: runtime }
    }
}

#[test]
fn umount_tells_what_is_not_stored() {
    umount_tells(MountOptions::new().durability_local());
}

#[test]
fn umount_tells_what_is_not_stored_durability_fsync() {
    umount_tells(MountOptions::new().durability_fsync());
}

fn umount_tells(options: MountOptions) {
    let refusing = Refusing::new();
    let sandbox = &refusing.sandbox;
    let options = options.session("s1").args(&["--upload-timeout", "1s"]);
    let mut m = TestMount::of(sandbox, options);
    refusing.proxy.always(Fault::Refuse);
    std::fs::write(m.join("large.bin"), vec![b'x'; 300_000]).unwrap();
    std::fs::write(m.join("small.txt"), "small").unwrap();
    let out = sandbox.try_cli("umount", &[m.path()]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(3), "{said}");
    let waits = sandbox.state_dir().join("mounts");
    for word in ["2 files (300005 bytes)", "s1/large.bin", "s1/small.txt", waits.to_str().unwrap()] {
        assert!(said.contains(word), "no '{word}' in: {said}");
    }
    assert_eq!(m.wait_end(Duration::from_secs(20)).code(), Some(3));
    assert!(m.log().contains("s1/large.bin"), "{}", m.log());
    let status: serde_json::Value = serde_json::from_str(&sandbox.cli("status", &["--json"])).unwrap();
    let left = status["mounts"].as_array().unwrap().iter().find_map(|m| m["left"]["files"].as_u64());
    assert_eq!(left, Some(2), "{status}");
    assert!(sandbox.cli("status", &[] as &[&str]).contains("s1/large.bin"));
    // The store takes bytes again: the next command stores them, and there is nothing to tell.
    refusing.proxy.always(Fault::Pass);
    m.remount();
    let out = sandbox.try_cli("umount", &[m.path()]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(m.wait_end(Duration::from_secs(20)).success());
    let list: serde_json::Value = serde_json::from_str(&sandbox.cli("ls", &["s1", "--json"])).unwrap();
    assert!(list.as_array().unwrap().iter().all(|a| a["state"] == "stored"), "{list}");
}

/// The daemon is killed while `umount` waits for it: it could not tell what it left.
#[test]
fn umount_tells_what_a_daemon_left_that_was_killed_meanwhile() {
    let refusing = Refusing::new();
    let sandbox = &refusing.sandbox;
    let options = MountOptions::new().session("s1").durability_local().args(&["--upload-timeout", "60s"]);
    let mut m = TestMount::of(sandbox, options);
    refusing.proxy.always(Fault::BlackHole);
    std::fs::write(m.join("large.bin"), vec![b'x'; 300_000]).unwrap();
    let umount = sandbox.outputfs("umount").arg(m.path()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the daemon ends", Duration::from_secs(20), || m.log().contains("ending"));
    m.kill9();
    let out = with_deadline(Duration::from_secs(90), move || umount.wait_with_output().unwrap()).expect("umount ends");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(3), "{said}");
    assert!(said.contains("was killed while it ended") && said.contains("1 file (300000 bytes)"), "{said}");
    refusing.proxy.always(Fault::Pass);
    m.remount();
    assert_eq!(std::fs::read(m.join("large.bin")).unwrap(), vec![b'x'; 300_000]);
}

#[test]
fn run_tells_what_is_not_stored() {
    run_tells("local");
}

#[test]
fn run_tells_what_is_not_stored_durability_fsync() {
    run_tells("fsync");
}

fn run_tells(durability: &str) {
    let refusing = Refusing::new();
    let sandbox = &refusing.sandbox;
    // The session is made while the store answers.
    sandbox.cli("status", &[] as &[&str]);
    refusing.proxy.always(Fault::Refuse);
    let mut run = sandbox.outputfs("run");
    run.args(["--session", "s1", "--durability", durability, "--upload-timeout", "1s"]);
    let out = run.args(["--", "sh", "-c", "head -c 300000 /dev/zero > outputs/large.bin"]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(3), "{said}");
    for word in ["1 file (300000 bytes)", "s1/large.bin", sandbox.state_dir().join("mounts").to_str().unwrap()] {
        assert!(said.contains(word), "no '{word}' in: {said}");
    }
    refusing.proxy.always(Fault::Pass);
}

/// No byte comes for longer than `--upload-timeout` in all, and never for that long at once.
#[test]
fn a_close_waits_as_long_as_its_bytes_move() {
    let refusing = Refusing::new();
    let options = MountOptions::new().session("s1").args(&["--upload-timeout", "3s"]);
    let m = TestMount::of(&refusing.sandbox, options);
    refusing.proxy.take_requests();
    refusing.proxy.always(Fault::Hold);
    let path = m.join("large.bin");
    // More parts than are sent at one time.
    let writer = std::thread::spawn(move || {
        let began = std::time::Instant::now();
        let mut file = std::fs::File::create(&path).unwrap();
        std::io::Write::write_all(&mut file, &vec![b'x'; 100 << 20]).unwrap();
        // SAFETY: the descriptor was just taken out of its owner and is closed once.
        let closed = unsafe { libc::close(std::os::fd::IntoRawFd::into_raw_fd(file)) };
        (closed, std::io::Error::last_os_error(), began.elapsed())
    });
    let began = std::time::Instant::now();
    while !writer.is_finished() {
        refusing.proxy.release(1);
        assert!(began.elapsed() < Duration::from_secs(120));
        std::thread::park_timeout(Duration::from_millis(700));
    }
    let (closed, error, took) = writer.join().unwrap();
    assert_eq!(closed, 0, "{error} after {took:?}");
    assert!(took > Duration::from_secs(7), "{took:?}: nothing was slow");
    refusing.proxy.release(1000);
    refusing.proxy.always(Fault::Pass);
}
