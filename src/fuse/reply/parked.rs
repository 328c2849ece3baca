//! A call that waits, kept off the runtime until something happens for it.
//!
//! A call that waits for the catalog's writer waits for some hundred microseconds. To make a task of it at once would wake a thread of
//! the runtime twice: to take the task, and to take its result. So it lies here with a waker of its own; whoever wakes it makes the task.
//! What lies longer becomes a task too: that one looks at its deadline, and whether its caller still lives.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::artifact::Result;

/// How long a call lies at most, and how often is looked.
const LIES: Duration = Duration::from_millis(50);
/// Looks at nothing after which the looking ends. (To begin it anew takes a task.)
const IDLE_LOOKS: u32 = 20;

/// What a call does, until its result is there.
pub type Work<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;
/// Makes a task of a call.
pub type Spawn<T> = Box<dyn FnOnce(Work<T>) + Send>;

/// One call.
struct Call<T>(Mutex<Phase<T>>);

enum Phase<T> {
    /// At work on the thread that it came to; `true`: it was woken meanwhile.
    Works(bool),
    Lies(Work<T>, Spawn<T>),
    /// A task of the runtime by now, or over.
    Gone,
}

trait Lying: Send + Sync {
    fn rise(&self);
    fn lies(&self) -> bool;
}

impl<T: Send> Lying for Call<T> {
    fn rise(&self) {
        let mut phase = self.0.lock();
        match &mut *phase {
            Phase::Works(woken) => *woken = true,
            Phase::Lies(..) => {
                let former = std::mem::replace(&mut *phase, Phase::Gone);
                drop(phase);
                if let Phase::Lies(work, spawn) = former {
                    spawn(work);
                }
            }
            Phase::Gone => {}
        }
    }

    fn lies(&self) -> bool {
        matches!(*self.0.lock(), Phase::Lies(..))
    }
}

impl<T: Send + 'static> Wake for Call<T> {
    fn wake(self: Arc<Self>) {
        self.rise();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.rise();
    }
}

/// Those that lie.
pub struct Lot {
    pub runtime: tokio::runtime::Handle,
    calls: Arc<Calls>,
}

#[derive(Default)]
struct Calls {
    /// The oldest first, and whether somebody looks at them.
    lying: Mutex<(Vec<(Instant, Arc<dyn Lying>)>, bool)>,
}

impl Lot {
    pub fn new(runtime: tokio::runtime::Handle) -> Self {
        Self { runtime, calls: Arc::default() }
    }

    /// Works on a call as far as it gets here. `Err`: it waits, and `spawn` will be called with it when it can go on or has lain for too long.
    /// A panic is `Ok(None)`.
    pub fn first<T: Send + 'static>(
        &self,
        mut work: Work<T>,
        spawn: impl FnOnce() -> Spawn<T>,
    ) -> std::result::Result<Option<Result<T>>, ()> {
        let call = Arc::new(Call(Mutex::new(Phase::Works(false))));
        let waker = Waker::from(Arc::clone(&call));
        let polled = {
            let _inside = self.runtime.enter();
            catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut Context::from_waker(&waker))))
        };
        let pending = match polled {
            Ok(Poll::Ready(result)) => Ok(Some(result)),
            Ok(Poll::Pending) => Err(()),
            Err(_) => Ok(None),
        };
        if let Ok(over) = pending {
            *call.0.lock() = Phase::Gone;
            return Ok(over);
        }
        let spawn = spawn();
        let mut phase = call.0.lock();
        if matches!(*phase, Phase::Works(true)) {
            *phase = Phase::Gone;
            drop(phase);
            spawn(work);
        } else {
            *phase = Phase::Lies(work, spawn);
            drop(phase);
            self.watch(call);
        }
        Err(())
    }

    fn watch(&self, call: Arc<dyn Lying>) {
        let mut lying = self.calls.lying.lock();
        lying.0.push((Instant::now(), call));
        if !std::mem::replace(&mut lying.1, true) {
            drop(lying);
            self.runtime.spawn(Arc::clone(&self.calls).looks());
        }
    }
}

