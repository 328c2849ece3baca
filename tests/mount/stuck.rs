//! A store that takes requests and never answers: nobody waits for ever, and nothing is lost.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::proxy::{Fault, Proxy};
use crate::support::wait::{wait_until, with_deadline};
use crate::support::{MountOptions, Sandbox, Store, TestMount, s3_env};

/// Long against a look at a process, short against any upload's time-out.
const AT_ONCE: Duration = Duration::from_secs(5);
/// An attempt that hangs is given up after 10 s and tried again with growing pauses.
const HEALED: Duration = Duration::from_secs(90);
const SIZE: usize = 300_000;

struct Stuck {
    m: TestMount,
    proxy: Proxy,
    /// Runs the proxy.
    _runtime: tokio::runtime::Runtime,
}

impl Stuck {
    fn new(options: MountOptions) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let proxy = runtime.block_on(Proxy::start(&s3_env().endpoint));
        let m = TestMount::of(&Arc::new(Sandbox::through(&proxy.url())), options.session("s1"));
        proxy.take_requests();
        proxy.always(Fault::BlackHole);
        Self { m, proxy, _runtime: runtime }
    }

    fn python(&self, script: &str) -> Child {
        let mut c = self.m.sandbox().program("python3");
        c.args(["-c", script]).arg(self.m.join("f.bin")).stdout(Stdio::piped()).spawn().unwrap()
    }

    fn wait_for_the_upload(&self) {
        let mut seen = false;
        wait_until("the upload has begun", Duration::from_secs(20), || {
            seen |= self.proxy.take_requests().iter().any(|r| r.starts_with("PUT"));
            seen
        });
    }

    /// The store answers again: what was written becomes an artifact.
    fn heals(&self) {
        self.proxy.always(Fault::Pass);
        wait_until("the bytes are stored", HEALED, || state(&self.m.join("f.bin")).as_deref() == Some("stored"));
        assert_eq!(std::fs::read(self.m.join("f.bin")).unwrap(), vec![b'x'; SIZE]);
    }
}

fn state(path: &Path) -> Option<String> {
    let mut value = [0; 64];
    let n = rustix::fs::getxattr(path, "user.artifact.state", &mut value).ok()?;
    Some(String::from_utf8_lossy(&value[..n]).into_owned())
}

fn killed(mut child: Child) {
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let gone = with_deadline(AT_ONCE, move || child.wait().unwrap());
    assert!(gone.is_some(), "pid {} is still there {AT_ONCE:?} after SIGKILL", pid.as_raw_nonzero());
}

const WRITES: &str = "import sys,time,os\nf=open(sys.argv[1],'wb',0)\nf.write(b'x'*300000)\n";

fn a_writer_killed_while_its_close_waits(options: MountOptions) {
    let stuck = Stuck::new(options);
    let child = stuck.python(&format!("{WRITES}f.close()"));
    stuck.wait_for_the_upload();
    killed(child);
    stuck.heals();
}

/// `execve` closes files under a lock that a look at the process waits for.
#[test]
fn a_program_that_replaces_itself_while_its_close_waits_goes_on() {
    let stuck = Stuck::new(MountOptions::new());
    let mut child = stuck.python(&format!("{WRITES}os.execv('/bin/echo', ['echo', 'replaced'])"));
    stuck.wait_for_the_upload();
    // Several looks at it: the daemon reads files of /proc for each, and has nothing else to read.
    let reads = || {
        let io = std::fs::read_to_string(format!("/proc/{}/io", stuck.m.pid())).unwrap();
        io.lines().find_map(|l| l.strip_prefix("syscr: ")).unwrap().parse::<u64>().unwrap()
    };
    let before = reads();
    wait_until("the daemon looks at it", HEALED, || reads() >= before + 10);
    let said = with_deadline(HEALED, {
        let out = child.stdout.take().unwrap();
        stuck.proxy.always(Fault::Pass);
        move || BufReader::new(out).lines().next().and_then(Result::ok)
    });
    assert_eq!(said.flatten().as_deref(), Some("replaced"));
    assert!(child.wait().unwrap().success());
    stuck.heals();
}

