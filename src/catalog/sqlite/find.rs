//! Reads of many rows.

use super::codec::{self, ARTIFACT, LIVE, NODE, NODE_JOIN, SESSION, id_bytes, int};
use super::paths::{self, Paths};
use crate::artifact::ids::{Ino, TenantId};
use crate::artifact::name::{SessionName, split_path};
use crate::artifact::query::{Page, Query, Usage};
use crate::artifact::record::{DirEntry, SessionSummary};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Result};
use crate::catalog::sql::{self, Connection, OptionalExtension, Value, params, params_from_iter};

/// Artifacts and bytes that live at `now`.
pub fn living(c: &Connection, tenant: TenantId, now: Timestamp) -> Result<(u64, u64)> {
    // The tenant's sums hold what has expired and was not swept yet: that alone is counted.
    let sql = "SELECT t.live_artifacts - e.n, t.live_bytes - e.bytes FROM tenants t, \
        (SELECT count(*) AS n, coalesce(sum(size), 0) AS bytes FROM artifacts \
         WHERE tenant = ?1 AND life = 0 AND expires <= ?2) e WHERE t.id = ?1";
    Ok(c.prepare_cached(sql)?.query_row(params![tenant.0, now.0], |r| Ok((codec::uint(r, 0)?, codec::uint(r, 1)?)))?)
}

pub fn list(c: &Connection, dir: Ino, after: u64, limit: u32, now: Timestamp) -> Result<Vec<DirEntry>> {
    let sql = format!(
        "SELECT d.cookie, d.name, {NODE} FROM dentries d JOIN inodes i ON i.ino = d.ino {NODE_JOIN} \
         WHERE d.parent = ?1 AND d.cookie > ?2 AND (a.expires IS NULL OR a.expires > ?3) ORDER BY d.cookie LIMIT ?4"
    );
    let mut stmt = c.prepare_cached(&sql)?;
    let rows = stmt.query_map(params![int(dir.0), int(after), now.0, limit], |r| {
        Ok(DirEntry { cookie: codec::uint(r, 0)?, name: codec::name(r, 1)?, node: codec::node(r, 2)? })
    })?;
    Ok(rows.collect::<sql::Result<_>>()?)
}

/// A `WHERE` clause in the making: text and what its question marks stand for.
#[derive(Default)]
struct Clause {
    sql: String,
    values: Vec<Value>,
}

impl Clause {
    fn and(&mut self, sql: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push_str(if self.sql.is_empty() { " WHERE " } else { " AND " });
        self.sql.push_str(sql);
        self.values.extend(values);
    }
}

