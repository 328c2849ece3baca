//! All open inodes of a mount, and the names of those that are not committed yet.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::artifact::Result;
use crate::artifact::ids::Ino;
use crate::catalog::Catalog;

use super::OpenInode;
use super::departed::Departed;
use super::overlay::Overlay;

/// Numbers taken from the catalog's sequence at once: a create then needs no round trip.
const RESERVE: u64 = 4096;

/// The table and the overlay are never locked both at once.
pub struct Inodes {
    open: Mutex<HashMap<Ino, Arc<OpenInode>>>,
    pub overlay: Mutex<Overlay>,
    pub(in crate::engine::volume) departed: Departed,
    /// Begins and ends of renames.
    pub renames: AtomicU64,
    /// The next number that the catalog has given away, and the end of its block.
    numbers: Mutex<(u64, u64)>,
}

impl Inodes {
    /// # Errors
    /// Of the catalog.
    pub async fn open(catalog: &dyn Catalog) -> Result<Arc<Self>> {
        let first = catalog.reserve(RESERVE).await?;
        Ok(Arc::new(Self {
            open: Mutex::default(),
            overlay: Mutex::default(),
            departed: Departed::default(),
            renames: AtomicU64::default(),
            numbers: Mutex::new((first, first + RESERVE)),
        }))
    }

    /// A fresh number for an inode or a cookie.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn number(&self, catalog: &dyn Catalog) -> Result<u64> {
        loop {
            {
                let mut n = self.numbers.lock();
                if n.0 < n.1 {
                    n.0 += 1;
                    return Ok(n.0 - 1);
                }
            }
            let first = catalog.reserve(RESERVE).await?;
            let mut n = self.numbers.lock();
            // Another task may have refilled meanwhile: its block is still good, ours is merely unused.
            if n.0 >= n.1 {
                *n = (first, first + RESERVE);
            }
        }
    }

    pub fn get(&self, ino: Ino) -> Option<Arc<OpenInode>> {
        self.open.lock().get(&ino).cloned()
    }

    /// All of them, as they are now.
    pub fn all(&self) -> Vec<Arc<OpenInode>> {
        self.open.lock().values().cloned().collect()
    }

    /// The open inode `ino`, made when there is none, pinned until the guard is dropped: a release that ends meanwhile
    /// must not retire it, or the open would go on with a record that nobody else finds.
    pub fn pin(self: &Arc<Self>, ino: Ino, make: impl FnOnce() -> OpenInode) -> Pinned {
        let mut map = self.open.lock();
        let live = map.entry(ino).or_insert_with(|| Arc::new(make())).clone();
        live.pins.fetch_add(1, Ordering::AcqRel);
        Pinned { inodes: self.clone(), live }
    }

    /// The open inode `ino` if there is one, pinned as by [`Inodes::pin`].
    pub fn pin_open(self: &Arc<Self>, ino: Ino) -> Option<Pinned> {
        let map = self.open.lock();
        let live = map.get(&ino)?.clone();
        live.pins.fetch_add(1, Ordering::AcqRel);
        Some(Pinned { inodes: self.clone(), live })
    }

    /// Drops the open inode when nothing needs it any more. Call with no lock held.
    pub fn retire(&self, live: &Arc<OpenInode>) {
        let mut map = self.open.lock();
        let idle = live.pins.load(Ordering::Acquire) == 0 && live.is_idle();
        if idle && map.get(&live.ino).is_some_and(|l| Arc::ptr_eq(l, live)) {
            map.remove(&live.ino);
            self.departed.note(live.ino);
        }
    }
}

/// See [`Inodes::pin`].
pub struct Pinned {
    inodes: Arc<Inodes>,
    pub live: Arc<OpenInode>,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.live.pins.fetch_sub(1, Ordering::AcqRel);
        self.inodes.retire(&self.live);
    }
}
