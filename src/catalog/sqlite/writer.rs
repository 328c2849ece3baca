//! The one thread of a process that writes: it turns whatever waits into one transaction, so that many callers
//! share one fsync.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::artifact::{Error, Result};

/// Jobs in one transaction at most: bounds how long the first one waits for the last.
const BATCH_MAX: usize = 256;

/// What a job leaves behind: whether its changes stay, and how to answer once the batch is committed (`Ok`) or
/// lost as a whole (`Err`).
struct Ran {
    keep: bool,
    answer: Box<dyn FnOnce(Result<()>)>,
}

struct Job {
    durable: bool,
    /// Called once, with the error when there is no transaction to run in.
    run: Box<dyn FnOnce(Result<&Connection>) -> Ran + Send>,
}

/// Handle of the writer thread. Dropping it finishes what was queued and joins the thread.
pub struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// # Errors
    /// `Internal` when the thread cannot be started.
    pub fn start(conn: Connection) -> Result<Self> {
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new()
            .name(String::from("catalog-writer"))
            .spawn(move || serve(&conn, &queue))
            .map_err(|e| Error::internal(format!("cannot start the catalog's writer thread: {e}")))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs `f` in a transaction of its own or with others'; `f` failing undoes only its own changes. With
    /// `durable` everything committed so far is on stable storage when this returns. Dropping the future does not
    /// stop `f`.
    pub async fn run<T, E, F>(&self, durable: bool, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let (tx, rx) = oneshot::channel();
        let run = Box::new(move |conn: Result<&Connection>| {
            // A panic is a bug of one job: the thread goes on for the others.
            let guarded = |c| catch_unwind(AssertUnwindSafe(|| f(c))).unwrap_or_else(|_| Err(E::from(panicked())));
            let result = conn.map_err(E::from).and_then(guarded);
            let keep = result.is_ok();
            let answer = Box::new(move |committed: Result<()>| {
                // The caller may have gone: the change stands all the same.
                let _gone = tx.send(match (result, committed) {
                    (Ok(_), Err(e)) => Err(E::from(e)),
                    (result, _) => result,
                });
            });
            Ran { keep, answer }
        });
        let stopped = || E::from(Error::internal("the catalog's writer thread has ended"));
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(Job { durable, run }).map_err(|_| stopped())?;
        rx.await.map_err(|_| stopped())?
    }
}

fn panicked() -> Error {
    Error::internal("a catalog transaction failed by a bug in outputfs; the log says where")
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the catalog's writer thread panicked");
        }
    }
}

fn serve(conn: &Connection, queue: &Receiver<Job>) {
    let mut full = None;
    while let Ok(first) = queue.recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(job) = queue.try_recv()
        {
            batch.push(job);
        }
        let durable = batch.iter().any(|job| job.durable);
        commit_batch(conn, batch, durable, &mut full);
    }
}

/// `full` is the level `synchronous` has now, so that it is set only when it changes.
fn commit_batch(conn: &Connection, batch: Vec<Job>, durable: bool, full: &mut Option<bool>) {
    let mut outcome = begin(conn, durable, full);
    let alone = batch.len() == 1;
    let mut answers = Vec::with_capacity(batch.len());
    for job in batch {
        match &outcome {
            Ok(()) => outcome = run_one(conn, job, alone, &mut answers),
            Err(e) => answers.push((job.run)(Err(e.clone())).answer),
        }
    }
    // A single job that failed has been rolled back already.
    if outcome.is_ok() && !conn.is_autocommit() {
        outcome = conn.execute_batch("COMMIT").map_err(Error::from);
    }
    if outcome.is_err()
        && !conn.is_autocommit()
        && let Err(e) = conn.execute_batch("ROLLBACK")
    {
        tracing::error!(error = %e, "the catalog cannot roll back; the next transaction will say so");
    }
    if let Err(e) = &outcome {
        tracing::error!(error = %e, "a catalog transaction was lost; its callers were told");
    }
    for answer in answers {
        answer(outcome.clone());
    }
}

fn begin(conn: &Connection, durable: bool, full: &mut Option<bool>) -> Result<()> {
    if *full != Some(durable) {
        // A FULL commit syncs the whole WAL and with it every NORMAL commit before, of any process.
        conn.pragma_update(None, "synchronous", if durable { "FULL" } else { "NORMAL" })?;
        *full = Some(durable);
    }
    conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    Ok(())
}

/// `Err` when the whole transaction is lost.
fn run_one(conn: &Connection, job: Job, alone: bool, answers: &mut Vec<Box<dyn FnOnce(Result<()>)>>) -> Result<()> {
    let mark = |sql: &str| conn.prepare_cached(sql)?.execute([]).map(drop);
    if !alone {
        mark("SAVEPOINT job")?;
    }
    let ran = (job.run)(Ok(conn));
    answers.push(ran.answer);
    // A full disk or an I/O error makes SQLite roll the whole transaction back by itself.
    if conn.is_autocommit() {
        return Err(Error::internal("the catalog's transaction was rolled back by an I/O error"));
    }
    match (alone, ran.keep) {
        (true, true) => {}
        (true, false) => mark("ROLLBACK")?,
        (false, true) => mark("RELEASE job")?,
        (false, false) => {
            mark("ROLLBACK TO job")?;
            mark("RELEASE job")?;
        }
    }
    Ok(())
}
