//! Running a call: once where it arrived, then in the runtime if it has to wait ([`parked`]).
//!
//! Nothing waits without end: a call is answered when nothing has moved for it until its deadline, and at once when its caller has been killed. (The kernel keeps
//! a killed process until its request is answered. It would say so with `FUSE_INTERRUPT`, which the FUSE library does not hand
//! on; a look at the caller's own record tells the same, and also of a process that was killed first and closes as it dies.)

mod parked;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::artifact::{Error, Kind, Result};
use crate::catalog::audit::{self, Actor, Who};
use crate::engine::volume::kernel::process::is_dying;
use crate::metrics::moved::{self, Clock};

pub use self::parked::Lot;
use self::parked::{Spawn, Work};

/// How soon a killed caller is let go.
const LOOK: Duration = Duration::from_millis(50);

/// What becomes of work whose caller no longer waits for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// Its result is of use to that caller alone.
    Dropped,
    /// It goes on to its end: bytes are saved whoever waits.
    Finished,
}

/// Who waits, and how long at most.
#[derive(Clone, Copy)]
pub struct Waiter<'a> {
    /// Where those lie that wait.
    pub calls: &'a Lot,
    /// Without progress of the call.
    pub deadline: Duration,
    /// The calling thread, as the kernel names it; 0 when it is in a PID namespace that we do not see.
    pub tid: u32,
    pub uid: u32,
}

impl Waiter<'_> {
    /// Runs `work` and hands its result to `answer`. Never blocks longer than `work`'s own first step.
    pub fn run<T: Send + 'static>(
        self,
        late: Late,
        work: impl Future<Output = Result<T>> + Send + 'static,
        answer: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let clock = Clock::new(self.deadline);
        let actor = Actor { door: "mount", who: Who::Process { pid: self.tid, uid: self.uid } };
        let work = Box::pin(moved::scope(clock.clone(), audit::scope(actor, work)));
        // Answered by one of the two: here, or by the task that the call becomes.
        let answer = Arc::new(Mutex::new(Some(answer)));
        let later = answer.clone();
        let (runtime, tid) = (self.calls.runtime.clone(), self.tid);
        let spawn = move || -> Spawn<T> {
            Box::new(move |work| {
                let Some(answer) = later.lock().take() else { return };
                runtime.spawn(wait(work, answer, clock, tid, late));
            })
        };
        let done = match self.calls.first(work, spawn) {
            Err(()) => return,
            Ok(Some(result)) => result,
            Ok(None) => Err(Error::internal("a call failed by a bug in outputfs; the log says where")),
        };
        let answer = answer.lock().take();
        if let Some(answer) = answer {
            answer(done);
        }
    }
}

/// The call as a task.
async fn wait<T: Send + 'static>(
    mut work: Work<T>,
    answer: impl FnOnce(Result<T>) + Send,
    clock: Arc<Clock>,
    tid: u32,
    late: Late,
) {
    let why = tokio::select! {
        biased;
        result = work.as_mut() => return answer(result),
        why = gives_up(&clock, tid) => why,
    };
    answer(Err(why));
    if late == Late::Finished
        && let Err(e) = work.await
    {
        tracing::warn!(error = %e, "a call that nobody waits for any more failed");
    }
}

/// Returns when the caller waits no longer.
async fn gives_up(clock: &Clock, tid: u32) -> Error {
    loop {
        let end = clock.until();
        tokio::time::sleep_until(end.min(Instant::now() + LOOK).into()).await;
        // Looked at again: bytes may have moved meanwhile.
        if Instant::now() >= clock.until() {
            let text = "the store did not answer in time; what was written is kept and retried";
            return Error::new(Kind::TimedOut, text);
        }
        if tid != 0 && is_dying(tid) {
            return Error::new(Kind::TimedOut, "the caller was killed");
        }
    }
}
