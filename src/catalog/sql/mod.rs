//! Connections, statements, rows and values as the catalog's transactions see them, whichever engine is behind them.
//!
//! A transaction is a function that takes a [`Connection`] and runs within what its caller began: begin, commit and rollback, and
//! everything else that is an engine's own (pragmas, busy handlers, savepoints, functions), stay with the engine's module. So one text
//! of a statement serves every engine, and no transaction names one.
//!
//! Each engine is a variant of [`Connection`], [`Statement`] and [`Rows`]: a match, no indirection, for the cheapest read of the hot
//! path takes some microseconds. The values are `rusqlite`'s ([`ToSql`], [`FromSql`], [`ValueRef`]: null, integer, real, text, blob), which
//! borrow on the way in and out; an engine with more types converts to and from these five. Parameters are written `?` or `?N`.
//!
//! SQLite takes every text as it is; for PostgreSQL it is translated ([`dialect`]).

pub mod actor;
pub mod dialect;
mod error;
mod params;
mod statement;

pub use rusqlite::types::{FromSql, ToSql, Value, ValueRef};

pub use self::error::{Error, OptionalExtension, Result};
pub(crate) use self::params::params;
pub use self::params::{Params, ParamsFromIter, params_from_iter};
pub use self::statement::{MappedRows, Row, Rows, Statement};
use crate::catalog::postgres::Session;

/// Where a transaction runs. A reference to an engine's connection: to copy one is to copy the reference.
#[derive(Clone, Copy)]
pub enum Connection<'c> {
    Sqlite(&'c rusqlite::Connection),
    Postgres(&'c Session),
}

impl<'c> From<&'c rusqlite::Connection> for Connection<'c> {
    fn from(c: &'c rusqlite::Connection) -> Self {
        Self::Sqlite(c)
    }
}

impl<'c> Connection<'c> {
    /// The statement, as the engine has kept it from the last time it was prepared here.
    ///
    /// # Errors
    /// Of the engine.
    pub fn prepare_cached(&self, sql: &str) -> Result<Statement<'c>> {
        match self {
            Self::Sqlite(c) => Ok(Statement::Sqlite(c.prepare_cached(sql)?)),
            Self::Postgres(session) => Ok(Statement::Postgres { session, sql: sql.to_owned(), answer: Vec::new() }),
        }
    }

    /// Runs a statement that answers no rows; how many it changed.
    ///
    /// # Errors
    /// Of the engine.
    pub fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.prepare_cached(sql)?.execute(params)
    }

    /// # Errors
    /// [`Error::NoRow`]; of the engine; of `f`.
    pub fn query_row<T>(&self, sql: &str, params: impl Params, f: impl FnOnce(&Row<'_>) -> Result<T>) -> Result<T> {
        self.prepare_cached(sql)?.query_row(params, f)
    }

    /// The number that the last `INSERT` here gave to its row.
    ///
    /// # Errors
    /// Of the engine.
    pub fn last_insert_rowid(&self) -> Result<i64> {
        match self {
            Self::Sqlite(c) => Ok(c.last_insert_rowid()),
            Self::Postgres(_) => self.query_row("SELECT lastval()", [], |r| r.get(0)),
        }
    }

    /// The one of two texts that is this engine's, where one does not serve both.
    #[must_use]
    pub fn either<'s>(&self, sqlite: &'s str, postgres: &'s str) -> &'s str {
        match self {
            Self::Sqlite(_) => sqlite,
            Self::Postgres(_) => postgres,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> rusqlite::Connection {
        let c = rusqlite::Connection::open_in_memory().unwrap();
        c.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT UNIQUE, body BLOB)").unwrap();
        c
    }

    #[test]
    fn values_come_back_as_they_went_in() {
        let file = table();
        let c = Connection::from(&file);
        let sql = "INSERT INTO t(id, name, body) VALUES (?1, ?2, ?3)";
        let body = [7_u8; 16];
        assert_eq!(c.execute(sql, params![5, "five", body]).unwrap(), 1);
        assert_eq!(c.last_insert_rowid().unwrap(), 5);
        assert_eq!(c.execute(sql, params![6, None::<&str>, b"".as_slice()]).unwrap(), 1);
        let values: Vec<Value> = vec![1.into(), String::from("one").into(), Value::Null];
        assert_eq!(c.prepare_cached(sql).unwrap().execute(params_from_iter(values)).unwrap(), 1);
        let mut stmt = c.prepare_cached("SELECT id, name, body FROM t ORDER BY id").unwrap();
        let rows = stmt.query_map([], |r| {
            Ok((
                r.get::<i64>(0)?,
                r.get::<Option<String>>(1)?,
                r.get_ref(2)?.as_blob_or_null().ok().flatten().map(<[u8]>::to_vec),
            ))
        });
        let rows = rows.unwrap().collect::<Result<Vec<_>>>().unwrap();
        let expected = [
            (1, Some(String::from("one")), None),
            (5, Some(String::from("five")), Some(body.to_vec())),
            (6, None, Some(Vec::new())),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_row_that_is_missing_is_none_and_other_errors_stay() {
        let file = table();
        let c = Connection::from(&file);
        let id = |r: &Row<'_>| r.get::<i64>(0);
        assert_eq!(c.query_row("SELECT id FROM t WHERE id = ?", [1], id).optional().unwrap(), None);
        assert!(matches!(c.query_row("SELECT id FROM t WHERE id = ?", [1], id), Err(Error::NoRow)));
        assert!(!c.prepare_cached("SELECT 1 FROM t").unwrap().exists([]).unwrap());
        assert!(c.query_row("SELECT id FROM nowhere", [], id).optional().is_err());
        c.execute("INSERT INTO t(name) VALUES (?)", ["a"]).unwrap();
        assert!(c.execute("INSERT INTO t(name) VALUES (?)", ["a"]).is_err());
        // Text is no number, and no number is nothing.
        assert!(c.query_row("SELECT name FROM t", [], id).optional().is_err());
    }

    #[test]
    fn rows_are_read_one_after_the_other_and_an_error_of_one_ends_nothing() {
        let file = table();
        let c = Connection::from(&file);
        for name in ["1", "two", "3"] {
            c.execute("INSERT INTO t(name) VALUES (?)", [name]).unwrap();
        }
        let mut stmt = c.prepare_cached("SELECT name FROM t ORDER BY id").unwrap();
        let number = |r: &Row<'_>| {
            let text = r.get::<String>(0)?;
            text.parse::<i64>().map_err(|e| Error::value(0, e))
        };
        let read: Vec<_> = stmt.query_map([], number).unwrap().map(Result::ok).collect();
        assert_eq!(read, [Some(1), None, Some(3)]);
        let mut rows = stmt.query([]).unwrap();
        assert_eq!(rows.next().unwrap().unwrap().get::<String>(0).unwrap(), "1");
    }
}
