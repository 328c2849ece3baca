//! Labels: how their sources merge (CONTRACT §4), and their change.

use super::codec::{self, id_bytes, int};
use super::{artifacts, changes, tree};
use crate::artifact::aside::{self, Aside, Put};
use crate::artifact::ids::{ArtifactId, Ino, TenantId};
use crate::artifact::metadata::{Defaults, Metadata};
use crate::artifact::record::{Artifact, Labels, NodeKind};
use crate::artifact::time::{Timestamp, Ttl};
use crate::artifact::xattr;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::sql::{Connection, OptionalExtension, params};
use crate::catalog::{LabelChange, MustExist, Origin};

/// What an artifact ends up with.
pub struct Effective {
    pub metadata: Metadata,
    pub agent_id: Option<String>,
    pub content_type: String,
    pub expires: Option<Timestamp>,
    /// The sources, kept for the next version and for later changes.
    pub labels: Labels,
}

/// A tenant's own defaults, below those of its directories.
pub struct TenantDefaults {
    pub ttl: Ttl,
    pub defaults: Defaults,
}

pub fn tenant_defaults(c: &Connection, tenant: TenantId) -> Result<TenantDefaults> {
    let (ttl, defaults) = c
        .prepare_cached("SELECT ttl, defaults FROM tenants WHERE id = ?")?
        .query_row([tenant.0], |r| Ok((r.get::<String>(0)?, codec::json(r, 1)?)))
        .optional()?
        .ok_or_else(|| Error::not_found("the tenant does not exist"))?;
    Ok(TenantDefaults { ttl: ttl.parse()?, defaults })
}

/// Defaults of a directory and everything above it, the tenant's last.
pub fn defaults(c: &Connection, dir: Ino) -> Result<Defaults> {
    let sql = "WITH RECURSIVE up(ino, depth) AS (VALUES (?1, 0) UNION ALL \
        SELECT coalesce(d.parent, i.was_parent), depth + 1 FROM up JOIN inodes i ON i.ino = up.ino \
        LEFT JOIN dentries d ON d.ino = i.ino \
        WHERE coalesce(d.parent, i.was_parent) IS NOT NULL AND depth < 10000) \
        SELECT coalesce(i.defaults, t.defaults) FROM up JOIN inodes i ON i.ino = up.ino \
        LEFT JOIN tenants t ON t.root = up.ino \
        WHERE i.defaults IS NOT NULL OR t.defaults <> '{}' ORDER BY depth";
    let mut stmt = c.prepare_cached(sql)?;
    let rows = stmt.query_map([int(dir.0)], |r| codec::json::<Defaults>(r, 0))?;
    let mut merged = Defaults::default();
    for outer in rows {
        merged = merged.over(&outer?);
    }
    Ok(merged)
}

/// First of several written lifetimes that can be read; only an explicit one must be right.
fn lifetime(explicit: Option<&str>, others: [Option<&str>; 2], tenant: Ttl) -> Result<Ttl> {
    if let Some(text) = explicit {
        return text.parse();
    }
    Ok(others.into_iter().flatten().find_map(|text| text.parse().ok()).unwrap_or(tenant))
}

/// Merges the sources of one artifact below `dir`.
pub fn effective(
    c: &Connection,
    tenant: TenantId,
    dir: Ino,
    labels: Labels,
    guessed: &str,
    now: Timestamp,
) -> Result<Effective> {
    let TenantDefaults { ttl, defaults: outer } = tenant_defaults(c, tenant)?;
    let dirs = defaults(c, dir)?.over(&outer);
    let ttl = lifetime(labels.ttl.as_deref(), [labels.env_ttl.as_deref(), dirs.ttl.as_deref()], ttl)?;
    Ok(Effective {
        metadata: labels.explicit.over(&labels.environment).over(&dirs.metadata),
        agent_id: labels.agent_id.clone().or_else(|| labels.env_agent_id.clone()).or(dirs.agent_id),
        content_type: labels.content_type.clone().unwrap_or_else(|| guessed.to_owned()),
        expires: now.plus(ttl),
        labels,
    })
}

