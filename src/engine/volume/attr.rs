//! Attributes as the kernel is told them.

use crate::artifact::ids::Ino;
use crate::artifact::record::{Node, NodeKind};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Result};

use super::Volume;
use super::departed::Mark;
use super::live::Live;
use super::setattr::SetAttr;

/// `stat(2)` of one inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    pub ino: Ino,
    pub kind: NodeKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u32,
    pub nlink: u32,
    pub size: u64,
    /// 512-byte blocks.
    pub blocks: u64,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    /// The kernel may keep it until it is told otherwise. False while writes bypass the daemon.
    pub keep: bool,
    /// When the file ceases: nothing is kept beyond it.
    pub expires: Option<Timestamp>,
}

impl Attr {
    /// Of a node that nobody has open for writing here. Sealed: no `w`.
    #[must_use]
    pub fn of_node(node: &Node) -> Self {
        Self {
            ino: node.ino,
            kind: node.kind,
            mode: if node.sealed && node.kind != NodeKind::Symlink { node.mode & !0o222 } else { node.mode },
            uid: node.uid,
            gid: node.gid,
            rdev: node.rdev,
            nlink: node.nlink,
            size: node.size,
            blocks: match node.kind {
                NodeKind::Dir => 8,
                _ => node.blocks.unwrap_or_else(|| whole_blocks(node.size)),
            },
            atime: node.atime,
            mtime: node.mtime,
            ctime: node.ctime,
            keep: true,
            expires: node.expires,
        }
    }

    /// Of a file that is gone and that the kernel still talks of.
    pub(super) fn of_ghost(ino: Ino, set: &SetAttr, now: Timestamp) -> Self {
        Self {
            ino,
            kind: NodeKind::File,
            mode: 0o600,
            uid: 0,
            gid: 0,
            rdev: 0,
            nlink: 0,
            size: 0,
            blocks: 0,
            atime: now,
            mtime: set.mtime.unwrap_or(now),
            ctime: now,
            keep: false,
            expires: None,
        }
    }
}

/// 512-byte blocks of a file without holes, as ext4 with 4 KiB blocks counts them.
fn whole_blocks(size: u64) -> u64 {
    size.div_ceil(4096) * 8
}

/// What a commit records of a staging file's blocks: none when it has no hole. (Preallocated blocks beyond the size are
/// not the artifact's.)
pub(super) fn sparse(size: u64, blocks: u64) -> Option<u64> {
    (blocks < whole_blocks(size)).then_some(blocks)
}

impl Volume {
    /// Attributes of `node`, with what this mount knows better: bytes being written, names being made.
    pub(super) fn attr_of(&self, node: &Node) -> Result<Attr> {
        let mut attr = Attr::of_node(node);
        if node.kind == NodeKind::Dir {
            attr.nlink = attr.nlink.saturating_add(self.scratch.subdirectories(node.ino));
            if let Some(at) = self.overlay.lock().touched(node.ino) {
                // Whatever the catalog was told after that (`utimes`) stands.
                if at > attr.ctime {
                    attr.mtime = at;
                    attr.ctime = at;
                }
            }
        } else if let Some(live) = self.live_of(node.ino) {
            live.overlay_attr(&mut attr)?;
        }
        Ok(attr)
    }

    /// The same of a node that was read after `mark`: read again if its live record went meanwhile.
    ///
    /// # Errors
    /// `NotFound` when it is gone by then.
    pub(super) async fn attr_of_read(&self, mut node: Node, mut mark: Mark) -> Result<Attr> {
        loop {
            let attr = self.attr_of(&node)?;
            if !self.departed.since(node.ino, mark) {
                self.told.tell(&node);
                return Ok(attr);
            }
            mark = self.departed.mark();
            let again = self.store.catalog.node(node.ino, self.now()).await?;
            node = again.ok_or_else(|| Error::not_found("the file is gone"))?;
        }
    }

    /// Attributes of a file that only this mount knows.
    pub(super) fn attr_of_pending(&self, live: &Live) -> Result<Attr> {
        live.pending_attr()
    }
}