impl Calls {
    async fn looks(self: Arc<Self>) {
        let mut idle = 0;
        loop {
            tokio::time::sleep(LIES).await;
            for call in self.overdue() {
                call.rise();
            }
            let mut lying = self.lying.lock();
            idle = if lying.0.is_empty() { idle + 1 } else { 0 };
            if idle > IDLE_LOOKS {
                lying.1 = false;
                return;
            }
        }
    }

    /// Takes out what has lain for long, and what lies no more.
    fn overdue(&self) -> Vec<Arc<dyn Lying>> {
        let now = Instant::now();
        let mut overdue = Vec::new();
        self.lying.lock().0.retain(|(since, call)| {
            let lies = call.lies();
            let long = now.duration_since(*since) >= LIES;
            if lies && long {
                overdue.push(Arc::clone(call));
            }
            lies && !long
        });
        overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Seen {
        spawned: AtomicUsize,
        done: tokio::sync::Notify,
    }

    fn seen() -> Arc<Seen> {
        Arc::new(Seen { spawned: AtomicUsize::new(0), done: tokio::sync::Notify::new() })
    }

    fn first<T: Send + 'static>(
        lot: &Lot,
        seen: &Arc<Seen>,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> std::result::Result<Option<Result<T>>, ()> {
        let (runtime, seen) = (lot.runtime.clone(), seen.clone());
        lot.first(Box::pin(work), move || {
            Box::new(move |work| {
                seen.spawned.fetch_add(1, Ordering::SeqCst);
                runtime.spawn(async move {
                    drop(work.await);
                    seen.done.notify_one();
                });
            })
        })
    }

    fn lot() -> Lot {
        Lot::new(tokio::runtime::Handle::current())
    }

    #[tokio::test]
    async fn what_does_not_wait_is_over_here_and_a_panic_is_told() {
        let (lot, seen) = (lot(), seen());
        assert!(matches!(first(&lot, &seen, async { Ok(7) }), Ok(Some(Ok(7)))));
        assert!(matches!(first::<()>(&lot, &seen, async { panic!("a bug") }), Ok(None)));
        assert_eq!(seen.spawned.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn what_waits_becomes_one_task_when_it_is_woken() {
        let (lot, seen) = (lot(), seen());
        let (tx, rx) = tokio::sync::oneshot::channel::<()>();
        let work = async move { rx.await.map_err(|_| crate::artifact::Error::internal("gone")) };
        assert!(first(&lot, &seen, work).is_err());
        assert_eq!(seen.spawned.load(Ordering::SeqCst), 0);
        tx.send(()).unwrap();
        assert_eq!(seen.spawned.load(Ordering::SeqCst), 1);
        seen.done.notified().await;
        assert_eq!(seen.spawned.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_is_woken_while_it_works_is_not_forgotten() {
        let (lot, seen) = (lot(), seen());
        let mut again = false;
        let work = std::future::poll_fn(move |cx| {
            if std::mem::replace(&mut again, true) {
                return Poll::Ready(Ok(()));
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        assert!(first(&lot, &seen, work).is_err());
        assert_eq!(seen.spawned.load(Ordering::SeqCst), 1);
        seen.done.notified().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_wakes_becomes_a_task_all_the_same_and_the_looking_ends() {
        let (lot, seen) = (lot(), seen());
        assert!(first(&lot, &seen, std::future::pending::<Result<()>>()).is_err());
        // (Real time counts for a call, the runtime's for the looks.)
        while seen.spawned.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(LIES).await;
        }
        while lot.calls.lying.lock().1 {
            tokio::time::sleep(LIES).await;
        }
        assert!(lot.calls.lying.lock().0.is_empty());
        assert_eq!(seen.spawned.load(Ordering::SeqCst), 1);
    }
}
