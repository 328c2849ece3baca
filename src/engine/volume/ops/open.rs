//! Opening and creating files.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::artifact::ids::{BlobHash, Ino};
use crate::artifact::name::Name;
use crate::artifact::openfile::Why;
use crate::artifact::record::{CHUNK, Labels, Node, NodeKind};
use crate::artifact::{Error, Kind, Result};
use crate::staging::file::StagingFile;
use crate::staging::follow::Follower;
use crate::staging::hash::Midstate;
use crate::staging::journal::Record;

use crate::engine::volume::Caller;
use crate::engine::volume::Volume;
use crate::engine::volume::handles::Handle;
use crate::engine::volume::hidden;
use crate::engine::volume::inode::Backing;
use crate::engine::volume::inode::Identity;
use crate::engine::volume::inode::Io;
use crate::engine::volume::inode::OpenInode;
use crate::engine::volume::inode::Pending;
use crate::engine::volume::inode::Saved;
use crate::engine::volume::inode::Saving;
use crate::engine::volume::inode::Staged;
use crate::engine::volume::inode::State;
use crate::engine::volume::inode::attr::Attr;
use crate::engine::volume::inode::open_mode::OpenMode;
use crate::engine::volume::inode::overlay::Entry;
use crate::engine::volume::ops::tree::MOVES;
use crate::engine::volume::ops::tree::inherit;
use crate::engine::volume::save::append::Grown;
use crate::engine::volume::save::blocking;

/// How the kernel is to do the I/O of a new handle.
pub enum How {
    Passthrough(Arc<Backing>),
    /// Through the page cache; `keep`: what the cache holds of it is still right.
    Cached {
        keep: bool,
    },
    /// Every read and write comes to the daemon as it is.
    Direct,
}

pub struct Opened {
    pub fh: u64,
    pub how: How,
    /// No unsaved bytes can come of it: the kernel may leave FLUSH out.
    pub read_only: bool,
}

/// What a staging file begins with.
#[derive(Default)]
struct Content {
    saved: Option<Saved>,
    grown: Option<Grown>,
    follower: Option<Follower>,
}

impl Volume {
    /// # Errors
    /// `NotFound`, `Sealed`, `IsADirectory`, and what staging or store say.
    pub async fn open_file(self: &Arc<Self>, ino: Ino, mode: OpenMode, caller: Caller) -> Result<Opened> {
        if hidden::is_hidden(ino) {
            return self.open_hidden(ino, mode, caller).await;
        }
        if self.scratch.is(ino) {
            return self.scratch_open(ino, mode, caller).await;
        }
        if let Some(pinned) = self.inodes.pin_open(ino)
            && pinned.live.is_unborn()
        {
            return self.open_live(&pinned.live, None, mode, caller).await;
        }
        let node = self.store.catalog.node(ino, self.now()).await?;
        let live = match &node {
            Some(node) => {
                if node.kind == NodeKind::Dir {
                    return Err(Error::new(Kind::IsADirectory, "is a directory"));
                }
                if mode.write && node.sealed {
                    self.refuse_sealed(node.session).await?;
                }
                self.inodes.pin(ino, || OpenInode::new(ino, node.session, state_of(node)))
            }
            None => {
                let pinned = self.inodes.pin_open(ino).ok_or_else(|| Error::not_found("the file is gone"))?;
                return self.open_live(&pinned.live, None, mode, caller).await;
            }
        };
        if !mode.write
            && let Some(node) = node.as_ref()
            && !live.live.has_staged()
        {
            self.kernel.refresh(&*self.store.catalog, node).await?;
        }
        self.open_live(&live.live, node.as_ref(), mode, caller).await
    }

