//! What is asked of an inode's staging file, and done to what is known of it: one look or one change under the state's lock each.

use crate::artifact::ids::BlobHash;
use crate::artifact::openfile::Naming;
use crate::artifact::{Result, record};
use crate::engine::volume::inode::copied::Copied;
use crate::engine::volume::save::append::Base;
use crate::engine::volume::save::append::Grown;
use crate::staging::file::{StagingFile, Stamp};
use crate::staging::follow::Follower;
use crate::staging::hash::Digest;

use crate::engine::volume::inode::OpenInode;
use crate::engine::volume::inode::Saved;
use crate::engine::volume::inode::Staged;

/// What `status` says of an open inode.
pub struct Standing {
    pub has_writers: bool,
    /// Nobody has it open, and it is to be kept: its size and its name.
    pub unsaved: Option<(u64, Vec<u8>)>,
}

impl Staged {
    /// Of a file of which nothing was saved yet.
    pub fn fresh(file: StagingFile) -> Self {
        Self { file, saved: None, mappable: false, follower: None, grown: None, copied: None }
    }
}

impl OpenInode {
    pub fn has_staged(&self) -> bool {
        self.state.lock().staged.is_some()
    }

    pub fn staged_file(&self) -> Option<StagingFile> {
        self.state.lock().staged.as_ref().map(|s| s.file.clone())
    }

    /// The version saved last from the staging file.
    pub fn saved_hash(&self) -> Option<BlobHash> {
        self.state.lock().staged.as_ref().and_then(|s| s.saved.as_ref()).map(|s| s.hash)
    }

    /// The version whose bytes live in the staging file alone.
    pub fn provisional(&self) -> Option<BlobHash> {
        let st = self.state.lock();
        let saved = st.staged.as_ref().and_then(|s| s.saved.as_ref());
        saved.filter(|saved| saved.provisional).map(|saved| saved.hash)
    }

    /// The store has that version by now.
    pub fn is_stored(&self) {
        if let Some(saved) = self.state.lock().staged.as_mut().and_then(|s| s.saved.as_mut()) {
            saved.provisional = false;
        }
    }

    /// Somebody may write over a version that lives in the staging file alone, and does not right now. What only grows is guarded at
    /// each write instead.
    pub fn rests_on_its_version(&self) -> bool {
        let st = self.state.lock();
        let Some(staged) = st.staged.as_ref().filter(|s| st.writers > 0 && s.grown.is_none()) else { return false };
        staged.saved.as_ref().is_some_and(|saved| {
            saved.provisional
                && staged.file.stamp().is_ok_and(|stamp| stamp == saved.stamp)
                && saved.writes == self.writes()
        })
    }

    /// `None`: it is scratch.
    pub fn standing(&self) -> Option<Standing> {
        let st = self.state.lock();
        if st.identity.is_scratch() {
            return None;
        }
        let left = st.staged.as_ref().filter(|_| st.handles == 0 && !st.identity.has_no_name());
        let unsaved = left.and_then(|staged| {
            // A staging file that cannot be asked has a worse problem than its place in a list.
            let stamp = staged.file.stamp().ok()?;
            let saved = staged.saved.as_ref().is_some_and(|s| s.stamp == stamp);
            (!saved).then(|| (stamp.size, st.name.clone()))
        });
        Some(Standing { has_writers: st.writers > 0, unsaved })
    }

    /// The hasher that follows the writers, to be given back by [`OpenInode::follow`], and up to where it may go: it has `from` bytes to
    /// hash at least. `None`: nobody writes what will be saved, or too little.
    pub fn take_follower(&self, from: u64) -> Option<(StagingFile, Follower, u64)> {
        let mut st = self.state.lock();
        if st.writers == 0 || st.identity.naming() != Naming::Named {
            return None;
        }
        let staged = st.staged.as_mut().filter(|s| s.grown.is_none())?;
        let stamp = staged.file.stamp().ok()?;
        let follower = staged.follower.take().unwrap_or_default();
        // Stay a little behind: the writer's last piece is the one it may still change.
        let until = stamp.size.saturating_sub(record::CHUNK);
        if until < follower.hashed() + from {
            staged.follower = Some(follower);
            return None;
        }
        Some((staged.file.clone(), follower, until))
    }

