//! The one thread of a process that writes: it turns whatever waits into one transaction, so that many callers
//! share one fsync; and what comes in a stream, each after the answer to the one before, into one as well ([`super::ahead`]).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::ahead::{Ahead, IDLE, SPAN};
use super::reserve::Reserve;
use super::schema::BUSY_PAUSE;
use crate::artifact::{Error, Result};
use crate::catalog::sql;

/// Jobs in one transaction at most: bounds how long the first one waits for the last.
const BATCH_MAX: usize = 256;

/// So many jobs in a row, each within [`IDLE`] of the one before, are a stream. One removal alone is committed before its answer.
const STREAM: u32 = 4;

/// When a job's changes are committed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Commits {
    /// Before the answer, and everything before is on stable storage.
    Durable,
    /// Before the answer: durable with the next durable one.
    Ordered,
    /// As `Ordered`; in a stream of such jobs, soon after the answer.
    Streamed,
}

/// What a job leaves behind: whether its changes stay, and how to answer once the batch is committed (`Ok`) or
/// lost as a whole (`Err`).
pub struct Ran {
    pub keep: bool,
    pub answer: Answer,
}

/// Told whether the job's transaction was committed.
pub type Answer = Box<dyn FnOnce(Result<()>)>;

pub struct Job {
    pub commits: Commits,
    /// Called once, with the error when there is no transaction to run in.
    pub run: Box<dyn FnOnce(Result<&sql::Connection>) -> Ran + Send>,
}

/// Handle of the writer thread, which goes on after a panic. Dropping it finishes what was queued and joins the thread.
pub struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    ahead: Arc<Ahead>,
    refuses: Option<Error>,
}

impl Writer {
    /// One that has no thread and answers `why` to every job.
    ///
    /// # Errors
    /// Of `SQLite`.
    pub fn refusing(why: Error) -> Result<Self> {
        let ahead = Arc::new(Ahead::new(Connection::open_in_memory()?));
        Ok(Self { jobs: None, thread: None, ahead, refuses: Some(why) })
    }

    /// Why nothing can be changed, when that is so from the start.
    pub fn refuses(&self) -> Option<&Error> {
        self.refuses.as_ref()
    }

