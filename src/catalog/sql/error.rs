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
    /// `code`: its SQLSTATE, when the server said so; none: the connection's.
    #[error("{text}")]
    Postgres { code: Option<String>, text: String },
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

impl From<tokio_postgres::Error> for Error {
    fn from(e: tokio_postgres::Error) -> Self {
        match e.as_db_error() {
            Some(told) => Self::Postgres { code: Some(told.code().code().to_owned()), text: told.message().to_owned() },
            None => Self::Postgres { code: None, text: with_causes(&e) },
        }
    }
}

fn with_causes(e: &tokio_postgres::Error) -> String {
    let mut text = e.to_string();
    let mut cause = std::error::Error::source(e);
    while let Some(deeper) = cause {
        text.push_str(&format!(": {deeper}"));
        cause = deeper.source();
    }
    text
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
            Error::Postgres { code, text } => of_postgres(code.as_deref(), &text),
            e => {
                crate::metrics::get().catalog_errors.inc();
                Failure::internal(format!("catalog: {e}"))
            }
        }
    }
}

fn of_postgres(code: Option<&str>, text: &str) -> Failure {
    crate::metrics::get().catalog_errors.inc();
    match code {
        // A lock, or a statement, that took longer than it may.
        Some("55P03" | "57014") => {
            Failure::new(Kind::TimedOut, "the catalog stayed busy with other processes for too long")
        }
        Some("53100") => Failure::new(Kind::NoSpace, "the disk of the catalog's PostgreSQL is full"),
        Some("25006") => Failure::new(Kind::ReadOnly, "the catalog's PostgreSQL takes no changes: it is a standby"),
        // Shut down, not started yet, too many connections; or no answer at all.
        Some("57P01" | "57P02" | "57P03" | "53300") | None => {
            Failure::new(Kind::StoreUnavailable, format!("the catalog's PostgreSQL is not there: {text}"))
        }
        Some(code) => Failure::internal(format!("catalog: {text} (SQLSTATE {code})")),
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
