//! One open inode: which of its events makes an artifact (DESIGN §3.2, §3.3).
//!
//! Pure decisions on a small state. The caller looks at the staging file ([`Seen`]), asks, does what it is told, and
//! tells the state what came of it; it holds the inode's lock from the look to the telling of `began`, and again
//! for `committed` or `failed`, but not while bytes travel. When a commit has ended and nobody has the file open, it
//! asks [`OpenState::decide_release`] again: that settles the file, or tries once more what failed.
//!
//! - A FLUSH that finds unsaved bytes commits them before it is answered, whoever closes.
//! - A FLUSH of an empty file defers: `echo hi > f` closes once before its first byte, and that is no artifact yet.
//! - The last RELEASE commits what no FLUSH saw (stores through a mapping, a deferred record).
//! - What one handle commits in a row is one artifact: the later collapses the earlier.
//! - A file without a name, or with one of scratch, never becomes an artifact.

/// One open file description, as FUSE's `fh`: what `dup` and `fork` share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub u64);

/// What the caller sees of the staging file at the moment of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<S> {
    /// Bytes.
    pub size: u64,
    /// Tells one state of the bytes from another: equal stamps, equal bytes.
    pub stamp: S,
}

/// Through what an artifact of this open inode came into being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// A FLUSH, fsync or RELEASE of this handle.
    Handle(Handle),
    /// A name given to scratch while it was open: whoever goes on writing replaces it.
    Naming,
}

/// State of one inode that is open, or whose staging file is still there. `S`: stamp; `A`: artifact ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenState<S, A> {
    /// Open handles that can write.
    pub writers: u32,
    /// Open handles that cannot.
    pub readers: u32,
    /// The state of the staging file that the catalog has; `None` as long as it has none of it (a new file, one
    /// opened with `O_TRUNC`).
    pub committed: Option<S>,
    /// The state that is being committed now. There is never more than one commit of an inode on its way.
    pub in_flight: Option<S>,
    /// A close of the empty file left its record to the next close or release.
    pub deferred: bool,
    /// It has no name (unlinked, or made by `O_TMPFILE`).
    pub orphan: bool,
    pub sealed: bool,
    /// Its name matches the ignore rules.
    pub scratch: bool,
    /// The last artifact made while open, which the same maker's next one replaces.
    pub made: Option<(Maker, A)>,
}

impl<S, A> Default for OpenState<S, A> {
    fn default() -> Self {
        Self {
            writers: 0,
            readers: 0,
            committed: None,
            in_flight: None,
            deferred: false,
            orphan: false,
            sealed: false,
            scratch: false,
            made: None,
        }
    }
}

/// What to do before a FLUSH, an fsync or a rename is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushDecision<A> {
    /// Answer 0: nothing to save.
    Nothing,
    /// Answer 0: no byte to save; a later close or release makes the record. Tell [`OpenState::deferred_record`].
    Defer,
    /// Commit what was seen ([`OpenState::began`]), then answer with the outcome.
    Commit { collapse: Option<A> },
    /// The very same state is being committed: answer with that outcome.
    Join,
    /// An older state is being committed: ask again when that is done.
    Wait,
    /// Answer that the session is sealed.
    Refuse,
}

/// What to do after a RELEASE (there is nobody to answer), or when a commit, a retry or a refused freeze calls for
/// another look at a file that is not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseDecision<A> {
    /// Others have it open and will see to it.
    StillOpen,
    /// Commit what was seen, then ask again. If it fails the bytes stay, and it is tried again.
    Commit { collapse: Option<A> },
    /// A commit is on its way: ask again when that is done.
    Wait,
    /// All is in the catalog: freeze the staging file and settle it.
    Settle,
    /// Scratch: the staging file stays as it is.
    Keep,
    /// Nobody can ever see these bytes: drop the staging file.
    Discard,
}

impl<S: Copy + PartialEq, A: Copy> OpenState<S, A> {
    /// Whether the catalog lacks what was seen.
    #[must_use]
    pub fn is_dirty(&self, seen: Seen<S>) -> bool {
        self.committed != Some(seen.stamp)
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.writers + self.readers > 0
    }

    /// FLUSH: one `close()` of one of the descriptors of `handle`.
    #[must_use]
    pub fn decide_flush(&self, handle: Handle, seen: Seen<S>) -> FlushDecision<A> {
        match self.decide_sync(handle, seen) {
            FlushDecision::Commit { .. } if seen.size == 0 => FlushDecision::Defer,
            decision => decision,
        }
    }

