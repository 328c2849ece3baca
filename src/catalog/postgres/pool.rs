//! A few connections that read.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::{Place, READ, STATEMENT, Session};
use crate::artifact::Result;
use crate::catalog::sql::Connection;

/// Connections of one process at most, beside the writer's.
const READERS: usize = 4;

/// Opened when first needed, and again when lost. A lock is held for one read only and never across an await.
pub struct Pool {
    place: Place,
    slots: [Mutex<Option<Session>>; READERS],
    /// For reads of many rows, which have more time and are not made on a thread that serves a mount.
    scans: Mutex<Option<Session>>,
}

impl Pool {
    #[must_use]
    pub fn new(place: Place) -> Self {
        Self { place, slots: Default::default(), scans: Mutex::default() }
    }

    /// Runs `f` on a connection. Each statement sees everything that was committed before it started.
    ///
    /// # Errors
    /// Of `f`, of the connection.
    pub fn read<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        taken(&mut self.slot(), &self.place, READ, |session| f(&Connection::Postgres(session)))
    }

    /// As [`Pool::read`], with all statements of `f` seeing one state.
    ///
    /// # Errors
    /// As [`Pool::read`].
    pub fn snapshot<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        taken(&mut self.slot(), &self.place, READ, |session| consistent(session, f))
    }

    /// As [`Pool::snapshot`], for reads of many rows.
    ///
    /// # Errors
    /// As [`Pool::read`].
    pub fn scan<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        taken(&mut self.scans.lock(), &self.place, STATEMENT, |session| consistent(session, f))
    }

    fn slot(&self) -> MutexGuard<'_, Option<Session>> {
        // An open connection that is free, then one not opened yet, then wait for the first.
        let free = || self.slots.iter().filter_map(Mutex::try_lock);
        free().find(|slot| slot.is_some()).or_else(|| free().next()).unwrap_or_else(|| self.slots[0].lock())
    }
}

fn consistent<T>(session: &Session, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    session.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
    let out = f(&Connection::Postgres(session));
    session.run("ROLLBACK")?;
    out
}

fn taken<T>(
    slot: &mut Option<Session>,
    place: &Place,
    patience: Duration,
    f: impl FnOnce(&Session) -> Result<T>,
) -> Result<T> {
    // Taken out while it is used: one that a panic leaves in a transaction does not come back.
    let session = match slot.take().filter(|session| !session.is_closed()) {
        Some(session) => session,
        None => Session::open(place, patience)?,
    };
    let out = f(&session);
    if !session.is_closed() {
        *slot = Some(session);
    }
    out
}
