//! One inode that is open here, or whose bytes are not saved yet.
//!
//! Its state is looked at and changed by the methods of this module, each under the state's lock for that moment alone.

pub mod attr;
mod attributes;
pub mod copied;
pub mod departed;
mod identity;
mod names;
pub mod open_mode;
mod opens;
pub mod overlay;
mod saves;
mod staged;
pub mod table;

use std::any::Any;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::artifact::Result;
use crate::artifact::ids::{ArtifactId, BlobHash, Ino, SessionId};
use crate::artifact::name::Name;
use crate::artifact::openfile::Maker;
use crate::artifact::record::{Labels, NodeKind};
use crate::artifact::time::Timestamp;
use crate::metrics::moved::{self, Clock};
use crate::staging::file::{StagingFile, Stamp};
use crate::staging::follow::Follower;

use crate::engine::claims::Charge;

use crate::engine::volume::inode::attr::Attr;
use crate::engine::volume::inode::attr::SetAttr;
use crate::engine::volume::inode::copied::Copied;
use crate::engine::volume::save::append::Grown;

pub use identity::Identity;
pub use names::Birthright;
pub use opens::Given;
pub use saves::ToCommit;
pub use staged::Standing;

/// How often a waiter looks whether the one that he waits for gets on.
const LOOK: Duration = Duration::from_secs(1);

/// The passthrough backing of a staging file: what the adapter registered with the kernel. `None` inside: refused, the
/// daemon carries the data.
pub struct Backing {
    pub file: Arc<std::fs::File>,
    pub token: OnceLock<Option<Box<dyn Any + Send + Sync>>>,
}

/// How the present opens of an inode do their I/O.
#[derive(Clone, Default)]
pub enum Io {
    /// Nobody has it open.
    #[default]
    None,
    /// Through the page cache and the daemon.
    Cached,
    /// Straight to the staging file.
    Passthrough(Arc<Backing>),
}

/// What was committed last from the staging file.
#[derive(Clone, Debug)]
pub struct Saved {
    pub stamp: Stamp,
    pub writes: u64,
    pub hash: BlobHash,
    pub size: u64,
    /// None: the bytes came with the inode, nothing was committed from here.
    pub artifact: Option<(ArtifactId, Maker)>,
    /// The bytes live in this staging file as far as the catalog knows.
    pub provisional: bool,
    /// The stamp was too young to tell a later write apart.
    pub doubtful: bool,
}

/// The staging file of an inode and what is known of it.
pub struct Staged {
    pub file: StagingFile,
    pub saved: Option<Saved>,
    /// Somebody held it `O_RDWR`: a mapping may change it unseen.
    pub mappable: bool,
    pub follower: Option<Follower>,
    /// Opened to append: see [`crate::engine::volume::save::append`].
    pub grown: Option<Grown>,
    /// Holds a copy of what is stored: see [`crate::engine::volume::ops::copy`].
    pub copied: Option<Copied>,
}

/// Where a file that was never committed will be.
#[derive(Clone, Debug)]
pub struct Pending {
    pub parent: Ino,
    pub name: Name,
    pub cookie: u64,
    /// When the name came to be.
    pub named: Timestamp,
    /// A rename of a scratch file brought it here: whatever file has the name gives way.
    pub replaces: bool,
}

/// Guarded by [`OpenInode::state`].
pub struct State {
    pub handles: usize,
    pub writers: usize,
    pub io: Io,
    pub staged: Option<Staged>,
    pub identity: Identity,
    /// Kept while the release is being worked on or a mapping lives on.
    pub lingering: bool,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    /// As the catalog had it at the last open: what an unlinked file still shows.
    pub size: u64,
    pub atime: Timestamp,
    /// Set by `utimens`, with the stamp's ctime then: a later write takes over again.
    pub mtime_set: Option<(Timestamp, Timestamp)>,
    pub ctime: Timestamp,
    /// While a save is on its way: attributes changed since it read them, which its commit would undo.
    pub meanwhile: Option<SetAttr>,
    pub labels: Labels,
    /// What is written of it beyond what the catalog counts, where the tenant has limits.
    pub(crate) charge: Charge,
    /// Its name when it was opened or renamed last: the content type is guessed from it.
    pub name: Vec<u8>,
}

/// The save lock of an inode, held: by whoever saves it, changes its name, or does to its staging file what a save must not meet.
/// What needs the lock takes `&mut Saving`, so that no caller can forget it or have another inode's.
pub struct Saving<'a> {
    inode: &'a Arc<OpenInode>,
    _held: tokio::sync::MutexGuard<'a, ()>,
}

impl<'a> Saving<'a> {
    /// The inode that is locked.
    pub fn inode(&self) -> &'a Arc<OpenInode> {
        self.inode
    }
}

/// One inode.
pub struct OpenInode {
    pub ino: Ino,
    pub session: SessionId,
    /// See [`Saving`].
    save: tokio::sync::Mutex<()>,
    /// The clock of who holds it, for those who wait.
    saver: Mutex<Option<Arc<Clock>>>,
    pub(super) state: Mutex<State>,
    /// Writes that went through the daemon.
    writes: AtomicU64,
    /// Opens on their way that have found this record: while there are any it stays the inode's one record.
    pub pins: AtomicUsize,
}

