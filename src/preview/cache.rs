//! What was made before, by hash: the least recently wanted goes first.

use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;

use super::{Made, Task};
use crate::artifact::ids::BlobHash;

/// Bytes of all of them together.
const ALL: usize = 16 << 20;
/// What is larger is made again.
const ONE: usize = 2 << 20;
/// However small they are.
// Not zero, as the compiler sees.
const COUNT: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// A key and its place.
const OVERHEAD: usize = 512;

#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    hash: BlobHash,
    task: Task,
}

impl Key {
    /// The name of the file counts only where its neighbours are addressed.
    pub fn new(hash: BlobHash, task: &Task) -> Self {
        let mut task = task.clone();
        if !matches!(task.means, super::Means::Markdown | super::Means::Notebook) {
            task.filename.clear();
            task.files = None;
        }
        Self { hash, task }
    }
}

pub struct Cache(Mutex<Known>);

struct Known {
    made: LruCache<Key, Made>,
    bytes: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self(Mutex::new(Known { made: LruCache::new(COUNT), bytes: 0 }))
    }
}

impl Cache {
    pub fn get(&self, key: &Key) -> Option<Made> {
        self.0.lock().made.get(key).cloned()
    }

    pub fn put(&self, key: Key, made: Made) {
        let weight = made.weight() + OVERHEAD;
        if weight > ONE {
            return;
        }
        let mut known = self.0.lock();
        known.bytes += weight;
        if let Some((_, before)) = known.made.push(key, made) {
            known.bytes -= before.weight() + OVERHEAD;
        }
        while known.bytes > ALL
            && let Some((_, oldest)) = known.made.pop_lru()
        {
            known.bytes -= oldest.weight() + OVERHEAD;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Extent, Means};
    use super::*;

    fn key(n: u64) -> Key {
        let task = Task {
            means: Means::Text,
            extent: Extent::Whole,
            size: n,
            filename: b"a".to_vec(),
            files: Some(String::from("f/")),
            charset: None,
        };
        Key::new(BlobHash([0; 32]), &task)
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_wanted() {
        let cache = Cache::default();
        let page = |n: usize| Made::Page { html: "x".repeat(n), cut: false };
        cache.put(key(0), page(ONE));
        assert!(cache.get(&key(0)).is_none(), "too large to keep");
        for n in 0..40 {
            cache.put(key(n), page(ONE - OVERHEAD));
            assert!(cache.get(&key(0)).is_some(), "wanted all the time: {n}");
        }
        assert!(cache.get(&key(39)).is_some() && cache.get(&key(1)).is_none());
        assert!(cache.0.lock().bytes <= ALL);
        cache.put(key(39), Made::Nothing);
        assert_eq!(cache.get(&key(39)), Some(Made::Nothing));
        let before = cache.0.lock().bytes;
        cache.put(key(39), Made::Nothing);
        assert_eq!(cache.0.lock().bytes, before);
    }
}
