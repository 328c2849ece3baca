//! Who has an inode open and how, and when its staging file may go. One look or one change under the state's lock each.

use std::sync::{Arc, OnceLock};

use crate::artifact::Error;
use crate::artifact::openfile::{Released, released};
use crate::artifact::record::Labels;
use crate::engine::volume::inode::attr::SET_ID;
use crate::engine::volume::inode::open_mode::OpenMode;

use crate::engine::volume::inode::Backing;
use crate::engine::volume::inode::Io;
use crate::engine::volume::inode::OpenInode;
use crate::engine::volume::inode::Pending;
use crate::engine::volume::inode::Staged;

/// What becomes of an inode whose last bytes are refused for good.
pub enum Given {
    /// A new writer came: it is his to save.
    Reopened,
    /// The catalog has it, and shows what was committed last.
    Up,
    /// It never got there: its name, which was to be there, is given up too.
    UpWith(Pending),
}

impl OpenInode {
    /// Counts a new handle in and answers how the inode's handles do their I/O, and how many there are. The first decides.
    /// `passthrough`: the kernel may go past the daemon.
    pub fn count_in(&self, mode: OpenMode, passthrough: bool) -> (Io, usize) {
        let mut st = self.state.lock();
        st.handles += 1;
        st.writers += usize::from(mode.write);
        // Mapped through the daemon it is not the staging file that is mapped.
        if mode.write
            && mode.read
            && let Some(staged) = st.staged.as_mut().filter(|s| s.grown.is_none())
        {
            staged.mappable = true;
        }
        if matches!(st.io, Io::None) {
            st.io = match &st.staged {
                // A backing file keeps the `O_APPEND` of its open whatever fcntl(2) says later: the daemon carries appends.
                // Writes to a set-ID file come to the daemon: without privilege they take the bits away.
                Some(staged)
                    if passthrough
                        && !mode.append
                        // The limit of scratch is kept by the daemon.
                        && !st.identity.is_scratch()
                        && st.mode & SET_ID == 0
                        && staged.grown.is_none() =>
                {
                    Io::Passthrough(Arc::new(Backing { file: staged.file.file.clone(), token: OnceLock::new() }))
                }
                _ => Io::Cached,
            };
        }
        (st.io.clone(), st.handles)
    }

    /// Takes a handle out of the counts.
    pub fn count_out(&self, write: bool) {
        let mut st = self.state.lock();
        st.handles -= 1;
        st.writers -= usize::from(write);
        if st.handles == 0 {
            // Dropping the backing ID lets the read lease be granted.
            st.io = Io::None;
        }
    }

    /// What the release that was just counted out leads to. Its record stays while somebody works on that.
    pub fn released(&self) -> Released {
        let mut st = self.state.lock();
        let decided = released(st.writers, st.staged.is_some() || st.identity.draft().is_some());
        st.lingering |= decided == Released::Finish && st.handles == 0;
        decided
    }

    /// Its record stays, or need not any more.
    pub fn linger(&self, stays: bool) {
        self.state.lock().lingering = stays;
    }

    /// Why its name was given up, if it was.
    pub fn refused(&self) -> Option<Error> {
        self.state.lock().identity.refused().cloned()
    }

    /// As the catalog has it at an open.
    pub fn set_size(&self, size: u64) {
        self.state.lock().size = size;
    }

    /// The file gets a staging file, which holds its content, and the labels of the process that writes there.
    pub fn stage(&self, staged: Staged, name: &[u8], labels: Labels) {
        let mut st = self.state.lock();
        st.labels = labels;
        st.name = name.to_vec();
        st.staged = Some(staged);
    }

    /// Gives up what was refused because of `why`, unless somebody writes on.
    pub fn give_up(&self, why: Error) -> Given {
        let mut st = self.state.lock();
        if st.writers > 0 {
            return Given::Reopened;
        }
        let Some(place) = st.identity.refuse(why) else { return Given::Up };
        st.nlink = 0;
        Given::UpWith(place)
    }

    /// Takes the staging file out to part from it, and says whether nothing of it is to be kept. `discarded`: what it holds and was
    /// not saved is refused. `None`: somebody has it open.
    pub fn take_staged(&self, discarded: bool) -> Option<(Option<Staged>, bool)> {
        let mut st = self.state.lock();
        // Readers of a committed file go on with what is committed; those of one that never was have but this.
        let may_go = discarded && st.identity.refused().is_none() && !matches!(st.io, Io::Passthrough(_));
        if st.handles > 0 && !may_go {
            return None;
        }
        if may_go {
            st.charge.set(0);
        }
        Some((st.staged.take(), st.identity.has_no_name() || discarded))
    }

    /// It cannot part from it yet.
    pub fn put_back(&self, staged: Staged) {
        self.state.lock().staged = Some(staged);
    }

    /// Takes the staging file out unless somebody has it open or works on it.
    pub fn take_if_closed(&self) -> Option<Staged> {
        let mut st = self.state.lock();
        if st.handles > 0 || st.lingering { None } else { st.staged.take() }
    }

    /// Whether the staging file is this one.
    pub fn is_staged_in(&self, file: &str) -> bool {
        self.state.lock().staged.as_ref().is_some_and(|s| s.file.name == file)
    }
}
