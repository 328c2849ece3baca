//! Waiting for conditions. Nothing here waits for time to pass.

use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Between two looks at a condition: short against anything waited for, long against the cost of a look.
const POLL: Duration = Duration::from_millis(5);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within `deadline`, naming `what`.
#[track_caller]
pub fn wait_until(what: &str, deadline: Duration, condition: impl FnMut() -> bool) {
    assert!(holds_within(deadline, condition), "not within {deadline:?}: {what}");
}

/// Whether `condition` comes to hold within `deadline`.
pub fn holds_within(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::park_timeout(POLL);
    }
}

/// Runs `work` on a thread of its own, for calls on a mount that may never return; `None` when it did not in time.
/// (The thread then stays until the call returns: unmounting or killing the daemon frees it.)
pub fn with_deadline<T: Send + 'static>(deadline: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || drop(done.send(work())));
    result.recv_timeout(deadline).ok()
}
