//! Into the trash after a crash, and back out of it.

use super::artifacts::{self, NewArtifact};
use super::codec::{self, LIVE, SUPERSEDED, TRASHED, int};
use super::{blobs, changes, commit, labels, make, paths, remove, sessions, tree};
use crate::artifact::content_type::{BINARY, guess};
use crate::artifact::ids::{ArtifactId, Ino};
use crate::artifact::name::Name;
use crate::artifact::record::{Artifact, Chunks, Labels, NodeKind, Session};
use crate::artifact::time::Timestamp;
use crate::artifact::versions::Rules;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::sql::{Connection, OptionalExtension, params};
use crate::catalog::{Birth, Commit, CommitError, FileStat, Origin, Payload};

pub fn trash_recovered(c: &Connection, origin: Origin, x: &Commit) -> Result<Option<Artifact>> {
    let Some(session) = make::session_by_id(c, x.session)?.filter(|s| s.sealed.is_none()) else { return Ok(None) };
    // Recovery was itself interrupted and comes again.
    if let Some(done) = artifacts::by_id(c, x.id)? {
        return Ok(Some(done));
    }
    let (parent, name) = last_place(c, x, &session)?;
    blobs::put(c, origin, x).map_err(|e| match e {
        CommitError::BlobGone => Error::not_found(format!("the bytes {} are no longer in the catalog", x.hash)),
        CommitError::Failed(e) => e,
    })?;
    let bytes_type = x.bytes_type.as_deref().unwrap_or(BINARY);
    let guessed = guess(name.as_bytes(), bytes_type);
    let effective = labels::effective(c, x.tenant, parent, x.labels.clone(), guessed, x.now)?;
    artifacts::insert(
        c,
        &NewArtifact {
            id: x.id,
            tenant: x.tenant,
            session: x.session,
            ino: x.ino,
            parent,
            name: &name,
            version: artifacts::next_version(c, parent, &name)?,
            bytes_type,
            size: x.size,
            hash: x.hash,
            effective: &effective,
            now: x.now,
            life: TRASHED,
            deleted: Some(x.now),
            recovered: true,
            fleeting: None,
        },
    )?;
    let shape = match (&x.birth, tree::node_any(c, x.ino)?) {
        (_, Some(n)) => Some((n.mode, n.uid, n.gid)),
        (Some(b), None) => Some((b.mode & 0o7777, b.uid, b.gid)),
        (None, None) => None,
    };
    if let Some((mode, uid, gid)) = shape {
        let atime = x.stat.atime.unwrap_or(x.mtime);
        let shape = artifacts::Shape { mode, uid, gid, atime, mtime: x.mtime, blocks: x.stat.blocks };
        artifacts::set_shape(c, x.id, &shape)?;
    }
    artifacts::must(c, x.id).map(Some)
}

/// Where the file stood, as far as the catalog still knows; else the session's root.
fn last_place(c: &Connection, x: &Commit, session: &Session) -> Result<(Ino, Name)> {
    if let Some(place) = paths::place(c, x.ino)? {
        return Ok(place);
    }
    let Some(birth) = &x.birth else {
        return Ok((session.root, Name::new(format!("recovered-{}", x.ino).as_bytes())?));
    };
    let known = c
        .prepare_cached("SELECT 1 FROM inodes WHERE ino = ? AND session = ?")?
        .exists(params![int(birth.parent.0), x.session.0])?;
    Ok((if known { birth.parent } else { session.root }, birth.name.clone()))
}