    /// # Errors
    /// `Exists` with `O_EXCL`, `Reserved` in the tenant's root, `Sealed`, and what staging says.
    pub async fn create(
        self: &Arc<Self>,
        parent: Ino,
        name: Name,
        mode: u32,
        open: OpenMode,
        caller: Caller,
    ) -> Result<(Attr, Opened)> {
        if self.scratch.is(parent)
            && let Some(made) = self.scratch_create(parent, &name, mode, open, caller).await?
        {
            return Ok(made);
        }
        let dir = self.may_name(parent, &name).await?;
        let session = dir.session;
        if session == crate::artifact::ids::SessionId::NONE {
            return Err(Error::new(
                Kind::Reserved,
                format!("'{name}' would be outside every session: make a directory (a session) and write into it"),
            ));
        }
        let mut round = 0;
        while let Some(found) = self.find(parent, &name).await? {
            if open.exclusive {
                return Err(Error::new(Kind::Exists, format!("{name}: exists")));
            }
            let ino = found.ino();
            match Box::pin(self.open_file(ino, open, caller)).await {
                // Not kept, or unlinked, since it was found: the name is free.
                Err(e) if e.kind == Kind::NotFound && round < MOVES => round += 1,
                opened => return Ok((self.getattr(ino).await?, opened?)),
            }
        }
        let (mode, gid) = inherit(&dir, NodeKind::File, mode, caller.gid);
        if let Some(made) = self.scratch_create(parent, &name, mode, open, caller).await? {
            return Ok(made);
        }
        self.may_make().await?;
        let ino = Ino(self.number().await?);
        let cookie = self.number().await?;
        let file = StagingFile::create(&self.staging.path, &self.staging.fresh_name(ino))?;
        let now = self.now();
        let labels = self.labels_of(caller).await;
        self.staging.journal.append(&Record::Open {
            file: file.name.clone(),
            ino,
            tenant: self.store.tenant.id.0,
            session: session.0,
            parent,
            name: name.as_bytes().to_vec(),
            cookie,
            mode,
            uid: caller.uid,
            gid,
            in_catalog: false,
            labels: Box::new(labels.clone()),
        })?;
        let state = State {
            identity: Identity::Draft(Pending { parent, name: name.clone(), cookie, named: now, replaces: false }),
            name: name.as_bytes().to_vec(),
            ..State::newborn(file, labels, mode, (caller.uid, gid), now)
        };
        let pinned = self.inodes.pin(ino, || OpenInode::new(ino, session, state));
        let live = pinned.live.clone();
        self.inodes.overlay.lock().insert(parent, name, Entry { cookie, live: live.clone() }, now);
        let opened = self.admit(&live, open, None).await?;
        Ok((self.attr_of_pending(&live)?, opened))
    }

    async fn open_live(
        self: &Arc<Self>,
        live: &Arc<OpenInode>,
        node: Option<&Node>,
        mode: OpenMode,
        caller: Caller,
    ) -> Result<Opened> {
        let content = node.and_then(|n| n.content).map(|(_, hash)| hash);
        if mode.write {
            // Under the save lock: nobody settles or drops the staging file while we count ourselves in.
            let mut saving = live.saving().await;
            if live.refused().is_some() {
                return Err(Error::not_found("the file was not kept"));
            }
            if live.is_unborn() {
                self.refuse_sealed(live.session).await?;
            }
            let mut beside_another = None;
            if live.has_staged() {
                beside_another = Some(self.labels_of(caller).await);
                // The last writer's close was answered, its release has not come: its version's bytes may live here alone.
                let guarded = live.is_grown();
                if !guarded {
                    match self.preserve(&mut saving).await {
                        Err(e) if e.kind == Kind::Corrupt => self.save_holding(&mut saving, Why::Overtaken).await?,
                        done => done?,
                    }
                }
                if mode.truncate {
                    self.ungrow(&mut saving).await?;
                    self.truncate_staged(&mut saving, 0)?;
                }
            } else {
                // Looked up again: whoever held the lock before us may have committed newer bytes.
                let node = self.store.catalog.node(live.ino, self.now()).await?;
                self.stage(&mut saving, node.as_ref(), mode, caller).await?;
            }
            if mode.truncate && caller.uid != 0 {
                self.drop_set_id(live.ino).await?;
            }
            let opened = self.admit(live, mode, content).await?;
            if let Some(labels) = beside_another
                && let Handle::File { by, .. } = &*self.handles.get(opened.fh)?
            {
                by.get_or_init(|| Box::new(labels));
            }
            return Ok(opened);
        }
        if !live.has_staged() && node.is_none() {
            return Err(Error::not_found("the file is gone"));
        }
        if let Some(node) = node {
            live.set_size(node.size);
        }
        let opened = self.admit(live, mode, content).await?;
        // Where there is a staging file, that is what is read.
        let from_blob = !live.has_staged();
        if let Some(node) = node.filter(|_| from_blob) {
            // Found now, so that a missing or unreadable blob fails the open, not the tenth read.
            if let Err(e) = self.attach_reader(opened.fh, node).await {
                self.dismiss(opened.fh);
                return Err(e);
            }
        }
        Ok(opened)
    }

