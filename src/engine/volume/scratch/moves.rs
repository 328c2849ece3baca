//! Renames and links that touch the scratch tree. What each does: the docs of [`super`].

use std::fs::{self, Metadata};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags};

use crate::artifact::ids::{Ino, SessionId};
use crate::artifact::name::Name;
use crate::artifact::openfile::Why;
use crate::artifact::record::{Labels, Node, NodeKind};
use crate::artifact::{Error, Kind, Result};
use crate::catalog::{Removed, RenameMode};
use crate::staging::file::StagingFile;
use crate::staging::journal::Record;

use crate::engine::volume::Volume;
use crate::engine::volume::inode::Birthright;
use crate::engine::volume::inode::OpenInode;
use crate::engine::volume::inode::Pending;
use crate::engine::volume::inode::attr::Attr;
use crate::engine::volume::ops::tree::Found;
use crate::engine::volume::ops::xattr::label_from_scratch;
use crate::engine::volume::save::blocking;
use crate::engine::volume::scratch::content;
use crate::engine::volume::scratch::known::id_of;
use crate::engine::volume::scratch::names::attr_of;
use crate::engine::volume::scratch::names::own;
use crate::engine::volume::scratch::names::read_xattr;
use crate::engine::volume::scratch::names::xattr_names;
use crate::engine::volume::scratch::stat;

pub(super) type At<'a> = (Ino, &'a Name);

/// How long a rename to an ignored name waits for a file to be closed; who keeps it open then keeps the artifact.
const RELEASE_COMES: Duration = Duration::from_millis(500);

pub(super) fn across() -> Error {
    Error::new(Kind::CrossSession, "a scratch name and an artifact's name are two places: copy instead of moving")
}

impl Volume {
    /// Does the rename if it is a matter of scratch. `false`: the catalog moves names.
    pub(in crate::engine::volume) async fn scratch_rename(
        self: &Arc<Self>,
        from: At<'_>,
        to: At<'_>,
        mode: RenameMode,
    ) -> Result<bool> {
        let source = self.scratch_at(from).await?;
        let target = self.scratch_at(to).await?;
        let Some(meta) = source else {
            if self.scratch.is(from.0) {
                return Err(Error::not_found(format!("{}: no such file", from.1)));
            }
            return self.rename_ordinary(from, to, mode, target).await;
        };
        let session = self.scratch_session(from.0).await?;
        if session != self.scratch_session(to.0).await? {
            return Err(Error::new(Kind::CrossSession, "sessions are separate: copy instead of moving"));
        }
        if !self.scratch.is(to.0) {
            self.may_name(to.0, to.1).await?;
        }
        if self.goes_to_scratch(to.0, to.1, meta.is_dir()).await? {
            self.rename_inside(from, to, mode, &meta, target.as_ref()).await?;
            return Ok(true);
        }
        if mode == RenameMode::Exchange {
            return Err(across());
        }
        if !meta.is_file() {
            return if target.is_some() {
                Err(across())
            } else {
                Box::pin(self.promote_tree(from, to, mode, session)).await.map(|()| true)
            };
        }
        self.promote(from, to, mode, &meta, session).await?;
        if let Some(target) = target {
            // It had this name since before the rules changed.
            let path = self.scratch.path_of(to.0, to.1)?;
            fs::remove_file(&path).map_err(|e| Error::io(&path, &e))?;
            self.scratch_gone(to.0, to.1, &target);
        }
        Ok(true)
    }

    /// The file in the tree that a name leads to.
    async fn scratch_at(&self, at: At<'_>) -> Result<Option<Metadata>> {
        if !self.scratch.is(at.0) && self.find(at.0, at.1).await?.is_some() {
            return Ok(None);
        }
        stat(&self.scratch.path_of(at.0, at.1)?)
    }

