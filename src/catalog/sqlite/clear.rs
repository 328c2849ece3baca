//! Emptying a directory, all that is below it included, some hundred names a transaction.

use super::codec::{self, int};
use super::remove::{Fate, drop_dir, drop_name};
use super::tree;
use crate::artifact::Result;
use crate::artifact::ids::Ino;
use crate::artifact::name::Name;
use crate::artifact::record::NodeKind;
use crate::artifact::time::Timestamp;
use crate::catalog::Origin;
use crate::catalog::sql::{Connection, params};
use crate::catalog::upkeep::Cleared;

/// Takes up to `limit` names below `dir` away, deepest first: files go to the trash, directories go once they are empty.
pub fn clear(c: &Connection, origin: Origin, dir: Ino, limit: u32, now: Timestamp) -> Result<Cleared> {
    tree::writable_dir(c, dir)?;
    let mut cleared = Cleared::default();
    // The way down to where names are taken away now. (Not by recursion: a path may be 2,000 deep.)
    let mut way: Vec<tree::Entry> = Vec::new();
    loop {
        let here = way.last().map_or(dir, |e| e.node.ino);
        let Some(name) = first_name(c, here)? else {
            let Some(empty) = way.pop() else { return Ok(cleared) };
            drop_dir(c, origin, &empty, Fate::Trash, now)?;
            cleared.directories += 1;
            continue;
        };
        if cleared.files + cleared.directories >= u64::from(limit) {
            cleared.more = true;
            return Ok(cleared);
        }
        match tree::entry(c, here, &name, now)? {
            Some(e) if e.node.kind == NodeKind::Dir => way.push(e),
            Some(e) => {
                let fate = if e.expired { Fate::Supersede } else { Fate::Trash };
                drop_name(c, origin, &e, fate, now)?;
                cleared.files += 1;
            }
            // A name without an inode; `outputfs check` would tell.
            None => tree::remove_name(c, here, &name)?,
        }
    }
}

fn first_name(c: &Connection, dir: Ino) -> Result<Option<Name>> {
    let mut stmt = c.prepare_cached("SELECT name FROM dentries WHERE parent = ? LIMIT 1")?;
    let mut rows = stmt.query(params![int(dir.0)])?;
    Ok(rows.next()?.map(|r| codec::name(&r, 0)).transpose()?)
}