#[test]
fn a_writer_killed_while_its_close_waits_is_gone_at_once() {
    a_writer_killed_while_its_close_waits(MountOptions::new());
}

#[test]
fn a_writer_killed_while_its_close_waits_is_gone_at_once_without_passthrough() {
    a_writer_killed_while_its_close_waits(MountOptions::new().no_passthrough());
}

#[test]
fn a_writer_killed_with_its_file_open_is_gone_at_once() {
    let stuck = Stuck::new(MountOptions::new());
    let mut child = stuck.python(&format!("{WRITES}print('written',flush=True)\ntime.sleep(600)"));
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "written");
    killed(child);
    stuck.heals();
}

/// A program waits in rename(2) for an upload, a thread of the daemon waits for the directory's lock that rename(2) holds, to tell the kernel of
/// a name that went: the daemon, killed in that moment, and the kernel.
struct Knot {
    m: TestMount,
    renamer: Child,
    _runtime: tokio::runtime::Runtime,
    _proxy: Proxy,
}

impl Knot {
    fn tie(options: MountOptions) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let proxy = runtime.block_on(Proxy::start(&s3_env().endpoint));
        let m = TestMount::of(&Arc::new(Sandbox::through(&proxy.url())), options.session("s1"));
        std::fs::write(m.join("old"), "old").unwrap();
        std::fs::write(m.join("new.tmp"), vec![b'x'; SIZE]).unwrap();
        proxy.take_requests();
        proxy.always(Fault::BlackHole);
        let mut c = m.sandbox().program("python3");
        c.args(["-c", "import os, sys; os.rename(sys.argv[1], sys.argv[2])"]).args([m.join("new.tmp"), m.join("new")]);
        let renamer = c.stderr(Stdio::null()).spawn().unwrap();
        let mut seen = false;
        wait_until("the upload has begun", Duration::from_secs(20), || {
            seen |= proxy.take_requests().iter().any(|r| r.starts_with("PUT"));
            seen
        });
        m.sandbox().cli("rm", &["s1/old"]);
        wait_until("the daemon waits in the kernel", Duration::from_secs(20), || waits(m.pid()));
        Self { m, renamer, _runtime: runtime, _proxy: proxy }
    }

    /// Programs are let go, and the next daemon serves the files.
    fn undone(mut self) {
        let gone = with_deadline(AT_ONCE, move || self.renamer.wait().unwrap());
        assert!(gone.is_some_and(|status| !status.success()), "{gone:?}");
        self.m.remount();
        let names = std::fs::read_dir(self.m.path()).unwrap().count();
        assert!(names <= 2 && !self.m.join("old").exists());
    }
}

/// Is the thread that tells the kernel of changes in an uninterruptible wait?
fn waits(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.flatten().any(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.contains("(outputfs-inval) D")
    })
}

fn guard_of(pid: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let is_guard =
        |pid: &&str| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.contains("__guard"));
    children.split_whitespace().find(is_guard).expect("a guard").parse().unwrap()
}

fn a_daemon_killed_while_it_tells_the_kernel_lets_go(options: MountOptions) {
    let mut knot = Knot::tie(options);
    knot.m.kill9();
    knot.undone();
}

/// Without its guard it is the next command that meets the mount.
fn whoever_meets_a_killed_daemon_s_mount_unties_it(command: &str) {
    let mut knot = Knot::tie(MountOptions::new());
    let pid = |n: u32| rustix::process::Pid::from_raw(i32::try_from(n).unwrap()).unwrap();
    rustix::process::kill_process(pid(guard_of(knot.m.pid())), rustix::process::Signal::KILL).unwrap();
    rustix::process::kill_process(pid(knot.m.pid()), rustix::process::Signal::KILL).unwrap();
    let at = knot.m.path().to_owned();
    let mut c = knot.m.sandbox().outputfs(command);
    if command == "umount" {
        c.arg(&at);
    }
    let out = with_deadline(HEALED, move || c.output().unwrap()).expect("it does not hang");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    knot.m.kill9();
    knot.undone();
}