pub fn find(c: &Connection, q: &Query, now: Timestamp) -> Result<Page> {
    let mut w = Clause::default();
    let mut from = ARTIFACT.to_owned();
    match q.session {
        Some(session) => w.and("a.tenant = ? AND a.session = ?", [q.tenant.0.into(), session.0.into()]),
        None => w.and("a.tenant = ?", [q.tenant.0.into()]),
    }
    w.and("a.life = ?", [codec::life_code(q.life).into()]);
    w.and("(a.expires IS NULL OR a.expires > ?)", [now.0.into()]);
    // The rarest pair drives, in the order of answers; the others are looked up. (Not the planner's to choose: it knows no numbers.)
    let driver = if q.session.is_none() { rarest(c, q)? } else { None };
    let by = if driver.is_some() { "m" } else { "a" };
    if driver.is_some() {
        from = from.replacen("FROM artifacts a ", "FROM meta m CROSS JOIN artifacts a ", 1);
        w.and("m.id = a.id", []);
    }
    for (n, (key, value)) in q.metadata.iter().enumerate() {
        let pair: [Value; 3] = [q.tenant.0.into(), key.clone().into(), value.clone().into()];
        if driver == Some(n) {
            w.and("m.tenant = ? AND m.key = ? AND m.value = ?", pair);
        } else {
            let sql = "EXISTS (SELECT 1 FROM meta o WHERE o.tenant = ? AND o.key = ? AND o.value = ? AND o.created = a.created AND o.id = a.id)";
            w.and(sql, pair);
        }
    }
    for (key, pattern) in &q.patterns {
        if let Some(path) = json_path(key).filter(|_| driver.is_some() || q.session.is_some()) {
            // Of few rows each is asked.
            w.and("json_extract(a.metadata, ?) GLOB ?", [path.into(), pattern.clone().into()]);
        } else {
            // A range of the index where the pattern begins with letters; SQLite takes it from GLOB by itself.
            w.and(
                "a.id IN (SELECT m.id FROM meta m WHERE m.tenant = ? AND m.key = ? AND m.value GLOB ?)",
                [q.tenant.0.into(), key.clone().into(), pattern.clone().into()],
            );
        }
    }
    if let Some(least) = q.sizes.0 {
        w.and("a.size >= ?", [int(least).into()]);
    }
    if let Some(most) = q.sizes.1 {
        w.and("a.size <= ?", [int(most).into()]);
    }
    if let Some(run) = &q.run {
        w.and("a.run = ?", [run.clone().into()]);
    }
    if let Some(agent) = &q.agent {
        w.and("a.agent_id = ?", [agent.clone().into()]);
    }
    match q.content_type.as_deref().map(|t| (t, t.strip_suffix("/*"))) {
        Some((_, Some(class))) => {
            w.and("substr(a.content_type, 1, ?) = ?", [int(class.len() as u64 + 1).into(), format!("{class}/").into()]);
        }
        Some((exact, None)) => w.and("a.content_type = ?", [exact.to_owned().into()]),
        None => {}
    }
    if let Some(since) = q.since {
        w.and(&format!("{by}.created >= ?"), [since.0.into()]);
    }
    if let Some(until) = q.until {
        w.and(&format!("{by}.created < ?"), [until.0.into()]);
    }
    if let Some((created, id)) = q.after {
        w.and(&format!("({by}.created, {by}.id) < (?, ?)"), [created.0.into(), id_bytes(id).to_vec().into()]);
    }
    if let Some(path) = &q.filename
        && !filename(c, q, path, &mut w)?
    {
        return Ok(Page::default());
    }
    page(c, q, &from, by, w)
}

/// Above this many artifacts with a pair it is no matter how many there are: a page of them is soon full.
const COUNTED: u32 = 2_000;

/// The pair of `q.metadata` that the fewest artifacts have.
fn rarest(c: &Connection, q: &Query) -> Result<Option<usize>> {
    if q.metadata.len() < 2 {
        return Ok(if q.metadata.is_empty() { None } else { Some(0) });
    }
    let sql = "SELECT count(*) FROM (SELECT 1 FROM meta WHERE tenant = ? AND key = ? AND value = ? LIMIT ?) AS few";
    let mut stmt = c.prepare_cached(sql)?;
    let mut least = None;
    for (n, (key, value)) in q.metadata.iter().enumerate() {
        let count: u64 = stmt.query_row(params![q.tenant.0, key, value, COUNTED], |r| codec::uint(r, 0))?;
        if least.is_none_or(|(fewest, _)| count < fewest) {
            least = Some((count, n));
        }
    }
    Ok(least.map(|(_, n)| n))
}

/// Where an artifact's own metadata has the key; none for one that would have to be quoted with care.
fn json_path(key: &str) -> Option<String> {
    let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    plain.then(|| format!("$.\"{key}\""))
}

/// False when no such path has ever existed.
fn filename(c: &Connection, q: &Query, path: &[u8], w: &mut Clause) -> Result<bool> {
    let Ok(names) = split_path(path) else { return Ok(false) };
    let Some((last, above)) = names.split_last() else { return Ok(false) };
    let mut stmt =
        c.prepare_cached("SELECT root FROM sessions WHERE tenant = ?1 AND (CAST(?2 AS BIGINT) IS NULL OR id = ?2)")?;
    let roots = stmt
        .query_map(params![q.tenant.0, q.session.map(|s| s.0)], |r| codec::ino(r, 0))?
        .collect::<sql::Result<Vec<_>>>()?;
    let roots = beside_loose(c, q.tenant, roots)?;
    let dirs: Vec<i64> = paths::dirs_named(c, roots, above)?.into_iter().map(|i| int(i.0)).collect();
    if dirs.is_empty() {
        return Ok(false);
    }
    // JSON instead of one question mark each: a tenant may have more sessions than SQLite has variables.
    w.and(
        "a.name = ? AND a.parent IN (SELECT value FROM json_each(?))",
        [last.as_bytes().to_vec().into(), codec::to_json(&dirs)?.into()],
    );
    Ok(true)
}

