//! What time takes: expired artifacts, old trash, old versions.

use super::codec::{self, LIVE, PROVISIONAL, TRASHED, id_bytes, int, life};
use super::remove::{Fate, drop_name, unlink};
use super::{artifacts, audit, make, sessions, tree};
use crate::artifact::Result;
use crate::artifact::ids::{ArtifactId, Ino, SessionId, TenantId};
use crate::artifact::life::{Bounds, End, Facts};
use crate::artifact::name::Name;
use crate::artifact::time::Timestamp;
use crate::catalog::sql::{self, Connection, OptionalExtension, params};
use crate::catalog::upkeep::{ExpiredName, Swept};
use crate::catalog::{Origin, Removed};

/// A live link leads to `a`; a sealed session holds `a`. `?1` is now.
const LINKED: &str = "EXISTS (SELECT 1 FROM links l WHERE l.artifact = a.id AND l.revoked IS NULL \
    AND (l.expires IS NULL OR l.expires > ?1))";
const SEALED: &str = "EXISTS (SELECT 1 FROM sessions s WHERE s.id = a.session AND s.sealed IS NOT NULL)";

pub fn unlink_by(
    c: &Connection,
    origin: Origin,
    parent: Ino,
    name: &Name,
    by: Option<&str>,
    now: Timestamp,
) -> Result<Removed> {
    let content = tree::existing(c, parent, name, now)?.node.content;
    let removed = unlink(c, origin, parent, name, now)?;
    if let (Some(by), Some((id, _)), 0) = (by, content, removed.nlink) {
        c.prepare_cached("UPDATE artifacts SET deleted_by = ? WHERE id = ?")?.execute(params![by, id_bytes(id)])?;
    }
    Ok(removed)
}

pub fn expired_names(
    c: &Connection,
    tenant: TenantId,
    after: Timestamp,
    until: Timestamp,
    limit: u32,
) -> Result<Vec<ExpiredName>> {
    let mut stmt = c.prepare_cached(
        "SELECT a.expires, d.ino, d.parent, d.name FROM artifacts a JOIN dentries d ON d.ino = a.ino \
         WHERE a.tenant = ? AND a.expires > ? AND a.expires <= ? AND a.life = 0 ORDER BY a.expires LIMIT ?",
    )?;
    let rows = stmt.query_map(params![tenant.0, after.0, until.0, limit], |r| {
        Ok(ExpiredName {
            at: codec::time(r, 0)?,
            ino: codec::ino(r, 1)?,
            parent: codec::ino(r, 2)?,
            name: codec::name(r, 3)?,
        })
    })?;
    Ok(rows.collect::<sql::Result<_>>()?)
}

/// The conditions under which an index finds candidates of each cause; [`Bounds::end_of`] decides. `?1` is the tenant, `?2` the
/// bound.
fn causes(bounds: &Bounds) -> Vec<(&'static str, Timestamp)> {
    let mut all = vec![
        ("tenant = ?1 AND expires <= ?2 ORDER BY expires", bounds.now),
        ("tenant = ?1 AND life = 2 AND deleted <= ?2 ORDER BY deleted", bounds.trashed),
    ];
    all.extend(bounds.versions.map(|t| ("tenant = ?1 AND life = 1 AND created <= ?2 ORDER BY created, id", t)));
    all
}

pub fn sweep(c: &Connection, tenant: TenantId, bounds: &Bounds, limit: u32) -> Result<Swept> {
    let mut swept = Swept::default();
    for (which, bound) in causes(bounds) {
        let pinned = if which.contains("life = 1") {
            // Else what is pinned would fill every page.
            format!("AND NOT {SEALED} AND NOT {}", LINKED.replace("?1", "?4"))
        } else {
            String::from("AND ?4 = ?4")
        };
        let (condition, order) = which.split_once(" ORDER BY ").unwrap_or((which, "id"));
        let sql = format!(
            "SELECT a.id FROM artifacts a WHERE {condition} {pinned} AND NOT EXISTS (SELECT 1 FROM blobs b \
             WHERE b.tenant = a.tenant AND b.hash = a.hash AND b.state = {PROVISIONAL}) ORDER BY {order} LIMIT ?3"
        );
        let mut stmt = c.prepare_cached(&sql)?;
        let ids: Vec<ArtifactId> = stmt
            .query_map(params![tenant.0, bound.0, limit, bounds.now.0], |r| codec::artifact_id(r, 0))?
            .collect::<sql::Result<_>>()?;
        swept.more |= ids.len() >= limit as usize;
        for id in ids {
            end(c, tenant, id, bounds, &mut swept)?;
        }
    }
    // It looks at every removed directory: once, not with each page.
    if !swept.more {
        swept.more = sessions::forget_removed(c, tenant, bounds.now, limit)?;
    }
    Ok(swept)
}

