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
