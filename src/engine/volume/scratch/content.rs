//! Opening scratch files, and the limit.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use crate::artifact::ids::{Ino, SessionId};
use crate::artifact::name::Name;
use crate::artifact::record::NodeKind;
use crate::artifact::{Error, Kind, Result};
use crate::staging::file::StagingFile;

use crate::engine::volume::Caller;
use crate::engine::volume::Volume;
use crate::engine::volume::inode::Identity;
use crate::engine::volume::inode::OpenInode;
use crate::engine::volume::inode::State;
use crate::engine::volume::inode::attr::Attr;
use crate::engine::volume::inode::open_mode::OpenMode;
use crate::engine::volume::ops::open::Opened;
use crate::engine::volume::scratch::names::attr_of;
use crate::engine::volume::scratch::names::own;
use crate::engine::volume::scratch::stat;

impl Volume {
    /// Opens or makes a file in the tree. `None`: the name is not scratch.
    pub(in crate::engine::volume) async fn scratch_create(
        self: &Arc<Self>,
        parent: Ino,
        name: &Name,
        mode: u32,
        open: OpenMode,
        caller: Caller,
    ) -> Result<Option<(Attr, Opened)>> {
        let there = stat(&self.scratch.path_of(parent, name)?)?;
        if there.is_none() && !self.goes_to_scratch(parent, name, false).await? {
            return Ok(None);
        }
        if there.is_some() && open.exclusive {
            return Err(Error::new(Kind::Exists, format!("{name}: exists")));
        }
        let session = self.scratch_session(parent).await?;
        if there.is_none() {
            self.scratch.allow(0)?;
            let (mode, gid) = self.scratch_inherit(parent, NodeKind::File, mode, caller.gid)?;
            let path = self.scratch_room(parent, name)?;
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            match file {
                Ok(file) => {
                    own(&path, caller.uid, gid)?;
                    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(|e| Error::io(&path, &e))?;
                    self.scratch_made(session, &path).await?;
                }
                // Another mount was faster.
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && !open.exclusive => {}
                Err(e) => return Err(Error::io(&path, &e)),
            }
        }
        let attr = self.scratch_lookup(parent, name).await?;
        let attr = attr.ok_or_else(|| Error::not_found(format!("{name}: removed meanwhile")))?;
        let opened = self.scratch_open(attr.ino, open, caller).await?;
        Ok(Some((self.scratch_attr(attr.ino)?, opened)))
    }

    /// Opens a scratch file that has a number.
    pub(in crate::engine::volume) async fn scratch_open(
        self: &Arc<Self>,
        ino: Ino,
        mode: OpenMode,
        caller: Caller,
    ) -> Result<Opened> {
        let session = self.scratch.known.lock().session(ino).unwrap_or(SessionId::NONE);
        if mode.write {
            self.refuse_sealed(session).await?;
            let labels = self.labels_of(caller).await;
            self.scratch.known.lock().set_labels(ino, labels);
        }
        let pinned = self.inodes.pin(ino, || OpenInode::new(ino, session, idle(self.now())));
        let live = &pinned.live;
        let mut saving = live.saving().await;
        if !live.has_staged() {
            let path = self.scratch.path(ino)?;
            let file = open_rw(&path)?;
            let attr = attr_of(ino, &file.metadata().map_err(|e| Error::io(&path, &e))?);
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let file = StagingFile { name, path, file: Arc::new(file) };
            live.open_scratch(file, &attr);
        }
        if mode.truncate {
            self.truncate_staged(&mut saving, 0)?;
        }
        self.admit(live, mode, None).await
    }

    /// Before `end - start` bytes are written: within the limit?
    pub(in crate::engine::volume) fn scratch_may_write(&self, live: &OpenInode, offset: u64, len: u64) -> Result<()> {
        let Some(file) = live.scratch_file() else { return Ok(()) };
        let size = file.stamp()?.size;
        let more = offset.saturating_add(len).saturating_sub(size.max(offset));
        self.scratch.allow(more)?;
        self.scratch.grown(more);
        Ok(())
    }

    /// The last handle of a scratch file is gone. `false`: it is no scratch.
    pub(in crate::engine::volume) fn scratch_released(&self, live: &Arc<OpenInode>) -> bool {
        match live.close_scratch() {
            None => return false,
            Some(false) => return true,
            Some(true) => {}
        }
        self.inodes.retire(live);
        let gone = self.inodes.get(live.ino).is_none() && self.scratch.known.lock().drop_nameless(live.ino);
        if gone {
            // How much it freed is found out when it matters.
            tracing::trace!(ino = %live.ino, "removed scratch file closed");
        }
        true
    }
}

/// Read and write, whatever its mode: whether the caller may is the kernel's question and was answered.
pub(super) fn open_rw(path: &Path) -> Result<File> {
    let open =
        || OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    match open() {
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            let meta = fs::symlink_metadata(path).map_err(|e| Error::io(path, &e))?;
            let set =
                |mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|e| Error::io(path, &e));
            set(meta.mode() & 0o7777 | 0o600)?;
            let file = open().map_err(|e| Error::io(path, &e));
            set(meta.mode() & 0o7777)?;
            file
        }
        other => other.map_err(|e| Error::io(path, &e)),
    }
}

pub(super) fn idle(now: crate::artifact::time::Timestamp) -> State {
    State { identity: Identity::Scratch, ..State::unopened(now) }
}
