//! Between PostgreSQL's types and the five of `catalog/sql`.

use std::error::Error as StdError;

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::catalog::sql::{Error, Result, Value};

type Fault = Box<dyn StdError + Sync + Send>;

/// What the server takes a parameter for. Of a null it finds out by itself.
pub fn type_of(value: &Value) -> Type {
    match value {
        Value::Null => Type::UNKNOWN,
        Value::Integer(_) => Type::INT8,
        Value::Real(_) => Type::FLOAT8,
        Value::Text(_) => Type::TEXT,
        Value::Blob(_) => Type::BYTEA,
    }
}

/// A value as a parameter.
#[derive(Debug)]
pub struct Bound(Value);

impl Bound {
    pub fn all(values: Vec<Value>) -> Vec<Self> {
        values.into_iter().map(Self).collect()
    }
}

impl ToSql for Bound {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> std::result::Result<IsNull, Fault> {
        match (&self.0, ty) {
            (Value::Null, _) => Ok(IsNull::Yes),
            (Value::Integer(n), &Type::INT4) => i32::try_from(*n)?.to_sql(ty, out),
            (Value::Integer(n), &Type::BOOL) => (*n != 0).to_sql(ty, out),
            (Value::Integer(n), _) => n.to_sql(ty, out),
            (Value::Real(x), _) => x.to_sql(ty, out),
            (Value::Text(text), _) => text.to_sql(ty, out),
            (Value::Blob(bytes), _) => bytes.to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A value of a row.
struct Cell(Value);

impl<'a> FromSql<'a> for Cell {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> std::result::Result<Self, Fault> {
        Ok(Self(match *ty {
            Type::INT8 => Value::Integer(i64::from_sql(ty, raw)?),
            Type::INT4 => Value::Integer(i32::from_sql(ty, raw)?.into()),
            Type::INT2 => Value::Integer(i16::from_sql(ty, raw)?.into()),
            Type::BOOL => Value::Integer(bool::from_sql(ty, raw)?.into()),
            Type::NUMERIC => Value::Integer(whole(raw)?),
            Type::FLOAT8 => Value::Real(f64::from_sql(ty, raw)?),
            Type::BYTEA => Value::Blob(raw.to_vec()),
            Type::TEXT | Type::VARCHAR | Type::NAME | Type::UNKNOWN | Type::JSON => {
                Value::Text(std::str::from_utf8(raw)?.to_owned())
            }
            // A domain of ours.
            _ if ty.name() == "blob" => Value::Blob(raw.to_vec()),
            _ => return Err(format!("a value of type {ty} was not expected").into()),
        }))
    }

    fn from_sql_null(_: &Type) -> std::result::Result<Self, Fault> {
        Ok(Self(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A sum of bigints is a numeric: digits of base 10,000, the first with its weight.
fn whole(raw: &[u8]) -> std::result::Result<i64, Fault> {
    let word = |at: usize| raw.get(at..at + 2).map_or(0, |b| i16::from_be_bytes([b[0], b[1]]));
    let (count, weight, sign) = (word(0), word(2), word(4));
    let mut sum = 0_i64;
    for n in 0..=weight {
        let digit = if n < count { word(8 + 2 * usize::try_from(n)?) } else { 0 };
        sum = sum.checked_mul(10_000).and_then(|s| s.checked_add(digit.into())).ok_or("a sum over 2^63")?;
    }
    Ok(if sign == 0 { sum } else { -sum })
}

/// # Errors
/// For a type that no statement answers.
pub fn row(row: &tokio_postgres::Row) -> Result<Vec<Value>> {
    (0..row.len()).map(|n| row.try_get::<_, Cell>(n).map(|cell| cell.0).map_err(|e| Error::value(n, e))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_whole_numbers() {
        let numeric = |digits: &[i16], weight: i16, sign: i16| {
            let mut raw = Vec::new();
            for n in [i16::try_from(digits.len()).unwrap(), weight, sign, 0].iter().chain(digits) {
                raw.extend(n.to_be_bytes());
            }
            whole(&raw).unwrap()
        };
        assert_eq!(numeric(&[], 0, 0), 0);
        assert_eq!(numeric(&[7], 0, 0), 7);
        assert_eq!(numeric(&[1, 2345], 1, 0), 12_345);
        // Zeros at the end are left out.
        assert_eq!(numeric(&[3], 2, 0), 300_000_000);
        assert_eq!(numeric(&[12], 0, 0x4000), -12);
    }
}