/// What a path's next version inherits: everything that was set by hand.
pub fn carried(new: &Labels, previous: &Labels) -> Labels {
    let pick = |a: &Option<String>, b: &Option<String>| a.clone().or_else(|| b.clone());
    let explicit = new.explicit.over(&previous.explicit);
    Labels {
        aside: new.aside.over(&previous.aside, &explicit),
        explicit,
        agent_id: pick(&new.agent_id, &previous.agent_id),
        ttl: pick(&new.ttl, &previous.ttl),
        content_type: pick(&new.content_type, &previous.content_type),
        ..new.clone()
    }
}

/// Of a file: its newest artifact's, with what came from directories shown as environment, so that
/// `explicit` over `environment` is all of it. Of a directory: its own defaults.
pub fn labels(c: &Connection, ino: Ino) -> Result<Labels> {
    let (artifact, own) = c
        .prepare_cached("SELECT artifact, defaults FROM inodes WHERE ino = ? AND nlink > 0")?
        .query_row([int(ino.0)], |r| Ok((codec::opt_artifact_id(r, 0)?, r.get::<Option<String>>(1)?)))
        .optional()?
        .ok_or_else(|| Error::not_found(format!("inode {ino} does not exist")))?;
    if let Some(id) = artifact {
        let sql = "SELECT metadata, labels, agent_id FROM artifacts WHERE id = ?";
        let (metadata, mut labels, agent): (Metadata, Labels, Option<String>) = c
            .prepare_cached(sql)?
            .query_row([id_bytes(id)], |r| Ok((codec::json(r, 0)?, codec::json(r, 1)?, r.get(2)?)))?;
        labels.environment = metadata;
        labels.environment.0.retain(|k, _| labels.explicit.get(k).is_none());
        labels.env_agent_id = agent.filter(|_| labels.agent_id.is_none());
        return Ok(labels);
    }
    let own = parse(own.as_deref())?;
    Ok(Labels { explicit: own.metadata, agent_id: own.agent_id, ttl: own.ttl, aside: own.aside, ..Labels::default() })
}

fn parse(defaults: Option<&str>) -> Result<Defaults> {
    defaults.map_or_else(
        || Ok(Defaults::default()),
        |text| serde_json::from_str(text).map_err(|e| Error::internal(format!("catalog: a directory's defaults: {e}"))),
    )
}

pub fn set_labels(c: &Connection, origin: Origin, ino: Ino, change: &LabelChange, now: Timestamp) -> Result<()> {
    let node = tree::node(c, ino, now)?.ok_or_else(|| Error::not_found(format!("inode {ino} does not exist")))?;
    tree::writable(c, &node)?;
    if let Some(Some(text)) = &change.ttl {
        text.parse::<Ttl>()?;
    }
    match (node.kind, node.content) {
        (_, Some((id, _))) => set_file(c, id, change, now)?,
        (NodeKind::Dir, None) => set_dir(c, ino, change)?,
        _ => return Err(Error::new(Kind::Reserved, "only files and directories carry labels")),
    }
    tree::touch_ctime(c, ino, now)?;
    changes::inode(c, origin, ino)
}

/// Applies the metadata and attributes of a change to `all` and `aside`; tells `each` of every pair of metadata that came or went.
fn apply(
    all: &mut Metadata,
    aside: &mut Aside,
    change: &LabelChange,
    mut each: impl FnMut(&str, Option<&str>),
) -> Result<()> {
    for (key, value) in &change.metadata {
        check_exists(all, aside, key.as_bytes(), value.is_some(), change.must)?;
        match value {
            Some(value) => all.set(key, value.as_bytes())?,
            None => drop(all.0.remove(key)),
        }
        aside.remove(key.as_bytes());
        each(key, value.as_deref());
    }
    for (name, value) in &change.attributes {
        check_exists(all, aside, name, value.is_some(), change.must)?;
        if let Some(value) = value
            && let Put::Metadata(key, text) = aside::put(all, aside, name, value)?
        {
            each(key, Some(text));
            continue;
        }
        if value.is_none() {
            aside.remove(name);
        }
        if let Ok(key) = std::str::from_utf8(name) {
            all.0.remove(key);
            each(key, None);
        }
    }
    Ok(())
}

fn check_exists(all: &Metadata, aside: &Aside, name: &[u8], set: bool, must: MustExist) -> Result<()> {
    let shown = || String::from_utf8_lossy(name).into_owned();
    match xattr::value(all, aside, name) {
        Some(_) if must == MustExist::New => {
            Err(Error::new(Kind::AttributeExists, format!("attribute 'user.{}' exists already", shown())))
        }
        None if must == MustExist::Old || !set => {
            Err(Error::new(Kind::NoSuchAttribute, format!("attribute 'user.{}' does not exist", shown())))
        }
        _ => Ok(()),
    }
}

