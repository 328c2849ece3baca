//! One open inode: which of its events makes an artifact (CONTRACT §3.2, §3.3), and what becomes of its staging file.
//!
//! Pure decisions about what the caller has seen. The caller looks and asks while it holds the inode's save lock, so saves of one
//! inode follow one another; it drops neither lock nor answer until the save has ended. Programs go on writing meanwhile: what
//! they change after the look is another state of the bytes, which the next event finds unsaved.
//!
//! - A FLUSH that finds unsaved bytes commits them before it is answered, whoever closes.
//! - A FLUSH of an empty file defers: `echo hi > f` closes once before its first byte, and that is no artifact yet.
//! - The last RELEASE of a writer commits what no FLUSH saw (stores through a mapping, a deferred record).
//! - What one handle commits in a row is one artifact: the later replaces the earlier.
//! - A file without a name, or with one of scratch, never becomes an artifact.
//! - No close is answered with success over unsaved bytes of a file whose name was given up.
//! - A version whose writer goes on must not live in the staging file that he writes to.

/// Number of an open file description, FUSE's `fh`: what `dup` and `fork` share. 0 is none.
pub type Handle = u64;

/// Who asks for a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// `close()` of handle `.0`: an empty file may leave its record to the next close or the release.
    Flush(Handle),
    /// `fsync()` of handle `.0`: everything, and in the store.
    Fsync(Handle),
    /// The last release of a writer: everything, empty or not.
    Release(Handle),
    /// The inode needs a place in the catalog now (a link, a rename over a committed file, `setxattr`).
    Birth,
    /// A mapping that outlived `close` is gone: hash whatever the stamp says.
    Linger,
    /// The bytes of the version committed last were written over where they lay, by the handle that made it. What stands there
    /// now takes its place.
    Overtaken,
}

/// Who made the last artifact of an open inode: its next one replaces that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    Handle(Handle),
    /// The inode got its place in the catalog while handles below this number were open: what they go on to write
    /// replaces it, what later ones write does not.
    Birth {
        before: Handle,
    },
}

/// How the staging file stands to what was committed from it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// Those that were committed, beyond doubt.
    Saved,
    /// Nothing shows a change, but one may have left no trace: a store through a mapping, a stamp too young.
    Doubtful,
    /// Others, or none were ever committed.
    Unsaved,
}

/// Whether an inode has a name under which it is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    Named,
    /// Nobody expects it to be kept: it was unlinked, has no name yet, or one of scratch.
    Nameless,
    /// Its name was given up because its bytes were refused: whoever writes to it all the same has to hear of it.
    Refused,
}

/// An inode at the moment of asking for a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Bytes of the staging file.
    pub size: u64,
    pub bytes: Bytes,
    /// Open handles that can write.
    pub writers: usize,
    pub naming: Naming,
}

impl Why {
    /// The handle on whose behalf; 0: nobody's.
    #[must_use]
    pub fn handle(self) -> Handle {
        match self {
            Why::Flush(h) | Why::Fsync(h) | Why::Release(h) => h,
            Why::Birth | Why::Linger | Why::Overtaken => 0,
        }
    }

    /// Whether what was seen is to be hashed and committed before this is answered.
    #[must_use]
    pub fn saves(self, seen: Seen) -> bool {
        if seen.naming != Naming::Named || (seen.bytes == Bytes::Saved && self != Why::Linger) {
            return false;
        }
        match self {
            // Nothing to store yet: `echo hi > f` closes a duplicate before the first byte is written.
            Why::Flush(_) => seen.size > 0,
            // A new writer came between the last close and its release: his own close saves, and what he has just
            // truncated is no version.
            Why::Release(_) | Why::Linger => seen.writers == 0,
            Why::Fsync(_) | Why::Birth | Why::Overtaken => true,
        }
    }

    /// Whether `close()` or `fsync()` may be answered with success once its save has ended: never while it holds bytes of a
    /// file whose name was given up.
    #[must_use]
    pub fn acknowledges(self, seen: Seen) -> bool {
        let nothing = seen.size == 0 && matches!(self, Why::Flush(_));
        seen.naming != Naming::Refused || seen.bytes != Bytes::Unsaved || nothing
    }

    /// The artifact, of those made while the inode is open the last, that this save's takes the place of.
    #[must_use]
    pub fn replaces<A: Copy>(self, last: Option<(A, Maker)>) -> Option<A> {
        let (artifact, maker) = last?;
        let own = match maker {
            Maker::Handle(h) => h == self.handle(),
            Maker::Birth { before } => self.handle() != 0 && self.handle() < before,
        };
        // What the last writer left is replaced by what his mapping added.
        (own || matches!(self, Why::Linger | Why::Overtaken)).then_some(artifact)
    }

    /// Who will have made what this save commits. `next`: a number above those of all handles so far.
    #[must_use]
    pub fn maker(self, next: Handle) -> Maker {
        match self.handle() {
            0 => Maker::Birth { before: next },
            handle => Maker::Handle(handle),
        }
    }

    /// Whether somebody may write to the staging file after this save, over the version that it made. `last`: who made the
    /// artifact before that. (A close says "nobody" of the common case, one descriptor; a handle that saved before has more.)
    #[must_use]
    pub fn goes_on(self, last: Option<Maker>) -> bool {
        match self {
            Why::Fsync(_) | Why::Birth | Why::Overtaken => true,
            Why::Flush(handle) => last == Some(Maker::Handle(handle)),
            Why::Release(_) | Why::Linger => false,
        }
    }
}

/// What a RELEASE leads to, when its handle is out of the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// Another writer has it open and will see to it.
    Nothing,
    /// Nobody can write: save what is unsaved, then part from the staging file.
    Finish,
    /// There is nothing to save and nothing to part from.
    Retire,
}

/// Decides a RELEASE. `staged`: there is a staging file, or a name that has no record yet.
#[must_use]
pub fn released(writers: usize, staged: bool) -> Released {
    match (writers, staged) {
        (1.., _) => Released::Nothing,
        (0, true) => Released::Finish,
        (0, false) => Released::Retire,
    }
}

/// An inode that nobody has open and whose staging file may be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Its last name is gone.
    pub orphan: bool,
    /// A mapping may still change it: somebody had it open for both reading and writing, and it was not frozen since.
    pub mappable: bool,
    /// By what the stamp says.
    pub bytes: Bytes,
    /// The catalog's version lives in this very file.
    pub provisional: bool,
}

/// What becomes of a staging file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Prove that no mapping is left, then ask again.
    Freeze,
    /// It holds what no save has seen: save first.
    Save,
    /// It becomes the blob: the settler moves it into the store.
    Settle,
    /// Nothing needs it (but a cache may like it).
    PutAway,
}

impl Leaving {
    #[must_use]
    pub fn decide(self) -> Part {
        if self.mappable && !self.orphan {
            Part::Freeze
        } else if self.bytes == Bytes::Unsaved && !self.orphan {
            Part::Save
        } else if self.provisional {
            Part::Settle
        } else {
            Part::PutAway
        }
    }
}

#[cfg(test)]
mod tests;
