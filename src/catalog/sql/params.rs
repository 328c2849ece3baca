//! What a statement's question marks stand for.

use super::ToSql;

/// Values in the order of their numbers.
pub trait Params {
    /// Calls `f` with them, none copied.
    fn bound<T>(self, f: impl FnOnce(&[&dyn ToSql]) -> T) -> T;
}

/// None.
impl Params for [(); 0] {
    fn bound<T>(self, f: impl FnOnce(&[&dyn ToSql]) -> T) -> T {
        f(&[])
    }
}

impl Params for &[&dyn ToSql] {
    fn bound<T>(self, f: impl FnOnce(&[&dyn ToSql]) -> T) -> T {
        f(self)
    }
}

/// Of one type. (Not for every length at once: `[]` is to be of one type alone.)
macro_rules! of_one_type {
    ($($n:literal)*) => {$(
        impl<V: ToSql> Params for [V; $n] {
            fn bound<T>(self, f: impl FnOnce(&[&dyn ToSql]) -> T) -> T {
                f(&self.each_ref().map(|v| v as &dyn ToSql))
            }
        }
    )*};
}
of_one_type!(1 2 3 4);

/// See [`params_from_iter`].
pub struct ParamsFromIter<I>(I);

/// As many as there are.
pub fn params_from_iter<I: IntoIterator<Item: ToSql>>(values: I) -> ParamsFromIter<I> {
    ParamsFromIter(values)
}

impl<I: IntoIterator<Item: ToSql>> Params for ParamsFromIter<I> {
    fn bound<T>(self, f: impl FnOnce(&[&dyn ToSql]) -> T) -> T {
        let values: Vec<I::Item> = self.0.into_iter().collect();
        let all: Vec<&dyn ToSql> = values.iter().map(|v| v as &dyn ToSql).collect();
        f(&all)
    }
}

/// Of any types.
macro_rules! any {
    ($($value:expr),* $(,)?) => {
        &[$(&$value as &dyn $crate::catalog::sql::ToSql),*] as &[&dyn $crate::catalog::sql::ToSql]
    };
}
pub(crate) use any as params;
