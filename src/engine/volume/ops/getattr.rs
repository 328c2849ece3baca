//! Attributes: the catalog's node, and what an open inode knows better.

use crate::artifact::record::{Node, NodeKind};
use crate::artifact::{Error, Result};
use crate::engine::volume::Volume;
use crate::engine::volume::inode::OpenInode;
use crate::engine::volume::inode::attr::Attr;
use crate::engine::volume::inode::departed::Mark;

impl Volume {
    /// Attributes of `node`, with what this mount knows better: bytes being written, names being made.
    pub(in crate::engine::volume) fn attr_of(&self, node: &Node) -> Result<Attr> {
        let mut attr = Attr::of_node(node);
        if node.kind == NodeKind::Dir {
            attr.nlink = attr.nlink.saturating_add(self.scratch.subdirectories(node.ino));
            if let Some(at) = self.inodes.overlay.lock().touched(node.ino) {
                // Whatever the catalog was told after that (`utimes`) stands.
                if at > attr.ctime {
                    attr.mtime = at;
                    attr.ctime = at;
                }
            }
        } else if let Some(live) = self.inodes.get(node.ino) {
            live.overlay_attr(&mut attr)?;
        }
        Ok(attr)
    }

    /// The same of a node that was read after `mark`: read again if its live record went meanwhile.
    ///
    /// # Errors
    /// `NotFound` when it is gone by then.
    pub(in crate::engine::volume) async fn attr_of_read(&self, mut node: Node, mut mark: Mark) -> Result<Attr> {
        loop {
            let attr = self.attr_of(&node)?;
            if !self.inodes.departed.since(node.ino, mark) {
                self.kernel.told.tell(&node);
                return Ok(attr);
            }
            mark = self.inodes.departed.mark();
            let again = self.store.catalog.node(node.ino, self.now()).await?;
            node = again.ok_or_else(|| Error::not_found("the file is gone"))?;
        }
    }

    /// Attributes of a file that only this mount knows.
    pub(in crate::engine::volume) fn attr_of_pending(&self, live: &OpenInode) -> Result<Attr> {
        live.pending_attr()
    }
}
