//! Names: looking up, making and removing them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::artifact::ids::{Ino, SessionId};
use crate::artifact::name::Name;
use crate::artifact::permission::Who;
use crate::artifact::record::{Node, NodeKind};
use crate::artifact::{Error, Kind, Result};
use crate::catalog::{NewNode, Removed};

use crate::engine::volume::Caller;
use crate::engine::volume::Volume;
use crate::engine::volume::hidden;
use crate::engine::volume::inode::OpenInode;
use crate::engine::volume::inode::attr::Attr;

/// How often a name is looked up again that others move meanwhile.
pub(in crate::engine::volume) const MOVES: u32 = 16;

/// What stands under a name.
pub(in crate::engine::volume) enum Found {
    Pending(Arc<OpenInode>),
    Committed(Node),
}

impl Found {
    pub(in crate::engine::volume) fn ino(&self) -> Ino {
        match self {
            Found::Pending(live) => live.ino,
            Found::Committed(node) => node.ino,
        }
    }
}

impl Volume {
    pub(in crate::engine::volume) async fn find(&self, parent: Ino, name: &Name) -> Result<Option<Found>> {
        if let Some(entry) = self.inodes.overlay.lock().get(parent, name) {
            return Ok(Some(Found::Pending(entry.live.clone())));
        }
        Ok(self.store.catalog.lookup(parent, name, self.now()).await?.map(Found::Committed))
    }

    /// # Errors
    /// `NotFound`, and what the catalog says.
    pub async fn lookup(&self, parent: Ino, name: &Name, caller: Caller) -> Result<Attr> {
        self.look(parent, name, || Who::is_calling(caller)).await
    }

    /// As [`Self::lookup`]; who asks is found out where it matters.
    pub(in crate::engine::volume) async fn look(
        &self,
        parent: Ino,
        name: &Name,
        who: impl FnOnce() -> Who,
    ) -> Result<Attr> {
        if hidden::is_hidden(parent) || name.is_reserved() {
            if let Some(attr) = self.lookup_hidden(parent, name, &who()).await? {
                return Ok(attr);
            }
            if hidden::is_hidden(parent) {
                return Err(Error::not_found("no such entry"));
            }
        }
        for _ in 0..MOVES {
            let (mark, renames) = (self.inodes.departed.mark(), self.inodes.renames.load(Ordering::Acquire));
            match self.find(parent, name).await? {
                Some(Found::Pending(live)) => return self.attr_of_pending(&live),
                Some(Found::Committed(node)) => match self.attr_of_read(node, mark).await {
                    // Replaced by another file since: that one is meant.
                    Err(e) if e.kind == Kind::NotFound => {}
                    done => return done,
                },
                None => match self.scratch_lookup(parent, name).await? {
                    Some(attr) => return Ok(attr),
                    // It may have moved from where we looked second to where we had looked first.
                    None if self.inodes.renames.load(Ordering::Acquire) != renames => {}
                    None => break,
                },
            }
        }
        Err(Error::not_found(format!("{name}: no such file")))
    }

    /// # Errors
    /// `NotFound` when the inode is gone.
    pub async fn getattr(&self, ino: Ino) -> Result<Attr> {
        if hidden::is_hidden(ino) {
            return self.hidden_attr(ino).await;
        }
        if self.scratch.is(ino) {
            return self.scratch_attr(ino);
        }
        if let Some(live) = self.inodes.get(ino)
            && live.is_unborn()
        {
            return self.attr_of_pending(&live);
        }
        let mark = self.inodes.departed.mark();
        match self.store.catalog.node(ino, self.now()).await? {
            Some(node) => self.attr_of_read(node, mark).await,
            None => match self.inodes.get(ino) {
                // Unlinked but open: it lives on here alone.
                Some(live) => {
                    let mut attr = self.attr_of_pending(&live)?;
                    attr.nlink = 0;
                    Ok(attr)
                }
                None => self.kernel.removed.get(ino).ok_or_else(|| Error::not_found("the file is gone")),
            },
        }
    }

    /// # Errors
    /// `NotFound`, or `Invalid` when it is no symlink.
    pub async fn readlink(&self, ino: Ino, caller: Caller) -> Result<Vec<u8>> {
        if hidden::is_hidden(ino) {
            return self.hidden_target(ino, &Who::is_calling(caller)).await;
        }
        if self.scratch.is(ino) {
            return self.scratch_readlink(ino);
        }
        let node = self.store.catalog.node(ino, self.now()).await?.ok_or_else(|| Error::not_found("no such file"))?;
        node.target.ok_or_else(|| Error::invalid("not a symbolic link"))
    }