fn set_dir(c: &Connection, ino: Ino, change: &LabelChange) -> Result<()> {
    let text: Option<String> =
        c.prepare_cached("SELECT defaults FROM inodes WHERE ino = ?")?.query_row([int(ino.0)], |r| r.get(0))?;
    let mut own = parse(text.as_deref())?;
    if change.content_type.as_ref().is_some_and(Option::is_some) {
        return Err(Error::invalid("a directory has no content type to give"));
    }
    apply(&mut own.metadata, &mut own.aside, change, |_, _| ())?;
    if let Some(agent) = &change.agent_id {
        own.agent_id.clone_from(agent);
    }
    if let Some(ttl) = &change.ttl {
        own.ttl.clone_from(ttl);
    }
    let text = if own.is_empty() { None } else { Some(codec::to_json(&own)?) };
    c.prepare_cached("UPDATE inodes SET defaults = ? WHERE ino = ?")?.execute(params![text, int(ino.0)])?;
    Ok(())
}

pub fn set_file(c: &Connection, id: ArtifactId, change: &LabelChange, now: Timestamp) -> Result<()> {
    let a = artifacts::known(c, id)?.ok_or_else(|| artifacts::missing(id))?;
    let (tenant, parent, guessed): (i64, i64, String) = c
        .prepare_cached("SELECT tenant, parent, guessed_type FROM artifacts WHERE id = ?")?
        .query_row([id_bytes(id)], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
    let tenant = TenantId(tenant);
    let mut labels = a.labels.clone();
    let mut metadata = a.metadata.clone();
    let mut aside = std::mem::take(&mut labels.aside);
    apply(&mut metadata, &mut aside, change, |key, value| {
        if let Some(value) = value {
            labels.explicit.0.insert(key.to_owned(), value.to_owned());
        } else {
            // Gone for good from this version, wherever it came from.
            labels.explicit.0.remove(key);
            labels.environment.0.remove(key);
        }
    })?;
    labels.aside = aside;
    for (change, own) in [
        (&change.agent_id, &mut labels.agent_id),
        (&change.content_type, &mut labels.content_type),
        (&change.ttl, &mut labels.ttl),
    ] {
        if let Some(new) = change {
            own.clone_from(new);
        }
    }
    let merged = effective(c, tenant, Ino(u64::try_from(parent).unwrap_or(0)), labels, &guessed, now)?;
    let expires = if change.ttl.is_some() { merged.expires } else { a.expires };
    artifacts::unindex(c, tenant, &a.metadata, a.created, id)?;
    artifacts::index(c, tenant, &metadata, a.created, id)?;
    let agent: Option<&String> = match &change.agent_id {
        Some(_) => merged.agent_id.as_ref(),
        None => None,
    };
    c.prepare_cached(
        "UPDATE artifacts SET metadata = ?2, labels = ?3, agent_id = iif(?4 = 1, ?5, agent_id), content_type = ?6, \
         expires = ?7 WHERE id = ?1",
    )?
    .execute(params![
        id_bytes(id),
        codec::to_json(&metadata)?,
        codec::to_json(&merged.labels)?,
        change.agent_id.is_some(),
        agent,
        merged.content_type,
        expires.map(|t| t.0)
    ])?;
    Ok(())
}

pub fn set_expiry(c: &Connection, origin: Origin, id: ArtifactId, expires: Option<Timestamp>) -> Result<Artifact> {
    let a = artifacts::known(c, id)?.ok_or_else(|| artifacts::missing(id))?;
    let sealed =
        c.prepare_cached("SELECT 1 FROM sessions WHERE id = ? AND sealed IS NOT NULL")?.exists([a.session.0])?;
    // No expiry is the latest of all.
    let later = match (a.expires, expires) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(old), Some(new)) => new >= old,
    };
    if sealed && !later {
        return Err(tree::sealed(c, a.session)?);
    }
    c.prepare_cached("UPDATE artifacts SET expires = ? WHERE id = ?")?
        .execute(params![expires.map(|t| t.0), id_bytes(id)])?;
    changes::inode(c, origin, a.ino)?;
    artifacts::must(c, id)
}
