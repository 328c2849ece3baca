//! What all operations on the tree share. Every function runs within its caller's transaction.

use super::codec::{self, NODE, NODE_JOIN, int};
use crate::artifact::ids::{Ino, SessionId};
use crate::artifact::name::Name;
use crate::artifact::record::{Node, NodeKind};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::NewNode;
use crate::catalog::sql::{Connection, OptionalExtension, params};

/// A directory entry with its node, expired or not.
pub struct Entry {
    pub parent: Ino,
    pub name: Name,
    pub node: Node,
    pub expired: bool,
}

/// Any inode that is in the tree, expired or not.
pub fn node_any(c: &Connection, ino: Ino) -> Result<Option<Node>> {
    let sql = format!("SELECT {NODE} FROM inodes i {NODE_JOIN} WHERE i.ino = ? AND i.nlink > 0");
    Ok(c.prepare_cached(&sql)?.query_row([int(ino.0)], |r| codec::node(r, 0)).optional()?)
}

/// An inode that a reader sees at `now`.
pub fn node(c: &Connection, ino: Ino, now: Timestamp) -> Result<Option<Node>> {
    let sql = format!(
        "SELECT {NODE} FROM inodes i {NODE_JOIN} WHERE i.ino = ?1 AND i.nlink > 0 \
         AND (a.expires IS NULL OR a.expires > ?2)"
    );
    Ok(c.prepare_cached(&sql)?.query_row(params![int(ino.0), now.0], |r| codec::node(r, 0)).optional()?)
}

pub fn entry(c: &Connection, parent: Ino, name: &Name, now: Timestamp) -> Result<Option<Entry>> {
    let sql = format!(
        "SELECT {NODE}, a.expires <= ?3 FROM dentries d JOIN inodes i ON i.ino = d.ino {NODE_JOIN} \
         WHERE d.parent = ?1 AND d.name = ?2"
    );
    let row = c
        .prepare_cached(&sql)?
        .query_row(params![int(parent.0), name.as_bytes(), now.0], |r| {
            Ok((codec::node(r, 0)?, r.get::<Option<bool>>(18)?.unwrap_or(false)))
        })
        .optional()?;
    Ok(row.map(|(node, expired)| Entry { parent, name: name.clone(), node, expired }))
}

/// The entry as readers see it.
pub fn existing(c: &Connection, parent: Ino, name: &Name, now: Timestamp) -> Result<Entry> {
    entry(c, parent, name, now)?
        .filter(|e| !e.expired)
        .ok_or_else(|| Error::not_found(format!("'{name}' does not exist")))
}

/// The directory `ino`, whose session may be changed.
pub fn writable_dir(c: &Connection, ino: Ino) -> Result<Node> {
    let dir = node_any(c, ino)?.ok_or_else(|| Error::not_found(format!("directory {ino} does not exist")))?;
    if dir.kind != NodeKind::Dir {
        return Err(Error::new(Kind::NotADirectory, format!("inode {ino} is not a directory")));
    }
    writable(c, &dir)?;
    Ok(dir)
}

/// # Errors
/// `Sealed` when the node's session is.
pub fn writable(c: &Connection, node: &Node) -> Result<()> {
    if node.sealed { Err(sealed(c, node.session)?) } else { Ok(()) }
}

/// The error of a change to a sealed session.
pub fn sealed(c: &Connection, session: SessionId) -> Result<Error> {
    let name: String = c
        .prepare_cached("SELECT name FROM sessions WHERE id = ?")?
        .query_row([session.0], |r| r.get(0))
        .optional()?
        .unwrap_or_default();
    Ok(Error::sealed(&name))
}

/// # Errors
/// `Reserved` for a name that outputfs keeps for itself, at the top of a session or a tenant.
pub fn check_reserved(c: &Connection, dir: &Node, name: &Name) -> Result<()> {
    if name.is_reserved() && is_top(c, dir)? {
        return Err(Error::new(Kind::Reserved, format!("the name '{name}' is reserved by outputfs")));
    }
    Ok(())
}

fn is_top(c: &Connection, dir: &Node) -> Result<bool> {
    if dir.session == SessionId::NONE {
        return Ok(true);
    }
    let sql = "SELECT root = ?2 FROM sessions WHERE id = ?1";
    Ok(c.prepare_cached(sql)?
        .query_row(params![dir.session.0, int(dir.ino.0)], |r| r.get(0))
        .optional()?
        .unwrap_or(false))
}

/// A file in the tenant's root, outside every session.
pub fn outside_sessions(name: &Name) -> Error {
    Error::new(
        Kind::Reserved,
        format!("'{name}' would lie outside every session: only directories, which are sessions, can be made here"),
    )
}

pub fn taken(name: &Name) -> Error {
    Error::new(Kind::Exists, format!("'{name}' exists already"))
}

/// Inserts an inode and its name. `artifact` and `size` are a file's.
pub fn insert(c: &Connection, n: &NewNode, session: SessionId, size: u64, mtime: Timestamp) -> Result<()> {
    let nlink = if n.kind == NodeKind::Dir { 2 } else { 1 };
    c.prepare_cached(
        "INSERT INTO inodes(ino, session, kind, mode, uid, gid, rdev, nlink, size, atime, mtime, ctime, target) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?10, ?12)",
    )?
    .execute(params![
        int(n.ino.0),
        session.0,
        codec::kind_code(n.kind),
        n.mode & 0o7777,
        n.uid,
        n.gid,
        n.rdev,
        nlink,
        int(size),
        n.now.0,
        mtime.0,
        n.target
    ])?;
    add_name(c, n.cookie, n.parent, &n.name, n.ino)?;
    if n.kind == NodeKind::File {
        named_in(c, n.parent, n.now)
    } else {
        touch_dir(c, n.parent, i64::from(n.kind == NodeKind::Dir), n.now)
    }
}

pub fn add_name(c: &Connection, cookie: u64, parent: Ino, name: &Name, ino: Ino) -> Result<()> {
    c.prepare_cached("INSERT INTO dentries(cookie, parent, name, ino) VALUES (?, ?, ?, ?)")?.execute(params![
        int(cookie),
        int(parent.0),
        name.as_bytes(),
        int(ino.0)
    ])?;
    Ok(())
}

pub fn remove_name(c: &Connection, parent: Ino, name: &Name) -> Result<()> {
    c.prepare_cached("DELETE FROM dentries WHERE parent = ? AND name = ?")?
        .execute(params![int(parent.0), name.as_bytes()])?;
    Ok(())
}

/// An entry of `dir` came or went: its times, and its links by `subdirs`.
pub fn touch_dir(c: &Connection, dir: Ino, subdirs: i64, now: Timestamp) -> Result<()> {
    c.prepare_cached("UPDATE inodes SET mtime = ?2, ctime = ?2, nlink = nlink + ?3 WHERE ino = ?1")?
        .execute(params![int(dir.0), now.0, subdirs])?;
    Ok(())
}

/// A file's name came to be in `dir` at `at`, told later: whatever changed the directory since then stays.
fn named_in(c: &Connection, dir: Ino, at: Timestamp) -> Result<()> {
    c.prepare_cached("UPDATE inodes SET mtime = ?2, ctime = ?2 WHERE ino = ?1 AND ctime <= ?2")?
        .execute(params![int(dir.0), at.0])?;
    Ok(())
}

pub fn touch_ctime(c: &Connection, ino: Ino, now: Timestamp) -> Result<()> {
    c.prepare_cached("UPDATE inodes SET ctime = ? WHERE ino = ?")?.execute(params![now.0, int(ino.0)])?;
    Ok(())
}
