//! The tables and their versions.

use super::{Place, Session};
use crate::artifact::{Error, Kind, Result};
use crate::catalog::sql::Value;

/// One script a version; a published one is never edited, only followed by another.
const MIGRATIONS: [&str; 1] = [include_str!("schema_1.sql")];

/// Held while tables are created or migrated: one process of all.
const LOCK: i64 = 0x6f75_7470_7574_0001;

/// Brings the tables to the present version, in one transaction.
pub fn migrate(session: &Session, place: &Place) -> Result<()> {
    if version(session)? == Some(known()) {
        return Ok(());
    }
    session.run(&format!(
        "BEGIN; SELECT pg_advisory_xact_lock({LOCK}); CREATE SCHEMA IF NOT EXISTS outputfs; \
         CREATE TABLE IF NOT EXISTS outputfs.schema_version(version bigint NOT NULL)"
    ))?;
    let done = version(session).and_then(|from| advance(session, place, from.unwrap_or(0)));
    session.run(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    done
}

fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

fn advance(session: &Session, place: &Place, from: i64) -> Result<()> {
    if from > known() {
        return Err(Error::new(
            Kind::Unsupported,
            format!(
                "the catalog {} has schema version {from}, newer than the {} that this outputfs knows: use a newer outputfs",
                place.describe(),
                known()
            ),
        ));
    }
    for script in MIGRATIONS.iter().skip(usize::try_from(from).unwrap_or(0)) {
        session.run(script)?;
    }
    session.run(&format!(
        "DELETE FROM outputfs.schema_version; INSERT INTO outputfs.schema_version VALUES ({})",
        known()
    ))?;
    Ok(())
}

/// None: there are no tables.
fn version(session: &Session) -> Result<Option<i64>> {
    let there = session.query("SELECT to_regclass('outputfs.schema_version') IS NOT NULL", Vec::new())?;
    if there.first().and_then(|row| row.first()) != Some(&Value::Integer(1)) {
        return Ok(None);
    }
    let found = session.query("SELECT version FROM outputfs.schema_version", Vec::new())?;
    Ok(match found.first().and_then(|row| row.first()) {
        Some(Value::Integer(version)) => Some(*version),
        _ => None,
    })
}
