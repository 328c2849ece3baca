//! Invariants of the records, for `check`.

use super::codec;
use crate::artifact::Result;
use crate::artifact::ids::{BlobHash, TenantId};
use crate::artifact::record::Blob;
use crate::catalog::RecordCheck;
use crate::catalog::sql::{self, Connection, params};

/// Faults of one kind that are told one by one.
const TOLD: usize = 20;

/// A sentence and the query whose rows break it; `?1` is the tenant. `mine` are the tenant's inodes.
const RULES: [(&str, &str); 17] = [
    (
        "an artifact has no blob",
        "SELECT hex(a.id) FROM artifacts a WHERE a.tenant = ?1 \
         AND NOT EXISTS (SELECT 1 FROM blobs b WHERE b.tenant = a.tenant AND b.hash = a.hash)",
    ),
    (
        "an artifact's blob is condemned or being deleted",
        "SELECT hex(a.id) FROM artifacts a JOIN blobs b ON b.tenant = a.tenant AND b.hash = a.hash \
         WHERE a.tenant = ?1 AND b.state > 2",
    ),
    (
        "a blob has no moment of its condemnation, or one that is not condemned has",
        "SELECT hex(b.hash) FROM blobs b WHERE b.tenant = ?1 AND ((b.state > 2) <> (b.since IS NOT NULL))",
    ),
    (
        "an artifact and its blob differ in size",
        "SELECT hex(a.id) FROM artifacts a JOIN blobs b ON b.tenant = a.tenant AND b.hash = a.hash \
         WHERE a.tenant = ?1 AND a.size <> b.size",
    ),
    (
        "a provisional blob has no place",
        "SELECT hex(b.hash) FROM blobs b WHERE b.tenant = ?1 AND b.state = 1 \
         AND NOT EXISTS (SELECT 1 FROM provisional p WHERE p.tenant = b.tenant AND p.hash = b.hash)",
    ),
    (
        "a place in staging is kept of a blob that is settled or unknown",
        "SELECT hex(p.hash) FROM provisional p WHERE p.tenant = ?1 \
         AND NOT EXISTS (SELECT 1 FROM blobs b WHERE b.tenant = p.tenant AND b.hash = p.hash AND b.state = 1)",
    ),
    (
        "an inline blob has no bytes, or one that is not inline has some",
        "SELECT hex(b.hash) FROM blobs b WHERE b.tenant = ?1 AND ((b.state = 0) <> (b.data IS NOT NULL))",
    ),
    (
        "an inline blob's size is wrong",
        "SELECT hex(b.hash) FROM blobs b WHERE b.tenant = ?1 AND b.state = 0 AND length(b.data) <> b.size",
    ),
    (
        "a file shows an artifact that does not exist or is another file's",
        "SELECT i.ino FROM inodes i JOIN sessions s ON s.id = i.session WHERE s.tenant = ?1 AND i.kind = 0 \
         AND i.nlink > 0 AND i.artifact IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM artifacts a WHERE a.id = i.artifact AND a.ino = i.ino AND a.session = i.session)",
    ),
    (
        "a file and its artifact differ in size",
        "SELECT i.ino FROM inodes i JOIN artifacts a ON a.id = i.artifact WHERE a.tenant = ?1 AND i.nlink > 0 \
         AND i.size <> a.size",
    ),
    (
        "a live artifact has no file that shows it",
        "SELECT hex(a.id) FROM artifacts a WHERE a.tenant = ?1 AND a.life = 0 \
         AND NOT EXISTS (SELECT 1 FROM inodes i WHERE i.ino = a.ino AND i.artifact = a.id AND i.nlink > 0)",
    ),
    (
        "a live artifact is filed under a place that is not a name of its file",
        "SELECT hex(a.id) FROM artifacts a WHERE a.tenant = ?1 AND a.life = 0 \
         AND NOT EXISTS (SELECT 1 FROM dentries d WHERE d.parent = a.parent AND d.name = a.name AND d.ino = a.ino)",
    ),
    (
        "a link count is not the number of names",
        "SELECT i.ino FROM inodes i JOIN sessions s ON s.id = i.session WHERE s.tenant = ?1 AND i.kind <> 1 \
         AND i.nlink <> (SELECT count(*) FROM dentries d WHERE d.ino = i.ino)",
    ),
    (
        "a directory's link count is not 2 and its directories",
        "SELECT i.ino FROM inodes i JOIN sessions s ON s.id = i.session WHERE s.tenant = ?1 AND i.kind = 1 AND i.nlink > 0 \
         AND i.nlink <> 2 + (SELECT count(*) FROM dentries d JOIN inodes k ON k.ino = d.ino AND k.kind = 1 WHERE d.parent = i.ino)",
    ),
    (
        "a name leads nowhere, out of its session or stands in no living directory",
        "SELECT d.cookie FROM dentries d JOIN inodes p ON p.ino = d.parent JOIN sessions s ON s.id = p.session \
         WHERE s.tenant = ?1 AND (p.kind <> 1 OR p.nlink = 0 \
         OR NOT EXISTS (SELECT 1 FROM inodes i WHERE i.ino = d.ino AND i.session = p.session))",
    ),
    (
        "the tenant's sums are not those of its live artifacts",
        "SELECT t.id FROM tenants t WHERE t.id = ?1 AND (t.live_artifacts, t.live_bytes) <> \
         (SELECT count(*), coalesce(sum(size), 0) FROM artifacts a WHERE a.tenant = t.id AND a.life = 0)",
    ),
    (
        "the tenant's stored bytes are not those of its blobs",
        "SELECT t.id FROM tenants t WHERE t.id = ?1 AND t.stored_bytes <> \
         (SELECT coalesce(sum(size), 0) FROM blobs b WHERE b.tenant = t.id)",
    ),
];

