//! Sessions into the trash and back. A session goes as its directory goes: its root is removed, its row stays as long as anything of
//! it can be restored.

use super::codec::{self, SESSION, TRASHED, id_bytes, int};
use super::{make, recover, sweep};
use crate::artifact::ids::{ArtifactId, Ino, SessionId, TenantId};
use crate::artifact::name::SessionName;
use crate::artifact::record::{NodeKind, Session};
use crate::artifact::time::Timestamp;
use crate::artifact::versions::Rules;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::Origin;
use crate::catalog::sql::{self, Connection, params};
use crate::catalog::upkeep::Revived;

/// What was deleted with a session is a run of deletions up to its own, each within this time (nanoseconds) of the next: `rm -r` takes
/// one name after the other. What was deleted before that stays deleted.
const RUN: i64 = 60_000_000_000;

/// A removed directory or symbolic link is known this long (nanoseconds): by then its session is gone too, or stays.
const KNOWN: i64 = 3_600_000_000_000;

/// The session's root is gone. Without any artifact it ceases.
pub fn trash(c: &Connection, id: SessionId, now: Timestamp) -> Result<()> {
    let Some(session) = make::session_by_id(c, id)? else { return Ok(()) };
    c.prepare_cached("UPDATE sessions SET removed = ?1, name = name || '~' || id WHERE id = ?2")?
        .execute(params![now.0, id.0])?;
    if c.prepare_cached("SELECT 1 FROM artifacts WHERE session = ? LIMIT 1")?.exists([id.0])? {
        sweep::session_rest(c, session.tenant, id, now)
    } else {
        end(c, &session)
    }
}

/// No artifact is left of a session in the trash: nothing of it comes back.
pub fn end(c: &Connection, session: &Session) -> Result<()> {
    c.prepare_cached("DELETE FROM inodes WHERE session = ? AND nlink = 0 AND was_parent IS NOT NULL")?
        .execute([session.id.0])?;
    forget(c, session.root)
}

/// Directories and symbolic links that were removed long ago from sessions that are there cease, the lowest first. Whether there were
/// any.
pub fn forget_removed(c: &Connection, tenant: TenantId, now: Timestamp, limit: u32) -> Result<bool> {
    let sql = "DELETE FROM inodes WHERE ino IN (SELECT i.ino FROM inodes i JOIN sessions s ON s.id = i.session \
        WHERE i.was_parent IS NOT NULL AND i.nlink = 0 AND i.ctime <= ?2 AND s.tenant = ?1 AND s.removed IS NULL \
        AND NOT EXISTS (SELECT 1 FROM artifacts a WHERE a.parent = i.ino) \
        AND NOT EXISTS (SELECT 1 FROM inodes k WHERE k.was_parent = i.ino) LIMIT ?3)";
    let gone = c.prepare_cached(sql)?.execute(params![tenant.0, now.0.saturating_sub(KNOWN), limit])?;
    Ok(gone > 0)
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
    Ok(rows.collect::<sql::Result<_>>()?)
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
        .collect::<sql::Result<_>>()?;
    for (old, new) in found.iter().zip(ids) {
        let first = codec::draw(c, 2)?;
        recover::restore(c, origin, rules, *old, *new, (Ino(first), first + 1), now)?;
    }
    if found.len() < ids.len() {
        restore_rest(c, origin, id, since, now)?;
    }
    let session = make::session_by_id(c, id)?.ok_or_else(missing)?;
    Ok(Revived { session, files: found.len() as u64, since, more: found.len() == ids.len() })
}

/// What went with the session and is no file stands again, the last removed first, unless something stands there by now.
fn restore_rest(c: &Connection, origin: Origin, id: SessionId, since: Timestamp, now: Timestamp) -> Result<()> {
    let sql = "SELECT ino, kind FROM inodes WHERE was_parent IS NOT NULL AND session = ? AND nlink = 0 AND ctime >= ? \
        ORDER BY ctime DESC, ino DESC";
    let rows: Vec<(Ino, NodeKind)> = c
        .prepare_cached(sql)?
        .query_map(params![id.0, since.0], |r| Ok((codec::ino(r, 0)?, codec::kind(r.get(1)?))))?
        .collect::<sql::Result<_>>()?;
    for (ino, kind) in rows {
        match recover::stand_again(c, origin, ino, kind, now) {
            Err(e) if e.kind == Kind::Exists => {}
            done => drop(done?),
        }
    }
    Ok(())
}

/// When the run of deletions began that ended with the session's own.
fn run_before(c: &Connection, id: SessionId, removed: Timestamp) -> Result<Timestamp> {
    let mut stmt = c.prepare_cached(
        "SELECT deleted FROM artifacts WHERE session = ?1 AND life = ?2 AND deleted <= ?3 UNION ALL \
         SELECT ctime FROM inodes WHERE was_parent IS NOT NULL AND session = ?1 AND nlink = 0 AND ctime <= ?3 ORDER BY 1 DESC",
    )?;
    let mut rows = stmt.query(params![id.0, TRASHED, removed.0])?;
    let mut began = removed;
    while let Some(ref row) = rows.next()? {
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
    use crate::catalog::sql::OptionalExtension;
    let sql =
        "SELECT s.id FROM artifacts a JOIN sessions s ON s.id = a.session WHERE a.id = ? AND s.removed IS NOT NULL";
    Ok(c.prepare_cached(sql)?.query_row([id_bytes(artifact)], |r| r.get(0).map(SessionId)).optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::ids::MountId;
    use crate::artifact::name::Name;
    use crate::catalog::NewNode;
    use crate::catalog::sqlite::{remove, schema, tree};

    #[test]
    fn a_removed_directory_is_forgotten_after_an_hour() {
        let dir = tempfile::tempdir().unwrap();
        let file = schema::open_writer(&dir.path().join("c.db")).unwrap();
        let c = Connection::from(&file);
        let origin = Origin(MountId(ulid::Ulid(1)));
        let at = |seconds: i64| Timestamp::from_parts(1_800_000_000 + seconds, 0);
        let tenant = make::tenant(&c, &"default".parse().unwrap(), at(0)).unwrap();
        let session = make::ensure_session(&c, origin, tenant.id, &"run".parse().unwrap(), (0, 0), at(0)).unwrap();
        let name = |text: &str| Name::new(text.as_bytes()).unwrap();
        let mut parent = session.root;
        for text in ["d", "inner"] {
            let first = codec::draw(&c, 2).unwrap();
            let node = NewNode {
                ino: Ino(first),
                cookie: first + 1,
                parent,
                name: name(text),
                kind: NodeKind::Dir,
                mode: 0o755,
                uid: 0,
                gid: 0,
                rdev: 0,
                target: None,
                now: at(0),
            };
            parent = make::make(&c, origin, &node).unwrap().ino;
        }
        let rows = || c.query_row("SELECT count(*) FROM inodes", [], |r| r.get::<i64>(0)).unwrap();
        let before = rows();
        let d = tree::existing(&c, session.root, &name("d"), at(1)).unwrap().node.ino;
        remove::rmdir(&c, origin, d, &name("inner"), at(1)).unwrap();
        remove::rmdir(&c, origin, session.root, &name("d"), at(2)).unwrap();
        assert!(!forget_removed(&c, tenant.id, at(3600), 10).unwrap());
        assert_eq!(rows(), before);
        while forget_removed(&c, tenant.id, at(3602), 1).unwrap() {}
        assert_eq!(rows(), before - 2);
        let check: i64 = c.query_row("SELECT count(*) FROM inodes WHERE nlink = 0", [], |r| r.get(0)).unwrap();
        assert_eq!(check, 0);
    }
}