    async fn rename_inside(
        self: &Arc<Self>,
        from: At<'_>,
        to: At<'_>,
        mode: RenameMode,
        meta: &Metadata,
        target: Option<&Metadata>,
    ) -> Result<()> {
        // An artifact that has an ignored name gives way as any other.
        let artifact = if self.scratch.is(to.0) { None } else { self.find(to.0, to.1).await? };
        match (&artifact, mode) {
            (Some(_), RenameMode::NoReplace) => return Err(Error::new(Kind::Exists, format!("{}: exists", to.1))),
            (Some(_), RenameMode::Exchange) => return Err(across()),
            (Some(Found::Committed(node)), _) if node.kind == NodeKind::Dir && meta.is_dir() => {
                self.rmdir(to.0, to.1).await?;
            }
            (Some(Found::Committed(node)), _) if node.kind == NodeKind::Dir => {
                return Err(Error::new(Kind::IsADirectory, format!("{}: is a directory", to.1)));
            }
            (Some(_), _) if meta.is_dir() => {
                return Err(Error::new(Kind::NotADirectory, format!("{}: not a directory", to.1)));
            }
            _ => {}
        }
        let artifact = artifact.filter(|found| !matches!(found, Found::Committed(node) if node.kind == NodeKind::Dir));
        let (src, dst) = (self.scratch.path_of(from.0, from.1)?, self.scratch_room(to.0, to.1)?);
        let flags = match mode {
            RenameMode::Replace => RenameFlags::empty(),
            RenameMode::NoReplace => RenameFlags::NOREPLACE,
            RenameMode::Exchange => RenameFlags::EXCHANGE,
        };
        self.scratch_know(from.0, from.1, meta).await?;
        let cookies = (self.number().await?, self.number().await?);
        rustix::fs::renameat_with(CWD, &src, CWD, &dst, flags).map_err(|e| match e {
            rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST if mode == RenameMode::Replace => {
                Error::new(Kind::NotEmpty, format!("{}: the directory is not empty", to.1))
            }
            rustix::io::Errno::INVAL => Error::invalid("a directory cannot move below itself"),
            e => Error::io(&src, &e.into()),
        })?;
        if mode == RenameMode::Exchange {
            self.scratch.known.lock().exchange(from, to, cookies);
            return Ok(());
        }
        // Two names of one file: rename(2) leaves both.
        if target.is_some_and(|t| id_of(t) == id_of(meta)) {
            return Ok(());
        }
        if let Some(target) = target {
            self.scratch_gone(to.0, to.1, target);
        }
        self.scratch.known.lock().rename(from, to, cookies.0);
        if artifact.is_some() {
            self.unlink_artifact(to).await?;
        }
        Ok(())
    }

    async fn unlink_artifact(self: &Arc<Self>, at: At<'_>) -> Result<()> {
        let removed = self.store.catalog.unlink(self.store.origin, at.0, at.1, self.now()).await?;
        self.after_removal(&removed).await;
        self.inodes.overlay.lock().untouch(at.0);
        Ok(())
    }

    /// A scratch file becomes an artifact under `to`, in the place of what stands there.
    async fn promote(
        self: &Arc<Self>,
        from: At<'_>,
        to: At<'_>,
        mode: RenameMode,
        meta: &Metadata,
        session: SessionId,
    ) -> Result<()> {
        // The other names would go on as scratch of the same bytes.
        if std::os::unix::fs::MetadataExt::nlink(meta) > 1 {
            return Err(across());
        }
        if let Some(Found::Pending(live)) = self.find(to.0, to.1).await? {
            self.save(&live, Why::Birth).await?;
        }
        let replaced = match self.find(to.0, to.1).await? {
            Some(_) if mode == RenameMode::NoReplace => {
                return Err(Error::new(Kind::Exists, format!("{}: exists", to.1)));
            }
            Some(Found::Committed(node)) if node.kind == NodeKind::Dir => {
                return Err(Error::new(Kind::IsADirectory, format!("{}: is a directory", to.1)));
            }
            Some(Found::Committed(node)) => Some(node),
            _ => None,
        };
        let (ino, _) = self.scratch_know(from.0, from.1, meta).await?;
        let cookie = self.number().await?;
        let path = self.scratch.path_of(from.0, from.1)?;
        let labels = self.scratch_labels(ino, &path)?;
        let attr = attr_of(ino, meta);
        let pinned = self.inodes.pin(ino, || OpenInode::new(ino, session, content::idle(self.now())));
        let live = pinned.live.clone();
        let mut saving = live.saving().await;
        let staged = StagingFile {
            name: self.staging.fresh_name(ino),
            path: std::path::PathBuf::new(),
            file: match live.staged_file() {
                Some(staged) => staged.file,
                None => Arc::new(content::open_rw(&path)?),
            },
        };
        let staged = StagingFile { path: self.staging.path.join(&staged.name), ..staged };
        self.journal_birth(&staged.name, &attr, session, to, cookie, &labels)?;
        fs::rename(&path, &staged.path).map_err(|e| Error::io(&path, &e))?;
        chmod(&staged.path, 0o600)?;
        let handles = self.enter_staging(&live, staged.clone(), to, cookie, &attr, labels);
        let why = if handles == 0 { Why::Release(0) } else { Why::Birth };
        let saved = self.save_holding(&mut saving, why).await;
        if let Err(e) = saved {
            self.leave_staging(&live, &staged, &path, attr.mode)?;
            drop(saving);
            self.scratch_released(&live);
            return Err(e);
        }
        drop(saving);
        self.scratch.known.lock().remove(ino);
        if let Some(node) = replaced {
            let nlink = node.nlink.saturating_sub(1);
            self.after_removal(&Removed { ino: node.ino, kind: node.kind, nlink }).await;
        }
        self.rules_may_change(to.1.as_bytes());
        if handles == 0 {
            self.finish_later(live.clone());
        }
        Ok(())
    }

