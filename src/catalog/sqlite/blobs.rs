//! Where bytes are: placing them in a commit, settling them, what is still pending.

use super::codec::{self, INLINE, PROVISIONAL, STORED, id_bytes, int};
use super::collect;
use crate::artifact::ids::{ArtifactId, BlobHash, MountId, SessionId, TenantId};
use crate::artifact::life::{Meeting, Offer, meet};
use crate::artifact::record::{Blob, BlobPlace, Chunks, StoreState};
use crate::artifact::{Error, Kind, Result};
use crate::catalog::sql::{self, Connection, OptionalExtension, Row, params};
use crate::catalog::{Commit, CommitError, Origin, Payload, PendingCount, Unsettled};

fn state(c: &Connection, tenant: TenantId, hash: BlobHash) -> Result<Option<i64>> {
    Ok(c.prepare_cached("SELECT state FROM blobs WHERE tenant = ? AND hash = ?")?
        .query_row(params![tenant.0, hash.0], |r| r.get(0))
        .optional()?)
}

/// Makes sure that the bytes of a commit have a row, in the best place known.
pub fn put(c: &Connection, origin: Origin, x: &Commit) -> Result<(), CommitError> {
    let found = state(c, x.tenant, x.hash)?;
    let offer = match &x.bytes {
        Payload::Known => Offer::Known,
        Payload::Inline(_) => Offer::Inline,
        Payload::Stored => Offer::Stored,
        Payload::Provisional { .. } => Offer::Provisional,
    };
    let outdated = found.is_none() && collect::deleted_since(c, x.tenant, x.hash, x.begun)?;
    match (meet(found.map(codec::blob_state), offer, outdated), &x.bytes) {
        (Meeting::Gone, _) => return Err(CommitError::BlobGone),
        (Meeting::Keep, _) => {}
        (Meeting::Rescue, _) => collect::rescue(c, x.tenant, x.hash)?,
        (Meeting::Add, Payload::Known | Payload::Stored) => add(c, x, STORED, None)?,
        (Meeting::Add, Payload::Inline(bytes)) => add(c, x, INLINE, Some(bytes))?,
        (_, Payload::Inline(bytes)) => {
            c.prepare_cached("UPDATE blobs SET state = ?, data = ? WHERE tenant = ? AND hash = ?")?
                .execute(params![INLINE, &bytes[..], x.tenant.0, x.hash.0])?;
            forget_places(c, x.tenant, x.hash)?;
        }
        (meeting, Payload::Provisional { file }) => {
            if meeting == Meeting::Add {
                add(c, x, PROVISIONAL, None)?;
            }
            c.prepare_cached("INSERT OR IGNORE INTO provisional(tenant, hash, mount, file) VALUES (?, ?, ?, ?)")?
                .execute(params![x.tenant.0, x.hash.0, origin.0.0.to_bytes(), file])?;
        }
        (_, Payload::Known | Payload::Stored) => settle(c, x.tenant, x.hash)?,
    }
    Ok(())
}

