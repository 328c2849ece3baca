//! The one transaction that makes an artifact.

use super::artifacts::{self, Known, NewArtifact};
use super::codec::{self, LIVE, SUPERSEDED, TRASHED, id_bytes, int};
use super::remove::{Fate, drop_name, is_a_directory};
use super::{attempts, blobs, changes, collect, labels, make, paths, same, tree, versions};
use crate::artifact::content_type::{BINARY, guess};
use crate::artifact::ids::{Ino, SessionId, TenantId};
use crate::artifact::name::Name;
use crate::artifact::record::{Node, NodeKind};
use crate::artifact::time::Timestamp;
use crate::artifact::versions::Rules;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::sql::{Connection, OptionalExtension, params};
use crate::catalog::{Birth, Commit, CommitError, Committed, NewNode, Origin, Outcome};

/// Where the bytes go.
struct Site {
    session: SessionId,
    parent: Ino,
    name: Name,
    /// The file that stands there; none: it comes into being.
    node: Option<Node>,
    /// Its artifact.
    previous: Option<Known>,
}

pub fn commit(c: &Connection, origin: Origin, rules: Rules, x: &Commit) -> Result<Committed, CommitError> {
    if let Some(done) = replayed(c, x)? {
        return Ok(done);
    }
    let site = site(c, origin, x)?;
    check_file_size(c, x)?;
    let current = site.previous.as_ref().filter(|p| p.life == LIVE && !p.expired(x.now));
    if let Some(first) = keyed(c, rules, x, current)? {
        blobs::put(c, origin, x)?;
        return Ok(hard_link(c, origin, x, &site, &first)?);
    }
    if let (Some(same), Some(node)) = (current.filter(|p| p.hash == x.hash), &site.node) {
        blobs::put(c, origin, x)?;
        return Ok(same::again(c, origin, x, same, node)?);
    }
    let replaced = match collapsible(c, x, site.node.as_ref())? {
        Some(replaced) => Some(replaced),
        None => versions::replaceable(c, rules, x, site.previous.as_ref())?,
    };
    check_quota(c, x, &site, replaced.as_ref())?;
    blobs::put(c, origin, x)?;
    let fleeting = rules.fleeting(&x.labels.provenance, x.now);
    Ok(store(c, origin, rules, x, &site, (replaced, fleeting))?)
}

/// A commit of bytes that an artifact has already, wherever they are: always a new version, and never a shorter life than it had.
pub fn restore(
    c: &Connection,
    origin: Origin,
    rules: Rules,
    x: &Commit,
    expires: Option<Timestamp>,
) -> Result<crate::artifact::record::Artifact> {
    let site = site(c, origin, x)?;
    check_quota(c, x, &site, None)?;
    store(c, origin, rules, x, &site, (None, None))?;
    c.prepare_cached(
        "UPDATE artifacts SET expires = iif(CAST(?1 AS BIGINT) IS NULL, NULL, max(expires, ?1)) WHERE id = ?2",
    )?
    .execute(params![expires.map(|t| t.0), id_bytes(x.id)])?;
    artifacts::must(c, x.id)
}

/// A commit whose answer was lost comes again with the same ID.
fn replayed(c: &Connection, x: &Commit) -> Result<Option<Committed>> {
    let Some(known) = artifacts::known(c, x.id)?.filter(|k| k.hash == x.hash) else { return Ok(None) };
    let artifact = artifacts::must(c, x.id)?;
    Ok(Some(Committed { artifact, outcome: Outcome::Same, ino: known.ino, freed: Vec::new() }))
}

