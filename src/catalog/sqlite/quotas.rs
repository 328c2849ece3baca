//! Limits and use: rows of `tenants`, sums over `artifacts`.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, params};

use super::{SqliteCatalog, codec};
use crate::artifact::ids::TenantId;
use crate::artifact::query::{By, Share};
use crate::artifact::quota::{Quota, Room};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Result};
use crate::catalog::quotas::Quotas;

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
                Ok(Room { quota, artifacts: codec::uint(r, 4)?, bytes: codec::uint(r, 5)? })
            })
            .optional()?
            .ok_or_else(missing)
        })
    }

    async fn shares(&self, tenant: TenantId, by: By, now: Timestamp) -> Result<Vec<Share>> {
        let (key, order) = match by {
            By::Session => ("(SELECT name FROM sessions s WHERE s.id = a.session)", "3 DESC, 1"),
            By::Agent => ("a.agent_id", "3 DESC, 1"),
            By::Day => ("date(a.created / 1000000000, 'unixepoch')", "1 DESC"),
        };
        let sql = format!(
            "SELECT {key}, count(*), sum(size), coalesce(sum(size) FILTER (WHERE NOT EXISTS (SELECT 1 FROM artifacts o \
             WHERE o.tenant = a.tenant AND o.hash = a.hash AND o.id < a.id)), 0) FROM artifacts a \
             WHERE tenant = ? AND life = 0 AND (expires IS NULL OR expires > ?) GROUP BY 1 ORDER BY {order}"
        );
        self.scan(move |c| {
            let mut stmt = c.prepare_cached(&sql)?;
            let rows = stmt.query_map(params![tenant.0, now.0], |r| {
                Ok(Share {
                    key: r.get::<_, Option<String>>(0)?.filter(|k| !k.is_empty()),
                    artifacts: codec::uint(r, 1)?,
                    logical_bytes: codec::uint(r, 2)?,
                    new_bytes: codec::uint(r, 3)?,
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }
}
