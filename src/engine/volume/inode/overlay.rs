//! Names of files that were created here and never committed, and directories touched by that.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::artifact::ids::Ino;
use crate::artifact::name::Name;
use crate::artifact::time::Timestamp;

use crate::engine::volume::inode::OpenInode;

/// One uncommitted name.
#[derive(Clone)]
pub struct Entry {
    pub cookie: u64,
    pub live: Arc<OpenInode>,
}

/// Directory → name → file. Guarded by the volume; see its lock order.
#[derive(Default)]
pub struct Overlay {
    dirs: HashMap<Ino, BTreeMap<Name, Entry>>,
    touched: HashMap<Ino, Timestamp>,
}

impl Overlay {
    pub fn get(&self, dir: Ino, name: &Name) -> Option<&Entry> {
        self.dirs.get(&dir)?.get(name)
    }

    pub fn insert(&mut self, dir: Ino, name: Name, entry: Entry, now: Timestamp) -> Option<Entry> {
        self.touched.insert(dir, now);
        self.dirs.entry(dir).or_default().insert(name, entry)
    }

    /// Removes the name if it still leads to `ino`.
    pub fn remove(&mut self, dir: Ino, name: &Name, ino: Ino) -> Option<Entry> {
        let names = self.dirs.get_mut(&dir)?;
        if names.get(name)?.live.ino != ino {
            return None;
        }
        let entry = names.remove(name);
        if names.is_empty() {
            self.dirs.remove(&dir);
        }
        entry
    }

    pub fn touch(&mut self, dir: Ino, now: Timestamp) {
        self.touched.insert(dir, now);
    }

    /// When an uncommitted change last touched the directory. Forgotten once the catalog knows better.
    pub fn touched(&self, dir: Ino) -> Option<Timestamp> {
        self.touched.get(&dir).copied()
    }

    pub fn untouch(&mut self, dir: Ino) {
        if !self.dirs.contains_key(&dir) {
            self.touched.remove(&dir);
        }
    }

    pub fn is_empty(&self, dir: Ino) -> bool {
        !self.dirs.contains_key(&dir)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.dirs.values().map(|names| names.len() as u64).sum()
    }

    /// Names of one directory in cookie order, with cookies above `after`.
    pub fn list(&self, dir: Ino, after: u64) -> Vec<(Name, Entry)> {
        let mut out: Vec<_> = self
            .dirs
            .get(&dir)
            .into_iter()
            .flatten()
            .filter(|(_, e)| e.cookie > after)
            .map(|(n, e)| (n.clone(), e.clone()))
            .collect();
        out.sort_by_key(|(_, e)| e.cookie);
        out
    }
}