    /// A directory in which something may be made or removed.
    pub(in crate::engine::volume) async fn writable_dir(&self, dir: Ino) -> Result<Node> {
        if hidden::is_hidden(dir) {
            return Err(Error::new(Kind::Reserved, "outputfs keeps this directory for itself"));
        }
        let node =
            self.store.catalog.node(dir, self.now()).await?.ok_or_else(|| Error::not_found("the directory is gone"))?;
        if node.kind != NodeKind::Dir {
            return Err(Error::new(Kind::NotADirectory, "not a directory"));
        }
        if node.sealed {
            self.refuse_sealed(node.session).await?;
        }
        Ok(node)
    }

    /// The directory in which `name` may be made or removed. Refuses what nobody may name.
    pub(in crate::engine::volume) async fn may_name(&self, parent: Ino, name: &Name) -> Result<Node> {
        let node = self.writable_dir(parent).await?;
        if name.is_reserved() && self.is_top(parent, node.session).await? {
            return Err(Error::new(Kind::Reserved, format!("'{name}' is a name that outputfs keeps for itself")));
        }
        Ok(node)
    }

    /// True for the tenant's root and for a session's.
    pub(in crate::engine::volume) async fn is_top(&self, dir: Ino, session: SessionId) -> Result<bool> {
        if session == SessionId::NONE {
            return Ok(true);
        }
        Ok(self.store.catalog.session_by_id(session).await?.is_some_and(|s| s.root == dir))
    }

    /// Makes a directory, symlink, fifo, socket or device. A directory in the tenant's root is a new session.
    ///
    /// # Errors
    /// `Exists`, `Reserved`, `Sealed`, `Invalid` for a bad session name.
    pub async fn make(
        &self,
        parent: Ino,
        name: Name,
        kind: NodeKind,
        mode: u32,
        rdev: u32,
        target: Option<Vec<u8>>,
        caller: Caller,
    ) -> Result<Attr> {
        if self.scratch.is(parent) {
            return self.scratch_make(parent, &name, kind, mode, rdev, target.as_deref(), caller).await;
        }
        let dir = self.may_name(parent, &name).await?;
        if self.inodes.overlay.lock().get(parent, &name).is_some() {
            return Err(Error::new(Kind::Exists, format!("{name}: exists")));
        }
        let (mode, gid) = inherit(&dir, kind, mode, caller.gid);
        if self.scratch_lookup(parent, &name).await?.is_some() {
            return Err(Error::new(Kind::Exists, format!("{name}: exists")));
        }
        if self.is_ignored(dir.session, parent, &name, kind == NodeKind::Dir).await?
            && self.find(parent, &name).await?.is_none()
        {
            return self.scratch_make(parent, &name, kind, mode, rdev, target.as_deref(), caller).await;
        }
        let node = NewNode {
            ino: Ino(self.number().await?),
            cookie: self.number().await?,
            parent,
            name,
            kind,
            mode,
            uid: caller.uid,
            gid,
            rdev,
            target,
            now: self.now(),
        };
        let node = self.store.catalog.make(self.store.origin, node).await?;
        self.inodes.overlay.lock().untouch(parent);
        self.attr_of(&node)
    }

    /// Removes the name of a file, symlink or special file.
    ///
    /// # Errors
    /// `NotFound`, `IsADirectory`, `Sealed`.
    pub async fn unlink(&self, parent: Ino, name: &Name, caller: Caller) -> Result<()> {
        if hidden::is_hidden(parent) {
            return self.purge_hidden(parent, name, caller).await;
        }
        if self.scratch.is(parent) || self.find(parent, name).await?.is_none() {
            if !self.scratch.is(parent) {
                self.may_name(parent, name).await?;
            }
            if self.scratch_remove(parent, name, false).await? {
                return Ok(());
            }
        }
        self.may_name(parent, name).await?;
        self.rules_may_change(name.as_bytes());
        loop {
            let pending = self.inodes.overlay.lock().get(parent, name).map(|e| e.live.clone());
            let Some(live) = pending else { break };
            // A release may be committing this very name: wait for it, then look again.
            let _saving = live.saving().await;
            let mut overlay = self.inodes.overlay.lock();
            if overlay.remove(parent, name, live.ino).is_some() {
                overlay.touch(parent, self.now());
                drop(overlay);
                self.orphan(&live);
                return Ok(());
            }
        }
        let by = self.deleter(caller).await;
        let removed = self.store.catalog.unlink_by(self.store.origin, parent, name, by, self.now()).await?;
        self.after_removal(&removed).await;
        self.inodes.overlay.lock().untouch(parent);
        Ok(())
    }