    fn enter_staging(
        &self,
        live: &OpenInode,
        file: StagingFile,
        to: At<'_>,
        cookie: u64,
        attr: &Attr,
        labels: Labels,
    ) -> usize {
        let place = Pending { parent: to.0, name: to.1.clone(), cookie, named: self.now(), replaces: true };
        live.leave_scratch(file, place, attr, labels)
    }

    fn leave_staging(&self, live: &OpenInode, staged: &StagingFile, path: &Path, mode: u32) -> Result<()> {
        chmod(&staged.path, mode)?;
        fs::rename(&staged.path, path).map_err(|e| Error::io(path, &e))?;
        live.enter_scratch(path);
        self.staging.journal.append(&Record::Done { file: staged.name.clone() })
    }

    fn journal_birth(
        &self,
        file: &str,
        attr: &Attr,
        session: SessionId,
        to: At<'_>,
        cookie: u64,
        labels: &Labels,
    ) -> Result<()> {
        self.staging.journal.append(&Record::Open {
            file: file.to_owned(),
            ino: attr.ino,
            tenant: self.store.tenant.id.0,
            session: session.0,
            parent: to.0,
            name: to.1.as_bytes().to_vec(),
            cookie,
            mode: attr.mode,
            uid: attr.uid,
            gid: attr.gid,
            in_catalog: false,
            labels: Box::new(labels.clone()),
        })
    }

    /// Who wrote it, and the attributes that it has as a file.
    pub(super) fn scratch_labels(&self, ino: Ino, path: &Path) -> Result<Labels> {
        let known = self.scratch.known.lock().labels(ino);
        let mut labels = known.unwrap_or_default();
        for name in xattr_names(path)? {
            let value = read_xattr(path, &name)?;
            if let Err(e) = label_from_scratch(&mut labels, &name, &value) {
                tracing::warn!(attribute = %String::from_utf8_lossy(&name), error = %e, "attribute of a scratch file left out");
            }
        }
        Ok(labels)
    }

    /// The source is no scratch.
    async fn rename_ordinary(
        self: &Arc<Self>,
        from: At<'_>,
        to: At<'_>,
        mode: RenameMode,
        target: Option<Metadata>,
    ) -> Result<bool> {
        let Some(source) = self.find(from.0, from.1).await? else { return Ok(false) };
        let is_dir = matches!(&source, Found::Committed(n) if n.kind == NodeKind::Dir);
        if from == to {
            return Ok(false);
        }
        if target.is_some() && mode == RenameMode::NoReplace {
            return Err(Error::new(Kind::Exists, format!("{}: exists", to.1)));
        }
        if !self.goes_to_scratch(to.0, to.1, is_dir).await? {
            self.rules_may_change(from.1.as_bytes());
            self.rules_may_change(to.1.as_bytes());
            if let Some(target) = target {
                if mode == RenameMode::Exchange {
                    return Err(across());
                }
                self.scratch_remove(to.0, to.1, target.is_dir()).await?;
            }
            if !is_dir || mode != RenameMode::Replace {
                return Ok(false);
            }
            // A directory gives way only when it is empty here too.
            return match self.find(to.0, to.1).await? {
                Some(Found::Committed(n)) if n.kind == NodeKind::Dir && self.has_scratch(n.ino)? => {
                    Err(Error::new(Kind::NotEmpty, format!("{}: the directory is not empty", to.1)))
                }
                _ => Ok(false),
            };
        }
        self.may_name(from.0, from.1).await?;
        let session = self.session_of_dir(from.0).await?;
        if session != self.scratch_session(to.0).await? || mode == RenameMode::Exchange {
            return Err(across());
        }
        let demoted = match source {
            Found::Pending(live) => self.demote_pending(&live, from, to).await?,
            Found::Committed(node) if node.kind != NodeKind::File => {
                Box::pin(self.demote_tree(&node, from, to, session)).await?;
                true
            }
            Found::Committed(node) => self.demote(&node, from, to, session).await?,
        };
        if !demoted {
            return if self.scratch.is(to.0) { Err(across()) } else { Ok(false) };
        }
        Ok(true)
    }