pub fn survey(c: &Connection, tenant: TenantId, bounds: &Bounds) -> Result<Swept> {
    let mut swept = Swept::default();
    for (which, bound) in causes(bounds) {
        let condition = which.split(" ORDER BY ").next().unwrap_or(which);
        let mut stmt = c.prepare_cached(&format!("SELECT a.id FROM artifacts a WHERE {condition}"))?;
        let mut rows = stmt.query(params![tenant.0, bound.0])?;
        while let Some(ref row) = rows.next()? {
            let id = codec::artifact_id(row, 0)?;
            if let Some((facts, size)) = facts(c, id, bounds.now)? {
                count(&mut swept, bounds.end_of(&facts), which, size);
            }
        }
    }
    Ok(swept)
}

/// Each artifact counts under its own cause alone, though two conditions may find it.
fn count(swept: &mut Swept, end: Option<End>, which: &str, size: u64) {
    let slot = match end {
        Some(End::Expired) if which.contains("expires") => &mut swept.expired,
        Some(End::Purged) if which.contains("life = 2") => &mut swept.purged,
        Some(End::Pruned) if which.contains("life = 1") => &mut swept.pruned,
        _ => return,
    };
    *slot += 1;
    swept.bytes += size;
}

fn facts(c: &Connection, id: ArtifactId, now: Timestamp) -> Result<Option<(Facts, u64)>> {
    let sql = format!(
        "SELECT a.life, a.created, a.expires, a.deleted, {LINKED}, {SEALED}, a.size FROM artifacts a WHERE a.id = ?2"
    );
    Ok(c.prepare_cached(&sql)?
        .query_row(params![now.0, id_bytes(id)], |r| {
            let facts = Facts {
                life: life(r.get(0)?),
                created: codec::time(r, 1)?,
                expires: codec::opt_time(r, 2)?,
                deleted: codec::opt_time(r, 3)?,
                linked: r.get(4)?,
                sealed: r.get(5)?,
            };
            Ok((facts, codec::uint(r, 6)?))
        })
        .optional()?)
}

/// Ends one artifact if the rules say so.
fn end(c: &Connection, tenant: TenantId, id: ArtifactId, bounds: &Bounds, swept: &mut Swept) -> Result<()> {
    let Some((facts, size)) = facts(c, id, bounds.now)? else { return Ok(()) };
    let end = bounds.end_of(&facts);
    let path = if end == Some(End::Purged) { artifacts::filing(c, id)? } else { None };
    let session = sessions::removed_of(c, id)?;
    let (slot, verb) = match end {
        Some(End::Expired) => (&mut swept.expired, "expire"),
        Some(End::Purged) => (&mut swept.purged, "purge"),
        Some(End::Pruned) => (&mut swept.pruned, "prune"),
        None => return Ok(()),
    };
    *slot += 1;
    swept.bytes += size;
    audit::called(verb, || erase(c, tenant, id, bounds.now))?;
    if let Some((parent, name)) = path {
        forget_path(c, tenant, (parent, &name), bounds.now, swept)?;
    }
    session.map_or(Ok(()), |session| session_rest(c, tenant, session, bounds.now))
}

pub fn purge(c: &Connection, tenant: TenantId, ids: &[ArtifactId], now: Timestamp) -> Result<Swept> {
    let mut swept = Swept::default();
    for id in ids {
        let mine = "SELECT size FROM artifacts WHERE id = ? AND tenant = ? AND life = ?";
        let size = c
            .prepare_cached(mine)?
            .query_row(params![id_bytes(*id), tenant.0, TRASHED], |r| codec::uint(r, 0))
            .optional()?;
        if let Some(size) = size {
            let (path, session) = (artifacts::filing(c, *id)?, sessions::removed_of(c, *id)?);
            erase(c, tenant, *id, now)?;
            swept.purged += 1;
            swept.bytes += size;
            if let Some((parent, name)) = path {
                forget_path(c, tenant, (parent, &name), now, &mut swept)?;
            }
            if let Some(session) = session {
                session_rest(c, tenant, session, now)?;
            }
        }
    }
    Ok(swept)
}

