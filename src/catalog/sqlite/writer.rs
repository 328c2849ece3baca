//! The one thread of a process that writes: it turns whatever waits into one transaction, so that many callers
//! share one fsync.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::reserve::Reserve;
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
    pub fn start(conn: Connection, reserve: Option<Reserve>) -> Result<Self> {
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new()
            .name(String::from("catalog-writer"))
            .spawn(move || serve(&conn, reserve.as_ref(), &queue))
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
        let actor = crate::catalog::audit::current();
        let run = Box::new(move |conn: Result<&Connection>| {
            super::audit::act(actor);
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

fn serve(conn: &Connection, reserve: Option<&Reserve>, queue: &Receiver<Job>) {
    let mut full = None;
    while let Ok(first) = queue.recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(job) = queue.try_recv()
        {
            batch.push(job);
        }
        if let Some(reserve) = reserve {
            reserve.look();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::sqlite::schema;

    fn writer() -> (tempfile::TempDir, std::path::PathBuf, Writer) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.db");
        let conn = schema::open_writer(&path).unwrap();
        conn.execute_batch("CREATE TABLE t(n INTEGER)").unwrap();
        (dir, path, Writer::start(conn, None).unwrap())
    }

    fn insert(conn: &Connection, n: i64) -> Result<()> {
        conn.execute("INSERT INTO t VALUES (?)", [n])?;
        Ok(())
    }

    fn level(conn: &Connection) -> Result<i64> {
        Ok(conn.query_row("PRAGMA synchronous", [], |r| r.get(0))?)
    }

    fn rows(path: &std::path::Path) -> Vec<i64> {
        let conn = schema::open_reader(path).unwrap();
        let mut stmt = conn.prepare("SELECT n FROM t ORDER BY n").unwrap();
        stmt.query_map([], |r| r.get(0)).unwrap().map(|n| n.unwrap()).collect()
    }

    #[tokio::test]
    async fn in_one_batch_a_failing_job_undoes_only_itself() {
        let (_dir, path, writer) = writer();
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let hold = writer.run(false, move |_| gate.recv().map_err(|e| Error::internal(e.to_string())));
        let jobs = (0..10).map(|n| {
            writer.run(n == 9, move |c: &Connection| {
                insert(c, n)?;
                assert_ne!(n, 4, "a bug");
                if n % 3 == 1 { Err(Error::invalid("no")) } else { Ok(()) }
            })
        });
        // Everything is queued behind the job that waits, so it all becomes one batch.
        let all = futures::future::join_all(jobs);
        let release = async move { open.send(()).unwrap() };
        let (held, results, ()) = tokio::join!(hold, all, release);
        held.unwrap();
        let failed: Vec<_> = (0..10).filter(|n| results[usize::try_from(*n).unwrap()].is_err()).collect();
        assert_eq!(failed, [1, 4, 7]);
        assert_eq!(rows(&path), [0, 2, 3, 5, 6, 8, 9]);
        let alone: Result<()> = writer.run(true, |c| insert(c, 50).and(Err(Error::invalid("no")))).await;
        assert!(alone.is_err());
        assert_eq!(rows(&path).len(), 7);
    }

    #[tokio::test]
    async fn only_durable_jobs_pay_for_a_sync() {
        let (_dir, _path, writer) = writer();
        for durable in [false, true, false, true] {
            // SQLite's numbers: 1 is NORMAL, 2 is FULL.
            let seen = writer.run(durable, level).await.unwrap();
            assert_eq!(seen, if durable { 2 } else { 1 });
        }
    }

    #[tokio::test]
    async fn dropping_the_writer_finishes_what_was_queued() {
        let (_dir, path, writer) = writer();
        for n in 0..100 {
            let job = writer.run(false, move |c| insert(c, n));
            // Polled once, then dropped: the job is on its way.
            assert!(futures::FutureExt::now_or_never(job).is_none_or(|r: Result<()>| r.is_ok()));
        }
        drop(writer);
        assert_eq!(rows(&path).len(), 100);
    }
}
