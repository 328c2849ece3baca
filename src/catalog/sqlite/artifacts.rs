//! Rows of artifacts: filing them under paths, their lives, reading them.

use super::codec::{self, ARTIFACT, LIVE, SUPERSEDED, id_bytes, int};
use super::paths::Paths;
use crate::artifact::content_type::guess;
use crate::artifact::ids::{ArtifactId, Ino, MountId, SessionId, TenantId};
use crate::artifact::metadata::Metadata;
use crate::artifact::name::Name;
use crate::artifact::record::{Artifact, Labels};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Result};
use crate::catalog::sql::{self, Connection, OptionalExtension, Row, params};

/// The artifact, whatever its life and expiry.
pub fn by_id(c: &Connection, id: ArtifactId) -> Result<Option<Artifact>> {
    let sql = format!("SELECT {ARTIFACT} WHERE a.id = ?");
    let row = c.prepare_cached(&sql)?.query_row([id_bytes(id)], codec::artifact).optional()?;
    row.map(|row| Paths::default().artifact(c, row)).transpose()
}

pub fn must(c: &Connection, id: ArtifactId) -> Result<Artifact> {
    by_id(c, id)?.ok_or_else(|| missing(id))
}

pub fn missing(id: ArtifactId) -> Error {
    Error::not_found(format!("artifact {id} does not exist"))
}

/// Those whose bytes are not in the store yet and lie with `mount` or in the catalog, the oldest first.
pub fn waiting(c: &Connection, mount: MountId, limit: u32) -> Result<Vec<Artifact>> {
    let sql = format!(
        "SELECT {ARTIFACT} WHERE b.state = 0 OR (b.state = 1 AND EXISTS (SELECT 1 FROM provisional p \
         WHERE p.tenant = b.tenant AND p.hash = b.hash AND p.mount = ?1)) ORDER BY a.id LIMIT ?2"
    );
    let mut stmt = c.prepare_cached(&sql)?;
    let rows = stmt.query_map(params![mount.0.to_bytes(), limit], codec::artifact)?;
    let mut paths = Paths::default();
    rows.map(|row| paths.artifact(c, row?)).collect()
}

/// Live and superseded ones of a path, oldest first.
pub fn versions(c: &Connection, parent: Ino, name: &Name, now: Timestamp) -> Result<Vec<Artifact>> {
    let sql = format!(
        "SELECT {ARTIFACT} WHERE a.parent = ?1 AND a.name = ?2 AND a.life IN ({LIVE}, {SUPERSEDED}) \
         AND (a.expires IS NULL OR a.expires > ?3) ORDER BY a.version"
    );
    let mut stmt = c.prepare_cached(&sql)?;
    let rows = stmt.query_map(params![int(parent.0), name.as_bytes(), now.0], codec::artifact)?;
    let mut paths = Paths::default();
    rows.map(|row| paths.artifact(c, row?)).collect()
}

pub fn next_version(c: &Connection, parent: Ino, name: &Name) -> Result<u64> {
    let sql = "SELECT coalesce(max(version), 0) + 1 FROM artifacts WHERE parent = ? AND name = ?";
    Ok(c.prepare_cached(sql)?.query_row(params![int(parent.0), name.as_bytes()], |r| codec::uint(r, 0))?)
}

pub fn filing(c: &Connection, id: ArtifactId) -> Result<Option<(Ino, Name)>> {
    Ok(c.prepare_cached("SELECT parent, name FROM artifacts WHERE id = ?")?
        .query_row([id_bytes(id)], |r| Ok((codec::ino(r, 0)?, codec::name(r, 1)?)))
        .optional()?)
}

pub fn is_filed_at(c: &Connection, id: ArtifactId, parent: Ino, name: &Name) -> Result<bool> {
    Ok(filing(c, id)?.is_some_and(|(p, n)| p == parent && n == *name))
}

/// Makes `id` the newest version of another path, and guesses its type again unless it was set.
pub fn refile(c: &Connection, id: ArtifactId, parent: Ino, name: &Name) -> Result<()> {
    let version = next_version(c, parent, name)?;
    let bytes_type: String = c
        .prepare_cached("SELECT coalesce(bytes_type, guessed_type) FROM artifacts WHERE id = ?")?
        .query_row([id_bytes(id)], |r| r.get(0))?;
    c.prepare_cached(
        "UPDATE artifacts SET parent = ?1, name = ?2, version = ?3, guessed_type = ?4, \
         bytes_type = coalesce(bytes_type, guessed_type), content_type = coalesce(labels ->> '$.content_type', ?4) WHERE id = ?5",
    )?
    .execute(params![
        int(parent.0),
        name.as_bytes(),
        int(version),
        guess(name.as_bytes(), &bytes_type),
        id_bytes(id)
    ])?;
    Ok(())
}

