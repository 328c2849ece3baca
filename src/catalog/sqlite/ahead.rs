//! The writer's connection, and what stands on it that is not committed yet.
//!
//! A stream of removals (`rm -r`) does not commit each of them: the transaction stays open between them, for [`IDLE`] after the
//! last and [`SPAN`] in all, and each is answered as soon as it has run. Until the commit such changes are *ahead* of what the
//! readers' connections see, so whoever reads in this process while something is ahead reads on the writer's own connection, and a
//! read of many rows commits first. Nobody here ever sees a state older than what was answered.
//!
//! Other processes see the commit: [`IDLE`] after the last removal at the latest. Who writes there (a seal, say) waits for it by
//! `SQLite`'s lock, and who opens the catalog waits for it too ([`await_others`]): `rm -r d; outputfs ls` tells what is.
//!
//! A crash takes the removals of at most the last [`SPAN`] back, as a disk does with those that nobody synced. When the commit itself fails, the next [`super::SqliteCatalog`] sync says so ([`Ahead::lost`]), as
//! fsync(2) tells of earlier writes.
//!
//! Lock: `conn`, taken by the writer thread for each job and by readers only while something is ahead.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rusqlite::Connection;

use crate::artifact::Error;

/// How long an open transaction waits for the next removal.
pub const IDLE: Duration = Duration::from_millis(2);
/// How long one is open: other mounts are to hear of a change within 50 ms.
pub const SPAN: Duration = Duration::from_millis(25);
/// How long a catalog that is opened waits for what others have ahead.
const OTHERS: Duration = Duration::from_millis(60);
/// One try for the connection; then it is asked again whether anything is ahead still.
const TRY: Duration = Duration::from_millis(1);

/// See the module.
pub struct Ahead {
    conn: Mutex<Connection>,
    /// Answered changes are not committed. Set and cleared under `conn`.
    any: AtomicBool,
    lost: Mutex<Option<Error>>,
}

impl Ahead {
    pub fn new(conn: Connection) -> Self {
        Self { conn: Mutex::new(conn), any: AtomicBool::new(false), lost: Mutex::new(None) }
    }

    /// For the writer thread.
    pub fn conn(&self) -> MutexGuard<'_, Connection> {
        self.conn.lock()
    }

    pub fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Before the first answer of an open transaction, under `conn`.
    pub fn begins(&self) {
        self.any.store(true, Ordering::Release);
    }

    /// The connection, if something is ahead on it: the one that sees it. `None`: any connection will do.
    pub fn held(&self) -> Option<MutexGuard<'_, Connection>> {
        while self.any() {
            // (Not `lock`: by the time it is free, the writer may be waiting for another process with it.)
            if let Some(conn) = self.conn.try_lock_for(TRY) {
                return self.any().then_some(conn);
            }
        }
        None
    }

    /// Commits what is ahead.
    pub fn settle(&self) {
        if let Some(conn) = self.held() {
            self.commit(&conn);
        }
    }

    /// Commits what is ahead on `conn`, which is ours. A failure undoes it all and is kept for [`Ahead::lost`].
    pub fn commit(&self, conn: &Connection) {
        if !self.any() {
            return;
        }
        let done = if conn.is_autocommit() {
            Err(Error::internal("the catalog's transaction was rolled back by an I/O error"))
        } else {
            conn.execute_batch("COMMIT").map_err(Error::from)
        };
        if let Err(e) = done {
            tracing::error!(error = %e, "removals that were answered are undone: the catalog cannot commit them");
            if !conn.is_autocommit()
                && let Err(e) = conn.execute_batch("ROLLBACK")
            {
                tracing::error!(error = %e, "the catalog cannot roll back; the next transaction will say so");
            }
            *self.lost.lock() = Some(e);
        }
        self.any.store(false, Ordering::Release);
    }

    /// Undoes whatever `conn`, which is ours, has open after a panic; what was answered of it is kept for [`Ahead::lost`].
    pub fn abandon(&self, conn: &Connection) {
        if !conn.is_autocommit()
            && let Err(e) = conn.execute_batch("ROLLBACK")
        {
            tracing::error!(error = %e, "the catalog cannot roll back; the next transaction will say so");
        }
        if self.any.swap(false, Ordering::AcqRel) {
            *self.lost.lock() = Some(Error::internal("removals that were answered are undone by a bug in outputfs"));
        }
    }

    /// Why answered changes were undone since this was asked last.
    pub fn lost(&self) -> Option<Error> {
        self.lost.lock().take()
    }
}

/// Waits until no other process has a transaction open that it began before this was called, but not longer than a removal stream's
/// transaction lasts: who opens the catalog sees what others were told is done.
///
/// # Errors
/// Of `SQLite`, a busy catalog excepted.
pub fn await_others(conn: &Connection) -> rusqlite::Result<()> {
    let until = Instant::now() + OTHERS;
    conn.busy_handler(None)?;
    let free = loop {
        match conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK") {
            Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) && Instant::now() < until => {
                std::thread::sleep(super::schema::BUSY_PAUSE);
            }
            Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => break Ok(()),
            done => break done,
        }
    };
    super::schema::patient(conn)?;
    free
}