#[test]
fn a_daemon_killed_while_it_tells_the_kernel_lets_go_with_passthrough() {
    a_daemon_killed_while_it_tells_the_kernel_lets_go(MountOptions::new());
}

#[test]
fn a_daemon_killed_while_it_tells_the_kernel_lets_go_without_passthrough() {
    a_daemon_killed_while_it_tells_the_kernel_lets_go(MountOptions::new().no_passthrough());
}

#[test]
fn status_unties_a_killed_daemon_s_mount() {
    whoever_meets_a_killed_daemon_s_mount_unties_it("status");
}

#[test]
fn umount_unties_a_killed_daemon_s_mount() {
    whoever_meets_a_killed_daemon_s_mount_unties_it("umount");
}

#[test]
fn a_close_ends_after_the_upload_timeout_and_the_bytes_are_kept() {
    let mut stuck = Stuck::new(MountOptions::new().args(&["--upload-timeout", "3s"]));
    let begun = Instant::now();
    let out =
        stuck.python(&format!("{WRITES}\ntry:\n f.close()\nexcept OSError as e: print(e.errno)")).wait_with_output();
    let took = begun.elapsed();
    assert_eq!(String::from_utf8_lossy(&out.unwrap().stdout).trim(), libc::EIO.to_string());
    assert!(took < Duration::from_secs(3 + 5 + 4), "{took:?}");
    // The daemon ends in bounded time, keeps the bytes, and its successor stores them.
    stuck.m.sigterm();
    stuck.proxy.always(Fault::Pass);
    stuck.m.remount();
    stuck.heals();
}

#[test]
fn a_bucket_that_is_gone_costs_no_byte() {
    let stuck = Stuck::new(MountOptions::new().args(&["--upload-timeout", "3s"]));
    stuck.proxy.always(Fault::NoBucket);
    let out =
        stuck.python(&format!("{WRITES}\ntry:\n f.close()\nexcept OSError as e: print(e.errno)")).wait_with_output();
    assert_eq!(String::from_utf8_lossy(&out.unwrap().stdout).trim(), libc::EIO.to_string());
    assert_eq!(std::fs::read(stuck.m.join("f.bin")).unwrap(), vec![b'x'; SIZE]);
    // Mended by the operator: the upload goes on by itself.
    stuck.heals();
}

/// `munmap` of dirty pages waits for the mount while it holds the process's memory map; its siblings make files meanwhile.
const UNMAPS_AND_OPENS: &str = r#"
import mmap, os, sys, threading
d = sys.argv[1]

def maps():
    with open(f"{d}/mapped", "w+b") as f:
        f.truncate(1 << 20)
        for i in range(150):
            m = mmap.mmap(f.fileno(), 1 << 20)
            m[:] = bytes([i]) * (1 << 20)
            m.close()

def makes(k):
    for i in range(150):
        with open(f"{d}/{k}_{i}", "w") as f:
            f.write("x")

threads = [threading.Thread(target=maps)] + [threading.Thread(target=makes, args=(k,)) for k in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
print("done")
"#;

#[test]
fn a_program_may_unmap_and_open_at_once() {
    let mut m = TestMount::with(Store::Local, MountOptions::new().no_passthrough().session("s1"));
    let mut c = m.sandbox().program("python3");
    let child = c.args(["-c", UNMAPS_AND_OPENS]).arg(m.path()).stdout(Stdio::piped()).spawn().unwrap();
    let out = with_deadline(Duration::from_secs(120), move || child.wait_with_output().unwrap());
    let Some(out) = out else {
        // Only the end of the daemon frees them.
        m.kill9();
        panic!("program and mount wait for each other");
    };
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "done");
}
