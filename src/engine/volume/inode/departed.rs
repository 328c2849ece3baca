//! Inodes that ceased to be live a moment ago.
//!
//! Attributes are put together from two places, the catalog's node and the live record over it. Who read the node before the last
//! commit, and looks for the record after it was retired, finds neither what was changed nor who knows better. So he marks the time
//! before he reads, and reads again when the inode has departed since.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::artifact::ids::Ino;

/// Remembered: far more than retire while one node is read.
const KEPT: usize = 256;

/// A leaf lock, taken within the map of live inodes.
#[derive(Default)]
pub(in crate::engine::volume) struct Departed(Mutex<Log>);

#[derive(Default)]
struct Log {
    /// Of the first in `last`.
    first: u64,
    last: VecDeque<Ino>,
}

/// A moment in the order of departures.
#[derive(Clone, Copy)]
pub(in crate::engine::volume) struct Mark(u64);

impl Departed {
    pub fn note(&self, ino: Ino) {
        let mut log = self.0.lock();
        if log.last.len() == KEPT {
            log.last.pop_front();
            log.first += 1;
        }
        log.last.push_back(ino);
    }

    pub fn mark(&self) -> Mark {
        let log = self.0.lock();
        Mark(log.first + log.last.len() as u64)
    }

    /// Whether `ino` departed after `mark`, or so many did that nobody can tell.
    pub fn since(&self, ino: Ino, mark: Mark) -> bool {
        let log = self.0.lock();
        let Some(skip) = mark.0.checked_sub(log.first) else { return true };
        log.last.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)).any(|i| *i == ino)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_later_departures_count() {
        let departed = Departed::default();
        departed.note(Ino(1));
        let mark = departed.mark();
        assert!(!departed.since(Ino(1), mark));
        departed.note(Ino(2));
        assert!(departed.since(Ino(2), mark) && !departed.since(Ino(1), mark));
        assert!(!departed.since(Ino(2), departed.mark()));
    }

    #[test]
    fn what_was_forgotten_counts_as_departed() {
        let departed = Departed::default();
        let mark = departed.mark();
        for n in 0..=KEPT as u64 {
            departed.note(Ino(10 + n));
        }
        assert!(departed.since(Ino(1), mark), "nobody can tell");
        assert!(!departed.since(Ino(1), departed.mark()));
    }
}
