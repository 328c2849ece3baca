//! Numbers of hidden inodes.
//!
//! A number is drawn from what it stands for, with a key of this mount's own: the same thing has the same number always. What the kernel
//! takes back (FORGET) is dropped. It need not take anything back before it runs out of memory, though, so what was not asked for the longest
//! is dropped too, when there is too much: whoever comes by a name finds it again under its number, and a directory that was held
//! open meanwhile is `ESTALE`.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;

use parking_lot::Mutex;

use crate::artifact::ids::Ino;
use crate::artifact::{Error, Kind, Result};
use crate::engine::volume::hidden::What;

const HIDDEN: u64 = 1 << 63;

/// Memory for all of them.
const BYTES_MAX: usize = 8 << 20;

/// True for numbers that this module gave out.
pub fn is_hidden(ino: Ino) -> bool {
    ino.0 & HIDDEN != 0
}

struct Entry {
    what: What,
    /// Lookups that the kernel has not forgotten.
    held: u64,
    /// When it was asked for last: an older place in the queue is none.
    stamp: u64,
}

#[derive(Default)]
struct Table {
    known: HashMap<u64, Entry>,
    /// In the order of their last use, with the stamp of it.
    order: VecDeque<(u64, u64)>,
    stamp: u64,
    bytes: usize,
}

/// All hidden inodes of a mount.
#[derive(Default)]
pub struct Hidden {
    key: RandomState,
    table: Mutex<Table>,
}

/// What an entry takes, about.
fn weight(what: &What) -> usize {
    256 + match what {
        What::Where(_, conditions) => conditions.iter().map(|(k, v)| 64 + k.len() + v.len()).sum(),
        What::VersionsOf(_, name) => name.as_bytes().len(),
        _ => 0,
    }
}

impl Table {
    fn used(&mut self, n: u64) {
        self.stamp += 1;
        let Some(entry) = self.known.get_mut(&n) else { return };
        entry.stamp = self.stamp;
        self.order.push_back((n, self.stamp));
        while self.bytes > BYTES_MAX || self.order.len() > 4 * self.known.len() + 64 {
            let Some((n, stamp)) = self.order.pop_front() else { break };
            if self.known.get(&n).is_some_and(|e| e.stamp == stamp) {
                if self.bytes > BYTES_MAX {
                    self.remove(n);
                } else {
                    // The queue alone is too long: this one is still the oldest.
                    self.order.push_front((n, stamp));
                    let known = &self.known;
                    self.order.retain(|(n, stamp)| known.get(n).is_some_and(|e| e.stamp == *stamp));
                    break;
                }
            }
        }
    }

    fn remove(&mut self, n: u64) {
        if let Some(gone) = self.known.remove(&n) {
            self.bytes -= weight(&gone.what);
        }
    }
}

impl Hidden {
    /// The number of `what`.
    pub fn ino(&self, what: What) -> Ino {
        let mut table = self.table.lock();
        let mut n = HIDDEN | self.key.hash_one(&what);
        while let Some(entry) = table.known.get(&n) {
            if entry.what == what {
                table.used(n);
                return Ino(n);
            }
            // Another of the same number, by an unlikely chance.
            n = HIDDEN | n.wrapping_add(1);
        }
        table.bytes += weight(&what);
        table.known.insert(n, Entry { what, held: 0, stamp: 0 });
        table.used(n);
        Ino(n)
    }

    /// # Errors
    /// `Stale` when it was dropped.
    pub fn what(&self, ino: Ino) -> Result<What> {
        let mut table = self.table.lock();
        table.used(ino.0);
        let found = table.known.get(&ino.0).map(|e| e.what.clone());
        found.ok_or_else(|| Error::new(Kind::Stale, "the entry is to be looked up again"))
    }

    /// The kernel is told of it once more.
    pub fn hold(&self, ino: Ino) {
        if let Some(entry) = self.table.lock().known.get_mut(&ino.0) {
            entry.held += 1;
        }
    }

    /// The kernel takes back `lookups`.
    pub fn forget(&self, ino: Ino, lookups: u64) {
        let mut table = self.table.lock();
        let Some(entry) = table.known.get_mut(&ino.0) else { return };
        entry.held = entry.held.saturating_sub(lookups);
        if entry.held == 0 {
            table.remove(ino.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::ids::{ArtifactId, SessionId};

    fn artifact(n: u128) -> What {
        What::Artifact(ArtifactId(ulid::Ulid(n)))
    }

    #[test]
    fn what_the_kernel_forgets_is_dropped_and_keeps_its_number() {
        let hidden = Hidden::default();
        let one = hidden.ino(artifact(0));
        assert!(is_hidden(one) && !is_hidden(Ino(7)));
        hidden.hold(one);
        hidden.hold(one);
        hidden.forget(one, 1);
        assert_eq!(hidden.what(one).unwrap(), artifact(0));
        hidden.forget(one, 1);
        assert_eq!(hidden.what(one).unwrap_err().kind, Kind::Stale);
        assert_eq!(hidden.ino(artifact(0)), one);
    }

    #[test]
    fn what_is_not_forgotten_is_bounded_and_the_least_used_goes_first() {
        let hidden = Hidden::default();
        let nth = |n: usize| What::Where(SessionId(1), vec![(n.to_string(), "x".repeat(1000)); 16]);
        let (first, second) = (hidden.ino(nth(0)), hidden.ino(nth(1)));
        for n in 2..2000 {
            let ino = hidden.ino(nth(n));
            hidden.hold(ino);
            assert!(hidden.what(first).is_ok(), "{n}");
        }
        assert!(hidden.what(second).is_err());
        let table = hidden.table.lock();
        assert!(
            table.bytes <= BYTES_MAX && table.bytes == table.known.values().map(|e| weight(&e.what)).sum::<usize>()
        );
        assert!(table.order.len() <= 4 * table.known.len() + 65);
    }
}