    /// `fsync`: as FLUSH, but nothing is put off. (Of scratch it demands that the caller syncs the staging file.)
    #[must_use]
    pub fn decide_sync(&self, handle: Handle, seen: Seen<S>) -> FlushDecision<A> {
        if self.orphan || !self.is_dirty(seen) {
            return FlushDecision::Nothing;
        }
        match self.in_flight {
            Some(stamp) if stamp == seen.stamp => FlushDecision::Join,
            Some(_) => FlushDecision::Wait,
            None if self.sealed => FlushDecision::Refuse,
            None if self.scratch => FlushDecision::Nothing,
            None => FlushDecision::Commit { collapse: self.collapse(handle) },
        }
    }

    /// RELEASE of `handle`, after [`OpenState::released`].
    #[must_use]
    pub fn decide_release(&self, handle: Handle, seen: Seen<S>) -> ReleaseDecision<A> {
        if self.in_flight.is_some() {
            return ReleaseDecision::Wait;
        }
        if !self.orphan && !self.sealed && !self.scratch && self.is_dirty(seen) {
            // An empty file that one handle left and another still holds has a record to come; bytes, if there are
            // any by now, are the other's, and its close commits them.
            if self.writers == 0 || (self.deferred && seen.size == 0) {
                return ReleaseDecision::Commit { collapse: self.collapse(handle) };
            }
        }
        if self.is_open() {
            ReleaseDecision::StillOpen
        } else if !self.orphan && !self.is_dirty(seen) {
            ReleaseDecision::Settle
        } else if self.orphan || self.sealed {
            ReleaseDecision::Discard
        } else {
            ReleaseDecision::Keep
        }
    }

    /// A new name, scratch or not, by rename or (for `O_TMPFILE`) by link, before [`OpenState::named`]: bytes that
    /// had no real name and get one are committed under it before the call is answered.
    #[must_use]
    pub fn decide_name(&self, to_scratch: bool, seen: Seen<S>) -> FlushDecision<A> {
        if self.sealed {
            return FlushDecision::Refuse;
        }
        let had_none = self.scratch || self.orphan;
        if !had_none || to_scratch || !self.is_dirty(seen) {
            return FlushDecision::Nothing;
        }
        match self.in_flight {
            Some(_) => FlushDecision::Wait,
            None if seen.size == 0 && self.writers > 0 => FlushDecision::Defer,
            None => {
                let collapse = self.made.and_then(|(maker, artifact)| (maker == Maker::Naming).then_some(artifact));
                FlushDecision::Commit { collapse }
            }
        }
    }

    fn collapse(&self, handle: Handle) -> Option<A> {
        self.made.and_then(|(maker, artifact)| match maker {
            Maker::Handle(other) if other != handle => None,
            Maker::Handle(_) | Maker::Naming => Some(artifact),
        })
    }

    // ---- what came of it -----------------------------------------------------------------------------

    pub fn opened(&mut self, writes: bool) {
        // Those who went on after a naming are gone: what they left is a version of its own.
        if self.writers == 0 && matches!(self.made, Some((Maker::Naming, _))) {
            self.made = None;
        }
        let count = if writes { &mut self.writers } else { &mut self.readers };
        *count += 1;
    }

    /// A handle is gone. One too many is a fault of the caller and changes nothing.
    pub fn released(&mut self, writes: bool) {
        let count = if writes { &mut self.writers } else { &mut self.readers };
        *count = count.saturating_sub(1);
    }

    /// A FLUSH was answered with its record left for later.
    pub fn deferred_record(&mut self) {
        self.deferred = true;
    }

    /// A commit of this state sets out.
    pub fn began(&mut self, stamp: S) {
        self.in_flight = Some(stamp);
    }

    /// The catalog has the state `stamp`: of the snapshot that was committed, which is not always the one of
    /// [`OpenState::began`].
    pub fn committed(&mut self, stamp: S, maker: Maker, artifact: A) {
        self.in_flight = None;
        self.committed = Some(stamp);
        self.deferred = false;
        // With nobody left to go on, it is a version in its own right.
        let goes_on = matches!(maker, Maker::Handle(_)) || self.writers > 0;
        self.made = goes_on.then_some((maker, artifact));
    }

    /// The commit failed: the bytes are unsaved as before.
    pub fn failed(&mut self) {
        self.in_flight = None;
    }

    /// Its last name is gone.
    pub fn orphaned(&mut self) {
        self.orphan = true;
        self.made = None;
    }

    /// It has a new name.
    pub fn named(&mut self, scratch: bool) {
        self.scratch = scratch;
        self.orphan = false;
    }

    pub fn sealed(&mut self) {
        self.sealed = true;
    }
}

#[cfg(test)]
mod tests;
