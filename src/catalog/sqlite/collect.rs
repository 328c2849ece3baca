//! Blobs that nothing needs: condemned, rescued, deleted (`artifact::life` has the whole of it).

use std::collections::HashSet;

use super::blobs;
use super::codec::{self, CONDEMNED, DELETING, STORED, int};
use crate::artifact::Result;
use crate::artifact::ids::{BlobHash, TenantId};
use crate::artifact::record::Chunks;
use crate::artifact::time::Timestamp;
use crate::catalog::sql::{self, Connection, OptionalExtension, Row, params};
use crate::catalog::upkeep::{Doomed, Garbage, Unneeded};

fn doomed(r: &Row<'_>) -> sql::Result<Doomed> {
    Ok(Doomed { hash: codec::hash(r, 0)?, size: codec::uint(r, 1)? })
}

/// The first of a walk in hash order.
fn from(after: Option<BlobHash>) -> Vec<u8> {
    after.map_or(Vec::new(), |h| h.0.to_vec())
}

/// A commit uses a condemned blob: stored again.
pub fn rescue(c: &Connection, tenant: TenantId, hash: BlobHash) -> Result<()> {
    c.prepare_cached("UPDATE blobs SET state = ?, since = NULL WHERE tenant = ? AND hash = ? AND state = ?")?
        .execute(params![STORED, tenant.0, hash.0, CONDEMNED])?;
    Ok(())
}

pub fn suspects(c: &Connection, tenant: TenantId, limit: u32) -> Result<Vec<BlobHash>> {
    let mut stmt = c.prepare_cached("SELECT hash FROM suspects WHERE tenant = ? LIMIT ?")?;
    let rows = stmt.query_map(params![tenant.0, limit], |r| codec::hash(r, 0))?;
    Ok(rows.collect::<sql::Result<_>>()?)
}

pub fn replaced(c: &Connection, tenant: TenantId, limit: u32) -> Result<Vec<BlobHash>> {
    let mut stmt = c.prepare_cached("SELECT hash FROM suspects WHERE tenant = ? AND replaced = 1 LIMIT ?")?;
    let rows = stmt.query_map(params![tenant.0, limit], |r| codec::hash(r, 0))?;
    Ok(rows.collect::<sql::Result<_>>()?)
}

/// A version was replaced: if its blob became a suspect by that, nobody can ask for it any more.
pub fn mark_replaced(c: &Connection, tenant: TenantId, hash: BlobHash) -> Result<()> {
    c.prepare_cached("UPDATE suspects SET replaced = 1 WHERE tenant = ? AND hash = ?")?
        .execute(params![tenant.0, hash.0])?;
    Ok(())
}

pub fn condemned_of(c: &Connection, tenant: TenantId, mut hashes: Vec<BlobHash>) -> Result<Vec<BlobHash>> {
    let mut stmt = c.prepare_cached("SELECT 1 FROM blobs WHERE tenant = ? AND hash = ? AND state = ?")?;
    let mut failure = None;
    hashes.retain(|hash| match stmt.exists(params![tenant.0, hash.0, CONDEMNED]) {
        Ok(condemned) => condemned,
        Err(e) => {
            failure = Some(e);
            false
        }
    });
    failure.map_or(Ok(hashes), |e| Err(e.into()))
}

