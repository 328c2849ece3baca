//! A commit of the bytes that the path holds already: the artifact stays, and what is said of it anew is applied.

use super::artifacts::{self, Known};
use super::codec::{self, id_bytes, int};
use super::{attempts, changes, commit, labels, versions};
use crate::artifact::Result;
use crate::artifact::record::{Labels, Node};
use crate::artifact::relabel::{later, noted, said_anew};
use crate::artifact::time::Timestamp;
use crate::catalog::sql::{Connection, params};
use crate::catalog::{Commit, Committed, LabelChange, Origin, Outcome};

/// Explicit labels are applied as `setfattr` would, the expiry becomes the later of the two, and what another writer's environment
/// says is noted in the audit trail. The ID stays.
pub fn again(c: &Connection, origin: Origin, x: &Commit, same: &Known, node: &Node) -> Result<Committed> {
    let id = same.id;
    c.prepare_cached("UPDATE inodes SET mtime = ?, ctime = max(ctime, ?), blocks = ? WHERE ino = ?")?
        .execute(params![x.mtime.0, commit::changed(x), x.stat.blocks.map(int), int(node.ino.0)])?;
    if let Some(key) = &x.labels.idempotency_key {
        c.prepare_cached("UPDATE artifacts SET idem_key = ? WHERE id = ? AND idem_key IS NULL")?
            .execute(params![key, id_bytes(id)])?;
    }
    let mut updated = false;
    if let Some(change) = said_anew(&same.labels, &x.labels) {
        let change = LabelChange {
            metadata: change.metadata.into_iter().map(|(k, v)| (k, Some(v))).collect(),
            attributes: change.aside.into_iter().map(|(name, value)| (name, Some(value))).collect(),
            agent_id: change.agent_id.map(Some),
            content_type: change.content_type.map(Some),
            ..LabelChange::default()
        };
        labels::set_file(c, id, &change, x.now)?;
        updated = true;
    }
    updated |= prolong(c, x, same)?;
    if let Some(detail) = noted(&same.labels, &x.labels) {
        note(c, x, id, &detail)?;
    }
    attempts::claim(c, id, x)?;
    versions::tell_it(c, x, id)?;
    changes::inode(c, origin, node.ino)?;
    let outcome = if updated { Outcome::Updated } else { Outcome::Same };
    Ok(Committed { artifact: artifacts::must(c, id)?, outcome, ino: node.ino, freed: Vec::new() })
}

/// A lifetime that was asked for counts from now, unless the artifact lives longer anyway.
fn prolong(c: &Connection, x: &Commit, same: &Known) -> Result<bool> {
    let Labels { ttl, env_ttl, .. } = &x.labels;
    let said = ttl.as_ref().map(|ttl| ("$.ttl", ttl)).or(env_ttl.as_ref().map(|ttl| ("$.env_ttl", ttl)));
    let Some((kept_as, ttl)) = said else { return Ok(false) };
    let expires: Option<Timestamp> = later(same.expires, x.now.plus(ttl.parse()?));
    if expires == same.expires {
        return Ok(false);
    }
    c.prepare_cached("UPDATE artifacts SET expires = ?2, labels = json_set(labels, ?3, ?4) WHERE id = ?1")?
        .execute(params![id_bytes(same.id), expires.map(|t| t.0), kept_as, ttl])?;
    Ok(true)
}

fn note(c: &Connection, x: &Commit, id: crate::artifact::ids::ArtifactId, detail: &str) -> Result<()> {
    let who = x.labels.env_agent_id.clone().or_else(|| x.labels.provenance.program());
    c.prepare_cached(
        "INSERT INTO audit(at, tenant, session, what, artifact, parent, name, door, who, detail) \
         SELECT audit_now(), a.tenant, a.session, 'same', a.id, a.parent, a.name, \
         coalesce(nullif(?2, ''), audit_door(), 'daemon'), coalesce(?3, audit_who()), ?4 FROM artifacts a WHERE a.id = ?1",
    )?
    .execute(params![codec::id_bytes(id), x.labels.provenance.door, who, detail])?;
    Ok(())
}
