//! The kernel's dirty pages of a mount, asked for before it is taken from under those who use it.
//!
//! Where the kernel collects writes, what write(2) took may not have come to the daemon yet. syncfs(2) makes it come; but who asks that
//! of the mount that he serves waits for himself, and when he is killed then can neither die nor answer. So a process of its own
//! asks, this program again, which holds nothing of the daemon's.

use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use tokio::process::Command;

/// Names the mount to the process that asks.
const VARIABLE: &str = "OUTPUTFS_INTERNAL_WRITE_BACK";
/// Pages go to a local file, a gigabyte in a second or two; who writes without end is not waited for.
const DEADLINE: Duration = Duration::from_secs(30);

/// This process is one that asks.
pub fn asked() -> Option<ExitCode> {
    let mountpoint = std::env::var_os(VARIABLE)?;
    let done = std::fs::File::open(&mountpoint).and_then(|dir| rustix::fs::syncfs(dir).map_err(Into::into));
    Some(if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// Returns when they are written, or at the deadline.
pub async fn write_back(mountpoint: &Path) {
    let mut command = Command::new("/proc/self/exe");
    command.env_clear().env(VARIABLE, mountpoint).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let ended = match command.kill_on_drop(true).spawn() {
        Ok(mut child) => tokio::time::timeout(DEADLINE, async move { child.wait().await }).await,
        Err(e) => Ok(Err(e)),
    };
    let why = match ended {
        Ok(Ok(status)) if status.success() => return,
        Ok(Ok(status)) => status.to_string(),
        Ok(Err(e)) => e.to_string(),
        Err(_) => format!("not within {DEADLINE:?}"),
    };
    tracing::warn!(why, "writes that the kernel still holds of open files may be lost");
}