pub fn unneeded(c: &Connection, tenant: TenantId, after: Option<BlobHash>, limit: u32) -> Result<Unneeded> {
    // The page is of blobs looked at, not of blobs found: one among ten million must not cost a scan of them all.
    // Two indexes side by side, and rows of blobs for those alone that nothing refers to.
    let mut stmt = c.prepare_cached("SELECT hash FROM blobs WHERE tenant = ?1 AND hash > ?2 ORDER BY hash LIMIT ?3")?;
    let page: Vec<BlobHash> =
        stmt.query_map(params![tenant.0, from(after), limit], |r| codec::hash(r, 0))?.collect::<sql::Result<_>>()?;
    let Some(last) = page.last().copied() else { return Ok(Unneeded::default()) };
    let mut stmt =
        c.prepare_cached("SELECT DISTINCT hash FROM artifacts WHERE tenant = ?1 AND hash > ?2 AND hash <= ?3")?;
    let used: HashSet<BlobHash> =
        stmt.query_map(params![tenant.0, from(after), last.0], |r| codec::hash(r, 0))?.collect::<sql::Result<_>>()?;
    let mut look = c.prepare_cached("SELECT hash, size FROM blobs WHERE tenant = ? AND hash = ? AND state = ?")?;
    let mut blobs = Vec::new();
    for hash in page.iter().filter(|hash| !used.contains(hash)) {
        blobs.extend(look.query_row(params![tenant.0, hash.0, STORED], doomed).optional()?);
    }
    let full = page.len() >= limit as usize;
    Ok(Unneeded { next: Some(last).filter(|_| full), blobs })
}

pub fn condemn(c: &Connection, tenant: TenantId, hashes: &[BlobHash], since: Timestamp) -> Result<Vec<Doomed>> {
    let mut gone = Vec::new();
    for hash in hashes {
        let found = c
            .prepare_cached(
                "UPDATE blobs SET state = ?3, since = ?4 WHERE tenant = ?1 AND hash = ?2 AND state = ?5 \
                 AND NOT EXISTS (SELECT 1 FROM artifacts a WHERE a.tenant = ?1 AND a.hash = ?2) RETURNING hash, size",
            )?
            .query_row(params![tenant.0, hash.0, CONDEMNED, since.0, STORED], doomed)
            .optional()?;
        gone.extend(found);
        c.prepare_cached("DELETE FROM suspects WHERE tenant = ? AND hash = ?")?.execute(params![tenant.0, hash.0])?;
    }
    Ok(gone)
}

pub fn take(c: &Connection, tenant: TenantId, before: Timestamp, limit: u32, now: Timestamp) -> Result<Vec<Doomed>> {
    let mut stmt = c.prepare_cached(
        "SELECT hash, size FROM blobs WHERE tenant = ? AND state = ? AND since <= ? ORDER BY hash LIMIT ?",
    )?;
    let due: Vec<Doomed> =
        stmt.query_map(params![tenant.0, CONDEMNED, before.0, limit], doomed)?.collect::<sql::Result<_>>()?;
    let mut taken = Vec::with_capacity(due.len());
    for blob in due {
        // Commits rescue what they use; this look costs little and proves it.
        if blobs::is_used(c, tenant, blob.hash)? {
            tracing::error!(blob = %blob.hash, "a condemned blob is in use: rescued late, which is a bug");
            rescue(c, tenant, blob.hash)?;
            continue;
        }
        c.prepare_cached("UPDATE blobs SET state = ?, since = ? WHERE tenant = ? AND hash = ?")?.execute(params![
            DELETING,
            now.0,
            tenant.0,
            blob.hash.0
        ])?;
        taken.push(blob);
    }
    Ok(taken)
}

pub fn deleting(c: &Connection, tenant: TenantId, after: Option<BlobHash>, limit: u32) -> Result<Vec<Doomed>> {
    let mut stmt = c.prepare_cached(
        "SELECT hash, size FROM blobs WHERE tenant = ? AND state = ? AND hash > ? ORDER BY hash LIMIT ?",
    )?;
    let rows = stmt.query_map(params![tenant.0, DELETING, from(after), limit], doomed)?;
    Ok(rows.collect::<sql::Result<_>>()?)
}

pub fn deleting_since(c: &Connection, tenant: TenantId, hash: BlobHash) -> Result<Option<Timestamp>> {
    Ok(c.prepare_cached("SELECT since FROM blobs WHERE tenant = ? AND hash = ? AND state = ?")?
        .query_row(params![tenant.0, hash.0, DELETING], |r| codec::time(r, 0))
        .optional()?)
}

/// For how long a deletion is remembered, in nanoseconds: longer than any commit takes from its upload on.
const REMEMBERED: i64 = 24 * 3600 * 1_000_000_000;

