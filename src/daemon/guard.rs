//! The process beside a mount's daemon that lets the programs on the mount go when the daemon is killed in the wrong moment
//! ([`crate::engine::stale_mount`] says which one).
//!
//! The kernel tells it of the death of the daemon's main thread (prctl(2), `PR_SET_PDEATHSIG`), which comes also while another thread of
//! the daemon cannot end. When the main thread is the one that hangs there is no such word: a look every two seconds tells. The daemon's
//! whole end closes the pipe that is the guard's standard input: after that there is nothing to do. It holds nothing of the mount and
//! knows only where that is. Without it (it was killed too, or could not be started) the next command that meets the mount does its work.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::engine::stale_mount;

/// The first argument of the program that makes it this. Not for people: no help names it.
pub const WORD: &str = "__guard";

/// A daemon that can end does so within this after its main thread.
const ENDS: Duration = Duration::from_millis(200);
/// How soon a main thread that cannot end is seen.
const LOOK: Duration = Duration::from_secs(2);

/// A guard at work. Dropping it ends it.
pub struct Guard(Child);

impl Guard {
    /// Starts the guard of the mount at `mountpoint`. To be called on the main thread: it is that one's death of which it hears. None: it
    /// could not be started, which is told in the log.
    pub fn start(mountpoint: &std::path::Path) -> Option<Self> {
        debug_assert_eq!(
            std::thread::current().name(),
            Some("main"),
            "the guard hears of the end of the thread that starts it"
        );
        let started = std::env::current_exe().and_then(|program| {
            Command::new(program)
                .arg(WORD)
                .arg(std::process::id().to_string())
                .arg(mountpoint)
                .current_dir("/")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        });
        started.map(Self).inspect_err(|e| tracing::warn!(error = %e, "the mount has no guard process")).ok()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Gone already is as good.
        self.0.kill().and_then(|()| self.0.wait().map(drop)).unwrap_or_default();
    }
}

/// The guard process.
#[must_use]
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let daemon = arguments.next().and_then(|word| word.to_str()?.parse::<u32>().ok());
    let (Some(daemon), Some(mountpoint)) = (daemon, arguments.next().map(PathBuf::from)) else {
        return ExitCode::FAILURE;
    };
    // Out of the terminal's reach: a Ctrl-C is the daemon's to answer.
    let done = rustix::process::setsid().map_err(std::io::Error::from).and_then(|_| watch(daemon, &mountpoint));
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn watch(daemon: u32, mountpoint: &std::path::Path) -> std::io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut death = signal(SignalKind::user_defined1())?;
        rustix::process::set_parent_process_death_signal(Some(Signal::USR1))?;
        let mut nothing = [0];
        let mut end = tokio::net::unix::pipe::Receiver::from_owned_fd(rustix::io::dup(std::io::stdin())?)?;
        // It died before we asked to be told.
        let dead_already = std::os::unix::process::parent_id() != daemon;
        if !dead_already {
            tokio::select! {
                _ = end.read(&mut nothing) => return Ok(()),
                _ = death.recv() => {}
                () = killed(daemon) => {}
            }
        }
        if tokio::time::timeout(ENDS, end.read(&mut nothing)).await.is_ok() {
            return Ok(());
        }
        stale_mount::abort(mountpoint).map_err(std::io::Error::other)
    })
}

/// Returns when the daemon was killed and its main thread is the one that cannot end.
async fn killed(daemon: u32) {
    while !stale_mount::is_ending(daemon) {
        tokio::time::sleep(LOOK).await;
    }
}
