//! `chmod`, `chown`, `utimensat`, `truncate`.

use std::sync::Arc;

use crate::artifact::ids::Ino;
use crate::artifact::openfile::Why;
use crate::artifact::record::NodeKind;
use crate::artifact::{Error, Kind, Result};

use crate::engine::volume::Caller;
use crate::engine::volume::Volume;
use crate::engine::volume::hidden;
use crate::engine::volume::inode::OpenInode;
use crate::engine::volume::inode::Saving;
use crate::engine::volume::inode::attr::{Attr, SET_ID, SetAttr};
use crate::engine::volume::inode::open_mode::OpenMode;

impl Volume {
    /// # Errors
    /// `Sealed`, `NotFound`, and what staging and catalog say.
    pub async fn setattr(self: &Arc<Self>, ino: Ino, set: SetAttr, caller: Caller) -> Result<Attr> {
        if hidden::is_hidden(ino) {
            // `echo … > .ctl` truncates first: nothing to do. Anything else is refused.
            if set.mode.is_none() && set.uid.is_none() && set.gid.is_none() {
                return self.hidden_attr(ino).await;
            }
            return Err(Error::new(Kind::Reserved, "outputfs keeps this file for itself"));
        }
        if self.scratch.is(ino) {
            return self.scratch_setattr(ino, set).await;
        }
        let mut set = set;
        // The kernel leaves this to us (FUSE_HANDLE_KILLPRIV_V2): who changes the owner, or without privilege the bytes,
        // takes the set-ID bits away.
        let takes = set.uid.is_some() || set.gid.is_some() || (set.size.is_some() && caller.uid != 0);
        if takes && set.mode.is_none() {
            set.mode = self.mode_without_set_id(ino).await?;
        }
        if let Some(size) = set.size {
            match self.inodes.get(ino) {
                Some(live) => self.may_grow(&live, size).await?,
                None => self.may_become(ino, size).await?,
            }
            self.truncate(ino, size, set.fh, caller).await?;
        }
        if !set.is_empty() {
            let changed = self.change(ino, set).await;
            if set.kept_ctime.is_some() && changed.as_ref().is_err_and(|e| e.kind == Kind::NotFound) {
                // Deleted and closed meanwhile: an error would come out of somebody's next `syncfs`.
                return Ok(Attr::of_ghost(ino, &set, self.now()));
            }
            changed?;
        }
        self.getattr(ino).await
    }

    /// The mode that `ino` has without its set-ID bits, if it is a file and has any.
    async fn mode_without_set_id(&self, ino: Ino) -> Result<Option<u32>> {
        let attr = self.getattr(ino).await?;
        // Set-group-ID without group execution has another meaning (mandatory locks): it stays.
        let bits = if attr.mode & 0o010 == 0 { 0o4000 } else { SET_ID };
        Ok((attr.kind == NodeKind::File && attr.mode & bits != 0).then_some(attr.mode & !bits))
    }

    /// Somebody without privilege writes to `ino`: its set-ID bits go.
    ///
    /// # Errors
    /// As [`Volume::setattr`].
    pub async fn drop_set_id(&self, ino: Ino) -> Result<()> {
        if hidden::is_hidden(ino) || self.scratch.is(ino) {
            return Ok(());
        }
        match self.mode_without_set_id(ino).await? {
            Some(mode) => self.change(ino, SetAttr { mode: Some(mode), ..SetAttr::default() }).await,
            None => Ok(()),
        }
    }

    async fn change(&self, ino: Ino, set: SetAttr) -> Result<()> {
        let now = set.kept_ctime.unwrap_or_else(|| self.now());
        let live = self.inodes.get(ino);
        if let Some(live) = &live {
            let only_here = live.set_attributes(set, now)?;
            if only_here {
                return Ok(());
            }
        }
        self.store.catalog.set_attributes(self.store.origin, ino, set.change(now)).await.map(|_| ())
    }

    /// What was set while a commit was on its way, which carried what was there before: set again.
    pub(in crate::engine::volume) async fn set_again(&self, live: &OpenInode) -> Result<()> {
        loop {
            let (set, at) = live.set_meanwhile();
            if !set.is_empty() {
                self.store.catalog.set_attributes(self.store.origin, live.ino, set.change(at)).await?;
            }
            // Until the catalog has them, whoever asks is told from here.
            if live.forget_meanwhile(set) {
                return Ok(());
            }
        }
    }

    async fn truncate(self: &Arc<Self>, ino: Ino, size: u64, fh: Option<u64>, caller: Caller) -> Result<()> {
        if let Some(live) = self.inodes.get(ino)
            && live.has_staged()
        {
            if !live.is_pending() {
                self.refuse_sealed(live.session).await?;
            }
            let mut saving = live.saving().await;
            if live.has_staged() {
                if fh.is_none() {
                    self.preserve(&mut saving).await?;
                }
                self.ungrow(&mut saving).await?;
                self.truncate_staged(&mut saving, size)?;
                // Through a path on a file that lingers after its last close: no close will come to save it.
                let unowned = fh.is_none() && !live.has_writers();
                return if unowned { self.save_holding(&mut saving, Why::Birth).await } else { Ok(()) };
            }
        }
        // truncate(2) on a closed file: an open, a cut and a close.
        let mode = OpenMode { write: true, read: false, truncate: size == 0, append: false, exclusive: false };
        let opened = self.open_file(ino, mode, caller).await?;
        let cut = async {
            if size > 0
                && let Some(live) = self.inodes.get(ino)
            {
                let mut saving = live.saving().await;
                self.ungrow(&mut saving).await?;
                self.truncate_staged(&mut saving, size)?;
            }
            if let Some(live) = self.inodes.get(ino) {
                self.save(&live, Why::Birth).await?;
            }
            Ok(())
        }
        .await;
        self.release(opened.fh);
        cut
    }

    /// Cuts or extends the staging file.
    pub(in crate::engine::volume) fn truncate_staged(&self, saving: &mut Saving<'_>, size: u64) -> Result<()> {
        saving.inode().truncate(size)
    }
}
