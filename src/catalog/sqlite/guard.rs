//! Owners and modes of what leads to an inode, removed directories included.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::SqliteCatalog;
use super::codec::{self, id_bytes, int};
use crate::artifact::Result;
use crate::artifact::ids::{ArtifactId, Ino};
use crate::artifact::permission::{Guard, Perm};
use crate::catalog::guard::{Guarded, Guards};
use crate::catalog::sql::{self, Connection, OptionalExtension, Row};

/// Levels at most, as [`super::paths`] counts them.
const DEPTH_MAX: usize = 10_000;

/// Of what nobody knows the mode any more: its writer's alone.
const PRIVATE: u32 = 0o600;

#[async_trait]
impl Guards for SqliteCatalog {
    async fn guard(&self, of: Guarded, top: Ino) -> Result<Option<Guard>> {
        self.readers.snapshot(|c| Chains::default().of(c, of, top))
    }

    async fn guards(&self, of: Vec<Guarded>, top: Ino) -> Result<Vec<Option<Guard>>> {
        self.scan(move |c| {
            let mut chains = Chains::default();
            of.into_iter().map(|of| chains.of(c, of, top)).collect()
        })
        .await
    }
}

/// Remembers the chains of directories: for many artifacts in one snapshot.
#[derive(Default)]
struct Chains {
    known: HashMap<Ino, Arc<[Perm]>>,
}

impl Chains {
    /// None when there is no such inode or artifact.
    fn of(&mut self, c: &Connection, of: Guarded, top: Ino) -> Result<Option<Guard>> {
        match of {
            Guarded::Inode(ino) => {
                let Some((own, parent)) = inode(c, ino)? else { return Ok(None) };
                let parent = parent.filter(|_| ino != top);
                let above = parent.map(|dir| self.chain(c, dir, top)).transpose()?;
                Ok(Some(Guard { own, above: above.unwrap_or_else(|| Arc::from([])) }))
            }
            Guarded::Artifact(id) => {
                let Some((own, writer, parent)) = artifact(c, id)? else { return Ok(None) };
                let above = self.chain(c, parent, top)?;
                let own = own.unwrap_or_else(|| {
                    let dir = above.first().copied().unwrap_or(Perm { mode: 0, uid: 0, gid: 0 });
                    Perm { mode: PRIVATE, uid: writer.unwrap_or(dir.uid), gid: dir.gid }
                });
                Ok(Some(Guard { own, above }))
            }
        }
    }

    /// `dir` and what lies above it, up to and with `top`.
    fn chain(&mut self, c: &Connection, dir: Ino, top: Ino) -> Result<Arc<[Perm]>> {
        if let Some(known) = self.known.get(&dir) {
            return Ok(known.clone());
        }
        let (mut chain, mut at) = (Vec::new(), Some(dir));
        while let Some(ino) = at.filter(|_| chain.len() < DEPTH_MAX) {
            // A directory that is gone without a trace lets root through alone.
            let (perm, parent) = inode(c, ino)?.unwrap_or((Perm { mode: 0, uid: 0, gid: 0 }, None));
            chain.push(perm);
            at = parent.filter(|_| ino != top);
        }
        let chain: Arc<[Perm]> = Arc::from(chain);
        self.known.insert(dir, chain.clone());
        Ok(chain)
    }
}

fn perm(row: &Row<'_>, at: usize) -> sql::Result<Option<Perm>> {
    let Some(mode) = row.get::<Option<u32>>(at)? else { return Ok(None) };
    Ok(Some(Perm { mode, uid: row.get(at + 1)?, gid: row.get(at + 2)? }))
}

/// Also of a removed directory, and where it was.
fn inode(c: &Connection, ino: Ino) -> Result<Option<(Perm, Option<Ino>)>> {
    let sql = "SELECT i.mode, i.uid, i.gid, coalesce(d.parent, i.was_parent) FROM inodes i \
        LEFT JOIN dentries d ON d.ino = i.ino WHERE i.ino = ? ORDER BY d.cookie LIMIT 1";
    let row =
        c.prepare_cached(sql)?.query_row([int(ino.0)], |r| Ok((perm(r, 0)?, codec::opt_uint(r, 3)?))).optional()?;
    Ok(row.and_then(|(perm, parent)| Some((perm?, parent.map(Ino)))))
}

/// Owner and mode of the inode that shows it, or did when it went (none: an earlier release let go of it), the user that wrote it, its
/// directory.
fn artifact(c: &Connection, id: ArtifactId) -> Result<Option<(Option<Perm>, Option<u32>, Ino)>> {
    let sql = "SELECT coalesce(i.mode, a.mode), coalesce(i.uid, a.uid), coalesce(i.gid, a.gid), a.labels ->> '$.provenance.uid', a.parent FROM artifacts a \
        LEFT JOIN inodes i ON i.ino = a.ino WHERE a.id = ?";
    Ok(c.prepare_cached(sql)?
        .query_row([id_bytes(id)], |r| Ok((perm(r, 0)?, r.get(3)?, codec::ino(r, 4)?)))
        .optional()?)
}
