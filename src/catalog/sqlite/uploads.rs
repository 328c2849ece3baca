//! Announced uploads and published pages.

use super::codec::{self, id_bytes, int};
use crate::artifact::ids::{ArtifactId, TenantId};
use crate::artifact::name::{SessionName, split_path};
use crate::artifact::quota::{Quota, Room};
use crate::artifact::record::{Node, NodeKind};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::records::{Publication, Upload};
use crate::catalog::sql::{self, Connection, OptionalExtension, Row, params};

const UPLOAD: &str = "SELECT id, tenant, session, filename, size, labels, created, expires, artifact FROM uploads";

fn upload(r: &Row<'_>) -> sql::Result<Upload> {
    Ok(Upload {
        id: codec::artifact_id(r, 0)?,
        tenant: TenantId(r.get(1)?),
        session: match r.get::<Option<String>>(2)? {
            Some(_) => Some(codec::session_name(r, 2)?),
            None => None,
        },
        filename: r.get(3)?,
        size: codec::uint(r, 4)?,
        labels: codec::json(r, 5)?,
        created: codec::time(r, 6)?,
        expires: codec::time(r, 7)?,
        artifact: codec::opt_artifact_id(r, 8)?,
    })
}

pub fn add(c: &Connection, u: &Upload) -> Result<()> {
    must_fit(c, u)?;
    let added = c
        .prepare_cached(
            "INSERT OR IGNORE INTO uploads(id, tenant, session, filename, size, labels, created, expires) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            id_bytes(u.id),
            u.tenant.0,
            u.session.as_ref().map(SessionName::as_str),
            u.filename,
            int(u.size),
            codec::to_json(&u.labels)?,
            u.created.0,
            u.expires.0
        ])?;
    if added == 0 { Err(Error::new(Kind::Exists, format!("an upload {} exists already", u.id))) } else { Ok(()) }
}

/// Beside all that is there and all that was announced before.
fn must_fit(c: &Connection, u: &Upload) -> Result<()> {
    let (max_bytes, max_artifacts) = c
        .prepare_cached("SELECT max_bytes, max_artifacts FROM tenants WHERE id = ?")?
        .query_row([u.tenant.0], |r| Ok((codec::opt_uint(r, 0)?, codec::opt_uint(r, 1)?)))
        .optional()?
        .unwrap_or_default();
    if max_bytes.is_none() && max_artifacts.is_none() {
        return Ok(());
    }
    let (artifacts, bytes) = super::find::living(c, u.tenant, u.created)?;
    let claims = super::quotas::announced(c, u.tenant, None, u.created)?;
    let quota = Quota { max_bytes, max_artifacts, ..Quota::default() };
    let room = Room { quota, artifacts, bytes, claims };
    match replaced(c, u)? {
        Some(node) => room.file_may_be(u.size, node.size),
        None => room.one_more().and_then(|()| room.file_may_be(u.size, 0)),
    }
}

/// The file that stands at its path.
fn replaced(c: &Connection, u: &Upload) -> Result<Option<Node>> {
    let Some(name) = &u.session else { return Ok(None) };
    let Some(session) = super::make::session(c, u.tenant, name)? else { return Ok(None) };
    let (mut at, mut found) = (session.root, None);
    for name in split_path(&u.filename)? {
        let Some(entry) = super::tree::entry(c, at, &name, u.created)?.filter(|e| !e.expired) else { return Ok(None) };
        at = entry.node.ino;
        found = Some(entry.node);
    }
    Ok(found.filter(|n| n.kind == NodeKind::File))
}

pub fn by_id(c: &Connection, tenant: TenantId, id: ArtifactId) -> Result<Option<Upload>> {
    let mut stmt = c.prepare_cached(&format!("{UPLOAD} WHERE id = ? AND tenant = ?"))?;
    Ok(stmt.query_row(params![id_bytes(id), tenant.0], upload).optional()?)
}

pub fn by_key(c: &Connection, tenant: TenantId, key: &str, now: Timestamp) -> Result<Option<Upload>> {
    let mut stmt = c.prepare_cached(&format!(
        "{UPLOAD} WHERE tenant = ? AND json_extract(labels, '$.idempotency_key') = ? AND expires > ? \
         ORDER BY created DESC LIMIT 1"
    ))?;
    Ok(stmt.query_row(params![tenant.0, key, now.0], upload).optional()?)
}

pub fn finish(c: &Connection, tenant: TenantId, id: ArtifactId, artifact: ArtifactId) -> Result<()> {
    c.prepare_cached("UPDATE uploads SET artifact = ?3 WHERE tenant = ?1 AND id = ?2")?.execute(params![
        tenant.0,
        id_bytes(id),
        id_bytes(artifact)
    ])?;
    Ok(())
}

pub fn stale(c: &Connection, tenant: TenantId, now: Timestamp, limit: u32) -> Result<Vec<Upload>> {
    let mut stmt = c.prepare_cached(&format!("{UPLOAD} WHERE tenant = ? AND expires <= ? ORDER BY expires LIMIT ?"))?;
    let rows = stmt.query_map(params![tenant.0, now.0, limit], upload)?;
    Ok(rows.collect::<sql::Result<_>>()?)
}

pub fn forget(c: &Connection, tenant: TenantId, id: ArtifactId) -> Result<()> {
    c.prepare_cached("DELETE FROM uploads WHERE tenant = ? AND id = ?")?.execute(params![tenant.0, id_bytes(id)])?;
    Ok(())
}

const PUBLICATION: &str =
    "SELECT artifact, tenant, title, visibility, access, link, generation, created, withdrawn FROM publications";

fn read_publication(r: &Row<'_>) -> sql::Result<Publication> {
    Ok(Publication {
        artifact: codec::artifact_id(r, 0)?,
        tenant: TenantId(r.get(1)?),
        title: r.get(2)?,
        visibility: r.get(3)?,
        access: r.get(4)?,
        link: r.get(5)?,
        generation: codec::uint(r, 6)?,
        created: codec::time(r, 7)?,
        withdrawn: codec::opt_time(r, 8)?,
    })
}

pub fn put_publication(c: &Connection, p: &Publication) -> Result<()> {
    c.prepare_cached(
        "INSERT INTO publications(artifact, tenant, title, visibility, access, link, generation, created, withdrawn) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(artifact) DO UPDATE SET tenant = excluded.tenant, title = excluded.title, \
         visibility = excluded.visibility, access = excluded.access, link = excluded.link, generation = excluded.generation, \
         created = excluded.created, withdrawn = excluded.withdrawn",
    )?
    .execute(params![
        id_bytes(p.artifact),
        p.tenant.0,
        p.title,
        p.visibility,
        p.access,
        p.link,
        int(p.generation),
        p.created.0,
        p.withdrawn.map(|t| t.0)
    ])?;
    Ok(())
}

pub fn publication(c: &Connection, tenant: TenantId, artifact: ArtifactId) -> Result<Option<Publication>> {
    let mut stmt = c.prepare_cached(&format!("{PUBLICATION} WHERE tenant = ? AND artifact = ?"))?;
    Ok(stmt.query_row(params![tenant.0, id_bytes(artifact)], read_publication).optional()?)
}

pub fn publication_of_link(c: &Connection, tenant: TenantId, link: &str) -> Result<Option<Publication>> {
    let mut stmt = c.prepare_cached(&format!("{PUBLICATION} WHERE tenant = ? AND link = ? AND withdrawn IS NULL"))?;
    Ok(stmt.query_row(params![tenant.0, link], read_publication).optional()?)
}