pub fn forget(c: &Connection, tenant: TenantId, hashes: &[BlobHash], now: Timestamp) -> Result<()> {
    for hash in hashes {
        let gone = c
            .prepare_cached("DELETE FROM blobs WHERE tenant = ? AND hash = ? AND state = ?")?
            .execute(params![tenant.0, hash.0, DELETING])?;
        if gone > 0 {
            c.prepare_cached("INSERT INTO deleted(tenant, hash, at) VALUES (?, ?, ?)")?
                .execute(params![tenant.0, hash.0, now.0])?;
        }
    }
    // Oldest first and a page at a time: each call brings about as many as it takes.
    c.prepare_cached("DELETE FROM deleted WHERE n IN (SELECT n FROM deleted ORDER BY n LIMIT 1000) AND at < ?")?
        .execute([now.0.saturating_sub(REMEMBERED)])?;
    Ok(())
}

pub fn deletions(c: &Connection) -> Result<u64> {
    let sql = c.either(
        "SELECT seq FROM sqlite_sequence WHERE name = 'deleted'",
        "SELECT value FROM counters WHERE name = 'deleted'",
    );
    Ok(c.prepare_cached(sql)?.query_row([], |r| codec::uint(r, 0)).optional()?.unwrap_or(0))
}

/// Whether the blob has left the store after the deletion numbered `begun`.
pub fn deleted_since(c: &Connection, tenant: TenantId, hash: BlobHash, begun: u64) -> Result<bool> {
    Ok(c.prepare_cached("SELECT 1 FROM deleted WHERE tenant = ? AND hash = ? AND n > ? LIMIT 1")?.exists(params![
        tenant.0,
        hash.0,
        int(begun)
    ])?)
}

pub fn claim(c: &Connection, tenant: TenantId, blob: Doomed, now: Timestamp) -> Result<bool> {
    let made = c
        .prepare_cached(
            "INSERT OR IGNORE INTO blobs(tenant, hash, size, state, chunks, since) VALUES (?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![tenant.0, blob.hash.0, int(blob.size), DELETING, Chunks::default().to_bytes(), now.0])?;
    Ok(made > 0)
}

pub fn unknown(c: &Connection, tenant: TenantId, hashes: Vec<BlobHash>) -> Result<Vec<BlobHash>> {
    let mut stmt = c.prepare_cached("SELECT 1 FROM blobs WHERE tenant = ? AND hash = ?")?;
    let mut missing = Vec::new();
    for hash in hashes {
        if !stmt.exists(params![tenant.0, hash.0])? {
            missing.push(hash);
        }
    }
    Ok(missing)
}

pub fn hold(c: &Connection, tenant: TenantId, hashes: &[BlobHash], now: Timestamp) -> Result<u64> {
    let mut held = 0;
    for hash in hashes {
        held += c
            .prepare_cached("UPDATE blobs SET since = ? WHERE tenant = ? AND hash = ? AND state = ?")?
            .execute(params![now.0, tenant.0, hash.0, CONDEMNED])?;
    }
    Ok(held as u64)
}

pub fn garbage(c: &Connection, tenant: TenantId, before: Timestamp) -> Result<Garbage> {
    let sql = "SELECT count(*), coalesce(sum(size), 0), coalesce(sum(iif(since <= ?3, 1, 0)), 0), \
        coalesce(sum(iif(since <= ?3, size, 0)), 0) FROM blobs WHERE tenant = ?1 AND state = ?2";
    let row = |state: i64| {
        c.prepare_cached(sql)?.query_row(params![tenant.0, state, before.0], |r| {
            Ok([codec::uint(r, 0)?, codec::uint(r, 1)?, codec::uint(r, 2)?, codec::uint(r, 3)?])
        })
    };
    let [condemned, condemned_bytes, due, due_bytes] = row(CONDEMNED)?;
    let [deleting, ..] = row(DELETING)?;
    Ok(Garbage { condemned, condemned_bytes, due, due_bytes, deleting })
}