pub fn set_life(c: &Connection, id: ArtifactId, life: i64, deleted: Option<Timestamp>) -> Result<()> {
    c.prepare_cached(
        "UPDATE artifacts SET life = ?1, deleted = ?2, deleted_by = iif(?1 = 2, audit_who(), NULL) WHERE id = ?3",
    )?
    .execute(params![life, deleted.map(|t| t.0), id_bytes(id)])?;
    Ok(())
}

/// A live artifact leaves its file: in the trash, or as an earlier version, it keeps what the file was. (Who deletes through a mount
/// is found out there, and told separately.)
pub fn leave(c: &Connection, id: ArtifactId, life: i64, deleted: Option<Timestamp>) -> Result<()> {
    c.prepare_cached(
        "UPDATE artifacts SET life = ?1, deleted = ?2, \
         deleted_by = iif(?1 = 2, iif(audit_door() = 'mount', NULL, audit_who()), deleted_by), \
         (mode, uid, gid, atime, mtime, blocks) = (SELECT i.mode, i.uid, i.gid, i.atime, i.mtime, i.blocks FROM inodes i \
         WHERE i.ino = artifacts.ino) WHERE id = ?3",
    )?
    .execute(params![life, deleted.map(|t| t.0), id_bytes(id)])?;
    Ok(())
}

/// What a file was when it showed an artifact.
#[derive(Clone, Copy)]
pub struct Shape {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub blocks: Option<u64>,
}

/// `None`: an earlier release let go of it.
pub fn shape(c: &Connection, id: ArtifactId) -> Result<Option<Shape>> {
    let sql = "SELECT mode, uid, gid, atime, mtime, blocks FROM artifacts WHERE id = ? AND mode IS NOT NULL";
    Ok(c.prepare_cached(sql)?
        .query_row([id_bytes(id)], |r| {
            Ok(Shape {
                mode: r.get(0)?,
                uid: r.get(1)?,
                gid: r.get(2)?,
                atime: codec::time(r, 3)?,
                mtime: codec::time(r, 4)?,
                blocks: codec::opt_uint(r, 5)?,
            })
        })
        .optional()?)
}

pub fn set_shape(c: &Connection, id: ArtifactId, s: &Shape) -> Result<()> {
    c.prepare_cached("UPDATE artifacts SET mode = ?, uid = ?, gid = ?, atime = ?, mtime = ?, blocks = ? WHERE id = ?")?
        .execute(params![s.mode, s.uid, s.gid, s.atime.0, s.mtime.0, s.blocks.map(int), id_bytes(id)])?;
    Ok(())
}

/// A row to insert. Metadata is the merged one.
pub struct NewArtifact<'a> {
    pub id: ArtifactId,
    pub tenant: TenantId,
    pub session: SessionId,
    pub ino: Ino,
    pub parent: Ino,
    pub name: &'a Name,
    pub version: u64,
    /// What its bytes alone look like.
    pub bytes_type: &'a str,
    pub size: u64,
    pub hash: crate::artifact::ids::BlobHash,
    pub effective: &'a super::labels::Effective,
    pub now: Timestamp,
    pub life: i64,
    pub deleted: Option<Timestamp>,
    pub recovered: bool,
    pub fleeting: Option<Timestamp>,
}

pub fn insert(c: &Connection, a: &NewArtifact<'_>) -> Result<()> {
    let e = a.effective;
    c.prepare_cached(
        "INSERT INTO artifacts(id, tenant, session, ino, parent, name, version, content_type, guessed_type, size, \
         hash, agent_id, metadata, labels, idem_key, created, expires, life, deleted, recovered, bytes_type, fleeting, run) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        id_bytes(a.id),
        a.tenant.0,
        a.session.0,
        int(a.ino.0),
        int(a.parent.0),
        a.name.as_bytes(),
        int(a.version),
        e.content_type,
        guess(a.name.as_bytes(), a.bytes_type),
        int(a.size),
        a.hash.0,
        e.agent_id,
        codec::to_json(&e.metadata)?,
        codec::to_json(&e.labels)?,
        e.labels.idempotency_key,
        a.now.0,
        e.expires.map(|t| t.0),
        a.life,
        a.deleted.map(|t| t.0),
        a.recovered,
        a.bytes_type,
        a.fleeting.map(|t| t.0),
        e.labels.provenance.run
    ])?;
    index(c, a.tenant, &e.metadata, a.now, a.id)
}

