//! Running a call: once where it arrived, then in the runtime if it has to wait.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::artifact::{Error, Kind, Result};

/// No request waits longer than this for anything but an upload.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs `work` and hands its result to `answer`. Never blocks longer than `work`'s own first step.
pub fn run<T: Send + 'static>(
    runtime: &tokio::runtime::Handle,
    work: impl Future<Output = Result<T>> + Send + 'static,
    answer: impl FnOnce(Result<T>) + Send + 'static,
) {
    let mut work: Pin<Box<dyn Future<Output = Result<T>> + Send>> = Box::pin(work);
    let polled = {
        let _inside = runtime.enter();
        // Polled again by the runtime, with its waker, if it is not ready.
        work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    };
    match polled {
        Poll::Ready(result) => answer(result),
        Poll::Pending => {
            runtime.spawn(async move { answer(work.await) });
        }
    }
}

/// As [`run`], for a save: the answer comes after `deadline` at the latest, the work goes on to its end without it.
pub fn run_to_the_end(
    runtime: &tokio::runtime::Handle,
    deadline: Duration,
    work: impl Future<Output = Result<()>> + Send + 'static,
    answer: impl FnOnce(Result<()>) + Send + 'static,
) {
    let mut work: Pin<Box<dyn Future<Output = Result<()>> + Send>> = Box::pin(work);
    let polled = {
        let _inside = runtime.enter();
        work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    };
    match polled {
        Poll::Ready(result) => answer(result),
        Poll::Pending => {
            runtime.spawn(async move {
                if let Ok(result) = tokio::time::timeout(deadline, work.as_mut()).await {
                    answer(result);
                    return;
                }
                answer(Err(Error::new(
                    Kind::TimedOut,
                    "the store did not answer in time; the bytes are kept and retried",
                )));
                if let Err(e) = work.await {
                    tracing::warn!(error = %e, "a save that nobody waits for any more failed");
                }
            });
        }
    }
}

/// As [`run`], for everything that is not an upload: `EIO` after [`DEADLINE`].
pub fn run_bounded<T: Send + 'static>(
    runtime: &tokio::runtime::Handle,
    work: impl Future<Output = Result<T>> + Send + 'static,
    answer: impl FnOnce(Result<T>) + Send + 'static,
) {
    let mut work: Pin<Box<dyn Future<Output = Result<T>> + Send>> = Box::pin(work);
    let polled = {
        let _inside = runtime.enter();
        work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    };
    match polled {
        Poll::Ready(result) => answer(result),
        Poll::Pending => {
            runtime.spawn(async move {
                answer(match tokio::time::timeout(DEADLINE, work).await {
                    Ok(result) => result,
                    Err(_) => Err(Error::new(Kind::TimedOut, "no answer in time")),
                });
            });
        }
    }
}
