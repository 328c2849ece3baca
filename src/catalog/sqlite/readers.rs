//! A few connections that read beside the writer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::ahead::Ahead;
use super::schema;
use crate::artifact::Result;
use crate::catalog::postgres::Pool;
use crate::catalog::sql::Connection;

/// Connections at most: one more than the threads that stand behind mounts for the CPU may hold together (HTTP's two, its readers' three).
/// Opened when needed: reads of one row take microseconds, so few are ever in use at once.
const READERS: usize = 6;

/// Connections that read.
pub enum Readers {
    File(Box<File>),
    Postgres(Box<Pool>),
}

impl Readers {
    /// Of the file; none: the catalog is elsewhere.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(file) => Some(&file.path),
            Self::Postgres(_) => None,
        }
    }

    /// Runs `f` on a connection. Each statement sees everything that was answered or committed before it started.
    pub fn read<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        match self {
            Self::File(file) => file.read(f),
            Self::Postgres(pool) => pool.read(f),
        }
    }

    /// As [`Readers::read`], with all statements of `f` seeing one state.
    pub fn snapshot<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        match self {
            Self::File(file) => file.snapshot(f),
            Self::Postgres(pool) => pool.snapshot(f),
        }
    }

    /// As [`Readers::snapshot`], for reads of many rows: the writer does not wait for them.
    pub fn scan<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        match self {
            Self::File(file) => file.scan(f),
            Self::Postgres(pool) => pool.scan(f),
        }
    }
}

/// Read connections to a file, opened when first needed. A lock is held for one read only and never across an await.
pub struct File {
    path: PathBuf,
    /// None: as usual.
    read_only: Option<schema::ReadOnly>,
    ahead: Arc<Ahead>,
    slots: [Mutex<Option<rusqlite::Connection>>; READERS],
}

impl File {
    pub fn new(path: PathBuf, ahead: Arc<Ahead>) -> Self {
        Self { path, read_only: None, ahead, slots: Default::default() }
    }

    /// On a disk that takes no bytes.
    ///
    /// # Errors
    /// When there is no way to read it.
    pub fn read_only(path: &Path, ahead: Arc<Ahead>) -> Result<Self> {
        let read_only = Some(schema::ReadOnly::find(path)?);
        Ok(Self { path: path.to_owned(), read_only, ahead, slots: Default::default() })
    }

    fn read<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        if let Some(conn) = self.ahead.held() {
            return f(&Connection::Sqlite(&conn));
        }
        self.read_committed(|conn| f(&conn.into()))
    }

    fn read_committed<T>(&self, f: impl FnOnce(&rusqlite::Connection) -> Result<T>) -> Result<T> {
        let mut slot = self.slot();
        if slot.is_none() {
            *slot = Some(match &self.read_only {
                None => schema::open_reader(&self.path)?,
                Some(way) => way.open()?,
            });
        }
        match slot.as_ref() {
            Some(conn) => f(conn),
            None => unreachable!("the slot was filled above"),
        }
    }

    fn snapshot<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        // (The writer's open transaction is one state, and there is none within one.)
        if let Some(conn) = self.ahead.held() {
            return f(&Connection::Sqlite(&conn));
        }
        self.committed(f)
    }

    fn scan<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.ahead.settle();
        self.committed(f)
    }

    fn committed<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.read_committed(|conn| {
            let tx = conn.unchecked_transaction()?;
            let out = f(&Connection::Sqlite(&tx))?;
            tx.finish()?;
            Ok(out)
        })
    }

    fn slot(&self) -> MutexGuard<'_, Option<rusqlite::Connection>> {
        // An open connection that is free, then one not opened yet, then wait for the first.
        let free = || self.slots.iter().filter_map(Mutex::try_lock);
        free().find(|slot| slot.is_some()).or_else(|| free().next()).unwrap_or_else(|| self.slots[0].lock())
    }
}
