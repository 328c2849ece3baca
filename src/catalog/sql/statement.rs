//! Statements, and the rows that they answer.

use rusqlite::types::ToSqlOutput;

use super::{Error, FromSql, Params, Result, ToSql, Value, ValueRef};
use crate::catalog::postgres::Session;

/// A statement that is ready to run. Dropping it gives it back to its connection, which keeps it.
pub enum Statement<'c> {
    Sqlite(rusqlite::CachedStatement<'c>),
    /// Prepared when its parameters are known; `answer` is what it answered last.
    Postgres {
        session: &'c Session,
        sql: String,
        answer: Vec<Vec<Value>>,
    },
}

impl Statement<'_> {
    /// Runs a statement that answers no rows; how many it changed.
    ///
    /// # Errors
    /// Of the engine.
    pub fn execute(&mut self, params: impl Params) -> Result<usize> {
        match self {
            Self::Sqlite(s) => Ok(params.bound(|values| s.execute(values))?),
            Self::Postgres { session, sql, .. } => session.execute(sql, params.bound(owned)?),
        }
    }

    /// # Errors
    /// Of the engine.
    pub fn query(&mut self, params: impl Params) -> Result<Rows<'_>> {
        match self {
            Self::Sqlite(s) => Ok(Rows::Sqlite(params.bound(|values| s.query(values))?)),
            Self::Postgres { session, sql, answer } => {
                *answer = session.query(sql, params.bound(owned)?)?;
                Ok(Rows::Postgres(answer.iter()))
            }
        }
    }

    /// The first row; the others are not read.
    ///
    /// # Errors
    /// [`Error::NoRow`]; of the engine; of `f`.
    pub fn query_row<T>(&mut self, params: impl Params, f: impl FnOnce(&Row<'_>) -> Result<T>) -> Result<T> {
        f(&self.query(params)?.next()?.ok_or(Error::NoRow)?)
    }

    /// `f` of each row, as they are asked for.
    ///
    /// # Errors
    /// Of the engine.
    pub fn query_map<T, F: FnMut(&Row<'_>) -> Result<T>>(
        &mut self,
        params: impl Params,
        f: F,
    ) -> Result<MappedRows<'_, F>> {
        Ok(MappedRows { rows: self.query(params)?, f })
    }

    /// Whether there is a row.
    ///
    /// # Errors
    /// Of the engine.
    pub fn exists(&mut self, params: impl Params) -> Result<bool> {
        Ok(self.query(params)?.next()?.is_some())
    }
}

/// For an engine on another thread.
fn owned(values: &[&dyn ToSql]) -> Result<Vec<Value>> {
    let own = |(n, value): (usize, &&dyn ToSql)| match value.to_sql() {
        Ok(ToSqlOutput::Borrowed(value)) => Value::try_from(value).map_err(|e| Error::value(n, e)),
        Ok(ToSqlOutput::Owned(value)) => Ok(value),
        Ok(_) => Err(Error::value(n, "no value that a parameter can have")),
        Err(e) => Err(Error::value(n, e)),
    };
    values.iter().enumerate().map(own).collect()
}

/// What a statement answers. Ends it when dropped.
pub enum Rows<'s> {
    Sqlite(rusqlite::Rows<'s>),
    Postgres(std::slice::Iter<'s, Vec<Value>>),
}

impl Rows<'_> {
    /// The next row, which is gone with the one after it: so not an iterator.
    ///
    /// # Errors
    /// Of the engine.
    #[expect(clippy::should_implement_trait, reason = "a row borrows from the rows")]
    pub fn next(&mut self) -> Result<Option<Row<'_>>> {
        match self {
            Self::Sqlite(rows) => Ok(rows.next()?.map(Row::Sqlite)),
            Self::Postgres(rows) => Ok(rows.next().map(|row| Row::Postgres(row))),
        }
    }
}

/// Columns are counted from 0.
pub enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r [Value]),
}

impl Row<'_> {
    /// # Errors
    /// When the column holds no `T`.
    pub fn get<T: FromSql>(&self, column: usize) -> Result<T> {
        match self {
            Self::Sqlite(row) => Ok(row.get(column)?),
            Self::Postgres(_) => T::column_result(self.get_ref(column)?).map_err(|e| Error::value(column, e)),
        }
    }

    /// # Errors
    /// When there is no such column.
    pub fn get_ref(&self, column: usize) -> Result<ValueRef<'_>> {
        match self {
            Self::Sqlite(row) => Ok(row.get_ref(column)?),
            Self::Postgres(row) => {
                row.get(column).map(ValueRef::from).ok_or_else(|| Error::value(column, "there is no such column"))
            }
        }
    }

    /// # Errors
    /// When the column holds no text.
    pub fn text(&self, column: usize) -> Result<&str> {
        self.get_ref(column)?.as_str().map_err(|e| Error::value(column, e))
    }

    /// # Errors
    /// When the column holds no bytes.
    pub fn bytes(&self, column: usize) -> Result<&[u8]> {
        self.get_ref(column)?.as_blob().map_err(|e| Error::value(column, e))
    }
}

/// See [`Statement::query_map`].
pub struct MappedRows<'s, F> {
    rows: Rows<'s>,
    f: F,
}

impl<T, F: FnMut(&Row<'_>) -> Result<T>> Iterator for MappedRows<'_, F> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next().transpose()?;
        Some(row.and_then(|row| (self.f)(&row)))
    }
}
