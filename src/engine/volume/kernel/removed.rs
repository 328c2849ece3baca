//! Directories that were removed here and that somebody may still have open or stand in: a disk goes on telling what they were.
//! (What is in them nobody can ask: the kernel itself answers `ENOENT` for names in a directory that it saw removed.)

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::artifact::ids::Ino;

use crate::engine::volume::inode::attr::Attr;

/// Remembered. The kernel does not tell who still has one open; beyond this the oldest are `ESTALE`.
const KEPT: usize = 1024;

/// A leaf lock.
#[derive(Default)]
pub(in crate::engine::volume) struct Removed(Mutex<VecDeque<Attr>>);

impl Removed {
    /// `attr` as it was at the end.
    pub fn note(&self, attr: Attr) {
        let mut all = self.0.lock();
        if all.len() == KEPT {
            all.pop_front();
        }
        all.push_back(Attr { nlink: 0, keep: false, ..attr });
    }

    pub fn get(&self, ino: Ino) -> Option<Attr> {
        self.0.lock().iter().rev().find(|attr| attr.ino == ino).copied()
    }
}
