//! Sealing, and the manifest as it is kept.

use serde::{Deserialize, Serialize};

use super::codec::{self, ARTIFACT, LIVE};
use super::paths::Paths;
use super::{blobs, changes, make};
use crate::artifact::aside::Aside;
use crate::artifact::ids::{ArtifactId, BlobHash, Ino, SessionId};
use crate::artifact::manifest::digest_of;
use crate::artifact::metadata::{Metadata, Provenance};
use crate::artifact::record::{Artifact, Life, Manifest, Session, StoreState};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::Origin;
use crate::catalog::sql::{Connection, OptionalExtension, params};

pub fn seal(c: &Connection, origin: Origin, id: SessionId, now: Timestamp) -> Result<Manifest> {
    let session = make::session_by_id(c, id)?.ok_or_else(|| Error::not_found("the session does not exist"))?;
    if let Some(done) = read(c, &session)? {
        return Ok(done);
    }
    let pending = blobs::unmoved(c, Some(id), None)?;
    if pending.artifacts > 0 {
        return Err(Error::new(
            Kind::Busy,
            format!(
                "session '{}' cannot be sealed yet: {} artifacts are not in the store",
                session.name, pending.artifacts
            ),
        ));
    }
    let artifacts = living(c, id, now)?;
    let digest = digest_of(&artifacts);
    let kept = Kept { digest, artifacts: artifacts.iter().map(Record::of).collect() };
    c.prepare_cached("UPDATE sessions SET sealed = ?, manifest = ? WHERE id = ?")?.execute(params![
        now.0,
        codec::to_json(&kept)?,
        id.0
    ])?;
    changes::sealed(c, origin, id)?;
    Ok(Manifest { session_id: session.name, sealed_at: now, digest, artifacts })
}

pub fn manifest(c: &Connection, id: SessionId) -> Result<Option<Manifest>> {
    match make::session_by_id(c, id)? {
        Some(session) => read(c, &session),
        None => Ok(None),
    }
}

/// Live artifacts in the order of the manifest: by path, then ID.
fn living(c: &Connection, id: SessionId, now: Timestamp) -> Result<Vec<Artifact>> {
    let sql =
        format!("SELECT {ARTIFACT} WHERE a.session = ? AND a.life = {LIVE} AND (a.expires IS NULL OR a.expires > ?)");
    let mut stmt = c.prepare_cached(&sql)?;
    let rows = stmt.query_map(params![id.0, now.0], codec::artifact)?;
    let mut paths = Paths::default();
    let mut all = rows.map(|row| paths.artifact(c, row?)).collect::<Result<Vec<_>>>()?;
    all.sort_by(|a, b| (&a.filename, a.id).cmp(&(&b.filename, b.id)));
    // Nothing takes the place of what is sealed.
    for artifact in &mut all {
        artifact.fleeting = None;
    }
    Ok(all)
}

/// The manifest's column: records as they were at the seal, since expiry may still be extended and artifacts may
/// expire while the manifest stays.
#[derive(Serialize, Deserialize)]
struct Kept {
    digest: BlobHash,
    artifacts: Vec<Record>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    id: ArtifactId,
    ino: Ino,
    /// Hexadecimal: a path is bytes.
    filename: String,
    version: u64,
    content_type: String,
    size: u64,
    hash: BlobHash,
    agent_id: Option<String>,
    metadata: Metadata,
    provenance: Provenance,
    idempotency_key: Option<String>,
    created: i64,
    expires: Option<i64>,
    recovered: bool,
}

impl Record {
    fn of(a: &Artifact) -> Self {
        Self {
            id: a.id,
            ino: a.ino,
            filename: hex::encode(&a.filename),
            version: a.version,
            content_type: a.content_type.clone(),
            size: a.size,
            hash: a.hash,
            agent_id: a.agent_id.clone(),
            metadata: a.metadata.clone(),
            provenance: a.provenance.clone(),
            idempotency_key: a.idempotency_key.clone(),
            created: a.created.0,
            expires: a.expires.map(|t| t.0),
            recovered: a.recovered,
        }
    }

    fn artifact(self, session: &Session) -> Result<Artifact> {
        Ok(Artifact {
            id: self.id,
            tenant: session.tenant,
            session: session.id,
            session_name: Some(session.name.clone()),
            ino: self.ino,
            filename: hex::decode(&self.filename)
                .map_err(|e| Error::internal(format!("catalog: a manifest's path: {e}")))?,
            version: self.version,
            content_type: self.content_type,
            size: self.size,
            hash: self.hash,
            agent_id: self.agent_id,
            metadata: self.metadata,
            aside: Aside::default(),
            provenance: self.provenance,
            idempotency_key: self.idempotency_key,
            created: Timestamp(self.created),
            expires: self.expires.map(Timestamp),
            life: Life::Live,
            store: StoreState::Stored,
            deleted: None,
            recovered: self.recovered,
            deleted_by: None,
            attempt: None,
            fleeting: None,
        })
    }
}

fn read(c: &Connection, session: &Session) -> Result<Option<Manifest>> {
    let Some(sealed_at) = session.sealed else { return Ok(None) };
    let kept: Option<Kept> = c
        .prepare_cached("SELECT manifest FROM sessions WHERE id = ? AND manifest IS NOT NULL")?
        .query_row([session.id.0], |r| codec::json(r, 0))
        .optional()?;
    let kept =
        kept.ok_or_else(|| Error::internal(format!("catalog: sealed session '{}' has no manifest", session.name)))?;
    let artifacts = kept.artifacts.into_iter().map(|r| r.artifact(session)).collect::<Result<_>>()?;
    Ok(Some(Manifest { session_id: session.name.clone(), sealed_at, digest: kept.digest, artifacts }))
}
