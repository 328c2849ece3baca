//! The change log: what other mounts must drop from their kernel's caches.

use std::time::{Duration, Instant};

use super::SqliteCatalog;
use super::codec::{self, int};
use crate::artifact::ids::{Ino, SessionId};
use crate::artifact::name::Name;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::sql::{self, Connection, Row, params};
use crate::catalog::{Change, ChangeKind, Origin};

/// How often a waiting `changes` looks: well under the 50 ms of its contract; one look costs some microseconds.
const POLL: Duration = Duration::from_millis(20);
/// The log is cut once in so many changes, not at each.
const PRUNE_EVERY: i64 = 1024;
/// Changes that the log holds at least.
const KEEP: i64 = 100_000;
/// Most changes one answer holds; the next call brings the rest.
const ANSWER_MAX: u32 = 4096;

const ENTRY: i64 = 0;
const INODE: i64 = 1;
const SEALED: i64 = 2;

fn log(c: &Connection, origin: Origin, kind: i64, ino: i64, name: Option<&[u8]>) -> Result<()> {
    c.prepare_cached("INSERT INTO changes(origin, kind, ino, name) VALUES (?, ?, ?, ?)")?.execute(params![
        origin.0.0.to_bytes(),
        kind,
        ino,
        name
    ])?;
    let seq = c.last_insert_rowid()?;
    if seq % PRUNE_EVERY == 0 {
        prune(c, seq - KEEP)?;
    }
    Ok(())
}

/// Drops the changes up to `seq`.
fn prune(c: &Connection, seq: i64) -> Result<()> {
    c.prepare_cached("DELETE FROM changes WHERE seq <= ? AND seq < (SELECT max(seq) FROM changes)")?.execute([seq])?;
    Ok(())
}

/// A name came, went or leads elsewhere; its directory's times changed with it.
pub fn entry(c: &Connection, origin: Origin, parent: Ino, name: &Name) -> Result<()> {
    log(c, origin, ENTRY, int(parent.0), Some(name.as_bytes()))
}

pub fn inode(c: &Connection, origin: Origin, ino: Ino) -> Result<()> {
    log(c, origin, INODE, int(ino.0), None)
}

pub fn sealed(c: &Connection, origin: Origin, session: SessionId) -> Result<()> {
    log(c, origin, SEALED, session.0, None)
}

pub fn last(c: &Connection) -> Result<u64> {
    Ok(c.prepare_cached("SELECT coalesce(max(seq), 0) FROM changes")?.query_row([], |r| codec::uint(r, 0))?)
}

fn change(r: &Row<'_>) -> sql::Result<Change> {
    let kind = match r.get::<i64>(1)? {
        ENTRY => ChangeKind::Entry { parent: codec::ino(r, 2)?, name: codec::name(r, 3)? },
        INODE => ChangeKind::Inode { ino: codec::ino(r, 2)? },
        _ => ChangeKind::Sealed { session: SessionId(r.get(2)?) },
    };
    Ok(Change { seq: codec::uint(r, 0)?, kind })
}

/// Changes after `seq` by others; `Err` of kind `NotFound` when the log no longer reaches back.
pub fn after(c: &Connection, seq: u64, origin: Origin) -> Result<Vec<Change>> {
    let (first, last) = c
        .prepare_cached("SELECT coalesce(min(seq), 1), coalesce(max(seq), 0) FROM changes")?
        .query_row([], |r| Ok((codec::uint(r, 0)?, codec::uint(r, 1)?)))?;
    if seq + 1 < first || seq > last {
        return Err(Error::new(
            Kind::NotFound,
            format!("the change log holds {first} to {last}, not what follows {seq}"),
        ));
    }
    let mut stmt = c.prepare_cached(
        "SELECT seq, kind, ino, name FROM changes WHERE seq > ? AND origin <> ? ORDER BY seq LIMIT ?",
    )?;
    let rows = stmt.query_map(params![int(seq), origin.0.0.to_bytes(), ANSWER_MAX], change)?;
    Ok(rows.collect::<sql::Result<_>>()?)
}

/// How far each asker's own changes have been passed over: `(asked, scanned)`. Without it an asker that hears
/// nothing from others would read its own changes again at every call.
pub type Cursors = parking_lot::Mutex<std::collections::HashMap<crate::artifact::ids::MountId, (u64, u64)>>;

/// [`after`], waiting up to `wait` for the first.
pub async fn wait_after(catalog: &SqliteCatalog, seq: u64, origin: Origin, wait: Duration) -> Result<Vec<Change>> {
    let deadline = Instant::now() + wait;
    let remembered = catalog.cursors.lock().get(&origin.0).copied();
    let mut from = remembered.filter(|(asked, _)| *asked == seq).map_or(seq, |(_, scanned)| scanned);
    let mut fresh = true;
    loop {
        let last = catalog.readers.read(last)?;
        if fresh || last != from {
            fresh = false;
            let found = catalog.readers.snapshot(|c| after(c, from, origin))?;
            if !found.is_empty() {
                catalog.cursors.lock().remove(&origin.0);
                return Ok(found);
            }
            // `last` was read before the scan: what came in between is looked at again.
            from = last.max(from);
            catalog.cursors.lock().insert(origin.0, (seq, from));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Vec::new());
        }
        tokio::time::sleep(left.min(POLL)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::ids::MountId;
    use crate::catalog::sqlite::schema;

    #[test]
    fn a_pruned_log_says_so_and_its_numbers_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let file = schema::open_writer(&dir.path().join("c.db")).unwrap();
        let c = Connection::from(&file);
        let (me, other) = (Origin(MountId(ulid::Ulid(1))), Origin(MountId(ulid::Ulid(2))));
        for ino in 0..10 {
            inode(&c, me, Ino(ino)).unwrap();
        }
        assert_eq!(after(&c, 0, other).unwrap().len(), 10);
        assert!(after(&c, 0, me).unwrap().is_empty());
        prune(&c, 4).unwrap();
        assert_eq!(after(&c, 3, other).unwrap_err().kind, Kind::NotFound);
        assert_eq!(after(&c, 4, other).unwrap().len(), 6);
        prune(&c, 100).unwrap();
        inode(&c, me, Ino(1)).unwrap();
        assert_eq!(last(&c).unwrap(), 11);
        assert_eq!(after(&c, 12, other).unwrap_err().kind, Kind::NotFound);
    }
}