pub fn records(c: &Connection, tenant: TenantId) -> Result<RecordCheck> {
    let count = |sql: &str| c.query_row(sql, [tenant.0], |r| codec::uint(r, 0));
    let mut check = RecordCheck {
        artifacts: count("SELECT count(*) FROM artifacts WHERE tenant = ?")?,
        nodes: count(
            "SELECT count(*) FROM inodes i JOIN sessions s ON s.id = i.session WHERE s.tenant = ? AND i.nlink > 0",
        )?,
        faults: Vec::new(),
    };
    for (broken, sql) in RULES {
        let mut stmt = c.prepare_cached(sql)?;
        let rows = stmt.query_map([tenant.0], |r| r.get::<sql::Value>(0))?;
        let who: Vec<_> = rows.collect::<sql::Result<_>>()?;
        check.faults.extend(who.iter().take(TOLD).map(|v| format!("{broken}: {}", text(v))));
        if who.len() > TOLD {
            check.faults.push(format!("{broken}: {} more", who.len() - TOLD));
        }
    }
    Ok(check)
}

fn text(value: &sql::Value) -> String {
    match value {
        sql::Value::Integer(n) => n.to_string(),
        sql::Value::Text(t) => t.clone(),
        other => format!("{other:?}"),
    }
}

pub fn needed_blobs(c: &Connection, tenant: TenantId, after: Option<BlobHash>, limit: u32) -> Result<Vec<Blob>> {
    let from = after.map_or(Vec::new(), |h| h.0.to_vec());
    let mut stmt = c.prepare_cached(
        "SELECT b.hash FROM blobs b WHERE b.tenant = ? AND b.hash > ? \
         AND EXISTS (SELECT 1 FROM artifacts a WHERE a.tenant = b.tenant AND a.hash = b.hash) ORDER BY b.hash LIMIT ?",
    )?;
    let hashes: Vec<BlobHash> =
        stmt.query_map(params![tenant.0, from, limit], |r| codec::hash(r, 0))?.collect::<sql::Result<_>>()?;
    let mut found = Vec::with_capacity(hashes.len());
    for hash in hashes {
        found.extend(super::blobs::blob(c, tenant, hash)?);
    }
    Ok(found)
}
