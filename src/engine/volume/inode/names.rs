//! How an inode becomes another one to the catalog: named, renamed, into the scratch tree and out of it; and what its bytes count
//! against the tenant's limits meanwhile. One change under the state's lock each.

use std::path::Path;
use std::sync::Arc;

use crate::artifact::name::display_bytes;
use crate::artifact::record::Labels;
use crate::artifact::time::Timestamp;
use crate::engine::claims::{Charge, Ledger};
use crate::engine::volume::inode::attr::Attr;
use crate::staging::file::StagingFile;

use crate::engine::volume::inode::Identity;
use crate::engine::volume::inode::OpenInode;
use crate::engine::volume::inode::Pending;
use crate::engine::volume::inode::Staged;

/// What the journal is told of a file that gets its first name.
pub struct Birthright {
    pub file: StagingFile,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub labels: Labels,
}

impl OpenInode {
    pub fn is_tmpfile(&self) -> bool {
        matches!(self.state.lock().identity, Identity::Tmpfile)
    }

    /// Its name when it was opened or renamed last.
    pub fn name(&self) -> Vec<u8> {
        self.state.lock().name.clone()
    }

    /// The same as people read it.
    pub fn shown_name(&self) -> String {
        display_bytes(&self.state.lock().name)
    }

    pub fn has_writers(&self) -> bool {
        self.state.lock().writers > 0
    }

    /// Nothing keeps its record.
    pub fn is_idle(&self) -> bool {
        self.state.lock().idle()
    }

    /// `None`: it has no staging file.
    pub fn birthright(&self) -> Option<Birthright> {
        let st = self.state.lock();
        let file = st.staged.as_ref()?.file.clone();
        Some(Birthright { file, mode: st.mode, uid: st.uid, gid: st.gid, labels: st.labels.clone() })
    }

    /// A draft gets its name, or another one. Answers its staging file's name.
    pub fn name_draft(&self, place: Pending) -> Option<String> {
        let mut st = self.state.lock();
        st.nlink = 1;
        st.ctime = place.named;
        st.name = place.name.as_bytes().to_vec();
        st.identity = Identity::Draft(place);
        st.staged.as_ref().map(|s| s.file.name.clone())
    }

    /// It gives way to nothing at its first commit.
    pub fn replaces_nothing(&self) {
        if let Identity::Draft(place) = &mut self.state.lock().identity {
            place.replaces = false;
        }
    }

    /// A scratch file leaves the tree for `file` and is to be committed at `place`. Answers how many have it open.
    pub fn leave_scratch(&self, file: StagingFile, place: Pending, attr: &Attr, labels: Labels) -> usize {
        let mut st = self.state.lock();
        let mappable = st.staged.as_ref().is_some_and(|s| s.mappable);
        st.staged = Some(Staged { mappable, ..Staged::fresh(file) });
        (st.mode, st.uid, st.gid, st.nlink) = (attr.mode, attr.uid, attr.gid, 1);
        (st.atime, st.ctime) = (attr.atime, place.named);
        st.labels = labels;
        st.name = place.name.as_bytes().to_vec();
        st.identity = Identity::Draft(place);
        st.handles
    }

    /// It lies in the scratch tree at `path`, and nothing was saved from there.
    pub fn enter_scratch(&self, path: &Path) {
        let mut st = self.state.lock();
        st.identity = Identity::Scratch;
        if let Some(staged) = st.staged.as_mut() {
            path.clone_into(&mut staged.file.path);
            staged.saved = None;
        }
    }

    /// A draft does so, under the name that it has there. Answers its labels, and whether nobody has it open.
    pub fn demote(&self, path: &Path, name: &[u8]) -> (Labels, bool) {
        self.enter_scratch(path);
        let mut st = self.state.lock();
        st.name = name.to_vec();
        (st.labels.clone(), st.handles == 0)
    }

    /// Opened in the scratch tree: its file there is the staging file.
    pub fn open_scratch(&self, file: StagingFile, attr: &Attr) {
        let mut st = self.state.lock();
        st.mode = attr.mode;
        st.nlink = attr.nlink;
        st.staged = Some(Staged::fresh(file));
    }

    /// The open file in the scratch tree.
    pub fn scratch_file(&self) -> Option<StagingFile> {
        let st = self.state.lock();
        st.staged.as_ref().filter(|_| st.identity.is_scratch()).map(|s| s.file.clone())
    }

    /// One handle of a scratch file is gone; the last takes the staging file out. `None`: it is no scratch; else whether it was the
    /// last.
    pub fn close_scratch(&self) -> Option<bool> {
        let mut st = self.state.lock();
        if !st.identity.is_scratch() {
            return None;
        }
        if st.handles == 0 {
            st.staged = None;
            st.lingering = false;
        }
        Some(st.handles == 0)
    }

    /// What the catalog counts of it already, and what is charged for it beyond that. `None`: scratch has a limit of its own.
    pub fn counted(&self) -> Option<(u64, u64)> {
        let st = self.state.lock();
        if st.identity.is_scratch() {
            return None;
        }
        // Of a file without a name it counts nothing.
        let own = match st.staged.as_ref().and_then(|s| s.saved.as_ref()) {
            _ if st.identity.has_no_name() => 0,
            Some(saved) => saved.size,
            None if st.identity.draft().is_some() => 0,
            None => st.size,
        };
        Some((own, st.charge.bytes()))
    }

    /// Charges `bytes` for what is written of it.
    pub(crate) fn charge(&self, ledger: &Arc<Ledger>, bytes: u64) {
        let mut st = self.state.lock();
        if st.charge.bytes() == 0 {
            st.charge = Charge::of(ledger);
        }
        st.charge.set(bytes);
    }

    /// What was written is committed: the catalog counts it now.
    pub fn settle_charge(&self) {
        let mut st = self.state.lock();
        if !st.identity.has_no_name() {
            st.charge.set(0);
        }
    }

    /// Its last name is gone. The catalog counts it no more; as long as it is open here its bytes take room all the same.
    pub(crate) fn orphan(&self, ledger: &Arc<Ledger>, now: Timestamp) {
        let mut st = self.state.lock();
        st.identity.unlink();
        st.nlink = 0;
        if st.handles > 0
            && let Some(Ok(meta)) = st.staged.as_ref().map(|s| s.file.file.metadata())
        {
            st.charge = Charge::of(ledger);
            st.charge.set(meta.len());
        }
        st.ctime = now;
    }
}
