//! What takes names away: unlink, rmdir, and being replaced.

use super::codec::{self, SUPERSEDED, TRASHED, int};
use super::tree::Entry;
use super::{artifacts, changes, paths, sessions, tree};
use crate::artifact::ids::{Ino, SessionId};
use crate::artifact::name::Name;
use crate::artifact::record::NodeKind;
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::sql::{self, Connection, params};
use crate::catalog::{Origin, Removed};

/// What becomes of the artifact of a file that loses its last name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Deleted by someone: it can be restored from the trash.
    Trash,
    /// Replaced at its path: an earlier version of it.
    Supersede,
    /// It goes on elsewhere, as scratch, under its number.
    Leave,
}

pub fn unlink(c: &Connection, origin: Origin, parent: Ino, name: &Name, now: Timestamp) -> Result<Removed> {
    tree::writable_dir(c, parent)?;
    let entry = tree::existing(c, parent, name, now)?;
    if entry.node.kind == NodeKind::Dir {
        return Err(is_a_directory(name));
    }
    drop_name(c, origin, &entry, Fate::Trash, now)
}

/// Takes the name of a non-directory away.
pub fn drop_name(c: &Connection, origin: Origin, entry: &Entry, fate: Fate, now: Timestamp) -> Result<Removed> {
    let node = &entry.node;
    tree::remove_name(c, entry.parent, &entry.name)?;
    tree::touch_dir(c, entry.parent, 0, now)?;
    changes::entry(c, origin, entry.parent, &entry.name)?;
    let left = node.nlink.saturating_sub(1);
    if left > 0 {
        c.prepare_cached("UPDATE inodes SET nlink = ?, ctime = ? WHERE ino = ?")?.execute(params![
            left,
            now.0,
            int(node.ino.0)
        ])?;
        changes::inode(c, origin, node.ino)?;
        if let Some((id, _)) = node.content
            && artifacts::is_filed_at(c, id, entry.parent, &entry.name)?
            && let Some((parent, name)) = paths::place(c, node.ino)?
        {
            artifacts::refile(c, id, parent, &name)?;
        }
    } else {
        if let Some((id, _)) = node.content {
            let (life, deleted) = match fate {
                Fate::Trash | Fate::Leave => (TRASHED, Some(now)),
                Fate::Supersede => (SUPERSEDED, None),
            };
            artifacts::leave(c, id, life, deleted)?;
        }
        // (A file's artifact is what comes back of it; another node has only itself.)
        if fate == Fate::Trash && node.content.is_none() {
            keep(c, entry, now)?;
        } else {
            c.prepare_cached("DELETE FROM inodes WHERE ino = ?")?.execute([int(node.ino.0)])?;
        }
    }
    Ok(Removed { ino: node.ino, kind: node.kind, nlink: left })
}

/// Makes sure that nothing stands under a name: an expired file gives way.
///
/// # Errors
/// `Exists` when something does.
pub fn make_room(c: &Connection, origin: Origin, parent: Ino, name: &Name, now: Timestamp) -> Result<()> {
    match tree::entry(c, parent, name, now)? {
        None => Ok(()),
        Some(entry) if entry.expired => drop_name(c, origin, &entry, Fate::Supersede, now).map(drop),
        Some(_) => Err(tree::taken(name)),
    }
}

pub fn rmdir(c: &Connection, origin: Origin, parent: Ino, name: &Name, now: Timestamp) -> Result<Removed> {
    let above = tree::writable_dir(c, parent)?;
    let entry = tree::existing(c, parent, name, now)?;
    if entry.node.kind != NodeKind::Dir {
        return Err(Error::new(Kind::NotADirectory, format!("'{name}' is not a directory")));
    }
    tree::writable(c, &entry.node)?;
    let is_session = above.session == SessionId::NONE;
    let removed = drop_dir(c, origin, &entry, Fate::Trash, now)?;
    if is_session {
        sessions::trash(c, entry.node.session, now)?;
    }
    Ok(removed)
}

/// Removes a directory that must be empty but for expired files.
pub fn drop_dir(c: &Connection, origin: Origin, entry: &Entry, fate: Fate, now: Timestamp) -> Result<Removed> {
    let dir = entry.node.ino;
    let sql = "SELECT d.name FROM dentries d JOIN inodes i ON i.ino = d.ino \
        LEFT JOIN artifacts a ON a.id = i.artifact \
        WHERE d.parent = ?1 AND (a.expires IS NULL OR a.expires > ?2) LIMIT 1";
    if c.prepare_cached(sql)?.exists(params![int(dir.0), now.0])? {
        return Err(Error::new(Kind::NotEmpty, format!("directory '{}' is not empty", entry.name)));
    }
    let expired = c
        .prepare_cached("SELECT name FROM dentries WHERE parent = ?")?
        .query_map([int(dir.0)], |r| codec::name(r, 0))?
        .collect::<sql::Result<Vec<_>>>()?;
    for name in expired {
        if let Some(child) = tree::entry(c, dir, &name, now)? {
            drop_name(c, origin, &child, Fate::Supersede, now)?;
        }
    }
    tree::remove_name(c, entry.parent, &entry.name)?;
    tree::touch_dir(c, entry.parent, -1, now)?;
    changes::entry(c, origin, entry.parent, &entry.name)?;
    bury(c, entry, fate, now)?;
    Ok(Removed { ino: dir, kind: NodeKind::Dir, nlink: 0 })
}

/// Keeps a removed directory's name while paths of artifacts still lead through it, or while it may come back with its session.
fn bury(c: &Connection, entry: &Entry, fate: Fate, now: Timestamp) -> Result<()> {
    let dir = int(entry.node.ino.0);
    let needed =
        "SELECT 1 FROM artifacts WHERE parent = ?1 UNION ALL SELECT 1 FROM inodes WHERE was_parent = ?1 LIMIT 1";
    if fate == Fate::Trash || c.prepare_cached(needed)?.exists([dir])? {
        keep(c, entry, now)
    } else {
        c.prepare_cached("DELETE FROM inodes WHERE ino = ?")?.execute([dir])?;
        Ok(())
    }
}

/// Out of the tree, but known by the name that it had: its `ctime` is the moment. [`sessions::forget_removed`] ends it.
fn keep(c: &Connection, entry: &Entry, now: Timestamp) -> Result<()> {
    c.prepare_cached("UPDATE inodes SET nlink = 0, was_parent = ?2, was_name = ?3, ctime = ?4 WHERE ino = ?1")?
        .execute(params![int(entry.node.ino.0), int(entry.parent.0), entry.name.as_bytes(), now.0])?;
    Ok(())
}

pub fn is_a_directory(name: &Name) -> Error {
    Error::new(Kind::IsADirectory, format!("'{name}' is a directory"))
}
