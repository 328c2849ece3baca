//! Sessions into the trash and back. A session goes as its directory goes: its root is removed, its row stays as long as anything of
//! it can be restored.

use rusqlite::{Connection, params};

use super::codec::{self, SESSION, TRASHED, id_bytes, int};
use super::{make, recover, sweep};
use crate::artifact::ids::{ArtifactId, Ino, SessionId, TenantId};
use crate::artifact::name::SessionName;
use crate::artifact::record::Session;
use crate::artifact::time::Timestamp;
use crate::artifact::versions::Rules;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::Origin;
use crate::catalog::upkeep::Revived;

/// What was deleted with a session is a run of deletions up to its own, each within this time (nanoseconds) of the next: `rm -r` takes
/// one name after the other. What was deleted before that stays deleted.
const RUN: i64 = 60_000_000_000;

/// The session's root is gone. Without any artifact it ceases.
pub fn trash(c: &Connection, id: SessionId, now: Timestamp) -> Result<()> {
    let Some(session) = make::session_by_id(c, id)? else { return Ok(()) };
    c.prepare_cached("UPDATE sessions SET removed = ?1, name = name || '~' || id WHERE id = ?2")?
        .execute(params![now.0, id.0])?;
    if c.prepare_cached("SELECT 1 FROM artifacts WHERE session = ? LIMIT 1")?.exists([id.0])? {
        sweep::session_rest(c, session.tenant, id, now)
    } else {
        forget(c, session.root)
    }
}

/// The root's inode is gone, and with it all that led to the session.
pub fn forget(c: &Connection, root: Ino) -> Result<()> {
    let root = int(root.0);
    c.prepare_cached(
        "DELETE FROM links WHERE session IN (SELECT id FROM sessions WHERE root = ? AND removed IS NOT NULL)",
    )?
    .execute([root])?;
    c.prepare_cached("DELETE FROM sessions WHERE root = ? AND removed IS NOT NULL")?.execute([root])?;
    Ok(())
}

/// Sessions in the trash, the last removed first.
pub fn removed(c: &Connection, tenant: TenantId) -> Result<Vec<Session>> {
    let sql = format!(
        "SELECT {SESSION} FROM sessions s WHERE s.tenant = ? AND s.removed IS NOT NULL ORDER BY s.removed DESC, s.id DESC"
    );
    let mut stmt = c.prepare_cached(&sql)?;
    let rows = stmt.query_map([tenant.0], codec::session)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Makes the session's root stand again, empty, if it was removed.
///
/// # Errors
/// `Exists` when another session has the name by now.
pub fn revive(
    c: &Connection,
    origin: Origin,
    session: &Session,
    name: Option<&SessionName>,
    now: Timestamp,
) -> Result<()> {
    if session.removed.is_none() {
        return Ok(());
    }
    let name = name.unwrap_or(&session.name);
    if make::session(c, session.tenant, name)?.is_some() {
        let was = &session.name;
        return Err(Error::new(
            Kind::Exists,
            format!(
                "there is another session '{name}' by now: 'outputfs session restore {was} --as NAME' brings the deleted one back under another name"
            ),
        ));
    }
    c.prepare_cached("UPDATE sessions SET removed = NULL, name = ? WHERE id = ?")?
        .execute(params![name.as_str(), session.id.0])?;
    c.prepare_cached("UPDATE inodes SET was_name = ? WHERE ino = ?")?
        .execute(params![name.as_str().as_bytes(), int(session.root.0)])?;
    recover::revive(c, origin, session.root, now).map(drop)
}

/// One page of bringing back what went with the session. `ids` are for new artifacts, as many as may come back; `since` is what the
/// page before answered.
pub fn restore(
    c: &Connection,
    origin: Origin,
    rules: Rules,
    (id, name): (SessionId, Option<&SessionName>),
    ids: &[ArtifactId],
    since: Option<Timestamp>,
    now: Timestamp,
) -> Result<Revived> {
    let missing = || Error::not_found("the session does not exist");
    let session = make::session_by_id(c, id)?.ok_or_else(missing)?;
    let since = match (since, session.removed) {
        (Some(since), _) => since,
        (None, Some(removed)) => run_before(c, id, removed)?,
        (None, None) => return Err(Error::new(Kind::Exists, format!("session '{}' is not deleted", session.name))),
    };
    revive(c, origin, &session, name, now)?;
    // Of each path what was deleted last, unless it is there again.
    let sql = "SELECT a.id FROM artifacts a WHERE a.session = ?1 AND a.life = 2 AND a.deleted >= ?2 AND a.recovered = 0 \
        AND (a.expires IS NULL OR a.expires > ?3) AND NOT EXISTS (SELECT 1 FROM artifacts n WHERE n.parent = a.parent \
        AND n.name = a.name AND (n.life = 0 OR (n.life = 2 AND n.version > a.version))) ORDER BY a.deleted LIMIT ?4";
    let found: Vec<ArtifactId> = c
        .prepare_cached(sql)?
        .query_map(params![id.0, since.0, now.0, int(ids.len() as u64)], |r| codec::artifact_id(r, 0))?
        .collect::<rusqlite::Result<_>>()?;
    for (old, new) in found.iter().zip(ids) {
        let first = codec::draw(c, 2)?;
        recover::restore(c, origin, rules, *old, *new, (Ino(first), first + 1), now)?;
    }
    let session = make::session_by_id(c, id)?.ok_or_else(missing)?;
    Ok(Revived { session, files: found.len() as u64, since, more: found.len() == ids.len() })
}

/// When the run of deletions began that ended with the session's own.
fn run_before(c: &Connection, id: SessionId, removed: Timestamp) -> Result<Timestamp> {
    let mut stmt = c.prepare_cached(
        "SELECT deleted FROM artifacts WHERE session = ? AND life = ? AND deleted <= ? ORDER BY deleted DESC",
    )?;
    let mut rows = stmt.query(params![id.0, TRASHED, removed.0])?;
    let mut began = removed;
    while let Some(row) = rows.next()? {
        let at = codec::time(row, 0)?;
        if began.0 - at.0 > RUN {
            break;
        }
        began = at;
    }
    Ok(began)
}

/// The session of an artifact, if that is in the trash.
pub fn removed_of(c: &Connection, artifact: ArtifactId) -> Result<Option<SessionId>> {
    use rusqlite::OptionalExtension;
    let sql =
        "SELECT s.id FROM artifacts a JOIN sessions s ON s.id = a.session WHERE a.id = ? AND s.removed IS NOT NULL";
    Ok(c.prepare_cached(sql)?.query_row([id_bytes(artifact)], |r| r.get(0).map(SessionId)).optional()?)
}