/// Of the loose session, the directories that keep its artifacts apart stand for its root.
fn beside_loose(c: &Connection, tenant: TenantId, mut roots: Vec<Ino>) -> Result<Vec<Ino>> {
    let Some(loose) = super::make::session(c, tenant, &SessionName::loose())? else { return Ok(roots) };
    if let Some(at) = roots.iter().position(|r| *r == loose.root) {
        roots.swap_remove(at);
        let mut stmt = c.prepare_cached("SELECT ino FROM dentries WHERE parent = ?")?;
        for ino in stmt.query_map([int(loose.root.0)], |r| codec::ino(r, 0))? {
            roots.push(ino?);
        }
    }
    Ok(roots)
}

fn page(c: &Connection, q: &Query, from: &str, by: &str, mut w: Clause) -> Result<Page> {
    w.values.push((i64::from(q.limit) + 1).into());
    let sql = format!("SELECT {from}{} ORDER BY {by}.created DESC, {by}.id DESC LIMIT ?", w.sql);
    let mut stmt = c.prepare_cached(&sql)?;
    let rows = stmt.query_map(params_from_iter(w.values), codec::artifact)?;
    let mut paths = Paths::default();
    let mut artifacts = rows.map(|row| paths.artifact(c, row?)).collect::<Result<Vec<_>>>()?;
    let more = artifacts.len() > q.limit as usize;
    artifacts.truncate(q.limit as usize);
    let next = if more { artifacts.last().map(|a| (a.created, a.id)) } else { None };
    Ok(Page { artifacts, next })
}

pub fn sessions(c: &Connection, tenant: TenantId, now: Timestamp) -> Result<Vec<SessionSummary>> {
    let sql = format!(
        "SELECT {SESSION}, count(a.id), coalesce(sum(a.size), 0), min(a.created), max(a.created) FROM sessions s \
         LEFT JOIN artifacts a ON a.session = s.id AND a.life = {LIVE} AND (a.expires IS NULL OR a.expires > ?2) \
         WHERE s.tenant = ?1 AND s.name <> '' AND s.removed IS NULL GROUP BY s.id ORDER BY s.created, s.id"
    );
    let mut stmt = c.prepare_cached(&sql)?;
    let rows = stmt.query_map(params![tenant.0, now.0], |r| {
        Ok(SessionSummary {
            session: codec::session(r)?,
            artifacts: codec::uint(r, 7)?,
            bytes: codec::uint(r, 8)?,
            first_artifact: codec::opt_time(r, 9)?,
            last_artifact: codec::opt_time(r, 10)?,
        })
    })?;
    Ok(rows.collect::<sql::Result<_>>()?)
}

pub fn usage(c: &Connection, tenant: TenantId, now: Timestamp) -> Result<Usage> {
    let (max_bytes, max_artifacts, stored_bytes) = c
        .prepare_cached("SELECT max_bytes, max_artifacts, stored_bytes FROM tenants WHERE id = ?")?
        .query_row([tenant.0], |r| Ok((codec::opt_uint(r, 0)?, codec::opt_uint(r, 1)?, codec::uint(r, 2)?)))
        .optional()?
        .ok_or_else(|| Error::not_found("the tenant does not exist"))?;
    let sessions = c
        .prepare_cached("SELECT count(*) FROM sessions WHERE tenant = ? AND name <> '' AND removed IS NULL")?
        .query_row([tenant.0], |r| codec::uint(r, 0))?;
    let (artifacts, logical_bytes) = living(c, tenant, now)?;
    Ok(Usage { sessions, artifacts, logical_bytes, stored_bytes, max_bytes, max_artifacts })
}
