//! Copies of what is stored, as long as nothing else touches them.

use crate::staging::file::Stamp;
use crate::staging::hash::Digest;

/// A staging file that holds the beginning of a stored blob and nothing else.
#[derive(Clone)]
pub struct Copied {
    /// Of the whole blob.
    pub(in crate::engine::volume) digest: Digest,
    /// Bytes copied so far, from the first on.
    pub(in crate::engine::volume) upto: u64,
    /// The file and the writes through the daemon when the last piece had been copied.
    pub(in crate::engine::volume) stamp: Stamp,
    pub(in crate::engine::volume) writes: u64,
}

impl Copied {
    /// The blob's digest, when the file with this stamp is a whole copy of it.
    pub(in crate::engine::volume) fn whole(&self, stamp: Stamp, writes: u64) -> Option<Digest> {
        let untouched = (self.stamp, self.writes) == (stamp, writes);
        (untouched && self.upto == self.digest.size && stamp.size == self.upto).then(|| self.digest.clone())
    }
}
