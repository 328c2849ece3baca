//! An inode's saves: what is unsaved, what its commit says, what is remembered of it. One look or one change under the state's lock each.

use crate::artifact::Result;
use crate::artifact::aside::Aside;
use crate::artifact::ids::{ArtifactId, BlobHash};
use crate::artifact::metadata::Metadata;
use crate::artifact::openfile::{Bytes, Maker, Seen};
use crate::artifact::record::Labels;
use crate::artifact::time::Timestamp;
use crate::catalog::{Birth, FileStat};
use crate::engine::volume::inode::attr::sparse;
use crate::staging::file::{StagingFile, Stamp};
use crate::staging::follow::Follower;

use crate::engine::volume::inode::Io;
use crate::engine::volume::inode::OpenInode;
use crate::engine::volume::inode::Saved;
use crate::engine::volume::inode::Staged;

/// What a commit records of an inode besides its bytes.
pub struct ToCommit {
    pub birth: Option<Birth>,
    pub last: Option<(ArtifactId, Maker)>,
    pub name: Vec<u8>,
    pub labels: Labels,
    pub mtime: Timestamp,
    pub stat: FileStat,
}

impl OpenInode {
    /// The staging file as a save finds it. `notes_stores`: its file system notes stores through a mapping after each write-back.
    ///
    /// # Errors
    /// Of the disk.
    pub fn look(&self, notes_stores: bool) -> Result<Option<(StagingFile, Stamp, Seen)>> {
        let st = self.state.lock();
        let Some(staged) = &st.staged else { return Ok(None) };
        let stamp = staged.file.stamp()?;
        // A store to a page that is dirty already leaves no trace, unless the page was written back in between.
        let unseen = staged.mappable && !notes_stores && matches!(st.io, Io::Passthrough(_));
        let bytes = match &staged.saved {
            None => Bytes::Unsaved,
            Some(saved) if saved.stamp != stamp || saved.writes != self.writes() => Bytes::Unsaved,
            Some(saved) if saved.doubtful || unseen => Bytes::Doubtful,
            Some(_) => Bytes::Saved,
        };
        let seen = Seen { size: stamp.size, bytes, writers: st.writers, naming: st.identity.naming() };
        Ok(Some((staged.file.clone(), stamp, seen)))
    }

    /// The last artifact made of it while it is open, and who made it.
    pub fn last_made(&self) -> Option<(ArtifactId, Maker)> {
        let st = self.state.lock();
        st.staged.as_ref().and_then(|s| s.saved.as_ref()).and_then(|s| s.artifact)
    }

    /// From here on attributes that are set are noted: the commit that is about to begin would undo them.
    pub fn begin_commit(&self) {
        self.state.lock().meanwhile.get_or_insert_default();
    }

    /// A mapping may change the staging file itself.
    pub fn may_be_mapped(&self) -> bool {
        let st = self.state.lock();
        !matches!(st.io, Io::Cached) && st.staged.as_ref().is_some_and(|s| s.mappable)
    }

    /// More than one handle can write.
    pub fn has_other_writers(&self) -> bool {
        self.state.lock().writers > 1
    }

    /// The hasher that has followed the writers so far.
    pub fn end_following(&self) -> Option<Follower> {
        self.state.lock().staged.as_mut().and_then(|s| s.follower.take())
    }

    /// Whether these are the bytes saved last, with nothing else to tell the catalog; then that is remembered.
    pub fn is_saved_as(&self, hash: BlobHash, stamp: Stamp, writes: u64, doubtful: bool) -> bool {
        let mut st = self.state.lock();
        if st.identity.draft().is_some() || st.mtime_set.is_some() {
            return false;
        }
        let Some(saved) = st.staged.as_mut().and_then(|s| s.saved.as_mut()) else { return false };
        // Written again with the same bytes: still the catalog's business when the stamp moved (mtime).
        let same = saved.hash == hash && saved.stamp == stamp;
        if same {
            saved.doubtful = doubtful;
            saved.writes = writes;
        }
        same
    }

    /// What a commit of the bytes with this stamp records besides them.
    pub fn to_commit(&self, stamp: &Stamp) -> ToCommit {
        let st = self.state.lock();
        let place = st.identity.draft();
        ToCommit {
            birth: place.map(|p| Birth {
                parent: p.parent,
                name: p.name.clone(),
                cookie: p.cookie,
                mode: st.mode,
                uid: st.uid,
                gid: st.gid,
                replaces: p.replaces,
            }),
            last: st.staged.as_ref().and_then(|s| s.saved.as_ref()).and_then(|s| s.artifact),
            name: st.name.clone(),
            labels: st.labels.clone(),
            mtime: st.mtime(stamp),
            stat: FileStat {
                atime: place.map(|_| st.atime),
                ctime: Some(st.ctime.max(stamp.ctime)),
                named: place.map(|p| p.named),
                blocks: sparse(stamp.size, stamp.blocks),
            },
        }
    }

    /// `saved` is committed. Answers its staging file's name and what was saved before; `then` sees the staging file with that.
    pub fn committed(
        &self,
        saved: Saved,
        then: impl FnOnce(&mut Staged, Option<&Saved>),
    ) -> Option<(String, Option<Saved>)> {
        let mut st = self.state.lock();
        st.identity.commit();
        st.lingering = false;
        st.size = saved.size;
        // Environment, explicit labels and attributes are the catalog's from here on.
        st.labels.explicit = Metadata::default();
        st.labels.aside = Aside::default();
        let staged = st.staged.as_mut()?;
        let old = staged.saved.replace(saved);
        then(staged, old.as_ref());
        Some((staged.file.name.clone(), old))
    }

    /// Its bytes could not be stored: its record stays. Answers its staging file's name and its labels.
    pub fn keep_unsaved(&self) -> (Option<String>, Labels) {
        let mut st = self.state.lock();
        st.lingering = true;
        (st.staged.as_ref().map(|s| s.file.name.clone()), st.labels.clone())
    }
}