impl State {
    /// Of an inode that nobody has open, with one name and nothing in it.
    pub fn unopened(now: Timestamp) -> Self {
        Self {
            handles: 0,
            writers: 0,
            io: Io::None,
            staged: None,
            identity: Identity::Cataloged,
            lingering: false,
            mode: 0,
            uid: 0,
            gid: 0,
            nlink: 1,
            size: 0,
            atime: now,
            mtime_set: None,
            ctime: now,
            meanwhile: None,
            labels: Labels::default(),
            charge: Charge::default(),
            name: Vec::new(),
        }
    }

    /// Of a file that is made here: its staging file and whose it is.
    pub fn newborn(file: StagingFile, labels: Labels, mode: u32, (uid, gid): (u32, u32), now: Timestamp) -> Self {
        Self { staged: Some(Staged::fresh(file)), mode, uid, gid, labels, ..Self::unopened(now) }
    }

    pub fn idle(&self) -> bool {
        self.handles == 0 && self.staged.is_none() && self.identity.draft().is_none() && !self.lingering
    }

    /// mtime: what `utimens` said, unless a write came after it.
    fn mtime(&self, stamp: &Stamp) -> Timestamp {
        match self.mtime_set {
            Some((set, at)) if at == stamp.ctime => set,
            _ => stamp.mtime,
        }
    }
}

impl OpenInode {
    pub fn new(ino: Ino, session: SessionId, state: State) -> Self {
        Self {
            ino,
            session,
            save: tokio::sync::Mutex::new(()),
            saver: Mutex::default(),
            state: Mutex::new(state),
            writes: AtomicU64::new(0),
            pins: AtomicUsize::new(0),
        }
    }

    /// Takes the save lock. Who waits gets on as far as the one who holds it does.
    pub async fn saving(self: &Arc<Self>) -> Saving<'_> {
        let mut taken = std::pin::pin!(self.save.lock());
        let guard = loop {
            let holder = self.saver.lock().clone();
            let before = holder.as_ref().map(|h| h.until());
            if let Ok(guard) = tokio::time::timeout(LOOK, taken.as_mut()).await {
                break guard;
            }
            // Without a clock it is no call: it has deadlines of its own, and the file is put away meanwhile.
            if holder.as_ref().map(|h| h.until()) != before {
                moved::tick();
            }
        };
        *self.saver.lock() = moved::current();
        Saving { inode: self, _held: guard }
    }

    /// Takes the save lock if nobody has it.
    pub fn try_saving(self: &Arc<Self>) -> Option<Saving<'_>> {
        self.save.try_lock().ok().map(|held| Saving { inode: self, _held: held })
    }

    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Acquire)
    }

    /// Counts a write through the daemon. Called before the bytes land, so that a save in between is repeated.
    pub fn count_write(&self) {
        self.writes.fetch_add(1, Ordering::AcqRel);
    }

    pub fn is_pending(&self) -> bool {
        self.state.lock().identity.draft().is_some()
    }

    /// The catalog knows nothing of it yet: its first commit is to come, and perhaps its name.
    pub fn is_unborn(&self) -> bool {
        self.state.lock().identity.is_unborn()
    }

    /// Bytes are there that were not committed yet.
    pub fn is_writing(&self) -> bool {
        let st = self.state.lock();
        let Some(staged) = &st.staged else { return st.identity.draft().is_some() };
        match (&staged.saved, staged.file.stamp()) {
            (Some(saved), Ok(stamp)) => saved.stamp != stamp || saved.writes != self.writes(),
            _ => true,
        }
    }

    /// Puts size and times of the staging file over the catalog's.
    pub fn overlay_attr(&self, attr: &mut Attr) -> Result<()> {
        let st = self.state.lock();
        if let Some(set) = st.meanwhile {
            attr.keep = false;
            attr.mode = set.mode.unwrap_or(attr.mode);
            attr.uid = set.uid.unwrap_or(attr.uid);
            attr.gid = set.gid.unwrap_or(attr.gid);
            attr.atime = set.atime.unwrap_or(attr.atime);
            attr.mtime = set.mtime.unwrap_or(attr.mtime);
        }
        let Some(staged) = &st.staged else { return Ok(()) };
        let stamp = staged.file.stamp()?;
        attr.keep = false;
        attr.size = stamp.size;
        attr.blocks = stamp.blocks + staged.grown.as_ref().map_or(0, Grown::blocks_below);
        let unchanged = staged.saved.as_ref().is_some_and(|s| s.artifact.is_none() && s.stamp == stamp);
        if !unchanged || st.mtime_set.is_some() {
            attr.mtime = st.mtime(&stamp);
            attr.ctime = attr.ctime.max(stamp.ctime).max(st.ctime);
        }
        Ok(())
    }

    pub fn pending_attr(&self) -> Result<Attr> {
        let st = self.state.lock();
        let stamp = match &st.staged {
            Some(s) => s.file.stamp()?,
            None => Stamp { size: st.size, blocks: st.size.div_ceil(512), mtime: st.ctime, ctime: st.ctime },
        };
        Ok(Attr {
            ino: self.ino,
            kind: NodeKind::File,
            mode: st.mode,
            uid: st.uid,
            gid: st.gid,
            rdev: 0,
            nlink: st.nlink,
            size: stamp.size,
            blocks: stamp.blocks,
            atime: st.atime,
            mtime: st.mtime(&stamp),
            ctime: st.ctime.max(stamp.ctime),
            keep: false,
            expires: None,
        })
    }
}