fn site(c: &Connection, origin: Origin, x: &Commit) -> Result<Site> {
    if let Some(node) = tree::node_any(c, x.ino)? {
        return existing_site(c, x, node);
    }
    let Some(birth) = &x.birth else {
        return Err(Error::not_found(format!("file {} was deleted before it was closed", x.ino)));
    };
    let dir = tree::writable_dir(c, birth.parent)?;
    if dir.session == SessionId::NONE {
        return Err(tree::outside_sessions(&birth.name));
    }
    if dir.session != x.session {
        return Err(make::across());
    }
    tree::check_reserved(c, &dir, &birth.name)?;
    let fresh =
        Site { session: dir.session, parent: birth.parent, name: birth.name.clone(), node: None, previous: None };
    match tree::entry(c, birth.parent, &birth.name, x.now)? {
        None => Ok(fresh),
        Some(entry) if entry.expired => {
            drop_name(c, origin, &entry, Fate::Supersede, x.now)?;
            Ok(fresh)
        }
        Some(entry) if birth.replaces && entry.node.kind != NodeKind::Dir => {
            drop_name(c, origin, &entry, Fate::Supersede, x.now)?;
            Ok(fresh)
        }
        // Another mount made the same name meanwhile: both wrote one file, and this close comes last.
        Some(entry) if entry.node.kind == NodeKind::File => existing_site(c, x, entry.node),
        Some(entry) if entry.node.kind == NodeKind::Dir => Err(is_a_directory(&birth.name)),
        Some(_) => Err(tree::taken(&birth.name)),
    }
}

fn existing_site(c: &Connection, x: &Commit, node: Node) -> Result<Site> {
    if node.kind != NodeKind::File {
        return Err(Error::invalid(format!("inode {} is not a file", node.ino)));
    }
    tree::writable(c, &node)?;
    if node.session != x.session {
        return Err(make::across());
    }
    let previous = match node.content {
        Some((id, _)) => artifacts::known(c, id)?,
        None => None,
    };
    let filed = match &previous {
        Some(p) => artifacts::filing(c, p.id)?,
        None => paths::place(c, node.ino)?,
    };
    let (parent, name) = filed.ok_or_else(|| Error::not_found(format!("file {} has no name", node.ino)))?;
    Ok(Site { session: node.session, parent, name, node: Some(node), previous })
}

/// The earlier artifact that the commit's idempotency key names, if it is another one that can be linked to.
fn keyed(c: &Connection, rules: Rules, x: &Commit, current: Option<&Known>) -> Result<Option<Known>> {
    let Some(key) = &x.labels.idempotency_key else { return Ok(None) };
    // What was deleted or has expired does not exist; the handle's own earlier version is this same operation.
    let first = artifacts::by_key(c, x.tenant, key, rules.keyed_since(x.now))?
        .into_iter()
        .find(|a| a.life != TRASHED && !a.expired(x.now) && Some(a.id) != x.collapse);
    let Some(first) = first else { return Ok(None) };
    if first.session != x.session || first.hash != x.hash || first.life != LIVE {
        return Err(Error::new(
            Kind::Exists,
            format!(
                "idempotency key '{key}' was used for artifact {} with other content or in another session",
                first.id
            ),
        ));
    }
    // Its own file closed again: nothing to link.
    Ok(if current.is_some_and(|p| p.id == first.id) { None } else { Some(first) })
}

/// The name becomes a hard link to the file of `first`.
fn hard_link(c: &Connection, origin: Origin, x: &Commit, site: &Site, first: &Known) -> Result<Committed> {
    let (parent, name) = (site.parent, &site.name);
    let cookie = match (&site.node, &x.birth) {
        (None, Some(birth)) => birth.cookie,
        _ => codec::draw(c, 1)?,
    };
    if let Some(entry) = tree::entry(c, parent, name, x.now)? {
        drop_name(c, origin, &entry, Fate::Supersede, x.now)?;
    }
    let target = tree::node_any(c, first.ino)?.ok_or_else(|| artifacts::missing(first.id))?;
    make::add_link(c, origin, &target, parent, name, cookie, x.now)?;
    attempts::claim(c, first.id, x)?;
    versions::tell_it(c, x, first.id)?;
    Ok(Committed {
        artifact: artifacts::must(c, first.id)?,
        outcome: Outcome::Idempotent,
        ino: first.ino,
        freed: Vec::new(),
    })
}

