//! The real daemon on a real mount, ended whatever happens.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::sandbox::{Sandbox, Store};
use super::wait::{holds_within, with_deadline};

/// A debug build on a busy machine mounts in well under a second; recovery after a crash may upload first.
const MOUNT_DEADLINE: Duration = Duration::from_secs(30);
/// From SIGTERM to the end, uploads included.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// From SIGKILL to the end.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// How to mount.
#[derive(Clone, Debug, Default)]
pub struct MountOptions {
    session: Option<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stderr: Option<PathBuf>,
}

impl MountOptions {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// The session's directory as the root.
    #[must_use]
    pub fn session(mut self, name: &str) -> Self {
        self.session = Some(name.to_owned());
        self
    }
    #[must_use]
    pub fn no_passthrough(self) -> Self {
        self.args(&["--no-passthrough"])
    }
    /// `--durability local`.
    #[must_use]
    pub fn durability_local(self) -> Self {
        self.args(&["--durability", "local"])
    }
    /// `--durability fsync`.
    #[must_use]
    pub fn durability_fsync(self) -> Self {
        self.args(&["--durability", "fsync"])
    }
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }
    /// Standard error goes there, not into the log that the tests read.
    #[must_use]
    pub fn stderr(mut self, path: &str) -> Self {
        self.stderr = Some(PathBuf::from(path));
        self
    }
    /// Further arguments of `outputfs mount`. (`--http` with an address replaces the default `--http off`.)
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|a| (*a).to_owned()));
        self
    }
}

/// A command in `.ctl` that failed.
#[derive(Debug)]
pub struct CtlError {
    /// What the `write` (or the open) failed with.
    pub errno: Option<i32>,
    /// What the same open file then said.
    pub answer: String,
}

/// One mount of a sandbox by one daemon process.
#[derive(Debug)]
pub struct TestMount {
    sandbox: Arc<Sandbox>,
    options: MountOptions,
    path: PathBuf,
    daemon: Option<Child>,
}

impl TestMount {
    /// A mount of every session, in a sandbox of its own.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self::with(store, MountOptions::new())
    }
    /// A mount in a sandbox of its own.
    #[must_use]
    pub fn with(store: Store, options: MountOptions) -> Self {
        Self::of(&Arc::new(Sandbox::new(store)), options)
    }
    /// One more mount of this sandbox.
    ///
    /// # Panics
    /// When it does not answer in time; with what the daemon said.
    #[must_use]
    pub fn of(sandbox: &Arc<Sandbox>, options: MountOptions) -> Self {
        let path = sandbox.new_mountpoint();
        let mut mount = Self { sandbox: Arc::clone(sandbox), options, path, daemon: None };
        mount.start();
        mount
    }
    #[must_use]
    pub fn sandbox(&self) -> &Arc<Sandbox> {
        &self.sandbox
    }
    /// The mount point.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
    /// The daemon's.
    ///
    /// # Panics
    /// While it is down.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon is up").id()
    }
    /// What the daemon has written to its standard error, over all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(self.log_path()).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// Whether the daemon's process runs.
    pub fn is_alive(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|d| matches!(d.try_wait(), Ok(None)))
    }
    /// SIGKILL, and waits for the end of the process. The mount stays behind, dead, as after a crash.
    ///
    /// # Panics
    /// While the daemon is down.
    pub fn kill9(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon is up");
        signal(&daemon, Signal::KILL);
        assert!(ended_within(&mut daemon, KILL_DEADLINE).is_some(), "pid {} survives SIGKILL", daemon.id());
    }
    /// SIGTERM, and waits for the clean end; the mount must be gone afterwards.
    ///
    /// # Panics
    /// When the daemon does not end in time, or leaves its mount.
    #[track_caller]
    pub fn sigterm(&mut self) -> ExitStatus {
        let mut daemon = self.daemon.take().expect("the daemon is up");
        signal(&daemon, Signal::TERM);
        let Some(status) = ended_within(&mut daemon, STOP_DEADLINE) else {
            self.daemon = Some(daemon);
            panic!("the daemon did not end within {STOP_DEADLINE:?} of SIGTERM\n{}", self.log_tail());
        };
        assert!(!is_mounted(&self.path), "{} is still mounted after SIGTERM\n{}", self.path.display(), self.log_tail());
        status
    }
    /// Waits for a daemon that is expected to end by itself (a failpoint, `outputfs umount`).
    ///
    /// # Panics
    /// When it does not in time.
    #[track_caller]
    pub fn wait_end(&mut self, deadline: Duration) -> ExitStatus {
        let mut daemon = self.daemon.take().expect("the daemon is up");
        ended_within(&mut daemon, deadline).unwrap_or_else(|| {
            self.daemon = Some(daemon);
            panic!("the daemon did not end within {deadline:?}\n{}", self.log_tail())
        })
    }
    /// A fresh daemon on the same mount point, after a clean end if the last one still runs. What a dead one left
    /// there is the new one's to clean up.
    pub fn remount(&mut self) {
        self.remount_with(self.options.clone());
    }
    /// Like [`Self::remount`], with other options from now on.
    pub fn remount_with(&mut self, options: MountOptions) {
        if self.daemon.is_some() {
            let status = self.sigterm();
            assert!(status.success(), "the daemon ended with {status}\n{}", self.log_tail());
        }
        self.options = options;
        self.start();
    }

    /// One command to the root's `.ctl`, answered on the same open file.
    ///
    /// # Errors
    /// When the command is refused.
    pub fn ctl(&self, command: &str) -> Result<String, CtlError> {
        self.ctl_in("", command)
    }
    /// The same in a session's directory.
    ///
    /// # Errors
    /// When the command is refused.
    pub fn ctl_in(&self, session: &str, command: &str) -> Result<String, CtlError> {
        let failed = |e: &std::io::Error, answer: String| CtlError { errno: e.raw_os_error(), answer };
        let path = self.path.join(session).join(".ctl");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| failed(&e, format!("cannot open {}: {e}", path.display())))?;
        // One write, as `echo` makes it.
        let written = file.write_all(format!("{command}\n").as_bytes());
        let mut answer = Vec::new();
        let read = file.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).trim_end().to_owned();
        match (written, read) {
            (Ok(()), Ok(_)) => Ok(answer),
            (Err(e), _) | (Ok(()), Err(e)) => Err(failed(&e, answer)),
        }
    }

    fn log_path(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.sandbox.path().join(format!("{name}.log"))
    }
    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(40)..].join("\n");
        format!("--- the daemon's log, {} ---\n{tail}", self.path.display())
    }
    /// `outputfs mount …` as this mount runs it.
    fn command(&self) -> Command {
        let mut c = self.sandbox.outputfs("mount");
        c.arg(&self.path).arg("--foreground");
        if let Some(session) = &self.options.session {
            c.args(["--session", session]);
        }
        if !self.options.args.iter().any(|a| a == "--http") {
            c.args(["--http", "off"]);
        }
        c.args(&self.options.args).envs(self.options.env.iter().map(|(k, v)| (k, v)));
        c
    }
    fn start(&mut self) {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).expect("the daemon's log");
        let out: File = log.try_clone().expect("the daemon's log");
        let err = match &self.options.stderr {
            Some(path) => OpenOptions::new().write(true).open(path).expect("standard error"),
            None => log,
        };
        // No descriptor into a mount is inherited: Rust opens everything close-on-exec.
        let child = self.command().stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        self.daemon = Some(child.expect("the outputfs binary starts"));
        let daemon = self.daemon.as_mut().expect("just started");
        let (path, mut ended) = (self.path.clone(), None);
        // A stale mount of a dead daemon is still listed until the new one replaced it: only an answer counts.
        let up = holds_within(MOUNT_DEADLINE, || {
            ended = daemon.try_wait().expect("waiting for the daemon");
            let probe = path.join(".ctl");
            let answers = move || std::fs::symlink_metadata(probe).is_ok();
            ended.is_some() || (is_mounted(&path) && with_deadline(MOUNT_DEADLINE, answers) == Some(true))
        });
        if let Some(status) = ended {
            self.daemon = None;
            panic!("the daemon ended with {status} before it answered\n{}", self.log_tail());
        }
        assert!(up, "{} does not answer within {MOUNT_DEADLINE:?}\n{}", path.display(), self.log_tail());
    }
}