/// Enters metadata into the inverted index.
pub fn index(c: &Connection, tenant: TenantId, m: &Metadata, created: Timestamp, id: ArtifactId) -> Result<()> {
    for (key, value) in &m.0 {
        c.prepare_cached("INSERT OR IGNORE INTO meta(tenant, key, value, created, id) VALUES (?, ?, ?, ?, ?)")?
            .execute(params![tenant.0, key, value, created.0, id_bytes(id)])?;
    }
    Ok(())
}

pub fn unindex(c: &Connection, tenant: TenantId, m: &Metadata, created: Timestamp, id: ArtifactId) -> Result<()> {
    for (key, value) in &m.0 {
        c.prepare_cached("DELETE FROM meta WHERE tenant = ? AND key = ? AND value = ? AND created = ? AND id = ?")?
            .execute(params![tenant.0, key, value, created.0, id_bytes(id)])?;
    }
    Ok(())
}

/// What a commit needs of an artifact that exists.
pub struct Known {
    pub id: ArtifactId,
    pub ino: Ino,
    pub session: SessionId,
    pub hash: crate::artifact::ids::BlobHash,
    pub size: u64,
    pub version: u64,
    pub life: i64,
    pub expires: Option<Timestamp>,
    pub created: Timestamp,
    pub metadata: Metadata,
    pub labels: Labels,
    /// What its bytes alone look like.
    pub bytes_type: String,
    pub fleeting: Option<Timestamp>,
}

impl Known {
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|t| t <= now)
    }
}

const KNOWN: &str = "SELECT id, ino, session, hash, size, version, life, expires, created, metadata, labels, \
    coalesce(bytes_type, guessed_type), fleeting FROM artifacts";

fn known_row(r: &Row<'_>) -> sql::Result<Known> {
    Ok(Known {
        id: codec::artifact_id(r, 0)?,
        ino: codec::ino(r, 1)?,
        session: SessionId(r.get(2)?),
        hash: codec::hash(r, 3)?,
        size: codec::uint(r, 4)?,
        version: codec::uint(r, 5)?,
        life: r.get(6)?,
        expires: codec::opt_time(r, 7)?,
        created: codec::time(r, 8)?,
        metadata: codec::json(r, 9)?,
        labels: codec::json(r, 10)?,
        bytes_type: r.get(11)?,
        fleeting: codec::opt_time(r, 12)?,
    })
}

pub fn known(c: &Connection, id: ArtifactId) -> Result<Option<Known>> {
    let sql = format!("{KNOWN} WHERE id = ?");
    Ok(c.prepare_cached(&sql)?.query_row([id_bytes(id)], known_row).optional()?)
}

/// The artifacts made under an idempotency key since `since`, oldest first.
pub fn by_key(c: &Connection, tenant: TenantId, key: &str, since: Timestamp) -> Result<Vec<Known>> {
    let sql = format!("{KNOWN} WHERE tenant = ? AND idem_key = ? AND created > ? ORDER BY created, id");
    let mut stmt = c.prepare_cached(&sql)?;
    let rows = stmt.query_map(params![tenant.0, key, since.0], known_row)?;
    Ok(rows.collect::<sql::Result<_>>()?)
}

pub fn has_link(c: &Connection, id: ArtifactId) -> Result<bool> {
    Ok(c.prepare_cached("SELECT 1 FROM links WHERE artifact = ? LIMIT 1")?.exists([id_bytes(id)])?)
}

/// Removes an artifact that nothing points at, and its blob if that lived for it alone and is not in the store.
pub fn erase(c: &Connection, tenant: TenantId, a: &Known) -> Result<()> {
    unindex(c, tenant, &a.metadata, a.created, a.id)?;
    c.prepare_cached("DELETE FROM artifacts WHERE id = ?")?.execute([id_bytes(a.id)])?;
    super::blobs::drop_if_unused(c, tenant, a.hash)
}
