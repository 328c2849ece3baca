//! Links: issued, found by the hash of their token, listed, revoked. Sealing does not touch them.

use super::codec::{self, id_bytes};
use crate::artifact::ids::{BlobHash, SessionId, TenantId};
use crate::artifact::record::{Link, LinkTarget};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::sql::{self, Connection, OptionalExtension, Row, params};

const LINK: &str = "SELECT id, token_hash, tenant, artifact, session, created, expires, revoked FROM links";

fn link(r: &Row<'_>) -> sql::Result<Link> {
    let target = match codec::opt_artifact_id(r, 3)? {
        Some(id) => LinkTarget::Artifact(id),
        None => LinkTarget::Session(SessionId(r.get(4)?)),
    };
    Ok(Link {
        id: r.get(0)?,
        token_hash: codec::hash(r, 1)?,
        tenant: TenantId(r.get(2)?),
        target,
        created: codec::time(r, 5)?,
        expires: codec::opt_time(r, 6)?,
        revoked: codec::opt_time(r, 7)?,
    })
}

/// The two columns of a target.
fn columns(target: LinkTarget) -> (Option<[u8; 16]>, Option<i64>) {
    match target {
        LinkTarget::Artifact(id) => (Some(id_bytes(id)), None),
        LinkTarget::Session(id) => (None, Some(id.0)),
    }
}

/// # Errors
/// `OverQuota` when the tenant has as many links that lead somewhere as it may.
fn within_limit(c: &Connection, new: &Link) -> Result<()> {
    let max = c
        .prepare_cached("SELECT max_links FROM tenants WHERE id = ?")?
        .query_row([new.tenant.0], |r| codec::opt_uint(r, 0))
        .optional()?
        .flatten();
    let Some(max) = max else { return Ok(()) };
    let sql = "SELECT count(*) FROM links WHERE tenant = ? AND revoked IS NULL AND (expires IS NULL OR expires > ?)";
    let active = c.prepare_cached(sql)?.query_row(params![new.tenant.0, new.created.0], |r| codec::uint(r, 0))?;
    if active < max {
        return Ok(());
    }
    let text = format!("the tenant has {active} links of {max}: revoke one, or let them expire");
    Err(Error::new(Kind::OverQuota, text))
}

pub fn add(c: &Connection, new: &Link) -> Result<()> {
    within_limit(c, new)?;
    let (artifact, session) = columns(new.target);
    let exists = c
        .prepare_cached(
            "SELECT 1 FROM artifacts WHERE id = ?2 AND tenant = ?1 UNION ALL \
             SELECT 1 FROM sessions WHERE id = ?3 AND tenant = ?1",
        )?
        .exists(params![new.tenant.0, artifact, session])?;
    if !exists {
        return Err(Error::not_found("what the link should lead to does not exist"));
    }
    let added = c
        .prepare_cached(
            "INSERT OR IGNORE INTO links(id, token_hash, tenant, artifact, session, created, expires, revoked) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            new.id,
            new.token_hash.0,
            new.tenant.0,
            artifact,
            session,
            new.created.0,
            new.expires.map(|t| t.0),
            new.revoked.map(|t| t.0)
        ])?;
    if added == 0 {
        return Err(Error::new(Kind::Exists, format!("a link '{}' exists already", new.id)));
    }
    Ok(())
}

pub fn by_token(c: &Connection, token_hash: BlobHash) -> Result<Option<Link>> {
    Ok(c.prepare_cached(&format!("{LINK} WHERE token_hash = ?"))?.query_row([token_hash.0], link).optional()?)
}

pub fn list(c: &Connection, tenant: TenantId, target: Option<LinkTarget>) -> Result<Vec<Link>> {
    let (artifact, session) = target.map_or((None, None), columns);
    let sql = format!(
        "{LINK} WHERE tenant = ?1 AND (CAST(?2 AS BLOB) IS NULL OR artifact = ?2) AND (CAST(?3 AS BIGINT) IS NULL OR session = ?3) \
         ORDER BY created DESC, id"
    );
    let mut stmt = c.prepare_cached(&sql)?;
    let rows = stmt.query_map(params![tenant.0, artifact, session], link)?;
    Ok(rows.collect::<sql::Result<_>>()?)
}

pub fn revoke(c: &Connection, tenant: TenantId, id: &str, now: Timestamp) -> Result<Link> {
    c.prepare_cached("UPDATE links SET revoked = coalesce(revoked, ?3) WHERE tenant = ?1 AND id = ?2")?
        .execute(params![tenant.0, id, now.0])?;
    c.prepare_cached(&format!("{LINK} WHERE tenant = ? AND id = ?"))?
        .query_row(params![tenant.0, id], link)
        .optional()?
        .ok_or_else(|| Error::not_found(format!("there is no link '{id}'")))
}