/// What was deleted at a path is gone for good: if nothing stands there, nor lies in the trash, its earlier versions go too. What
/// pins one: a link that leads to it, or its session's seal.
fn forget_path(
    c: &Connection,
    tenant: TenantId,
    (parent, name): (Ino, &Name),
    now: Timestamp,
    swept: &mut Swept,
) -> Result<()> {
    let stands = "SELECT 1 FROM artifacts WHERE parent = ? AND name = ? AND life <> 1 LIMIT 1";
    if c.prepare_cached(stands)?.exists(params![int(parent.0), name.as_bytes()])? {
        return Ok(());
    }
    let sql = format!(
        "SELECT a.id, a.size FROM artifacts a WHERE a.parent = ?2 AND a.name = ?3 AND a.tenant = ?4 AND NOT {LINKED} AND NOT {SEALED}"
    );
    let rest: Vec<(ArtifactId, u64)> = c
        .prepare_cached(&sql)?
        .query_map(params![now.0, int(parent.0), name.as_bytes(), tenant.0], |r| {
            Ok((codec::artifact_id(r, 0)?, codec::uint(r, 1)?))
        })?
        .collect::<sql::Result<_>>()?;
    for (id, size) in rest {
        audit::called("purge", || erase(c, tenant, id, now))?;
        swept.pruned += 1;
        swept.bytes += size;
    }
    Ok(())
}

/// Removes an artifact for good, with its names.
fn erase(c: &Connection, tenant: TenantId, id: ArtifactId, now: Timestamp) -> Result<()> {
    let Some(known) = artifacts::known(c, id)? else { return Ok(()) };
    let filed = artifacts::filing(c, id)?;
    if known.life == LIVE {
        let mut stmt = c.prepare_cached("SELECT parent, name FROM dentries WHERE ino = ? ORDER BY cookie")?;
        let names: Vec<(Ino, Name)> = stmt
            .query_map([int(known.ino.0)], |r| Ok((codec::ino(r, 0)?, codec::name(r, 1)?)))?
            .collect::<sql::Result<_>>()?;
        for (parent, name) in names {
            if let Some(entry) = tree::entry(c, parent, &name, now)? {
                drop_name(c, Origin::NOBODY, &entry, Fate::Supersede, now)?;
            }
        }
    }
    artifacts::erase(c, tenant, &known)?;
    filed.map_or(Ok(()), |(dir, _)| unbury(c, dir))
}

/// What is left of a session in the trash that has nothing to restore: earlier versions go, but for those that a link pins.
pub fn session_rest(c: &Connection, tenant: TenantId, session: SessionId, now: Timestamp) -> Result<()> {
    if c.prepare_cached("SELECT 1 FROM artifacts WHERE session = ? AND life <> 1 LIMIT 1")?.exists([session.0])? {
        return Ok(());
    }
    let sql = format!("SELECT a.id FROM artifacts a WHERE a.session = ?2 AND NOT {LINKED}");
    let rest: Vec<ArtifactId> = c
        .prepare_cached(&sql)?
        .query_map(params![now.0, session.0], |r| codec::artifact_id(r, 0))?
        .collect::<sql::Result<_>>()?;
    for id in rest {
        audit::called("purge", || erase(c, tenant, id, now))?;
    }
    // What a link pins keeps the session.
    match make::session_by_id(c, session)? {
        Some(s) if !c.prepare_cached("SELECT 1 FROM artifacts WHERE session = ? LIMIT 1")?.exists([session.0])? => {
            sessions::end(c, &s)
        }
        _ => Ok(()),
    }
}

/// Forgets removed directories that no path leads through any more.
fn unbury(c: &Connection, dir: Ino) -> Result<()> {
    let mut next = Some(int(dir.0));
    while let Some(dir) = next {
        next = c
            .prepare_cached(
                "DELETE FROM inodes WHERE ino = ?1 AND nlink = 0 AND was_parent IS NOT NULL \
                 AND NOT EXISTS (SELECT 1 FROM artifacts WHERE parent = ?1) \
                 AND NOT EXISTS (SELECT 1 FROM inodes k WHERE k.was_parent = ?1) RETURNING was_parent",
            )?
            .query_row([dir], |r| r.get::<i64>(0))
            .optional()?;
        if next.is_some() {
            sessions::forget(c, Ino(dir.unsigned_abs()))?;
        }
    }
    Ok(())
}
