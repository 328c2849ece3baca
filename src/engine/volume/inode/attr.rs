//! Attributes as the kernel is told them.

use crate::artifact::ids::Ino;
use crate::artifact::record::{Node, NodeKind};
use crate::artifact::time::Timestamp;
use crate::catalog::AttrChange;

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
    pub(in crate::engine::volume) fn of_ghost(ino: Ino, set: &SetAttr, now: Timestamp) -> Self {
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
pub(in crate::engine::volume) fn sparse(size: u64, blocks: u64) -> Option<u64> {
    (blocks < whole_blocks(size)).then_some(blocks)
}

/// Set-user-ID and set-group-ID.
pub(in crate::engine::volume) const SET_ID: u32 = 0o6000;

/// What SETATTR asks; `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<Timestamp>,
    pub mtime: Option<Timestamp>,
    /// With the writeback cache the kernel keeps a file's times and hands them on when it likes: no program asked.
    pub kept_ctime: Option<Timestamp>,
    pub fh: Option<u64>,
}

impl SetAttr {
    /// Nothing but a size at most.
    pub(in crate::engine::volume) fn is_empty(&self) -> bool {
        self.mode.is_none() && self.uid.is_none() && self.gid.is_none() && self.atime.is_none() && self.mtime.is_none()
    }

    pub(in crate::engine::volume) fn change(self, ctime: Timestamp) -> AttrChange {
        let Self { mode, uid, gid, atime, mtime, .. } = self;
        AttrChange { mode, uid, gid, atime, mtime, ctime: Some(ctime) }
    }

    pub(in crate::engine::volume) fn merge(&mut self, later: Self) {
        self.mode = later.mode.or(self.mode);
        self.uid = later.uid.or(self.uid);
        self.gid = later.gid.or(self.gid);
        self.atime = later.atime.or(self.atime);
        self.mtime = later.mtime.or(self.mtime);
    }
}