    /// # Errors
    /// `Internal` when the thread cannot be started.
    pub fn start(conn: Connection, reserve: Option<Reserve>) -> Result<Self> {
        let (jobs, queue) = channel();
        let ahead = Arc::new(Ahead::new(conn));
        let mut thread =
            Thread { ahead: ahead.clone(), reserve, full: None, stream: 0, last: Instant::now(), began: None };
        let thread = std::thread::Builder::new()
            .name(String::from("catalog-writer"))
            .spawn(move || thread.keep_serving(&queue))
            .map_err(|e| Error::internal(format!("cannot start the catalog's writer thread: {e}")))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), ahead, refuses: None })
    }

    /// One whose thread runs the jobs by `serve`. Nothing is ever ahead of what its readers see.
    ///
    /// # Errors
    /// `Internal` when the thread cannot be started.
    pub fn elsewhere(serve: impl FnOnce(&Receiver<Job>) + Send + 'static) -> Result<Self> {
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new()
            .name(String::from("catalog-writer"))
            .spawn(move || serve(&queue))
            .map_err(|e| Error::internal(format!("cannot start the catalog's writer thread: {e}")))?;
        let ahead = Arc::new(Ahead::new(Connection::open_in_memory()?));
        Ok(Self { jobs: Some(jobs), thread: Some(thread), ahead, refuses: None })
    }

    pub fn ahead(&self) -> Arc<Ahead> {
        self.ahead.clone()
    }

    /// Runs `f` in a transaction of its own or with others'; `f` failing undoes only its own changes. When
    /// they are committed: [`Commits`]. Dropping the future does not stop `f`.
    pub async fn run<T, E, F>(&self, commits: Commits, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: FnOnce(&sql::Connection) -> Result<T, E> + Send + 'static,
    {
        let (tx, rx) = oneshot::channel();
        let actor = crate::catalog::audit::current();
        let run = Box::new(move |conn: Result<&sql::Connection>| {
            sql::actor::act(actor);
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
        if let Some(why) = &self.refuses {
            return Err(why.clone().into());
        }
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(Job { commits, run }).map_err(|_| stopped())?;
        rx.await.map_err(|_| E::from(panicked()))?
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

/// What the writer thread goes by.
struct Thread {
    ahead: Arc<Ahead>,
    reserve: Option<Reserve>,
    /// The level `synchronous` has now, so that it is set only when it changes.
    full: Option<bool>,
    /// Streamed jobs in a row, up to now, and when the last one came.
    stream: u32,
    last: Instant,
    /// Since when a transaction is open between jobs.
    began: Option<Instant>,
}

impl Thread {
    /// A panic outside a job is a bug of one turn: its callers are told that the thread broke down, and the next ones are served.
    fn keep_serving(&mut self, queue: &Receiver<Job>) {
        while catch_unwind(AssertUnwindSafe(|| self.serve(queue))).is_err() {
            tracing::error!(
                "the catalog's writer broke down by a bug in outputfs: its transaction is undone, it goes on"
            );
            (self.full, self.stream, self.began) = (None, 0, None);
            self.ahead.abandon(&self.ahead.conn());
        }
    }

    fn serve(&mut self, queue: &Receiver<Job>) {
        loop {
            let left = self.began.map(|t| SPAN.saturating_sub(t.elapsed()));
            let next = match left {
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(Duration::ZERO) => Err(RecvTimeoutError::Timeout),
                Some(left) => queue.recv_timeout(IDLE.min(left)),
            };
            match next {
                Ok(first) => self.run(first, queue),
                Err(end) => {
                    self.began = None;
                    self.ahead.commit(&self.ahead.conn());
                    match end {
                        RecvTimeoutError::Disconnected => return,
                        RecvTimeoutError::Timeout if left == Some(Duration::ZERO) => self.let_others(),
                        RecvTimeoutError::Timeout => {}
                    }
                }
            }
        }
    }

    /// Other processes look for the lock each [`BUSY_PAUSE`]: a stream must not keep it from them.
    fn let_others(&self) {
        std::thread::sleep(BUSY_PAUSE + BUSY_PAUSE / 2);
    }

    fn run(&mut self, first: Job, queue: &Receiver<Job>) {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(job) = queue.try_recv()
        {
            batch.push(job);
        }
        fail::fail_point!("catalog::writer");
        let ahead = self.ahead.clone();
        let conn = ahead.conn();
        if batch.iter().all(|job| job.commits == Commits::Streamed) {
            let follows = self.last.elapsed() < IDLE || self.began.is_some();
            self.stream = if follows { self.stream.saturating_add(1) } else { 1 };
        } else {
            self.stream = 0;
        }
        if self.stream <= STREAM {
            self.began = None;
            self.ahead.commit(&conn);
            if let Some(reserve) = &self.reserve {
                reserve.look();
            }
            let durable = batch.iter().any(|job| job.commits == Commits::Durable);
            commit_batch(&conn, batch, durable, &mut self.full);
        } else {
            for job in batch {
                self.run_ahead(&conn, job);
            }
        }
        self.last = Instant::now();
    }

    /// Runs the job in the transaction that is open, or opens one; answers before it is committed.
    fn run_ahead(&mut self, conn: &Connection, job: Job) {
        let mut answers = Vec::with_capacity(1);
        // Rolled back or committed by a reader meanwhile, or not begun yet.
        let mut outcome = Ok(());
        if conn.is_autocommit() {
            if let Some(reserve) = &self.reserve {
                reserve.look();
            }
            outcome = begin(conn, false, &mut self.full);
            self.began = Some(Instant::now());
        }
        match &outcome {
            Ok(()) => outcome = run_one(conn, job, false, &mut answers),
            Err(e) => answers.push((job.run)(Err(e.clone())).answer),
        }
        if outcome.is_ok() {
            self.ahead.begins();
        } else {
            self.began = None;
            self.ahead.commit(conn);
            rollback(conn);
        }
        for answer in answers {
            answer(outcome.clone());
        }
    }
}

fn rollback(conn: &Connection) {
    if !conn.is_autocommit()
        && let Err(e) = conn.execute_batch("ROLLBACK")
    {
        tracing::error!(error = %e, "the catalog cannot roll back; the next transaction will say so");
    }
}

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
    if let Err(e) = &outcome {
        rollback(conn);
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
    let ran = (job.run)(Ok(&conn.into()));
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

    fn insert(conn: &sql::Connection, n: i64) -> Result<()> {
        conn.execute("INSERT INTO t VALUES (?)", [n])?;
        Ok(())
    }

    fn level(conn: &sql::Connection) -> Result<i64> {
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
        let hold = writer.run(Commits::Ordered, move |_| gate.recv().map_err(|e| Error::internal(e.to_string())));
        let jobs = (0..10).map(|n| {
            writer.run(if n == 9 { Commits::Durable } else { Commits::Ordered }, move |c: &sql::Connection| {
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
        let alone: Result<()> = writer.run(Commits::Durable, |c| insert(c, 50).and(Err(Error::invalid("no")))).await;
        assert!(alone.is_err());
        assert_eq!(rows(&path).len(), 7);
    }

    #[tokio::test]
    async fn only_durable_jobs_pay_for_a_sync() {
        let (_dir, _path, writer) = writer();
        for durable in [false, true, false, true] {
            // SQLite's numbers: 1 is NORMAL, 2 is FULL.
            let seen = writer.run(if durable { Commits::Durable } else { Commits::Ordered }, level).await.unwrap();
            assert_eq!(seen, if durable { 2 } else { 1 });
        }
    }

    #[tokio::test]
    async fn dropping_the_writer_finishes_what_was_queued() {
        let (_dir, path, writer) = writer();
        for n in 0..100 {
            let job = writer.run(Commits::Ordered, move |c| insert(c, n));
            // Polled once, then dropped: the job is on its way.
            assert!(futures::FutureExt::now_or_never(job).is_none_or(|r: Result<()>| r.is_ok()));
        }
        drop(writer);
        assert_eq!(rows(&path).len(), 100);
    }

    /// Runs streamed jobs until one of them is ahead of what is committed; the number of the last.
    async fn stream(writer: &Writer, from: i64) -> i64 {
        let until = Instant::now() + Duration::from_secs(20);
        for n in from.. {
            writer.run(Commits::Streamed, move |c| insert(c, n)).await.unwrap();
            if writer.ahead().any() {
                return n;
            }
            assert!(Instant::now() < until, "no stream is made of a stream");
        }
        unreachable!()
    }

    #[tokio::test]
    async fn a_stream_is_seen_here_before_it_is_committed() {
        let (_dir, path, writer) = writer();
        let readers = crate::catalog::sqlite::readers::Readers::File(Box::new(
            crate::catalog::sqlite::readers::File::new(path.clone(), writer.ahead()),
        ));
        let count = |c: &sql::Connection| Ok(c.query_row("SELECT count(*) FROM t", [], |r| r.get::<i64>(0))?);
        let mut from = 0;
        for _ in 0..50 {
            let last = stream(&writer, from).await;
            from = last + 1;
            // (Each may come before or after the commit: what it sees is the same.)
            assert_eq!(readers.read(count).unwrap(), from);
            assert_eq!(readers.snapshot(count).unwrap(), from);
            assert_eq!(readers.scan(count).unwrap(), from);
            assert_eq!(rows(&path).len(), usize::try_from(from).unwrap(), "a scan commits");
        }
    }

    #[tokio::test]
    async fn a_stream_s_changes_are_committed_with_what_follows_and_by_themselves() {
        let (_dir, path, writer) = writer();
        let last = stream(&writer, 0).await;
        writer.run(Commits::Durable, move |c| insert(c, last + 1)).await.unwrap();
        assert_eq!(rows(&path), (0..=last + 1).collect::<Vec<_>>());
        let last = stream(&writer, last + 2).await;
        let until = Instant::now() + Duration::from_secs(20);
        while rows(&path).last() != Some(&last) {
            assert!(Instant::now() < until, "the last of a stream is never committed");
            tokio::task::yield_now().await;
        }
        let last = stream(&writer, last + 1).await;
        drop(writer);
        assert_eq!(rows(&path).last(), Some(&last));
    }

    #[tokio::test]
    async fn a_failing_job_of_a_stream_undoes_only_itself() {
        let (_dir, path, writer) = writer();
        let last = stream(&writer, 0).await;
        let no: Result<()> = writer.run(Commits::Streamed, |c| insert(c, 1000).and(Err(Error::invalid("no")))).await;
        assert!(no.is_err());
        drop(writer);
        assert_eq!(rows(&path), (0..=last).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_stream_that_cannot_be_committed_is_told_once() {
        let (_dir, path, writer) = writer();
        writer
            .run(Commits::Ordered, |c| {
                let sql =
                    "CREATE TABLE u(id INTEGER PRIMARY KEY, t INTEGER REFERENCES u(id) DEFERRABLE INITIALLY DEFERRED)";
                Ok::<_, Error>(c.execute(sql, []).map(drop)?)
            })
            .await
            .unwrap();
        let ahead = writer.ahead();
        let until = Instant::now() + Duration::from_secs(20);
        let lost = loop {
            stream(&writer, 0).await;
            // Fits no row: COMMIT is what fails. (Or the job itself, where the stream's transaction was over.)
            let _told: Result<()> =
                writer.run(Commits::Streamed, |c| Ok(c.execute("INSERT INTO u(t) VALUES (77)", []).map(drop)?)).await;
            ahead.settle();
            if let Some(e) = ahead.lost() {
                break e;
            }
            assert!(Instant::now() < until, "nobody is told");
        };
        assert!(lost.message.contains("FOREIGN KEY"), "{}", lost.message);
        assert!(ahead.lost().is_none());
        // The next ones are not its victims.
        writer.run(Commits::Durable, |c| insert(c, 5)).await.unwrap();
        assert_eq!(rows(&path).last(), Some(&5));
    }

    #[tokio::test]
    async fn who_opens_the_catalog_sees_what_others_were_told() {
        let (_dir, path, writer) = writer();
        let other = schema::open_writer(&path).unwrap();
        let mut from = 0;
        for _ in 0..50 {
            let last = stream(&writer, from).await;
            crate::catalog::sqlite::ahead::await_others(&other).unwrap();
            assert_eq!(rows(&path).len(), usize::try_from(last + 1).unwrap());
            from = last + 1;
        }
    }

    #[test]
    fn other_processes_get_their_turn_beside_a_stream_without_end() {
        let (_dir, path, writer) = writer();
        let ahead = writer.ahead();
        let other = std::thread::spawn(move || {
            let other = schema::open_writer(&path).unwrap();
            // Counted in tries, not in time: some transactions of the stream.
            let few = |tries: i32| {
                std::thread::sleep(BUSY_PAUSE);
                tries < 300
            };
            other.busy_handler(Some(few)).unwrap();
            for n in -20..0 {
                while !ahead.any() {
                    std::thread::yield_now();
                }
                other.execute("INSERT INTO t VALUES (?)", [n]).unwrap();
            }
        });
        // So many at once that one is always waiting: no pause ends this stream.
        std::thread::scope(|threads| {
            for _ in 0..6 {
                threads.spawn(|| {
                    let one = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    while !other.is_finished() {
                        one.block_on(writer.run(Commits::Streamed, |c| insert(c, 0))).unwrap();
                    }
                });
            }
        });
        other.join().unwrap();
    }
}