    /// A file that was never committed moves into the tree as it is.
    async fn demote_pending(self: &Arc<Self>, live: &Arc<OpenInode>, from: At<'_>, to: At<'_>) -> Result<bool> {
        let cookie = self.number().await?;
        let dst = self.scratch_room(to.0, to.1)?;
        let _saving = live.saving().await;
        let Some(Birthright { file: staged, mode, uid, gid, .. }) = live.birthright().filter(|_| live.is_pending())
        else {
            return Ok(false);
        };
        self.replace_in_tree(to, &dst)?;
        {
            let mut overlay = self.inodes.overlay.lock();
            if overlay.remove(from.0, from.1, live.ino).is_none() {
                return Ok(false);
            }
            overlay.touch(from.0, self.now());
        }
        fs::rename(&staged.path, &dst).map_err(|e| Error::io(&dst, &e))?;
        own(&dst, uid, gid)?;
        chmod(&dst, mode)?;
        let meta = fs::symlink_metadata(&dst).map_err(|e| Error::io(&dst, &e))?;
        self.scratch.know(to, id_of(&meta), live.ino, cookie, live.session)?;
        let (labels, closed) = live.demote(&dst, to.1.as_bytes());
        self.scratch.known.lock().set_labels(live.ino, labels);
        self.staging.journal.append(&Record::Done { file: staged.name })?;
        if closed {
            self.scratch_released(live);
        }
        Ok(true)
    }