impl Drop for TestMount {
    fn drop(&mut self) {
        let mut faults = Vec::new();
        if let Some(mut daemon) = self.daemon.take() {
            signal(&daemon, Signal::TERM);
            match ended_within(&mut daemon, STOP_DEADLINE) {
                Some(status) if status.success() => {}
                // A test may leave the store broken or kill the daemon at a failpoint; what matters is that it ended.
                Some(status) if status.signal().is_none() => {}
                Some(status) => faults.push(format!("the daemon died of {status} on SIGTERM")),
                None => {
                    faults.push(format!("the daemon did not end within {STOP_DEADLINE:?} of SIGTERM: killed"));
                    signal(&daemon, Signal::KILL);
                    if ended_within(&mut daemon, KILL_DEADLINE).is_none() {
                        faults.push(format!("pid {} survives SIGKILL", daemon.id()));
                    }
                }
            }
            if is_mounted(&self.path) {
                faults.push(format!("{} was still mounted after the daemon's end", self.path.display()));
            }
        }
        // Also after `kill9` without a remount, where a dead mount is as it should be.
        if !detach(&self.path) {
            faults.push(format!("{} cannot be unmounted", self.path.display()));
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
            for f in faults {
                eprintln!("left behind: {f}");
            }
        } else {
            assert!(faults.is_empty(), "left behind: {}\n{}", faults.join("; "), self.log_tail());
        }
    }
}

/// Whether a FUSE file system is mounted on exactly this path, alive or dead.
#[must_use]
pub fn is_mounted(path: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc/self/mountinfo");
    // id parent dev root MOUNTPOINT options [tags…] - TYPE source super-options
    table.lines().any(|line| {
        let mountpoint = line.split(' ').nth(4).map(unescape);
        let fstype = line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').next());
        mountpoint.as_deref() == Some(path) && fstype.is_some_and(|t| t == "fuse" || t.starts_with("fuse."))
    })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> PathBuf {
    PathBuf::from(field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\"))
}

/// Takes every mount off the path, also a dead one; whether none is left.
fn detach(path: &Path) -> bool {
    while is_mounted(path) {
        let done = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).is_ok()
            || Command::new("fusermount3").arg("-uz").arg(path).status().is_ok_and(|s| s.success());
        if !done {
            return false;
        }
    }
    true
}

fn signal(child: &Child, signal: Signal) {
    // The child is not waited for yet, so its pid is still its own; it may have ended, which is fine.
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        kill_process(pid, signal).ok();
    }
}

fn ended_within(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let mut status = None;
    holds_within(deadline, || {
        status = child.try_wait().expect("waiting for the daemon");
        status.is_some()
    });
    status
}
