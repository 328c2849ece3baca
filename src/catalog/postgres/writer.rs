//! The one thread of a process that writes to PostgreSQL: whatever waits becomes one transaction, under the lock that all processes share.

use std::sync::mpsc::Receiver;
use std::time::Instant;

use super::{PAUSE, Place, STATEMENT, Session, WRITERS_WAIT};
use crate::artifact::{Error, Kind, Result};
use crate::catalog::sql::Connection;
use crate::catalog::sqlite::{Answer, Commits, Job};

/// Jobs in one transaction at most: bounds how long the first one waits for the last, and the other machines for the lock.
const BATCH_MAX: usize = 64;

/// Of every transaction that writes.
const LOCK: i64 = 0x6f75_7470_7574_0002;

/// Runs the jobs until their sender is gone.
pub fn serve(place: &Place, queue: &Receiver<Job>) {
    let mut session = None;
    while let Ok(first) = queue.recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(job) = queue.try_recv()
        {
            batch.push(job);
        }
        commit_batch(place, &mut session, batch);
    }
}

fn commit_batch(place: &Place, slot: &mut Option<Session>, batch: Vec<Job>) {
    let durable = batch.iter().any(|job| job.commits == Commits::Durable);
    let begun = begin(place, slot, durable);
    let mut answers = Vec::with_capacity(batch.len());
    let outcome = match (begun, slot.as_ref()) {
        (Ok(()), Some(session)) => {
            let mut outcome = Ok(());
            for job in batch {
                match &outcome {
                    Ok(()) => outcome = run_one(session, job, &mut answers),
                    Err(e) => answers.push((job.run)(Err(Error::clone(e))).answer),
                }
            }
            outcome.and_then(|()| Ok(session.run("COMMIT")?))
        }
        (begun, _) => {
            let e = begun.err().unwrap_or_else(|| Error::internal("the catalog has no connection"));
            answers.extend(batch.into_iter().map(|job| (job.run)(Err(e.clone())).answer));
            Err(e)
        }
    };
    if let Err(e) = &outcome {
        tracing::error!(error = %e, "a catalog transaction was lost; its callers were told");
        // Whatever state it is in, the next transaction begins on a fresh one.
        *slot = None;
    }
    for answer in answers {
        answer(outcome.clone());
    }
}

/// Opens the connection if there is none, and once more if it turns out to be dead.
fn begin(place: &Place, slot: &mut Option<Session>, durable: bool) -> Result<()> {
    let level = if durable { "on" } else { "off" };
    let script = format!("BEGIN; SET LOCAL synchronous_commit = {level}; SELECT pg_advisory_xact_lock({LOCK})");
    if let Some(session) = slot.take().filter(|session| !session.is_closed())
        && session.begin(&script).is_ok()
    {
        *slot = Some(session);
        return Ok(());
    }
    let session = open(place)?;
    session.begin(&script)?;
    *slot = Some(session);
    Ok(())
}

/// A server that starts again, or changes places, is waited for.
fn open(place: &Place) -> Result<Session> {
    let end = Instant::now() + WRITERS_WAIT;
    loop {
        match Session::open(place, STATEMENT) {
            Err(e) if e.kind == Kind::StoreUnavailable && Instant::now() < end => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
}

/// `Err` when the whole transaction is lost.
fn run_one(session: &Session, job: Job, answers: &mut Vec<Answer>) -> Result<()> {
    session.run("SAVEPOINT job")?;
    let ran = (job.run)(Ok(&Connection::Postgres(session)));
    answers.push(ran.answer);
    if ran.keep {
        session.run("RELEASE SAVEPOINT job")?;
    } else {
        session.run("ROLLBACK TO SAVEPOINT job; RELEASE SAVEPOINT job")?;
        session.forget_who();
    }
    Ok(())
}
