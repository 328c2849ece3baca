//! Trees that come from scratch and go there, each in one transaction.

use async_trait::async_trait;

use super::codec::{self, int};
use super::remove::{self, Fate, drop_dir, drop_name};
use super::tree::{self, Entry};
use super::{SqliteCatalog, commit, labels, make};
use crate::artifact::ids::Ino;
use crate::artifact::name::Name;
use crate::artifact::record::NodeKind;
use crate::artifact::time::Timestamp;
use crate::artifact::versions::Rules;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::borders::{Borders, Graft, Grafted};
use crate::catalog::sql::{self, Connection, params};
use crate::catalog::{CommitError, LabelChange, Origin, Removed, RenameMode};

#[async_trait]
impl Borders for SqliteCatalog {
    async fn graft(&self, origin: Origin, graft: Graft) -> Result<Grafted, CommitError> {
        let rules = self.versions;
        self.writer.run(super::Commits::Durable, move |c| grow(c, origin, rules, &graft)).await
    }

    async fn uproot(&self, origin: Origin, parent: Ino, name: &Name, now: Timestamp) -> Result<Vec<Removed>> {
        let name = name.clone();
        self.change(move |c| {
            tree::writable_dir(c, parent)?;
            let entry = tree::existing(c, parent, &name, now)?;
            let mut gone = Vec::new();
            take(c, origin, &entry, now, &mut gone)?;
            Ok(gone)
        })
        .await
    }
}

fn grow(c: &Connection, origin: Origin, rules: Rules, g: &Graft) -> Result<Grafted, CommitError> {
    let replaced = make_way(c, origin, g)?;
    for n in &g.nodes {
        make::make(c, origin, &n.node)?;
        if has_labels(&n.labels) {
            labels::set_labels(c, origin, n.node.ino, &n.labels, g.now)?;
        }
    }
    let files = g.files.iter().map(|f| commit::commit(c, origin, rules, f)).collect::<Result<Vec<_>, _>>()?;
    for (ino, parent, name, cookie) in &g.links {
        make::link(c, origin, *ino, *parent, name, *cookie, g.now)?;
    }
    // What came into a directory touched it: it keeps the times that it had.
    for n in &g.nodes {
        c.prepare_cached("UPDATE inodes SET atime = ?, mtime = ? WHERE ino = ?")?.execute(params![
            n.atime.0,
            n.mtime.0,
            int(n.node.ino.0)
        ])?;
    }
    Ok(Grafted { replaced, files })
}

fn has_labels(l: &LabelChange) -> bool {
    !l.attributes.is_empty() || l.agent_id.is_some() || l.ttl.is_some()
}

/// What stands where the tree is to stand gives way, as rename(2) allows.
fn make_way(c: &Connection, origin: Origin, g: &Graft) -> Result<Option<Removed>> {
    let Some(root) = g.nodes.first().map(|n| &n.node) else {
        return Err(Error::internal("catalog: a tree without its root"));
    };
    tree::writable_dir(c, root.parent)?;
    let Some(entry) = tree::entry(c, root.parent, &root.name, g.now)? else { return Ok(None) };
    if entry.expired {
        drop_name(c, origin, &entry, Fate::Supersede, g.now)?;
        return Ok(None);
    }
    if g.mode != RenameMode::Replace {
        return Err(tree::taken(&root.name));
    }
    match (root.kind, entry.node.kind) {
        (NodeKind::Dir, NodeKind::Dir) => drop_dir(c, origin, &entry, Fate::Supersede, g.now).map(Some),
        (NodeKind::Dir, _) => Err(Error::new(Kind::NotADirectory, format!("'{}' is not a directory", root.name))),
        (_, NodeKind::Dir) => Err(remove::is_a_directory(&root.name)),
        _ => drop_name(c, origin, &entry, Fate::Supersede, g.now).map(Some),
    }
}

/// Takes an entry away with all below it.
fn take(c: &Connection, origin: Origin, entry: &Entry, now: Timestamp, gone: &mut Vec<Removed>) -> Result<()> {
    if entry.node.kind != NodeKind::Dir {
        gone.push(drop_name(c, origin, entry, Fate::Leave, now)?);
        return Ok(());
    }
    let names = c
        .prepare_cached("SELECT name FROM dentries WHERE parent = ?")?
        .query_map([int(entry.node.ino.0)], |r| codec::name(r, 0))?
        .collect::<sql::Result<Vec<_>>>()?;
    for name in names {
        // What has expired gives way with the directory.
        if let Some(child) = tree::entry(c, entry.node.ino, &name, now)?.filter(|e| !e.expired) {
            take(c, origin, &child, now, gone)?;
        }
    }
    gone.push(drop_dir(c, origin, entry, Fate::Leave, now)?);
    renumber(c, entry.node.ino)
}

/// The directory lives on as scratch under its number, and may come back with it: what is kept of it for the paths of
/// its deleted artifacts gets another.
fn renumber(c: &Connection, dir: Ino) -> Result<()> {
    if !c.prepare_cached("SELECT 1 FROM inodes WHERE ino = ?")?.exists([int(dir.0)])? {
        return Ok(());
    }
    let fresh = int(codec::draw(c, 1)?);
    for sql in [
        "UPDATE inodes SET ino = ?2 WHERE ino = ?1",
        "UPDATE inodes SET was_parent = ?2 WHERE was_parent = ?1",
        "UPDATE artifacts SET parent = ?2 WHERE parent = ?1",
    ] {
        c.prepare_cached(sql)?.execute(params![int(dir.0), fresh])?;
    }
    Ok(())
}