    /// Gives the inode a staging file with its present content (none with `O_TRUNC`).
    async fn stage(
        self: &Arc<Self>,
        saving: &mut Saving<'_>,
        node: Option<&Node>,
        mode: OpenMode,
        caller: Caller,
    ) -> Result<()> {
        let live = saving.inode();
        let node = node.ok_or_else(|| Error::not_found("the file is gone"))?;
        let place = self.store.catalog.place(live.ino).await?;
        let (parent, name) = place.ok_or_else(|| Error::not_found("the file is gone"))?;
        let append = mode.append && !mode.truncate;
        let warm = self.take_warm(live.ino, node, append);
        let file = match &warm {
            Some(staged) => staged.file.clone(),
            None => StagingFile::create(&self.staging.path, &self.staging.fresh_name(live.ino))?,
        };
        let labels = self.labels_of(caller).await;
        self.staging.journal.append(&Record::Open {
            file: file.name.clone(),
            ino: live.ino,
            tenant: self.store.tenant.id.0,
            session: live.session.0,
            parent,
            name: name.as_bytes().to_vec(),
            cookie: 0,
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            in_catalog: true,
            labels: Box::new(labels.clone()),
        })?;
        if let Some(saved) = warm.as_ref().and_then(|s| s.saved.as_ref()) {
            let (size, hash) = (saved.size, saved.hash);
            self.staging.journal.append(&Record::Committed { file: file.name.clone(), size, hash })?;
        }
        let content = if warm.is_none() && !mode.truncate {
            Box::pin(self.bring(saving, &file, node, append)).await?
        } else {
            Content::default()
        };
        let Content { saved, grown, follower } = content;
        let labels = Labels { explicit: crate::artifact::metadata::Metadata::default(), ..labels };
        let staged = warm.unwrap_or(Staged { saved, follower, grown, ..Staged::fresh(file) });
        live.stage(staged, name.as_bytes(), labels);
        Ok(())
    }

    /// Brings the content of `node`, or of what took its place by now, into a new staging file.
    async fn bring(&self, saving: &mut Saving<'_>, file: &StagingFile, node: &Node, append: bool) -> Result<Content> {
        let (mut node, mut round) = (node.clone(), 0);
        loop {
            match Box::pin(self.bring_of(saving, file, &node, append)).await {
                Err(e) => node = self.overtaken(&node, &e, round).await?.ok_or(e)?,
                done => return done,
            }
            file.file.set_len(0).map_err(|e| Error::io(&file.path, &e))?;
            round += 1;
        }
    }

    async fn bring_of(
        &self,
        saving: &mut Saving<'_>,
        file: &StagingFile,
        node: &Node,
        append: bool,
    ) -> Result<Content> {
        let Some((_, hash)) = node.content else { return Ok(Content::default()) };
        let grown = if append { self.grow(saving, file, node).await? } else { None };
        let mut follower = None;
        if grown.is_none() {
            self.fill(file, node).await?;
            follower = self.follower_of(node).await?;
        }
        let stamp = file.stamp()?;
        let saved = Some(Saved {
            stamp,
            writes: saving.inode().writes(),
            hash,
            size: node.size,
            artifact: None,
            provisional: false,
            doubtful: self.doubtful(&stamp),
        });
        Ok(Content { saved, grown, follower })
    }

