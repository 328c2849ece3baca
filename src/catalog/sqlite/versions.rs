//! Earlier versions of a path: replaced within the window, pruned beyond the number that a path keeps. The rules are
//! `artifact::versions`'; here they meet rows.

use super::artifacts::{self, Known};
use super::attempts;
use super::codec::{self, LIVE, SUPERSEDED, id_bytes, int};
use crate::artifact::Result;
use crate::artifact::ids::{ArtifactId, BlobHash, Ino, TenantId};
use crate::artifact::name::Name;
use crate::artifact::time::Timestamp;
use crate::artifact::versions::{MOUNT, Rules, Version, free, surplus};
use crate::catalog::sql::{self, Connection, OptionalExtension, params};
use crate::catalog::{Commit, Origin};

/// The version that the commit replaces because it follows it within the window.
pub fn replaceable(c: &Connection, rules: Rules, x: &Commit, previous: Option<&Known>) -> Result<Option<Known>> {
    let Some(previous) = previous.filter(|p| p.life == LIVE && !p.expired(x.now) && !rules.window.is_zero()) else {
        return Ok(None);
    };
    let began = began(c, previous)?;
    let same = rules.replaces(&previous.labels, began, &x.labels, x.now) && attempts::is_of(c, previous.id, x.attempt)?;
    if !same || is_held(c, previous, x.now)? {
        return Ok(None);
    }
    artifacts::known(c, previous.id)
}

/// Something holds on to it: a link, or somebody who was told its ID.
pub fn is_held(c: &Connection, known: &Known, now: Timestamp) -> Result<bool> {
    Ok(!free(known.fleeting, now) || artifacts::has_link(c, known.id)?)
}

/// Pins IDs that are about to be told. Answers those that are no more: they must not be told.
pub fn pin(c: &Connection, ids: &[ArtifactId]) -> Result<Vec<ArtifactId>> {
    let mut gone = Vec::new();
    for id in ids {
        let there = c.prepare_cached("UPDATE artifacts SET fleeting = NULL WHERE id = ?")?.execute([id_bytes(*id)])?;
        if there == 0 {
            gone.push(*id);
        }
    }
    Ok(gone)
}

/// The answer to a commit tells the ID, unless it goes to `close(2)`.
pub fn tell_it(c: &Connection, x: &Commit, id: ArtifactId) -> Result<()> {
    if x.labels.provenance.door == MOUNT { Ok(()) } else { pin(c, &[id]).map(drop) }
}

/// When the run of versions began that `known` is the last of.
pub fn began(c: &Connection, known: &Known) -> Result<Timestamp> {
    let began: Option<i64> = c
        .prepare_cached("SELECT began FROM artifacts WHERE id = ?")?
        .query_row([id_bytes(known.id)], |r| r.get(0))
        .optional()?
        .flatten();
    Ok(began.map_or(known.created, Timestamp))
}

/// `id` goes on with the run that began then.
pub fn continue_run(c: &Connection, id: ArtifactId, began: Timestamp) -> Result<()> {
    c.prepare_cached("UPDATE artifacts SET began = ? WHERE id = ?")?.execute(params![began.0, id_bytes(id)])?;
    Ok(())
}

/// Erases an artifact that nothing holds on to. Answers the staging files of `origin`'s mount that held its bytes and
/// that nothing needs any more. A blob in the store becomes garbage for the collector.
pub fn erase(c: &Connection, origin: Origin, tenant: TenantId, known: &Known) -> Result<Vec<String>> {
    let held = places(c, origin, tenant, known.hash)?;
    artifacts::erase(c, tenant, known)?;
    if held.is_empty() {
        return Ok(held);
    }
    let left = places(c, origin, tenant, known.hash)?;
    let mut freed = Vec::new();
    for file in held.into_iter().filter(|f| !left.contains(f)) {
        // A later version may live in the same file.
        let sql = "SELECT 1 FROM provisional WHERE mount = ? AND file = ? LIMIT 1";
        if !c.prepare_cached(sql)?.exists(params![origin.0.0.to_bytes(), file])? {
            freed.push(file);
        }
    }
    Ok(freed)
}

fn places(c: &Connection, origin: Origin, tenant: TenantId, hash: BlobHash) -> Result<Vec<String>> {
    let sql = "SELECT file FROM provisional WHERE tenant = ? AND hash = ? AND mount = ?";
    let mut stmt = c.prepare_cached(sql)?;
    let rows = stmt.query_map(params![tenant.0, hash.0, origin.0.0.to_bytes()], |r| r.get(0))?;
    Ok(rows.collect::<sql::Result<_>>()?)
}

/// Prunes a path to the newest `keep` versions. Answers how many went. What holds on to a version: a link that is neither
/// revoked nor expired, an idempotency key within its window (`keyed_since` is where that begins), a staging file that holds
/// it and no later version (its mount would not learn that it is free: a later commit prunes it), a sealed session.
pub fn prune(
    c: &Connection,
    tenant: TenantId,
    path: (Ino, &Name),
    keep: u32,
    keyed_since: Timestamp,
    now: Timestamp,
) -> Result<usize> {
    let sql = format!(
        "SELECT a.id, a.version, a.life, \
         EXISTS (SELECT 1 FROM links l WHERE l.artifact = a.id AND l.revoked IS NULL AND (l.expires IS NULL OR l.expires > ?3)) \
         OR (a.idem_key IS NOT NULL AND a.created > ?4) \
         OR EXISTS (SELECT 1 FROM provisional p WHERE p.tenant = a.tenant AND p.hash = a.hash \
            AND NOT EXISTS (SELECT 1 FROM provisional q WHERE q.mount = p.mount AND q.file = p.file AND q.n > p.n)) \
         OR EXISTS (SELECT 1 FROM sessions s WHERE s.id = a.session AND s.sealed IS NOT NULL) \
         FROM artifacts a WHERE a.parent = ?1 AND a.name = ?2 AND a.life IN ({LIVE}, {SUPERSEDED}) ORDER BY a.version"
    );
    let mut stmt = c.prepare_cached(&sql)?;
    let rows = stmt.query_map(params![int(path.0.0), path.1.as_bytes(), now.0, keyed_since.0], |r| {
        let live: i64 = r.get(2)?;
        Ok(Version { id: codec::artifact_id(r, 0)?, number: codec::uint(r, 1)?, live: live == LIVE, pinned: r.get(3)? })
    })?;
    let versions: Vec<Version> = rows.collect::<sql::Result<_>>()?;
    let lost = surplus(&versions, keep);
    for id in &lost {
        if let Some(known) = artifacts::known(c, *id)? {
            artifacts::erase(c, tenant, &known)?;
        }
    }
    Ok(lost.len())
}