/// The handle's earlier artifact, when nothing else holds on to it.
fn collapsible(c: &Connection, x: &Commit, node: Option<&Node>) -> Result<Option<Known>> {
    let Some(id) = x.collapse else { return Ok(None) };
    let Some(known) = artifacts::known(c, id)? else { return Ok(None) };
    let ours = node.is_some_and(|n| n.ino == known.ino) && known.life != TRASHED;
    Ok(if ours && !versions::is_held(c, &known, x.now)? { Some(known) } else { None })
}

fn check_file_size(c: &Connection, x: &Commit) -> Result<()> {
    let max = c
        .prepare_cached("SELECT max_file_bytes FROM tenants WHERE id = ?")?
        .query_row([x.tenant.0], |r| codec::opt_uint(r, 0))
        .optional()?
        .ok_or_else(|| Error::not_found("the tenant does not exist"))?;
    match max {
        Some(max) if x.size > max => Err(Error::new(
            Kind::FileTooLarge,
            format!("a file of {} bytes is over the tenant's limit of {max}", x.size),
        )),
        _ => Ok(()),
    }
}

fn check_quota(c: &Connection, x: &Commit, site: &Site, replaced: Option<&Known>) -> Result<()> {
    let (max_bytes, max_artifacts, count, bytes) = c
        .prepare_cached("SELECT max_bytes, max_artifacts, live_artifacts, live_bytes FROM tenants WHERE id = ?")?
        .query_row([x.tenant.0], |r| {
            Ok((codec::opt_uint(r, 0)?, codec::opt_uint(r, 1)?, codec::uint(r, 2)?, codec::uint(r, 3)?))
        })?;
    if max_bytes.is_none() && max_artifacts.is_none() {
        return Ok(());
    }
    // What is promised to others is not there to be taken.
    let claims = super::quotas::announced(c, x.tenant, Some(x.id), x.now)?;
    let leaving = site.previous.as_ref().or(replaced).filter(|p| p.life == LIVE);
    let after = |count: u64, bytes: u64, leaving: Option<&Known>| {
        let (count, bytes) = (count + claims.artifacts + 1, bytes + claims.bytes + x.size);
        (count - u64::from(leaving.is_some()), bytes - leaving.map_or(0, |p| p.size))
    };
    let fits = |(count, bytes): (u64, u64)| {
        max_artifacts.is_none_or(|max| count <= max) && max_bytes.is_none_or(|max| bytes <= max)
    };
    if fits(after(count, bytes, leaving)) {
        return Ok(());
    }
    // The running sums hold expired artifacts too: near the limit, count what truly lives.
    let (count, bytes) = super::find::living(c, x.tenant, x.now)?;
    let (count, bytes) = after(count, bytes, leaving.filter(|p| !p.expired(x.now)));
    if fits((count, bytes)) {
        return Ok(());
    }
    Err(Error::new(
        Kind::OverQuota,
        format!(
            "the tenant's quota is used up: this file would make it {count} artifacts of {} and {bytes} bytes of {}",
            limit(max_artifacts),
            limit(max_bytes)
        ),
    ))
}

fn limit(max: Option<u64>) -> String {
    max.map_or_else(|| String::from("unlimited"), |max| max.to_string())
}

