//! [`Records`] for SQLite: keys, metering, secrets, the loose session.

use async_trait::async_trait;

use super::codec::{self, int};
use super::{SqliteCatalog, make, uploads, write_something};
use crate::artifact::ids::{ArtifactId, TenantId};
use crate::artifact::key::{ApiKey, Rate, RunOf};
use crate::artifact::name::SessionName;
use crate::artifact::record::{NodeKind, Session};
use crate::artifact::step::AttemptId;
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::records::{KeyUse, Publication, Records, Upload};
use crate::catalog::sql::{self, Connection, OptionalExtension, Row, params};

#[async_trait]
impl Records for SqliteCatalog {
    async fn add_key(&self, key: ApiKey) -> Result<()> {
        self.durable(move |c| add_key(c, &key)).await
    }

    async fn key(&self, id: &str) -> Result<Option<ApiKey>> {
        self.readers.read(|c| key(c, id))
    }

    async fn keys(&self, tenant: TenantId) -> Result<Vec<ApiKey>> {
        self.scan(move |c| {
            let mut stmt = c.prepare_cached(&format!("{KEY} WHERE tenant = ? ORDER BY created DESC, id"))?;
            let rows = stmt.query_map([tenant.0], api_key)?;
            Ok(rows.collect::<sql::Result<_>>()?)
        })
        .await
    }

    async fn revoke_key(&self, tenant: TenantId, id: &str, now: Timestamp) -> Result<ApiKey> {
        let id = id.to_owned();
        self.durable(move |c| {
            write_something(c)?;
            c.prepare_cached("UPDATE api_keys SET revoked = coalesce(revoked, ?3) WHERE tenant = ?1 AND id = ?2")?
                .execute(params![tenant.0, id, now.0])?;
            key(c, &id)?
                .filter(|k| k.tenant == tenant)
                .ok_or_else(|| Error::not_found(format!("there is no key '{id}'")))
        })
        .await
    }

    async fn drop_keys_of(&self, run: &str) -> Result<()> {
        let sql = "SELECT 1 FROM api_keys WHERE run = ? LIMIT 1";
        if !self.readers.read(|c| Ok(c.prepare_cached(sql)?.exists([run])?))? {
            return Ok(());
        }
        let run = run.to_owned();
        self.durable(move |c| {
            c.prepare_cached("DELETE FROM api_keys WHERE run = ?")?.execute([run])?;
            Ok(())
        })
        .await
    }

    async fn meter(&self, tenant: TenantId, month: u32, uses: Vec<KeyUse>) -> Result<()> {
        self.change(move |c| meter(c, tenant, month, &uses)).await
    }

    async fn metered(&self, tenant: TenantId, month: u32) -> Result<u64> {
        self.readers.read(|c| {
            let count = c
                .prepare_cached("SELECT count FROM requests WHERE tenant = ? AND month = ?")?
                .query_row(params![tenant.0, month], |r| codec::uint(r, 0))
                .optional()?;
            Ok(count.unwrap_or(0))
        })
    }

    async fn secret(&self, name: &str, fresh: [u8; 32]) -> Result<[u8; 32]> {
        let name = name.to_owned();
        self.durable(move |c| {
            write_something(c)?;
            c.prepare_cached("INSERT OR IGNORE INTO secrets(name, value) VALUES (?, ?)")?
                .execute(params![name, fresh])?;
            Ok(c.prepare_cached("SELECT value FROM secrets WHERE name = ?")?.query_row([name], |r| r.get(0))?)
        })
        .await
    }

    async fn add_upload(&self, upload: Upload) -> Result<()> {
        self.durable(move |c| uploads::add(c, &upload)).await
    }

    async fn upload(&self, tenant: TenantId, id: ArtifactId) -> Result<Option<Upload>> {
        self.readers.read(|c| uploads::by_id(c, tenant, id))
    }

    async fn upload_by_key(&self, tenant: TenantId, key: &str, now: Timestamp) -> Result<Option<Upload>> {
        self.readers.read(|c| uploads::by_key(c, tenant, key, now))
    }

    async fn finish_upload(&self, tenant: TenantId, id: ArtifactId, artifact: ArtifactId) -> Result<()> {
        self.durable(move |c| uploads::finish(c, tenant, id, artifact)).await
    }

    async fn stale_uploads(&self, tenant: TenantId, now: Timestamp, limit: u32) -> Result<Vec<Upload>> {
        self.scan(move |c| uploads::stale(c, tenant, now, limit)).await
    }

    async fn drop_upload(&self, tenant: TenantId, id: ArtifactId) -> Result<()> {
        self.durable(move |c| uploads::forget(c, tenant, id)).await
    }

