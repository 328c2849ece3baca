//! The audit trail in SQLite. Triggers write it (schema_8.sql); what they ask for is set here, on the writer's thread, before each job.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::functions::FunctionFlags;

use super::{SqliteCatalog, codec, paths};
use crate::artifact::Result;
use crate::artifact::audit::AuditEntry;
use crate::artifact::ids::{ArtifactId, Ino, SessionId, TenantId};
use crate::artifact::name::Name;
use crate::artifact::time::Timestamp;
use crate::catalog::audit::{Audit, AuditQuery};
pub use crate::catalog::sql::actor::called;
use crate::catalog::sql::{Connection, Value, actor, params, params_from_iter};

/// What time it is, for what has no time of its own.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Gives a writing connection the functions that the triggers call.
pub fn equip(c: &rusqlite::Connection, now: Now) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
    c.create_scalar_function("audit_door", 0, flags, |_| Ok(actor::door()))?;
    c.create_scalar_function("audit_who", 0, flags, |_| Ok(actor::who()))?;
    c.create_scalar_function("audit_verb", 0, flags, |_| Ok(actor::verb()))?;
    c.create_scalar_function("audit_now", 0, flags, move |_| Ok(now().0))
}

/// Writes what no trigger sees: a directory's rename changes no artifact.
pub fn directory_renamed(c: &Connection, session: SessionId, old: &[u8], parent: Ino, name: &Name) -> Result<()> {
    c.prepare_cached(
        "INSERT INTO audit(at, tenant, session, what, parent, name, door, who, detail) \
         SELECT audit_now(), s.tenant, s.id, 'rename', ?2, ?3, coalesce(audit_door(), 'daemon'), audit_who(), ?4 \
         FROM sessions s WHERE s.id = ?1",
    )?
    .execute(params![
        session.0,
        codec::int(parent.0),
        name.as_bytes(),
        format!("directory, from {}", String::from_utf8_lossy(old))
    ])?;
    Ok(())
}

#[async_trait]
impl Audit for SqliteCatalog {
    async fn audit(&self, tenant: TenantId, query: AuditQuery) -> Result<Vec<AuditEntry>> {
        self.scan(move |c| {
            // SQLite's catalog says in which spans of the trail a session has rows, PostgreSQL's has an index of them.
            let by_span = query.session.is_some() && c.either("span", "row") == "span";
            let mut sql = if by_span { ENTRY.replacen("FROM audit u", SPANS, 1) } else { ENTRY.to_owned() };
            sql.push_str(" WHERE u.tenant = ?1");
            let mut values: Vec<Value> = vec![tenant.0.into()];
            let mut and = |text: &str, value: Value| {
                values.push(value);
                sql.push_str(&text.replace('?', &format!("?{}", values.len())));
            };
            if let Some(session) = query.session {
                and(
                    if by_span { " AND u.session = ? AND k.session = ?" } else { " AND u.session = ?" },
                    session.0.into(),
                );
            }
            if let Some(since) = query.since {
                and(" AND u.at >= ?", since.0.into());
            }
            if let Some(before) = query.before {
                let span = " AND u.seq < ? AND k.span <= ? / 256";
                and(if by_span { span } else { " AND u.seq < ?" }, codec::int(before).into());
            }
            let newest =
                if by_span { " ORDER BY k.span DESC, u.seq DESC LIMIT ?" } else { " ORDER BY u.seq DESC LIMIT ?" };
            and(newest, query.limit.into());
            entries(c, &sql, values)
        })
        .await
    }

    async fn ended(&self, tenant: TenantId, artifact: ArtifactId) -> Result<Option<AuditEntry>> {
        let sql = format!(
            "{ENTRY} WHERE u.tenant = ? AND u.artifact = ? AND u.what IN ('expire', 'purge', 'prune', 'replace') \
             ORDER BY u.seq DESC LIMIT 1"
        );
        let values = vec![tenant.0.into(), codec::id_bytes(artifact).to_vec().into()];
        self.scan(move |c| Ok(entries(c, &sql, values)?.pop())).await
    }
}

const ENTRY: &str = "SELECT u.seq, u.at, u.what, s.name, u.artifact, \
    iif(EXISTS (SELECT 1 FROM inodes i WHERE i.ino = u.parent), u.parent, \
      coalesce((SELECT a.parent FROM artifacts a WHERE a.id = u.artifact), u.parent)), \
    u.name, u.door, u.who, u.detail FROM audit u \
    LEFT JOIN sessions s ON s.id = u.session";

/// The rows of a session, by the spans of 256 rows that hold some (a trigger of schema_18.sql).
const SPANS: &str = "FROM audit_spans k CROSS JOIN audit u ON u.seq BETWEEN k.span * 256 AND k.span * 256 + 255";

fn entries(c: &Connection, sql: &str, values: Vec<Value>) -> Result<Vec<AuditEntry>> {
    let mut stmt = c.prepare_cached(sql)?;
    let rows = stmt.query_map(params_from_iter(values), |r| {
        let parent = codec::opt_uint(r, 5)?.map(Ino);
        let entry = AuditEntry {
            seq: codec::uint(r, 0)?,
            at: codec::time(r, 1)?,
            what: r.get(2)?,
            session: r.get::<Option<String>>(3)?.map(|s| codec::shown_name(&s).to_owned()).filter(|s| !s.is_empty()),
            artifact: codec::opt_artifact_id(r, 4)?,
            path: r.get(6)?,
            door: r.get(7)?,
            who: r.get(8)?,
            detail: r.get(9)?,
        };
        Ok((parent, entry))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let (parent, mut entry) = row?;
        if let (Some(parent), Some(name)) = (parent, entry.path.as_mut()) {
            // A directory that is gone leaves the name alone.
            let mut dir = paths::path(c, parent).unwrap_or_default();
            if !dir.is_empty() {
                dir.push(b'/');
                name.splice(0..0, dir);
            }
        }
        found.push(entry);
    }
    Ok(found)
}
