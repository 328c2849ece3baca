//! Paths from inodes and back, removed directories included.

use std::collections::HashMap;

use super::codec::{self, ArtifactRow};
use crate::artifact::ids::{Ino, SessionId};
use crate::artifact::name::Name;
use crate::artifact::record::Artifact;
use crate::artifact::{Error, Result};
use crate::catalog::sql::{self, Connection, OptionalExtension, params};

/// Levels of directories at most; a longer chain can only be a cycle, that is, a damaged catalog.
const DEPTH_MAX: usize = 10_000;

/// Parent and name of a directory, or what they were when it was removed.
pub fn above(c: &Connection, dir: Ino) -> Result<Option<(Ino, Name)>> {
    let sql = "SELECT coalesce(d.parent, i.was_parent), coalesce(d.name, i.was_name) \
        FROM inodes i LEFT JOIN dentries d ON d.ino = i.ino WHERE i.ino = ? \
        AND coalesce(d.parent, i.was_parent) IS NOT NULL ORDER BY d.cookie LIMIT 1";
    Ok(c.prepare_cached(sql)?
        .query_row([codec::int(dir.0)], |r| Ok((codec::ino(r, 0)?, codec::name(r, 1)?)))
        .optional()?)
}

/// Computes paths and remembers directories: for many artifacts in one snapshot.
#[derive(Default)]
pub struct Paths {
    known: HashMap<Ino, Vec<u8>>,
}

impl Paths {
    /// Path of directory `dir` below `root`, without slashes at its ends; empty for `root` itself.
    pub fn dir(&mut self, c: &Connection, dir: Ino, root: Ino) -> Result<Vec<u8>> {
        let mut names: Vec<(Ino, Name)> = Vec::new();
        let mut at = dir;
        let mut path = loop {
            if at == root {
                break Vec::new();
            }
            if let Some(known) = self.known.get(&at) {
                break known.clone();
            }
            if names.len() > DEPTH_MAX {
                return Err(Error::internal(format!("catalog: directory {dir} lies within itself")));
            }
            // A chain that ends before the root: as much of the path as is known.
            let Some((parent, name)) = above(c, at)? else { break Vec::new() };
            names.push((at, name));
            at = parent;
        };
        for (ino, name) in names.into_iter().rev() {
            push(&mut path, name.as_bytes());
            self.known.insert(ino, path.clone());
        }
        Ok(path)
    }

    /// Completes a row's `filename`.
    pub fn artifact(&mut self, c: &Connection, row: ArtifactRow) -> Result<Artifact> {
        let ArtifactRow { mut artifact, parent, root } = row;
        let mut path = self.dir(c, parent, root)?;
        if artifact.session_name.is_none() {
            // The first name only keeps artifacts without a session apart.
            path = path.iter().position(|&b| b == b'/').map_or_else(Vec::new, |at| path.split_off(at + 1));
        }
        push(&mut path, &artifact.filename);
        artifact.filename = path;
        Ok(artifact)
    }
}

fn push(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// Every parent and name of an inode, the oldest first.
pub fn places(c: &Connection, ino: Ino) -> Result<Vec<(Ino, Name)>> {
    let mut find = c.prepare_cached("SELECT parent, name FROM dentries WHERE ino = ? ORDER BY cookie")?;
    let rows = find.query_map([codec::int(ino.0)], |r| Ok((codec::ino(r, 0)?, codec::name(r, 1)?)))?;
    Ok(rows.collect::<sql::Result<_>>()?)
}

/// Parent and oldest name of any inode.
pub fn place(c: &Connection, ino: Ino) -> Result<Option<(Ino, Name)>> {
    let sql = "SELECT parent, name FROM dentries WHERE ino = ? ORDER BY cookie LIMIT 1";
    Ok(c.prepare_cached(sql)?
        .query_row([codec::int(ino.0)], |r| Ok((codec::ino(r, 0)?, codec::name(r, 1)?)))
        .optional()?)
}

/// Path inside its session of any inode that has a name; empty for roots.
pub fn path(c: &Connection, ino: Ino) -> Result<Vec<u8>> {
    let missing = || Error::not_found(format!("inode {ino} does not exist"));
    let (session, root) = c
        .prepare_cached(
            "SELECT i.session, s.root FROM inodes i LEFT JOIN sessions s ON s.id = i.session WHERE i.ino = ?",
        )?
        .query_row([codec::int(ino.0)], |r| Ok((SessionId(r.get(0)?), codec::opt_uint(r, 1)?.map(Ino))))
        .optional()?
        .ok_or_else(missing)?;
    let Some(root) = root else { return Ok(Vec::new()) };
    if session == SessionId::NONE || root == ino {
        return Ok(Vec::new());
    }
    let (parent, name) = place(c, ino)?.ok_or_else(missing)?;
    let mut path = Paths::default().dir(c, parent, root)?;
    push(&mut path, name.as_bytes());
    Ok(path)
}

/// Every directory, existing or removed, that has this path below one of `roots`.
pub fn dirs_named(c: &Connection, roots: Vec<Ino>, path: &[Name]) -> Result<Vec<Ino>> {
    let sql = "SELECT ino FROM dentries WHERE parent = ?1 AND name = ?2 \
        UNION SELECT ino FROM inodes WHERE was_parent = ?1 AND was_name = ?2";
    let mut dirs = roots;
    for name in path {
        let mut below = Vec::new();
        for dir in dirs {
            let mut stmt = c.prepare_cached(sql)?;
            let rows = stmt.query_map(params![codec::int(dir.0), name.as_bytes()], |r| codec::ino(r, 0))?;
            for ino in rows {
                below.push(ino?);
            }
        }
        dirs = below;
    }
    Ok(dirs)
}