    /// Knows the content that was just brought into the staging file, so that its hash need not be made from nothing.
    async fn follower_of(&self, node: &Node) -> Result<Option<Follower>> {
        let Some((_, hash)) = node.content.filter(|_| node.size > 2 * CHUNK) else { return Ok(None) };
        let (tenant, catalog) = (self.store.tenant.id, &self.store.catalog);
        let Some(state) = catalog.midstate(tenant, hash).await? else { return Ok(None) };
        let blob = catalog.blob(tenant, hash).await?;
        Ok(blob.and_then(|b| Follower::of_blob(&Midstate(state), b.size, &b.chunks)))
    }

    pub(in crate::engine::volume) async fn fill(&self, file: &StagingFile, node: &Node) -> Result<()> {
        let reader = self.reader_of(node).await?;
        if node.size <= 64 << 10 {
            let len = usize::try_from(node.size).unwrap_or(usize::MAX);
            let bytes = reader.0.read_at(0, len).await?;
            return crate::engine::volume::ops::io::write_all_at(file, 0, &bytes);
        }
        let (source, path) = reader.0.as_file().await?;
        let (file, size) = (file.clone(), node.size);
        blocking(move || file.fill_from(&source, &path, size)).await
    }

    /// Counts a new handle in and chooses how it does its I/O.
    pub(in crate::engine::volume) async fn admit(
        &self,
        live: &Arc<OpenInode>,
        mode: OpenMode,
        content: Option<BlobHash>,
    ) -> Result<Opened> {
        let bypass = self.may_bypass().await?;
        let (io, handles) = live.count_in(mode, bypass && self.kernel.passthrough.load(Ordering::Relaxed));
        let how = match io {
            Io::Passthrough(backing) => How::Passthrough(backing),
            // A limit is near: each write is to be answered when it comes.
            _ if mode.write && !bypass && self.kernel.collects_writes.load(Ordering::Relaxed) => How::Direct,
            _ => How::Cached { keep: self.cache_is_right(live.ino, handles, content) },
        };
        let fh = self.handles.add(Handle::File {
            live: live.clone(),
            write: mode.write,
            mappable: mode.write && mode.read,
            reader: Mutex::new(None),
            by: OnceLock::new(),
        });
        Ok(Opened { fh, how, read_only: !mode.write })
    }

    /// May the kernel keep the pages it has? Only when others have the inode open through them, or when they are
    /// of the very content that is about to be read.
    fn cache_is_right(&self, ino: Ino, handles: usize, content: Option<BlobHash>) -> bool {
        handles > 1 || content.is_some_and(|hash| self.kernel.cached.lock().get(&ino) == Some(&hash))
    }

    async fn attach_reader(&self, fh: u64, node: &Node) -> Result<()> {
        if node.content.is_none() {
            return Ok(());
        }
        let (reader, node) = self.newest_reader(node.clone()).await?;
        let hash = reader.0.hash();
        if let Handle::File { live, reader: slot, .. } = &*self.handles.get(fh)? {
            *slot.lock() = Some(reader);
            live.set_size(node.size);
        }
        let mut cached = self.kernel.cached.lock();
        // Bounded: forgetting an entry only costs a refill of the page cache.
        if cached.len() > 65_536 {
            cached.clear();
        }
        cached.insert(node.ino, hash);
        Ok(())
    }

    /// The content of `node` changed: what the page cache holds of it is not to be kept at the next open.
    pub(in crate::engine::volume) fn forget_cached(&self, ino: Ino) {
        self.kernel.cached.lock().remove(&ino);
    }
}

fn state_of(node: &Node) -> State {
    State {
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        nlink: node.nlink,
        size: node.size,
        atime: node.atime,
        ..State::unopened(node.ctime)
    }
}