fn add(c: &Connection, x: &Commit, state: i64, data: Option<&[u8]>) -> Result<()> {
    c.prepare_cached(
        "INSERT INTO blobs(tenant, hash, size, state, chunks, data, midstate, kept) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![x.tenant.0, x.hash.0, int(x.size), state, x.chunks.to_bytes(), data, x.midstate, x.kept])?;
    Ok(())
}

fn forget_places(c: &Connection, tenant: TenantId, hash: BlobHash) -> Result<()> {
    c.prepare_cached("DELETE FROM provisional WHERE tenant = ? AND hash = ?")?.execute(params![tenant.0, hash.0])?;
    Ok(())
}

pub fn settle(c: &Connection, tenant: TenantId, hash: BlobHash) -> Result<()> {
    c.prepare_cached("UPDATE blobs SET state = ?, data = NULL WHERE tenant = ? AND hash = ? AND state < ?1")?
        .execute(params![STORED, tenant.0, hash.0])?;
    forget_places(c, tenant, hash)
}

pub fn is_used(c: &Connection, tenant: TenantId, hash: BlobHash) -> Result<bool> {
    Ok(c.prepare_cached("SELECT 1 FROM artifacts WHERE tenant = ? AND hash = ? LIMIT 1")?
        .exists(params![tenant.0, hash.0])?)
}

/// A blob outside the store that no artifact needs ceases; one in the store is garbage for the collector.
pub fn drop_if_unused(c: &Connection, tenant: TenantId, hash: BlobHash) -> Result<()> {
    if is_used(c, tenant, hash)? {
        return Ok(());
    }
    let gone = c
        .prepare_cached("DELETE FROM blobs WHERE tenant = ? AND hash = ? AND state < ?")?
        .execute(params![tenant.0, hash.0, STORED])?;
    if gone > 0 {
        forget_places(c, tenant, hash)?;
    }
    Ok(())
}

pub fn forget_provisional(c: &Connection, tenant: TenantId, hash: BlobHash, mount: MountId, file: &str) -> Result<()> {
    c.prepare_cached("DELETE FROM provisional WHERE tenant = ? AND hash = ? AND mount = ? AND file = ?")?
        .execute(params![tenant.0, hash.0, mount.0.to_bytes(), file])?;
    let elsewhere = c
        .prepare_cached("SELECT 1 FROM provisional WHERE tenant = ? AND hash = ? LIMIT 1")?
        .exists(params![tenant.0, hash.0])?;
    if elsewhere || state(c, tenant, hash)? != Some(PROVISIONAL) {
        return Ok(());
    }
    if is_used(c, tenant, hash)? {
        return Err(Error::new(
            Kind::Busy,
            format!("staging file '{file}' holds the only copy of bytes that an artifact needs"),
        ));
    }
    drop_if_unused(c, tenant, hash)
}

/// The place of a row of `state`; `None` for a provisional blob without a file.
fn place(state: i64, data: Option<Vec<u8>>, file: Option<(MountId, String)>) -> Option<BlobPlace> {
    match state {
        INLINE => Some(BlobPlace::Inline(data.unwrap_or_default().into())),
        PROVISIONAL => file.map(|(mount, file)| BlobPlace::Provisional { mount, file }),
        _ => Some(BlobPlace::Stored),
    }
}

pub fn blob(c: &Connection, tenant: TenantId, hash: BlobHash) -> Result<Option<Blob>> {
    // Of several provisional places the newest: the others are on their way out.
    let sql = "SELECT b.size, b.state, b.chunks, b.data, p.mount, p.file FROM blobs b \
        LEFT JOIN provisional p ON b.state = 1 AND p.tenant = b.tenant AND p.hash = b.hash \
        WHERE b.tenant = ? AND b.hash = ? ORDER BY p.n DESC LIMIT 1";
    let row = c
        .prepare_cached(sql)?
        .query_row(params![tenant.0, hash.0], |r| {
            let file = match r.get::<Option<String>>(5)? {
                Some(file) => Some((codec::mount(r, 4)?, file)),
                None => None,
            };
            let chunks = Chunks::from_bytes(r.bytes(2)?);
            Ok((codec::uint(r, 0)?, chunks, place(r.get(1)?, r.get(3)?, file)))
        })
        .optional()?;
    Ok(row.and_then(|(size, chunks, place)| Some(Blob { hash, size, place: place?, chunks })))
}

pub fn midstate(c: &Connection, tenant: TenantId, hash: BlobHash) -> Result<Option<Vec<u8>>> {
    Ok(c.prepare_cached("SELECT midstate FROM blobs WHERE tenant = ? AND hash = ?")?
        .query_row(params![tenant.0, hash.0], |r| r.get(0))
        .optional()?
        .flatten())
}

pub fn unsettled(c: &Connection, mount: Option<MountId>, limit: u32) -> Result<Vec<Unsettled>> {
    let read = |r: &Row<'_>| {
        let mount = match r.get::<Option<String>>(6)? {
            Some(file) => Some((codec::mount(r, 5)?, file)),
            None => None,
        };
        let place = place(if mount.is_some() { PROVISIONAL } else { INLINE }, r.get(4)?, mount);
        let chunks = Chunks::from_bytes(r.bytes(3)?);
        Ok((TenantId(r.get(0)?), codec::hash(r, 1)?, codec::uint(r, 2)?, chunks, place))
    };
    let rows: Vec<_> = match mount {
        None => c
            .prepare_cached("SELECT tenant, hash, size, chunks, data, NULL, NULL FROM blobs WHERE state = 0 LIMIT ?")?
            .query_map([limit], read)?
            .collect::<sql::Result<_>>()?,
        Some(mount) => c
            .prepare_cached(
                "SELECT b.tenant, b.hash, b.size, b.chunks, NULL, p.mount, p.file FROM provisional p \
                 JOIN blobs b ON b.tenant = p.tenant AND b.hash = p.hash WHERE p.mount = ? ORDER BY p.n LIMIT ?",
            )?
            .query_map(params![mount.0.to_bytes(), limit], read)?
            .collect::<sql::Result<_>>()?,
    };
    Ok(rows
        .into_iter()
        .filter_map(|(tenant, hash, size, chunks, place)| Some(Unsettled { tenant, hash, size, chunks, place: place? }))
        .collect())
}

pub fn pending(c: &Connection, session: Option<SessionId>, mount: Option<MountId>) -> Result<PendingCount> {
    count(c, session, mount, true)
}

pub fn unmoved(c: &Connection, session: Option<SessionId>, mount: Option<MountId>) -> Result<PendingCount> {
    count(c, session, mount, false)
}

fn count(c: &Connection, session: Option<SessionId>, mount: Option<MountId>, pending: bool) -> Result<PendingCount> {
    // CROSS JOIN fixes the order: from the few blobs that are not settled to their artifacts.
    let sql = "SELECT count(*), coalesce(sum(a.size), 0) FROM blobs b \
        CROSS JOIN artifacts a ON a.tenant = b.tenant AND a.hash = b.hash WHERE b.state < 2 \
        AND NOT (?3 = 1 AND b.kept = 1) \
        AND (CAST(?1 AS BIGINT) IS NULL OR a.session = ?1) \
        AND (CAST(?2 AS BLOB) IS NULL OR EXISTS (SELECT 1 FROM provisional p \
             WHERE p.tenant = b.tenant AND p.hash = b.hash AND p.mount = ?2))";
    Ok(c.prepare_cached(sql)?
        .query_row(params![session.map(|s| s.0), mount.map(|m| m.0.to_bytes()), pending], |r| {
            Ok(PendingCount { artifacts: codec::uint(r, 0)?, bytes: codec::uint(r, 1)? })
        })?)
}

pub fn store_state(c: &Connection, id: ArtifactId) -> Result<Option<StoreState>> {
    let sql = "SELECT b.state FROM artifacts a LEFT JOIN blobs b ON b.tenant = a.tenant AND b.hash = a.hash \
        WHERE a.id = ?";
    let state = c.prepare_cached(sql)?.query_row([id_bytes(id)], |r| r.get::<Option<i64>>(0)).optional()?;
    Ok(state.map(|s| if s.is_some_and(|s| s >= STORED) { StoreState::Stored } else { StoreState::Pending }))
}
