//! Errors of engines, and what they are to the rest of outputfs.

use crate::artifact::{Error as Failure, Kind};
use crate::catalog::CommitError;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a statement failed with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a row that was to be there is missing")]
    NoRow,
    /// The value of a row cannot be what the column is to hold.
    #[error("column {column}: {why}")]
    Value { column: usize, why: String },
    #[error(transparent)]
    Sqlite(rusqlite::Error),
}

impl Error {
    /// Of the value in `column`, counted from 0.
    pub fn value(column: usize, why: impl std::fmt::Display) -> Self {
        Self::Value { column, why: why.to_string() }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(e: rusqlite::Error) -> Self {
        match e {
            rusqlite::Error::QueryReturnedNoRows => Self::NoRow,
            e => Self::Sqlite(e),
        }
    }
}

/// A missing row as `None`.
pub trait OptionalExtension<T> {
    /// # Errors
    /// All but [`Error::NoRow`].
    fn optional(self) -> Result<Option<T>>;
}

impl<T> OptionalExtension<T> for Result<T> {
    fn optional(self) -> Result<Option<T>> {
        match self {
            Ok(found) => Ok(Some(found)),
            Err(Error::NoRow) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        match e {
            Error::Sqlite(e) => e.into(),
            e => {
                crate::metrics::get().catalog_errors.inc();
                Failure::internal(format!("catalog: {e}"))
            }
        }
    }
}

impl From<Error> for CommitError {
    fn from(e: Error) -> Self {
        CommitError::Failed(e.into())
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(e: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as C;
        crate::metrics::get().catalog_errors.inc();
        match e.sqlite_error_code() {
            Some(C::DiskFull) => Failure::new(Kind::NoSpace, "the disk of the catalog is full"),
            Some(C::DatabaseBusy | C::DatabaseLocked) => {
                Failure::new(Kind::TimedOut, "the catalog stayed busy with other processes for too long")
            }
            Some(C::ReadOnly) => Failure::new(Kind::ReadOnly, "the disk of the catalog is read-only"),
            _ => Failure::internal(format!("catalog: {e}")),
        }
    }
}

impl From<rusqlite::Error> for CommitError {
    fn from(e: rusqlite::Error) -> Self {
        CommitError::Failed(e.into())
    }
}