    pub fn follow(&self, follower: Follower) {
        if let Some(staged) = self.state.lock().staged.as_mut() {
            staged.follower = Some(follower);
        }
    }

    /// It only grows: see [`crate::engine::volume::save::append`].
    pub fn is_grown(&self) -> bool {
        self.state.lock().staged.as_ref().is_some_and(|s| s.grown.is_some())
    }

    /// Asks or changes what is known of a file that only grows. `None`: it is an ordinary one.
    pub fn grown<T>(&self, of: impl FnOnce(&mut Grown) -> T) -> Option<T> {
        self.state.lock().staged.as_mut().and_then(|s| s.grown.as_mut()).map(of)
    }

    /// The same, of one from which a version was saved; with the number of its writers.
    pub fn grown_after<T>(&self, of: impl FnOnce(&mut Grown, &Saved, usize) -> T) -> Option<T> {
        let mut st = self.state.lock();
        let writers = st.writers;
        let Staged { saved, grown, .. } = st.staged.as_mut()?;
        Some(of(grown.as_mut()?, saved.as_ref()?, writers))
    }

    /// Notes a write from `from` on and counts it; `false`: it goes below what was saved of a file that only grows.
    pub fn note_write(&self, from: u64) -> bool {
        let mut st = self.state.lock();
        if let Some(Staged { saved, grown: Some(grown), .. }) = st.staged.as_mut() {
            if from < saved.as_ref().map_or(0, |s| s.size) {
                return false;
            }
            grown.touch(from);
        }
        self.count_write();
        true
    }

    /// The staging file, and what lies below its tail if it begins with a hole.
    pub fn staged_on_base(&self) -> Option<(StagingFile, Option<Base>)> {
        let st = self.state.lock();
        let staged = st.staged.as_ref()?;
        Some((staged.file.clone(), staged.grown.as_ref().and_then(|g| g.base().cloned())))
    }

    /// Its hole is filled: if nobody wrote, its times are those of `before`, when it was not.
    pub fn is_filled(&self, before: Stamp, after: Stamp) {
        let mut st = self.state.lock();
        if let Some(saved) = st.staged.as_mut().and_then(|s| s.saved.as_mut()).filter(|s| s.stamp == before) {
            saved.stamp = after;
            st.mtime_set.get_or_insert((before.mtime, after.ctime)).1 = after.ctime;
        }
    }

    /// From here on it is an ordinary file.
    pub fn stop_growing(&self) {
        if let Some(staged) = self.state.lock().staged.as_mut() {
            staged.grown = None;
        }
    }

    /// Takes out what was noted of a copy, and says whether one may go on: one writer, no mapping, no appending.
    pub fn take_copied(&self) -> (bool, Option<Copied>) {
        let mut st = self.state.lock();
        let alone = st.writers == 1 && !st.identity.is_scratch();
        let Some(staged) = st.staged.as_mut() else { return (false, None) };
        let noted = staged.copied.take();
        if alone && !staged.mappable && staged.grown.is_none() { (true, noted) } else { (false, None) }
    }

    /// Notes what was copied, unless another write than the `writes`th came in between through the daemon.
    pub fn note_copied(&self, writes: u64, note: impl FnOnce(Stamp) -> Copied) -> Result<()> {
        let mut st = self.state.lock();
        if let Some(Staged { file, copied, .. }) = st.staged.as_mut().filter(|_| self.writes() == writes) {
            *copied = Some(note(file.stamp()?));
        }
        Ok(())
    }

    /// The digest of a whole copy of a blob that nothing has touched since and that cannot be mapped.
    pub fn whole_copy(&self, stamp: Stamp) -> Option<Digest> {
        let st = self.state.lock();
        let staged = st.staged.as_ref().filter(|s| !s.mappable && st.writers <= 1)?;
        staged.copied.as_ref()?.whole(stamp, self.writes())
    }
}
