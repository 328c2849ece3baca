//! What the kernel was told of files' contents: it keeps their sizes, and reads by them, until it hears of a change.
//!
//! A change made elsewhere is heard of some milliseconds later ([`crate::fuse`]'s invalidation). An `open` in between would get the new
//! bytes by the old size: cut off, or filled up with zeros. So an `open` that finds another content than the kernel was told of has the
//! kernel forget first.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::artifact::ids::{BlobHash, Ino};
use crate::artifact::record::{Node, NodeKind};
use crate::artifact::{Error, Kind, Result};
use crate::catalog::{Catalog, ChangeKind};

use crate::engine::volume::kernel::Kernel;

/// Forgotten as a whole beyond that: what is not known here is not doubted.
const MOST: usize = 65_536;

/// Contents by inode.
#[derive(Default)]
pub(in crate::engine::volume) struct Told(Mutex<HashMap<Ino, BlobHash>>);

impl Told {
    pub fn tell(&self, node: &Node) {
        if let (NodeKind::File, Some((_, hash))) = (node.kind, node.content) {
            self.own(node.ino, hash);
        }
    }

    /// This mount's own bytes: the kernel has their size from its writers.
    pub fn own(&self, ino: Ino, hash: BlobHash) {
        let mut told = self.0.lock();
        if told.len() >= MOST {
            told.clear();
        }
        told.insert(ino, hash);
    }

    /// The content that the kernel was told of, when it is another one.
    pub fn otherwise(&self, ino: Ino, hash: BlobHash) -> Option<BlobHash> {
        self.0.lock().get(&ino).copied().filter(|told| *told != hash)
    }
}

impl Kernel {
    /// Before `node` is opened for reading: the kernel forgets what it knows of former content.
    ///
    /// # Errors
    /// `Stale` where only a name looked up anew gives the kernel another size (with the writeback cache); of the catalog.
    pub(in crate::engine::volume) async fn refresh(&self, catalog: &dyn Catalog, node: &Node) -> Result<()> {
        let Some((_, hash)) = node.content else { return Ok(()) };
        if self.told.otherwise(node.ino, hash).is_none() {
            return Ok(());
        }
        self.told.tell(node);
        self.drop_cached(vec![ChangeKind::Inode { ino: node.ino }]).await;
        if self.passthrough.load(std::sync::atomic::Ordering::Relaxed) {
            return Ok(());
        }
        let Some((parent, name)) = catalog.place(node.ino).await? else { return Ok(()) };
        self.drop_cached(vec![ChangeKind::Entry { parent, name }]).await;
        Err(Error::new(Kind::Stale, "the file has changed since its name was looked up"))
    }
}
