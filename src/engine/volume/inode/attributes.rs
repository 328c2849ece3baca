//! Attributes and labels of an open inode. One look or one change under the state's lock each.

use crate::artifact::record::Labels;
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Result};
use crate::engine::volume::inode::attr::SetAttr;

use crate::engine::volume::inode::OpenInode;
use crate::engine::volume::inode::Pending;

impl OpenInode {
    pub fn labels(&self) -> Labels {
        self.state.lock().labels.clone()
    }

    /// The labels, and where a draft will be.
    pub fn labels_and_place(&self) -> (Labels, Option<Pending>) {
        let st = self.state.lock();
        (st.labels.clone(), st.identity.draft().cloned())
    }

    /// Changes the labels of the first commit.
    ///
    /// # Errors
    /// Those of the change.
    pub fn change_labels(&self, change: impl FnOnce(&mut Labels) -> Result<()>) -> Result<()> {
        change(&mut self.state.lock().labels)
    }

    /// Sets attributes. Answers whether they are known here only: the catalog has no such file, or not any more.
    ///
    /// # Errors
    /// Of the staging file.
    pub fn set_attributes(&self, set: SetAttr, now: Timestamp) -> Result<bool> {
        let mut st = self.state.lock();
        if let Some(mode) = set.mode {
            st.mode = mode & 0o7777;
        }
        if let Some(uid) = set.uid {
            st.uid = uid;
        }
        if let Some(gid) = set.gid {
            st.gid = gid;
        }
        if let Some(atime) = set.atime {
            st.atime = atime;
        }
        if let Some(mtime) = set.mtime {
            let at = match &st.staged {
                Some(s) => s.file.stamp()?.ctime,
                None => now,
            };
            st.mtime_set = Some((mtime, at));
        }
        st.ctime = now;
        if let Some(meanwhile) = &mut st.meanwhile {
            meanwhile.merge(set);
        }
        Ok(st.identity.is_unborn() || st.identity.has_no_name())
    }

    /// What was set since a save began, and when.
    pub fn set_meanwhile(&self) -> (SetAttr, Timestamp) {
        let st = self.state.lock();
        (st.meanwhile.unwrap_or_default(), st.ctime)
    }

    /// The catalog has `set` by now. `false`: more was set since.
    pub fn forget_meanwhile(&self, set: SetAttr) -> bool {
        let mut st = self.state.lock();
        let all = st.meanwhile.unwrap_or_default() == set;
        if all {
            st.meanwhile = None;
        }
        all
    }

    /// Cuts or extends the staging file, if there is one.
    ///
    /// # Errors
    /// Of the disk.
    pub fn truncate(&self, size: u64) -> Result<()> {
        let mut st = self.state.lock();
        let Some(staged) = st.staged.as_mut() else { return Ok(()) };
        self.count_write();
        staged.file.file.set_len(size).map_err(|e| Error::io(&staged.file.path, &e))?;
        st.mtime_set = None;
        Ok(())
    }
}