pub fn restore(
    c: &Connection,
    origin: Origin,
    rules: Rules,
    artifact: ArtifactId,
    id: ArtifactId,
    fresh: (Ino, u64),
    now: Timestamp,
) -> Result<Artifact> {
    let old = artifacts::known(c, artifact)?.filter(|a| !a.expired(now)).ok_or_else(|| artifacts::missing(artifact))?;
    let session = make::session_by_id(c, old.session)?.ok_or_else(|| artifacts::missing(artifact))?;
    if session.sealed.is_some() {
        return Err(Error::sealed(session.name.as_str()));
    }
    if old.life == LIVE {
        return artifacts::must(c, artifact);
    }
    let (filed, name) = artifacts::filing(c, artifact)?.ok_or_else(|| artifacts::missing(artifact))?;
    sessions::revive(c, origin, &session, None, now)?;
    let parent = revive(c, origin, filed, now)?;
    if parent != filed {
        artifacts::refile(c, artifact, parent, &name)?;
    }
    // Out of the trash it is an earlier version of its path again.
    artifacts::set_life(c, artifact, SUPERSEDED, None)?;
    let dir = tree::writable_dir(c, parent)?;
    let shape = match artifacts::shape(c, artifact)? {
        Some(shape) => shape,
        // Let go of by an earlier release: who wrote it is known, how open it was is not.
        None => artifacts::Shape {
            mode: 0o600,
            uid: old.labels.provenance.uid.unwrap_or(dir.uid),
            gid: dir.gid,
            atime: now,
            mtime: old.created,
            blocks: None,
        },
    };
    let (mode, uid, gid) = (shape.mode, shape.uid, shape.gid);
    let again = Commit {
        tenant: session.tenant,
        session: session.id,
        ino: fresh.0,
        // What stands there gives way, as to a rename: it may be open, with another owner and other times.
        birth: Some(Birth { parent, name, cookie: fresh.1, mode, uid, gid, replaces: true }),
        id,
        collapse: None,
        hash: old.hash,
        size: old.size,
        chunks: Chunks::default(),
        midstate: None,
        bytes: Payload::Known,
        begun: 0,
        bytes_type: Some(old.bytes_type),
        // The key named the operation that made it, not this one.
        labels: Labels { idempotency_key: None, ..old.labels },
        attempt: None,
        durable: true,
        mtime: shape.mtime,
        stat: FileStat { atime: Some(shape.atime), blocks: shape.blocks, ..FileStat::default() },
        kept: false,
        now,
    };
    commit::restore(c, origin, rules, &again, old.expires)
}

/// What is in the trash becomes one of the deleted versions of another name of its session: restored, it stands there.
pub fn move_in_trash(c: &Connection, artifact: ArtifactId, to: (Ino, &Name), now: Timestamp) -> Result<()> {
    let old = artifacts::known(c, artifact)?
        .filter(|a| a.life == TRASHED && !a.expired(now))
        .ok_or_else(|| artifacts::missing(artifact))?;
    let dir = tree::writable_dir(c, to.0)?;
    if dir.session != old.session {
        return Err(make::across());
    }
    tree::check_reserved(c, &dir, to.1)?;
    if artifacts::is_filed_at(c, artifact, to.0, to.1)? {
        return Ok(());
    }
    artifacts::refile(c, artifact, to.0, to.1)
}

/// The directory itself, or what stands at its path now, or itself again if nothing does.
///
/// # Errors
/// `Exists` when something else stands where it was.
pub fn revive(c: &Connection, origin: Origin, dir: Ino, now: Timestamp) -> Result<Ino> {
    stand_again(c, origin, dir, NodeKind::Dir, now)
}

/// [`revive`] for any kind of node that is known by the name that it had.
pub fn stand_again(c: &Connection, origin: Origin, dir: Ino, kind: NodeKind, now: Timestamp) -> Result<Ino> {
    if tree::node_any(c, dir)?.is_some() {
        return Ok(dir);
    }
    let (parent, name) =
        paths::above(c, dir)?.ok_or_else(|| Error::not_found("the directory of the artifact no longer exists"))?;
    let parent = revive(c, origin, parent, now)?;
    match tree::entry(c, parent, &name, now)? {
        Some(entry) if kind == NodeKind::Dir && entry.node.kind == NodeKind::Dir => return Ok(entry.node.ino),
        Some(entry) if !entry.expired => {
            return Err(Error::new(
                Kind::Exists,
                format!("'{name}' stands where the directory of the artifact was: move it away first"),
            ));
        }
        _ => remove::make_room(c, origin, parent, &name, now)?,
    }
    let nlink = if kind == NodeKind::Dir { 2 } else { 1 };
    let revived = c
        .prepare_cached(
            "UPDATE inodes SET nlink = ?2, was_parent = NULL, was_name = NULL WHERE ino = ?1 RETURNING ino",
        )?
        .query_row([int(dir.0), nlink], |r| codec::ino(r, 0))
        .optional()?
        .ok_or_else(|| Error::internal(format!("catalog: removed directory {dir} vanished")))?;
    tree::add_name(c, codec::draw(c, 1)?, parent, &name, revived)?;
    tree::touch_dir(c, parent, i64::from(kind == NodeKind::Dir), now)?;
    changes::entry(c, origin, parent, &name)?;
    Ok(revived)
}