    /// # Errors
    /// `NotEmpty`, `NotADirectory`, `NotFound`, `Sealed`.
    pub async fn rmdir(&self, parent: Ino, name: &Name) -> Result<()> {
        if self.scratch.is(parent) {
            return self.scratch_remove(parent, name, true).await.map(drop);
        }
        self.may_name(parent, name).await?;
        if self.find(parent, name).await?.is_none() && self.scratch_remove(parent, name, true).await? {
            return Ok(());
        }
        let found = self.find(parent, name).await?;
        match &found {
            Some(Found::Committed(node))
                if !self.inodes.overlay.lock().is_empty(node.ino) || self.has_scratch(node.ino)? =>
            {
                return Err(Error::new(Kind::NotEmpty, format!("{name}: the directory is not empty")));
            }
            Some(Found::Pending(_)) => return Err(Error::new(Kind::NotADirectory, format!("{name}: not a directory"))),
            _ => {}
        }
        self.store.catalog.rmdir(self.store.origin, parent, name, self.now()).await?;
        if let Some(Found::Committed(node)) = &found {
            self.kernel.removed.note(self.attr_of(node)?);
        }
        self.inodes.overlay.lock().untouch(parent);
        Ok(())
    }

    /// A further name for a file or symlink. A file that was never committed is committed first: only then it has an
    /// inode that two names can share.
    ///
    /// # Errors
    /// `Exists`, `CrossSession`, `Sealed`.
    pub async fn link(self: &Arc<Self>, ino: Ino, parent: Ino, name: Name) -> Result<Attr> {
        if let Some(attr) = self.scratch_link(ino, parent, &name).await? {
            return Ok(attr);
        }
        self.may_name(parent, &name).await?;
        if self.inodes.overlay.lock().get(parent, &name).is_some() {
            return Err(Error::new(Kind::Exists, format!("{name}: exists")));
        }
        if hidden::is_hidden(ino) {
            return Err(Error::new(Kind::CrossSession, "what outputfs shows there cannot be linked: copy it"));
        }
        if let Some(attr) = self.link_nameless(ino, parent, &name).await? {
            return Ok(attr);
        }
        self.settle_birth(ino).await?;
        let cookie = self.number().await?;
        let node = self.store.catalog.link(self.store.origin, ino, parent, name, cookie, self.now()).await?;
        self.attr_of(&node)
    }

    /// Commits a file that the catalog does not know yet, empty or not.
    pub(in crate::engine::volume) async fn settle_birth(self: &Arc<Self>, ino: Ino) -> Result<()> {
        if let Some(live) = self.inodes.get(ino)
            && live.is_pending()
        {
            self.save(&live, crate::artifact::openfile::Why::Birth).await?;
        }
        Ok(())
    }

    /// The name is gone; whoever has the inode open keeps it, and nothing of it is saved any more. What was committed from its
    /// staging file is in the trash now and must outlive what its handles go on to write.
    pub(in crate::engine::volume) async fn after_removal(&self, removed: &Removed) {
        if removed.nlink == 0
            && let Some(live) = self.inodes.get(removed.ino)
        {
            let mut saving = live.saving().await;
            if let Err(e) = self.preserve(&mut saving).await {
                // The settler has it still, as long as nobody writes.
                tracing::warn!(ino = %live.ino, error = %e, "a deleted file's bytes are not in the store yet");
            }
            drop(saving);
            self.orphan(&live);
        }
    }

    pub(in crate::engine::volume) fn orphan(&self, live: &Arc<OpenInode>) {
        live.orphan(self.store.ledger(), self.now());
        self.drop_staging_if_closed(live);
    }
}

/// A setgid directory hands its group down, and to directories the bit as well (inode(7)).
pub(in crate::engine::volume) fn inherit(dir: &Node, kind: NodeKind, mode: u32, gid: u32) -> (u32, u32) {
    if dir.mode & 0o2000 == 0 {
        return (mode, gid);
    }
    (if kind == NodeKind::Dir { mode | 0o2000 } else { mode }, dir.gid)
}