    async fn put_publication(&self, publication: Publication) -> Result<()> {
        self.durable(move |c| uploads::put_publication(c, &publication)).await
    }

    async fn publication(&self, tenant: TenantId, artifact: ArtifactId) -> Result<Option<Publication>> {
        self.readers.read(|c| uploads::publication(c, tenant, artifact))
    }

    async fn publication_of_link(&self, tenant: TenantId, link: &str) -> Result<Option<Publication>> {
        self.readers.read(|c| uploads::publication_of_link(c, tenant, link))
    }
}

const KEY: &str = "SELECT id, tenant, name, hash, last4, scopes, rate, burst, created, revoked, last_used, run, attempt \
    FROM api_keys";

fn api_key(r: &Row<'_>) -> sql::Result<ApiKey> {
    let rate: Option<u32> = r.get(6)?;
    let burst: Option<u32> = r.get(7)?;
    Ok(ApiKey {
        id: r.get(0)?,
        tenant: TenantId(r.get(1)?),
        name: r.get(2)?,
        hash: codec::hash(r, 3)?,
        last4: r.get(4)?,
        scopes: codec::json(r, 5)?,
        rate: rate.map(|sustained| Rate { sustained, burst: burst.unwrap_or(sustained) }),
        created: codec::time(r, 8)?,
        revoked: codec::opt_time(r, 9)?,
        last_used: codec::opt_time(r, 10)?,
        of: match r.get(11)? {
            Some(run) => Some(RunOf { run, attempt: r.get::<Option<i64>>(12)?.map(AttemptId) }),
            None => None,
        },
    })
}

fn key(c: &Connection, id: &str) -> Result<Option<ApiKey>> {
    Ok(c.prepare_cached(&format!("{KEY} WHERE id = ?"))?.query_row([id], api_key).optional()?)
}

fn add_key(c: &Connection, k: &ApiKey) -> Result<()> {
    let added = c
        .prepare_cached(
            "INSERT OR IGNORE INTO api_keys(id, tenant, name, hash, last4, scopes, rate, burst, created, revoked, last_used, \
             run, attempt) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            k.id,
            k.tenant.0,
            k.name,
            k.hash.0,
            k.last4,
            codec::to_json(&k.scopes)?,
            k.rate.map(|r| r.sustained),
            k.rate.map(|r| r.burst),
            k.created.0,
            k.revoked.map(|t| t.0),
            k.last_used.map(|t| t.0),
            k.of.as_ref().map(|of| &of.run),
            k.of.as_ref().and_then(|of| of.attempt).map(|a| a.0)
        ])?;
    if added == 0 { Err(Error::new(Kind::Exists, format!("a key '{}' exists already", k.id))) } else { Ok(()) }
}

fn meter(c: &Connection, tenant: TenantId, month: u32, uses: &[KeyUse]) -> Result<()> {
    let requests: u64 = uses.iter().map(|u| u.requests).sum();
    c.prepare_cached(
        "INSERT INTO requests(tenant, month, count) VALUES (?1, ?2, ?3) \
         ON CONFLICT(tenant, month) DO UPDATE SET count = requests.count + excluded.count",
    )?
    .execute(params![tenant.0, month, int(requests)])?;
    let mut noted = c.prepare_cached(
        "UPDATE api_keys SET last_used = max(coalesce(last_used, 0), ?3) WHERE tenant = ?1 AND id = ?2",
    )?;
    for used in uses {
        noted.execute(params![tenant.0, used.id, used.last.0])?;
    }
    Ok(())
}

pub fn loose_session(c: &Connection, tenant: TenantId, now: Timestamp) -> Result<Session> {
    let name = SessionName::loose();
    if let Some(found) = make::session(c, tenant, &name)? {
        return Ok(found);
    }
    let root = codec::draw(c, 1)?;
    c.prepare_cached("INSERT INTO sessions(tenant, name, root, created) VALUES (?, ?, ?, ?)")?.execute(params![
        tenant.0,
        name.as_str(),
        int(root),
        now.0
    ])?;
    let session = c.last_insert_rowid()?;
    // Its root has no name anywhere: no directory shows it.
    c.prepare_cached(
        "INSERT INTO inodes(ino, session, kind, mode, uid, gid, rdev, nlink, size, atime, mtime, ctime) \
         VALUES (?1, ?2, ?3, 448, 0, 0, 0, 2, 4096, ?4, ?4, ?4)",
    )?
    .execute(params![int(root), session, codec::kind_code(NodeKind::Dir), now.0])?;
    make::session(c, tenant, &name)?.ok_or_else(|| Error::internal("catalog: a session vanished as it was made"))
}
