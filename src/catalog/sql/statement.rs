//! Statements, and the rows that they answer.

use super::{Error, FromSql, Params, Result, ValueRef};

/// A statement that is ready to run. Dropping it gives it back to its connection, which keeps it.
pub enum Statement<'c> {
    Sqlite(rusqlite::CachedStatement<'c>),
}

impl Statement<'_> {
    /// Runs a statement that answers no rows; how many it changed.
    ///
    /// # Errors
    /// Of the engine.
    pub fn execute(&mut self, params: impl Params) -> Result<usize> {
        match self {
            Self::Sqlite(s) => Ok(params.bound(|values| s.execute(values))?),
        }
    }

    /// # Errors
    /// Of the engine.
    pub fn query(&mut self, params: impl Params) -> Result<Rows<'_>> {
        match self {
            Self::Sqlite(s) => Ok(Rows::Sqlite(params.bound(|values| s.query(values))?)),
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

/// What a statement answers. Ends it when dropped.
pub enum Rows<'s> {
    Sqlite(rusqlite::Rows<'s>),
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
        }
    }
}

/// Columns are counted from 0.
pub enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
}

impl Row<'_> {
    /// # Errors
    /// When the column holds no `T`.
    pub fn get<T: FromSql>(&self, column: usize) -> Result<T> {
        match self {
            Self::Sqlite(row) => Ok(row.get(column)?),
        }
    }

    /// # Errors
    /// When there is no such column.
    pub fn get_ref(&self, column: usize) -> Result<ValueRef<'_>> {
        match self {
            Self::Sqlite(row) => Ok(row.get_ref(column)?),
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
