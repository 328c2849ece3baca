//! Limits and use: rows of `tenants`, sums over `artifacts`.

use std::collections::HashMap;

use async_trait::async_trait;

use super::{SqliteCatalog, codec};
use crate::artifact::ids::{ArtifactId, MountId, TenantId};
use crate::artifact::query::{By, Share};
use crate::artifact::quota::{Claims, Quota, Room};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Result};
use crate::catalog::quotas::Quotas;
use crate::catalog::sql::{Connection, OptionalExtension, params};

/// In nanoseconds.
const DAY: i64 = 86_400_000_000_000;

fn missing() -> Error {
    Error::not_found("the tenant does not exist")
}

#[async_trait]
impl Quotas for SqliteCatalog {
    async fn set_quota(&self, tenant: TenantId, quota: Quota) -> Result<()> {
        self.durable(move |c| {
            let changed = c.execute(
                "UPDATE tenants SET max_bytes = ?, max_artifacts = ?, max_file_bytes = ?, max_links = ? WHERE id = ?",
                params![
                    quota.max_bytes.map(codec::int),
                    quota.max_artifacts.map(codec::int),
                    quota.max_file_bytes.map(codec::int),
                    quota.max_links.map(codec::int),
                    tenant.0
                ],
            )?;
            if changed == 0 { Err(missing()) } else { Ok(()) }
        })
        .await
    }

    async fn room(&self, tenant: TenantId) -> Result<Room> {
        self.readers.read(|c| {
            c.prepare_cached(
                "SELECT max_bytes, max_artifacts, max_file_bytes, max_links, live_artifacts, live_bytes \
                 FROM tenants WHERE id = ?",
            )?
            .query_row([tenant.0], |r| {
                let quota = Quota {
                    max_bytes: codec::opt_uint(r, 0)?,
                    max_artifacts: codec::opt_uint(r, 1)?,
                    max_file_bytes: codec::opt_uint(r, 2)?,
                    max_links: codec::opt_uint(r, 3)?,
                };
                Ok(Room { quota, artifacts: codec::uint(r, 4)?, bytes: codec::uint(r, 5)?, claims: Claims::default() })
            })
            .optional()?
            .ok_or_else(missing)
        })
    }

    async fn claims(
        &self,
        tenant: TenantId,
        me: MountId,
        upload: Option<ArtifactId>,
        now: Timestamp,
    ) -> Result<Claims> {
        self.readers.read(|c| {
            let announced = announced(c, tenant, upload, now)?;
            let staged = c
                .prepare_cached("SELECT coalesce(sum(bytes), 0) FROM staged WHERE tenant = ? AND owner <> ?")?
                .query_row(params![tenant.0, me.0.to_bytes()], |r| codec::uint(r, 0))?;
            Ok(Claims { bytes: announced.bytes.saturating_add(staged), ..announced })
        })
    }

    async fn largest(&self, tenant: TenantId) -> Result<u64> {
        let sql =
            "SELECT coalesce(max(size), 0) FROM artifacts INDEXED BY artifacts_hash WHERE tenant = ? AND life = 0";
        self.scan(move |c| Ok(c.prepare_cached(sql)?.query_row([tenant.0], |r| codec::uint(r, 0))?)).await
    }

    async fn set_staged(&self, tenant: TenantId, owner: MountId, bytes: u64) -> Result<()> {
        self.change(move |c| {
            if bytes == 0 {
                c.prepare_cached("DELETE FROM staged WHERE owner = ?")?.execute([owner.0.to_bytes()])?;
            } else {
                c.prepare_cached("INSERT INTO staged(owner, tenant, bytes) VALUES (?, ?, ?) ON CONFLICT(owner) DO UPDATE SET tenant = excluded.tenant, bytes = excluded.bytes")?
                    .execute(params![owner.0.to_bytes(), tenant.0, codec::int(bytes)])?;
            }
            Ok(())
        })
        .await
    }

    async fn shares(&self, tenant: TenantId, by: By, now: Timestamp) -> Result<Vec<Share>> {
        self.scan(move |c| {
            let mut shares = sum(c, tenant, by, now)?;
            match by {
                By::Day => shares.sort_by(|a, b| b.key.cmp(&a.key)),
                By::Session | By::Agent => {
                    shares.sort_by(|a, b| b.logical_bytes.cmp(&a.logical_bytes).then_with(|| a.key.cmp(&b.key)));
                }
            }
            Ok(shares)
        })
        .await
    }
}

/// Uploads that are announced, not finished and still in time, but for `except`.
pub fn announced(c: &Connection, tenant: TenantId, except: Option<ArtifactId>, now: Timestamp) -> Result<Claims> {
    let sql = "SELECT count(*), coalesce(sum(size), 0) FROM uploads \
        WHERE tenant = ?1 AND artifact IS NULL AND expires > ?2 AND id IS DISTINCT FROM ?3";
    Ok(c.prepare_cached(sql)?.query_row(params![tenant.0, now.0, except.map(codec::id_bytes)], |r| {
        Ok(Claims { artifacts: codec::uint(r, 0)?, bytes: codec::uint(r, 1)? })
    })?)
}

/// One part's name while it is summed.
#[derive(PartialEq, Eq, Hash)]
enum Part {
    Session(i64),
    Agent(Option<String>),
    /// Since 1970, UTC.
    Day(i64),
}

/// Walks `artifacts_hash` once: within a hash the oldest artifact comes first.
fn sum(c: &Connection, tenant: TenantId, by: By, now: Timestamp) -> Result<Vec<Share>> {
    let mut stmt = c.prepare_cached(
        "SELECT hash, life = 0 AND (expires IS NULL OR expires > ?2), created, size, session, agent_id \
         FROM artifacts INDEXED BY artifacts_hash WHERE tenant = ?1 ORDER BY hash, id",
    )?;
    let mut rows = stmt.query(params![tenant.0, now.0])?;
    let mut parts: HashMap<Part, Share> = HashMap::new();
    let mut last = None;
    while let Some(ref r) = rows.next()? {
        let hash = codec::hash(r, 0)?;
        let first = last.replace(hash) != Some(hash);
        if !r.get::<bool>(1)? {
            continue;
        }
        let part = match by {
            By::Session => Part::Session(r.get(4)?),
            By::Agent => Part::Agent(r.get::<Option<String>>(5)?.filter(|a| !a.is_empty())),
            By::Day => Part::Day(r.get::<i64>(2)?.div_euclid(DAY)),
        };
        let size = codec::uint(r, 3)?;
        let share = parts.entry(part).or_default();
        share.artifacts += 1;
        share.logical_bytes += size;
        share.new_bytes += if first { size } else { 0 };
    }
    parts.into_iter().map(|(part, share)| Ok(Share { key: name_of(c, part)?, ..share })).collect()
}

fn name_of(c: &Connection, part: Part) -> Result<Option<String>> {
    Ok(match part {
        Part::Session(id) => {
            let mut stmt = c.prepare_cached("SELECT name FROM sessions WHERE id = ?")?;
            stmt.query_row([id], |r| r.get(0)).optional()?.filter(|name: &String| !name.is_empty())
        }
        Part::Agent(agent) => agent,
        Part::Day(n) => Some(Timestamp(n * DAY).to_rfc3339().chars().take("2026-01-31".len()).collect()),
    })
}