    /// What stands at a name of the tree gives way to a rename.
    fn replace_in_tree(&self, to: At<'_>, dst: &Path) -> Result<()> {
        match stat(dst)? {
            Some(meta) if meta.is_dir() => Err(Error::new(Kind::IsADirectory, format!("{}: is a directory", to.1))),
            Some(meta) => {
                self.scratch_gone(to.0, to.1, &meta);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Has nobody the file open, now or in a moment? The kernel sends a RELEASE after close(2) has returned, so the program that
    /// closed it may be renaming it already.
    pub(super) async fn released_soon(&self, ino: Ino) -> bool {
        let mut releases = self.saves.busy.subscribe();
        let closed = async {
            while self.inodes.get(ino).is_some_and(|l| !l.is_idle()) {
                if releases.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(RELEASE_COMES, closed).await.is_ok()
    }

    /// An artifact gets an ignored name: a copy of its bytes becomes scratch, the artifact goes to the trash. `false`: it stays one.
    async fn demote(self: &Arc<Self>, node: &Node, from: At<'_>, to: At<'_>, session: SessionId) -> Result<bool> {
        if node.nlink > 1 || !self.released_soon(node.ino).await {
            return Ok(false);
        }
        self.scratch.allow(node.size)?;
        let number = self.number().await?;
        let file = StagingFile::create(&self.scratch.root, &format!(".new-{number}"))?;
        let done = self.demote_into(node, &file, from, to, session, number).await;
        if done.is_err()
            && let Err(e) = fs::remove_file(&file.path)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(file = %file.path.display(), error = %e, "left behind");
        }
        done.map(|()| true)
    }

    async fn demote_into(
        self: &Arc<Self>,
        node: &Node,
        file: &StagingFile,
        from: At<'_>,
        to: At<'_>,
        session: SessionId,
        cookie: u64,
    ) -> Result<()> {
        if node.content.is_some() {
            self.fill(file, node).await?;
        }
        self.carry_attributes(node.ino, &file.path).await?;
        own(&file.path, node.uid, node.gid)?;
        chmod(&file.path, node.mode)?;
        let mtime = crate::artifact::time::Timestamp::parts(node.mtime);
        let when = std::time::UNIX_EPOCH + std::time::Duration::new(u64::try_from(mtime.0).unwrap_or(0), mtime.1);
        file.file.set_modified(when).map_err(|e| Error::io(&file.path, &e))?;
        let dst = self.scratch_room(to.0, to.1)?;
        self.replace_in_tree(to, &dst)?;
        // First the copy, then the end of the artifact: a crash between leaves both.
        fs::rename(&file.path, &dst).map_err(|e| Error::io(&dst, &e))?;
        self.unlink_artifact(from).await?;
        if !self.scratch.is(to.0) && self.find(to.0, to.1).await?.is_some() {
            self.unlink_artifact(to).await?;
        }
        let meta = fs::symlink_metadata(&dst).map_err(|e| Error::io(&dst, &e))?;
        self.scratch.know(to, id_of(&meta), node.ino, cookie, session)?;
        self.forget_cached(node.ino);
        self.scratch.grown(node.size);
        self.rules_may_change(from.1.as_bytes());
        Ok(())
    }

    /// Metadata, attributes and what was set by hand go along, so that all of it is there when the file comes back.
    ///
    /// # Errors
    /// `NoSpace` when the disk of the state directory takes fewer than we do: nothing is to be lost without a word.
    pub(super) async fn carry_attributes(&self, ino: Ino, path: &Path) -> Result<()> {
        let mut all = Vec::new();
        for name in self.xattrs(ino).await?.split(|b| *b == 0).filter(|n| !n.is_empty()) {
            all.push((name.to_vec(), self.xattr(ino, name).await?));
        }
        let labels = self.store.catalog.labels(ino).await?;
        for (name, value) in [("agent_id", labels.agent_id), ("ttl", labels.ttl), ("content_type", labels.content_type)]
        {
            all.extend(value.map(|v| (format!("user.artifact.{name}").into_bytes(), v.into_bytes())));
        }
        for (name, value) in all {
            match rustix::fs::lsetxattr(path, &*name, &value, rustix::fs::XattrFlags::empty()) {
                Ok(()) => {}
                Err(rustix::io::Errno::NOSPC) => {
                    let text = format!("{}: the disk has no room for the file's attributes", path.display());
                    return Err(Error::new(Kind::NoSpace, text));
                }
                Err(e) => tracing::warn!(error = %e, "an attribute is not carried to a scratch file"),
            }
        }
        Ok(())
    }

    /// A further name. `None`: neither end is scratch.
    pub(in crate::engine::volume) async fn scratch_link(
        self: &Arc<Self>,
        ino: Ino,
        parent: Ino,
        name: &Name,
    ) -> Result<Option<Attr>> {
        let source = self.scratch.is(ino);
        let target = self.goes_to_scratch(parent, name, false).await?;
        if !source {
            return if target { Err(across()) } else { Ok(None) };
        }
        let session = self.scratch_session(parent).await?;
        let own_session = self.scratch.known.lock().session(ino);
        if own_session != Some(session) {
            return Err(Error::new(Kind::CrossSession, "sessions are separate: copy instead of linking"));
        }
        if !self.scratch.is(parent) {
            self.may_name(parent, name).await?;
            if self.find(parent, name).await?.is_some() {
                return Err(Error::new(Kind::Exists, format!("{name}: exists")));
            }
        }
        let path = self.scratch.path(ino)?;
        if target {
            let dst = self.scratch_room(parent, name)?;
            rustix::fs::link(&path, &dst).map_err(|e| Error::io(&dst, &e.into()))?;
            return self.scratch_lookup(parent, name).await;
        }
        self.copy_out(ino, &path, parent, name, session).await.map(Some)
    }

    /// An artifact of a copy of a scratch file's bytes.
    async fn copy_out(
        self: &Arc<Self>,
        ino: Ino,
        path: &Path,
        parent: Ino,
        name: &Name,
        session: SessionId,
    ) -> Result<Attr> {
        let source = content::open_rw(path)?;
        let meta = source.metadata().map_err(|e| Error::io(path, &e))?;
        if !meta.is_file() {
            return Err(across());
        }
        let (fresh, cookie) = (Ino(self.number().await?), self.number().await?);
        let attr = Attr { ino: fresh, ..attr_of(fresh, &meta) };
        let labels = self.scratch_labels(ino, path)?;
        let staged = StagingFile::create(&self.staging.path, &self.staging.fresh_name(fresh))?;
        self.journal_birth(&staged.name, &attr, session, (parent, name), cookie, &labels)?;
        let (copy, from) = (staged.clone(), path.to_owned());
        blocking(move || copy.fill_from(&source, &from, meta.len())).await?;
        let pinned = self.inodes.pin(fresh, || OpenInode::new(fresh, session, content::idle(self.now())));
        let live = pinned.live.clone();
        self.enter_staging(&live, staged, (parent, name), cookie, &attr, labels);
        live.replaces_nothing();
        self.save(&live, Why::Release(0)).await?;
        self.finish_later(live.clone());
        self.getattr(fresh).await
    }
}

pub(super) fn chmod(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777)).map_err(|e| Error::io(path, &e))
}
