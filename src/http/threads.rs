//! Threads of HTTP's own: what strangers can make us do takes none of those that mounts and commits need, and is behind them for the CPU.

use std::future::Future;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;

use crate::artifact::{Error, Result};

/// Behind what mounts do; not so far that a lock held here could keep them waiting long.
const NICE: i32 = 10;

/// A runtime of one thread for what waits, and a few for what blocks. Its tasks end with it.
pub struct Threads {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Threads {
    /// # Errors
    /// When no thread can be started.
    pub fn start(name: &'static str, blocking: usize) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(blocking)
            .thread_name(name)
            .on_thread_start(stand_back)
            .enable_all()
            .build()
            .map_err(|e| Error::internal(format!("the threads {name} cannot be started: {e}")))?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not waited for: who drops this has waited for what was to end.
            runtime.shutdown_background();
        }
    }
}

/// Runs `work` on the threads of `on`, until it ends or nobody waits for it any more.
///
/// # Errors
/// When it broke down.
pub async fn elsewhere<W>(on: &Handle, work: W) -> Result<W::Output>
where
    W: Future + Send + 'static,
    W::Output: Send + 'static,
{
    let done = AbortOnDropHandle::new(on.spawn(work)).await;
    done.map_err(|e| Error::internal(format!("an answer broke down: {e}")))
}

fn stand_back() {
    // Of this thread alone: on Linux a thread has its own.
    if let Err(e) = rustix::process::nice(NICE) {
        tracing::warn!("work for readers has the priority of all other: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_runs_there_behind_all_other_and_ends_when_nobody_waits() {
        let threads = Threads::start("outputfs-test", 1).unwrap();
        let place = || (std::thread::current().name().map(str::to_owned), rustix::process::nice(0).unwrap());
        let (name, nice) = elsewhere(threads.handle(), async move { place() }).await.unwrap();
        assert_eq!(name.as_deref(), Some("outputfs-test"));
        assert_eq!(nice, (place().1 + NICE).min(19));
        let (alive, mut gone) = tokio::sync::mpsc::channel::<()>(1);
        let stuck = elsewhere(threads.handle(), async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        assert!(tokio::time::timeout(std::time::Duration::from_millis(50), stuck).await.is_err());
        assert!(gone.recv().await.is_none());
    }
}
