//! Becoming a daemon: the parent starts itself once more and returns when the mount answers, or tells why it does not.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::artifact::{Error, Kind};
use crate::cli::args::{DAEMON_VARIABLE, MountArgs};
use crate::cli::failure::{Failure, Outcome};

/// Recovery of dead mounts may upload before the mount answers (30 s at most); a slow disk, a cold start.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// What the daemon says when it is ready; anything else is its exit code, then its last words.
const READY: &str = "ready";

/// Starts the daemon and waits until it answers.
///
/// # Errors
/// What the daemon said.
pub fn daemon(args: &MountArgs) -> Outcome {
    let failed = |what: &str, e: std::io::Error| Error::internal(format!("{what}: {e}"));
    let program = std::env::current_exe().map_err(|e| failed("cannot find the outputfs program", e))?;
    keep_descriptors_from_child();
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(DAEMON_VARIABLE, "true")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| failed("cannot start the daemon", e))?;
    let mut said = child.stdout.take().ok_or_else(|| Error::internal("the daemon has no standard output"))?;
    // The pipe ends when the daemon has spoken or died.
    let (tell, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = said.read_to_string(&mut text);
        // Nobody listens any more after the deadline.
        tell.send(read.map(|_| text)).ok();
    });
    let Ok(text) = heard.recv_timeout(READY_WITHIN) else {
        child.kill().and_then(|()| child.wait()).map_err(|e| failed("the daemon cannot be ended", e))?;
        let text = format!("{} does not answer after {READY_WITHIN:?}: given up", args.mountpoint.display());
        return Err(Error::new(Kind::TimedOut, text).into());
    };
    let text = text.map_err(|e| failed("the daemon cannot be heard", e))?;
    if text.trim_end() == READY {
        return Ok(());
    }
    if let Some((code, rest)) = text.split_once('\n')
        && let Ok(code) = code.parse()
    {
        let (message, hint) = rest.split_once('\n').unwrap_or((rest, ""));
        let some = |s: &str| (!s.trim().is_empty()).then(|| s.trim().to_owned());
        return Err(Failure { message: some(message), hint: some(hint), code, kind: None });
    }
    // It ended before it could speak on the pipe: then its standard error was still ours.
    let status = child.wait().map_err(|e| failed("the daemon cannot be waited for", e))?;
    match status.code().and_then(|c| u8::try_from(c).ok()) {
        Some(code) if code != 0 => Err(Failure::silent(code)),
        _ => Err(Error::internal(format!("the daemon ended before it mounted ({status})")).into()),
    }
}

/// Pipes that a shell or a test left open in us would otherwise stay open as long as the daemon lives.
fn keep_descriptors_from_child() {
    let (first, last) = (3, libc::c_uint::MAX);
    // SAFETY: sets close-on-exec on descriptors, which takes nothing away from this process.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
    if done != 0 {
        // A kernel before 5.11: somebody may wait for the daemon's end, as with any careless daemon.
        tracing::debug!("descriptors of the shell are inherited");
    }
}

/// The waiting parent, as the daemon sees it: its standard output.
pub struct Parent(());

impl Parent {
    /// Leaves the parent's session and terminal.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn detach() -> Outcome<Self> {
        match rustix::process::setsid() {
            // Leader of a session already: started by an init system with our variable set.
            Ok(_) | Err(rustix::io::Errno::PERM) => Ok(Self(())),
            Err(e) => Err(Error::internal(format!("cannot leave the terminal: {e}")).into()),
        }
    }

    /// `false` when the parent is gone.
    #[must_use]
    pub fn ready(self) -> bool {
        say(&format!("{READY}\n"))
    }

    pub fn failed(self, failure: &Failure) {
        let message = failure.message.as_deref().unwrap_or_default().replace('\n', " ");
        let hint = failure.hint.as_deref().unwrap_or_default();
        if !say(&format!("{}\n{message}\n{hint}\n", failure.code)) {
            tracing::debug!("nobody hears why it failed");
        }
    }
}

/// Says it and hangs up.
fn say(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    let heard = out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok();
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null");
    let closed = null.and_then(|null| rustix::stdio::dup2_stdout(&null).map_err(Into::into));
    if let Err(e) = closed {
        tracing::warn!(error = %e, "standard output stays open: whoever mounted may wait");
    }
    heard
}
