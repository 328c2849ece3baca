//! The command of `run`: started, passed signals, waited for.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::artifact::{Error, Result};
use crate::cli::failure::{Failure, Outcome};
use crate::daemon::signals::Signals;

/// Shells' codes for a command that cannot be run.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Its standard streams and its process group are ours: a key at the terminal reaches it without us.
///
/// # Errors
/// With 127 when there is no such command, 126 when it cannot be run.
pub fn start(command: &[OsString], env: &[(&str, OsString)]) -> Outcome<Child> {
    let Some((program, args)) = command.split_first() else {
        return Err(Error::invalid("no command to run").into());
    };
    let started = Command::new(program).args(args).envs(env.iter().map(|(k, v)| (k, v))).spawn();
    started.map_err(|e| {
        let missing = e.kind() == std::io::ErrorKind::NotFound;
        let why = if missing { String::from("command not found") } else { e.to_string() };
        Failure {
            message: Some(format!("{}: {why}", program.display())),
            hint: None,
            code: if missing { NOT_FOUND } else { NOT_EXECUTABLE },
            kind: None,
        }
    })
}

/// Waits for its end and passes on what it has not got by itself.
///
/// # Errors
/// When it cannot be waited for.
pub async fn wait(child: &mut Child, signals: &Signals) -> Result<u8> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    loop {
        let arrived = tokio::select! {
            ended = child.wait() => return ended.map(code).map_err(|e| Error::internal(format!("waiting for the command: {e}"))),
            arrived = signals.next() => arrived,
        };
        if arrived.from_terminal {
            continue;
        }
        if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(arrived.number)) {
            // It has just ended: the next turn finds out.
            if let Err(e) = kill_process(pid, signal) {
                tracing::debug!(error = %e, "the command could not be signalled");
            }
        }
    }
}

/// As shells tell it: the command's own code, or 128 and the signal's number.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(255);
    u8::try_from(code).unwrap_or(255)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_as_shells_have_them() {
        assert_eq!(code(ExitStatus::from_raw(0)), 0);
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code(ExitStatus::from_raw(libc::SIGTERM)), 143);
    }
}