fn store(
    c: &Connection,
    origin: Origin,
    rules: Rules,
    x: &Commit,
    site: &Site,
    (replaced, fleeting): (Option<Known>, Option<Timestamp>),
) -> Result<Committed> {
    let labels = site.previous.as_ref().map_or_else(|| x.labels.clone(), |p| labels::carried(&x.labels, &p.labels));
    let bytes_type = match (&x.bytes_type, &site.previous) {
        (Some(seen), _) => seen,
        (None, Some(previous)) => &previous.bytes_type,
        (None, None) => BINARY,
    };
    let guessed = guess(site.name.as_bytes(), bytes_type);
    let effective = labels::effective(c, x.tenant, site.parent, labels, guessed, x.now)?;
    let outcome = if replaced.is_some() { Outcome::Collapsed } else { Outcome::New };
    let (mut version, mut began, mut freed) = (None, None, Vec::new());
    if let Some(old) = replaced {
        if site.previous.as_ref().is_some_and(|p| p.id == old.id) {
            version = Some(old.version);
        }
        began = Some(versions::began(c, &old)?);
        freed = versions::erase(c, origin, x.tenant, &old)?;
        collect::mark_replaced(c, x.tenant, old.hash)?;
    }
    if version.is_none()
        && let Some(previous) = &site.previous
    {
        artifacts::leave(c, previous.id, SUPERSEDED, None)?;
    }
    let version = match version {
        Some(version) => version,
        None => artifacts::next_version(c, site.parent, &site.name)?,
    };
    let ino = match (&site.node, &x.birth) {
        (Some(node), _) => node.ino,
        (None, Some(birth)) => give_birth(c, x, birth, site.session)?,
        (None, None) => return Err(Error::internal("catalog: a file without a place")),
    };
    artifacts::insert(
        c,
        &NewArtifact {
            id: x.id,
            tenant: x.tenant,
            session: site.session,
            ino,
            parent: site.parent,
            name: &site.name,
            version,
            bytes_type,
            size: x.size,
            hash: x.hash,
            effective: &effective,
            now: x.now,
            life: LIVE,
            deleted: None,
            recovered: false,
            fleeting,
        },
    )?;
    attempts::claim(c, x.id, x)?;
    if let Some(began) = began {
        versions::continue_run(c, x.id, began)?;
    } else if version > 1 {
        prune(c, rules, (site.parent, &site.name), x.now)?;
    }
    c.prepare_cached(
        "UPDATE inodes SET artifact = ?, size = ?, mtime = ?, ctime = max(ctime, ?), atime = coalesce(?, atime), blocks = ? \
         WHERE ino = ?",
    )?
    .execute(params![
        id_bytes(x.id),
        int(x.size),
        x.mtime.0,
        changed(x),
        x.stat.atime.map(|t| t.0),
        x.stat.blocks.map(int),
        int(ino.0)
    ])?;
    if site.node.is_some() {
        changes::inode(c, origin, ino)?;
    } else {
        changes::entry(c, origin, site.parent, &site.name)?;
    }
    Ok(Committed { artifact: artifacts::must(c, x.id)?, outcome, ino, freed })
}

/// Prunes a path as the rules say.
pub fn prune(c: &Connection, rules: Rules, path: (Ino, &Name), now: Timestamp) -> Result<usize> {
    let Some(keep) = rules.keep else { return Ok(0) };
    let tenant = c
        .prepare_cached("SELECT tenant FROM artifacts WHERE parent = ? AND name = ? LIMIT 1")?
        .query_row(params![int(path.0.0), path.1.as_bytes()], |r| r.get(0).map(TenantId))
        .optional()?;
    let Some(tenant) = tenant else { return Ok(0) };
    versions::prune(c, tenant, path, keep, rules.keyed_since(now), now)
}

/// The file's ctime after it.
pub fn changed(x: &Commit) -> i64 {
    x.stat.ctime.unwrap_or(x.now).0
}

fn give_birth(c: &Connection, x: &Commit, birth: &Birth, session: SessionId) -> Result<Ino> {
    let node = NewNode {
        ino: x.ino,
        cookie: birth.cookie,
        parent: birth.parent,
        name: birth.name.clone(),
        kind: NodeKind::File,
        mode: birth.mode,
        uid: birth.uid,
        gid: birth.gid,
        rdev: 0,
        target: None,
        now: x.stat.named.unwrap_or(x.now),
    };
    tree::insert(c, &node, session, x.size, x.mtime)?;
    Ok(x.ino)
}
