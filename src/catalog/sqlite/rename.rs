//! rename(2) in all its forms.

use super::codec::int;
use super::make::across;
use super::remove::{self, Fate, drop_name, is_a_directory};
use super::tree::{self, Entry};
use super::{artifacts, audit, changes, paths};
use crate::artifact::ids::{Ino, SessionId};
use crate::artifact::name::Name;
use crate::artifact::record::{Node, NodeKind};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::sql::{Connection, params};
use crate::catalog::{Origin, Removed, RenameMode};

/// One end of a rename.
pub struct End<'a> {
    pub parent: Ino,
    pub name: &'a Name,
    /// Of the name that will stand there.
    pub cookie: u64,
}

pub fn rename(
    c: &Connection,
    origin: Origin,
    from: &End<'_>,
    to: &End<'_>,
    mode: RenameMode,
    now: Timestamp,
) -> Result<Option<Removed>> {
    let from_dir = tree::writable_dir(c, from.parent)?;
    let to_dir = tree::writable_dir(c, to.parent)?;
    let source = tree::existing(c, from.parent, from.name, now)?;
    check_sessions(&from_dir, &to_dir, &source)?;
    tree::check_reserved(c, &to_dir, to.name)?;
    let found = tree::entry(c, to.parent, to.name, now)?;
    // An expired target is not there for anyone: it gives way without being "replaced".
    let target = match found {
        Some(entry) if entry.expired && !same(from, to) => {
            drop_name(c, origin, &entry, Fate::Supersede, now)?;
            None
        }
        found => found,
    };
    check_loops(c, &source, from, to, target.as_ref(), mode)?;
    match (mode, target) {
        (RenameMode::Exchange, None) => Err(Error::not_found(format!("'{}' does not exist", to.name))),
        (RenameMode::NoReplace, Some(_)) => Err(tree::taken(to.name)),
        // Two names of one file: rename(2) leaves both.
        (_, Some(target)) if target.node.ino == source.node.ino => Ok(None),
        (RenameMode::Exchange, Some(target)) => exchange(c, origin, &source, &target, (from, to), now).map(|()| None),
        (_, target) => {
            let removed = target.map(|t| replace(c, origin, &source, &t, now)).transpose()?;
            move_name(c, origin, &source, to, now)?;
            Ok(removed)
        }
    }
}

fn same(from: &End<'_>, to: &End<'_>) -> bool {
    from.parent == to.parent && from.name == to.name
}

fn check_sessions(from: &Node, to: &Node, source: &Entry) -> Result<()> {
    if from.session == SessionId::NONE {
        return Err(Error::new(Kind::Reserved, "a session cannot be renamed"));
    }
    if to.session == SessionId::NONE && source.node.kind != NodeKind::Dir {
        return Err(tree::outside_sessions(&source.name));
    }
    if from.session == to.session { Ok(()) } else { Err(across()) }
}

/// A directory cannot move below itself.
fn check_loops(
    c: &Connection,
    source: &Entry,
    from: &End<'_>,
    to: &End<'_>,
    target: Option<&Entry>,
    mode: RenameMode,
) -> Result<()> {
    let within = |dir: &Node, mut at: Ino| -> Result<bool> {
        if dir.kind != NodeKind::Dir || from.parent == to.parent {
            return Ok(false);
        }
        while at != dir.ino {
            match paths::above(c, at)? {
                Some((parent, _)) => at = parent,
                None => return Ok(false),
            }
        }
        Ok(true)
    };
    let swapped = mode == RenameMode::Exchange && target.map_or(Ok(false), |t| within(&t.node, from.parent))?;
    if swapped || within(&source.node, to.parent)? {
        return Err(Error::invalid(format!("directory '{}' cannot move below itself", from.name)));
    }
    Ok(())
}

/// Takes the target away, as rename(2) allows.
fn replace(c: &Connection, origin: Origin, source: &Entry, target: &Entry, now: Timestamp) -> Result<Removed> {
    match (source.node.kind, target.node.kind) {
        (NodeKind::Dir, NodeKind::Dir) => remove::drop_dir(c, origin, target, Fate::Supersede, now),
        (NodeKind::Dir, _) => Err(Error::new(Kind::NotADirectory, format!("'{}' is not a directory", target.name))),
        (_, NodeKind::Dir) => Err(is_a_directory(&target.name)),
        _ => drop_name(c, origin, target, Fate::Supersede, now),
    }
}

fn move_name(c: &Connection, origin: Origin, source: &Entry, to: &End<'_>, now: Timestamp) -> Result<()> {
    let subdir = i64::from(source.node.kind == NodeKind::Dir);
    tell(c, source, to)?;
    tree::remove_name(c, source.parent, &source.name)?;
    tree::add_name(c, to.cookie, to.parent, to.name, source.node.ino)?;
    refile(c, source, to)?;
    tree::touch_dir(c, source.parent, -subdir, now)?;
    tree::touch_dir(c, to.parent, subdir, now)?;
    tree::touch_ctime(c, source.node.ino, now)?;
    changes::entry(c, origin, source.parent, &source.name)?;
    changes::entry(c, origin, to.parent, to.name)?;
    changes::inode(c, origin, source.node.ino)
}

/// Artifacts tell of their own renames; of a directory's, which moves all that is below it, nobody else does. Called before the move.
fn tell(c: &Connection, entry: &Entry, to: &End<'_>) -> Result<()> {
    if entry.node.kind != NodeKind::Dir {
        return Ok(());
    }
    let mut old = paths::path(c, entry.parent)?;
    if !old.is_empty() {
        old.push(b'/');
    }
    old.extend_from_slice(entry.name.as_bytes());
    audit::directory_renamed(c, entry.node.session, &old, to.parent, to.name)
}

/// The artifact follows the name under which it is filed.
fn refile(c: &Connection, entry: &Entry, to: &End<'_>) -> Result<()> {
    if let Some((id, _)) = entry.node.content
        && artifacts::is_filed_at(c, id, entry.parent, &entry.name)?
    {
        artifacts::refile(c, id, to.parent, to.name)?;
    }
    Ok(())
}

fn exchange(
    c: &Connection,
    origin: Origin,
    source: &Entry,
    target: &Entry,
    (from, to): (&End<'_>, &End<'_>),
    now: Timestamp,
) -> Result<()> {
    tell(c, source, to)?;
    tell(c, target, from)?;
    tree::remove_name(c, from.parent, from.name)?;
    tree::remove_name(c, to.parent, to.name)?;
    tree::add_name(c, from.cookie, from.parent, from.name, target.node.ino)?;
    tree::add_name(c, to.cookie, to.parent, to.name, source.node.ino)?;
    refile(c, source, to)?;
    refile(c, target, from)?;
    let dirs = |entry: &Entry| i64::from(entry.node.kind == NodeKind::Dir);
    let gain = dirs(target) - dirs(source);
    tree::touch_dir(c, from.parent, gain, now)?;
    tree::touch_dir(c, to.parent, -gain, now)?;
    for end in [from, to] {
        changes::entry(c, origin, end.parent, end.name)?;
    }
    for node in [&source.node, &target.node] {
        c.prepare_cached("UPDATE inodes SET ctime = ? WHERE ino = ?")?.execute(params![now.0, int(node.ino.0)])?;
        changes::inode(c, origin, node.ino)?;
    }
    Ok(())
}
