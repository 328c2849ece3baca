//! A mounted volume: what only a mount has. Open files, staging, names that are not committed yet.
//!
//! # Parts
//! ```text
//! inode  ←  kernel  ←  save  ←  scratch, hidden  ←  ops  ←  Volume
//! ```
//! - [`inode`]: open inodes, their state and their table; [`kernel`]: what this mount's kernel can do and was told; [`staging_dir`]: staging
//!   files and their journal.
//! - [`save`]: from a staging file to a commit; [`scratch`]: ignored files, which are never stored; [`hidden`]: `.ctl`, `.versions` and their like.
//! - [`ops`]: what a mount is asked, one file a family.
//!
//! `tests/arrows` reads who uses whom, and lists the files that are not in their place yet.
//!
//! # What owns what
//! - The **catalog** owns every directory, symlink and committed file. The volume keeps no copy of it.
//! - A [`inode::OpenInode`] stands for an inode that somebody has open here, or whose bytes are not saved yet. It owns the
//!   inode's staging file S (one per inode, from the first writer until nobody can change it any more).
//!   One that only grows at its end is a [`save::append::Grown`].
//! - The [overlay](inode::overlay) owns the names of files that were created here and never committed. A name is in the
//!   overlay until the catalog has it: whoever looks into the overlay first and the catalog second misses no file.
//! - A [`handles::Handles`] entry is one open file description of the kernel's.
//!
//! # From write to artifact
//! FLUSH, fsync and the last RELEASE call [`save`]: under the inode's save lock, S is compared with what was saved last
//! (size, ctime, count of writes seen), read or hashed, handed to [`Store::ingest`], and the reply goes out. Everything that
//! can still change S meanwhile leaves a different stamp, so the next FLUSH saves again. With passthrough the daemon sees
//! no write: the stamp alone decides, and a stamp too young to be trusted is hashed again.
//!
//! After the last RELEASE, S is frozen (a read lease proves that no writer and no mapping is left), then becomes the
//! blob, a cache entry, or nothing. A mapping that outlives `close` keeps the inode live ("lingering").
//!
//! # I/O modes
//! The kernel wants all opens of an inode at one time to agree: passthrough to one backing file, or none. So
//! the first open decides: a writer on an inode that nobody has open gets passthrough to S, everyone after it too, until the last
//! release; a reader of committed content gets the page cache (keep-cache), and a writer that comes
//! while such a reader is there goes through the daemon.
//!
//! # Lock order
//! The save lock ([`inode::Saving`]; async, may be held across an upload: it is one inode's own) → `Overlay` → `OpenInode::state` → `Handles`.
//! The last three are short and never held across an await.
//!
//! # At a crash
//! S and the journal survive; the catalog holds what was acknowledged. `engine::recover` puts the rest right.

pub mod handles;
pub mod hidden;
pub mod inode;
pub mod kernel;
pub mod ops;
pub mod save;
pub mod scratch;
pub mod staging_dir;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::artifact::ids::{BlobHash, Ino, SessionId};
use crate::artifact::name::SessionName;
use crate::artifact::record::Session;
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Result};
use crate::blob::reader::ContentReader;
use crate::engine::store::Store;

use handles::Handles;
use inode::table::Inodes;
use kernel::Kernel;
use staging_dir::StagingDir;

/// Who asks: as the kernel says it. `pid` is a thread's ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
    pub pid: u32,
}

/// One mounted tree.
pub struct Volume {
    pub store: Arc<Store>,
    /// The directory at the mount point: a session's root or the tenant's.
    pub root: Ino,
    /// The session mounted as the root, if it is one.
    pub session: Option<Session>,
    pub kernel: Kernel,
    staging: StagingDir,
    inodes: Arc<Inodes>,
    handles: Handles,
    saves: save::Saves,
    scratch: scratch::Scratch,
    hidden: hidden::Entries,
    room_seen: kernel::quota_check::Seen,
    readers: Mutex<HashMap<BlobHash, ContentReader>>,
}

impl Volume {
    /// Opens the volume of `session`, or of the whole tenant. Makes the session when it is missing, owned by the caller of the process.
    ///
    /// # Errors
    /// From the catalog and the staging directory.
    pub async fn open(store: Arc<Store>, session: Option<&SessionName>) -> Result<Arc<Self>> {
        let now = store.clock.now();
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let session = match session {
            Some(name) => Some(store.catalog.ensure_session(store.origin, store.tenant.id, name, uid, gid, now).await?),
            None => None,
        };
        let root = session.as_ref().map_or(store.tenant.root, |s| s.root);
        let mount_dir = store.mount_dir.clone();
        let mount_dir = mount_dir.ok_or_else(|| Error::internal("a mount needs a staging directory"))?;
        let staging = StagingDir::open(mount_dir.staging(), &mount_dir.journal_path())?;
        store.discard_scratch().await;
        Ok(Arc::new(Self {
            inodes: Inodes::open(&*store.catalog).await?,
            scratch: scratch::Scratch::open(store.scratch_root(), store.options.scratch_limit)?,
            store,
            root,
            session,
            kernel: Kernel::default(),
            staging,
            handles: Handles::default(),
            saves: save::Saves::default(),
            hidden: hidden::Entries::default(),
            room_seen: kernel::quota_check::Seen::default(),
            readers: Mutex::default(),
        }))
    }

    fn now(&self) -> Timestamp {
        self.store.clock.now()
    }

    /// A fresh number for an inode or a cookie.
    async fn number(&self) -> Result<u64> {
        self.inodes.number(&*self.store.catalog).await
    }

    /// `Sealed` when the session is. The catalog decides in its transactions; this spares bytes that could never be kept.
    async fn refuse_sealed(&self, session: SessionId) -> Result<()> {
        if session == SessionId::NONE {
            return Ok(());
        }
        match self.store.catalog.session_by_id(session).await? {
            Some(s) if s.sealed.is_some() => Err(Error::sealed(s.name.as_str())),
            _ => Ok(()),
        }
    }

    /// Bytes closed here that are not in the store yet, or inodes still being saved.
    pub fn busy(&self) -> usize {
        *self.saves.busy.borrow()
    }

    /// Waits until every release handed over so far has been worked on.
    ///
    /// # Errors
    /// `TimedOut` after `deadline`.
    pub async fn quiesce(&self, deadline: std::time::Duration) -> Result<()> {
        let mut watch = self.saves.busy.subscribe();
        tokio::time::timeout(deadline, watch.wait_for(|n| *n == 0))
            .await
            .map_err(|_| Error::new(crate::artifact::Kind::TimedOut, "files are still being saved"))?
            .map(|_| ())
            .map_err(|_| Error::internal("the volume is gone"))
    }
}
