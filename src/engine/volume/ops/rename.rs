//! `rename(2)`: the name moves, the inode and the artifact's ID stay, nothing is uploaded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::artifact::ids::Ino;
use crate::artifact::name::Name;
use crate::artifact::openfile::Why;
use crate::artifact::record::NodeKind;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::RenameMode;
use crate::staging::journal::Record;

use crate::engine::volume::Caller;
use crate::engine::volume::Volume;
use crate::engine::volume::inode::Pending;
use crate::engine::volume::inode::overlay::Entry;
use crate::engine::volume::ops::tree::Found;

/// Counts a rename at its begin and at its end, however it ends.
struct Moving<'a>(&'a AtomicU64);

impl<'a> Moving<'a> {
    fn begin(renames: &'a AtomicU64) -> Self {
        renames.fetch_add(1, Ordering::AcqRel);
        Self(renames)
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

impl Volume {
    /// # Errors
    /// As rename(2): `CrossSession` between sessions, `Exists` with [`RenameMode::NoReplace`], …
    pub async fn rename(
        self: &Arc<Self>,
        from: (Ino, &Name),
        to: (Ino, &Name),
        mode: RenameMode,
        caller: Caller,
    ) -> Result<()> {
        let _moving = Moving::begin(&self.inodes.renames);
        if crate::engine::volume::hidden::is_hidden(from.0) {
            return Box::pin(self.restore_hidden(from, to, mode, caller)).await;
        }
        if self.scratch_rename(from, to, mode).await? {
            return Ok(());
        }
        let from_session = self.may_name(from.0, from.1).await?.session;
        let to_session = self.may_name(to.0, to.1).await?.session;
        if from_session != to_session {
            return Err(Error::new(Kind::CrossSession, "sessions are separate: copy instead of moving"));
        }
        if from == to {
            return Ok(());
        }
        let source =
            self.find(from.0, from.1).await?.ok_or_else(|| Error::not_found(format!("{}: no such file", from.1)))?;
        let target = self.find(to.0, to.1).await?;
        if mode == RenameMode::NoReplace && target.is_some() {
            return Err(Error::new(Kind::Exists, format!("{}: exists", to.1)));
        }
        if let Found::Pending(live) = &source
            && mode != RenameMode::Exchange
            // Over another uncommitted file it would race that one's commit.
            && target.is_none()
            && self.rename_pending(live, from, to).await?
        {
            return Ok(());
        }
        // The directory that gives way, if one does.
        let replaced = match &target {
            Some(Found::Committed(node)) if mode == RenameMode::Replace && node.kind == NodeKind::Dir => {
                Some(self.attr_of(node)?)
            }
            _ => None,
        };
        // Whatever else involves an uncommitted file: it is committed as it is now, then the catalog moves names
        // atomically, as a reader on any machine sees them.
        for found in [Some(source), target].into_iter().flatten() {
            if let Found::Pending(live) = found {
                self.save(&live, Why::Birth).await?;
            } else if let Found::Committed(node) = &found
                && node.kind == NodeKind::Dir
                && node.ino != self.root
                && !self.inodes.overlay.lock().is_empty(node.ino)
                && mode == RenameMode::Replace
                && self.is_target(node.ino, to).await?
            {
                return Err(Error::new(Kind::NotEmpty, format!("{}: the directory is not empty", to.1)));
            }
        }
        let cookies = (self.number().await?, self.number().await?);
        let removed = self.store.catalog.rename(self.store.origin, from, to, mode, cookies, self.now()).await?;
        if let Some(removed) = removed {
            self.after_removal(&removed).await;
        }
        if let Some(attr) = replaced {
            self.kernel.removed.note(attr);
        }
        let mut overlay = self.inodes.overlay.lock();
        overlay.untouch(from.0);
        overlay.untouch(to.0);
        Ok(())
    }

    async fn is_target(&self, ino: Ino, to: (Ino, &Name)) -> Result<bool> {
        Ok(matches!(self.find(to.0, to.1).await?, Some(Found::Committed(n)) if n.ino == ino))
    }

    /// Moves a name that only this mount knows. `false`: it has been committed meanwhile.
    async fn rename_pending(
        &self,
        live: &Arc<crate::engine::volume::inode::OpenInode>,
        from: (Ino, &Name),
        to: (Ino, &Name),
    ) -> Result<bool> {
        let cookie = self.number().await?;
        let _saving = live.saving().await;
        let now = self.now();
        let replaced = {
            let mut overlay = self.inodes.overlay.lock();
            if overlay.remove(from.0, from.1, live.ino).is_none() {
                return Ok(false);
            }
            overlay.touch(from.0, now);
            overlay.insert(to.0, to.1.clone(), Entry { cookie, live: live.clone() }, now)
        };
        let place = Pending { parent: to.0, name: to.1.clone(), cookie, named: now, replaces: false };
        if let Some(file) = live.name_draft(place) {
            self.staging.journal.append(&Record::Place {
                file,
                parent: to.0,
                name: to.1.as_bytes().to_vec(),
                cookie,
            })?;
        }
        if let Some(replaced) = replaced {
            self.orphan(&replaced.live);
        }
        Ok(true)
    }
}
