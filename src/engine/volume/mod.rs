//! A mounted volume: what only a mount has. Open files, staging, names that are not committed yet.
//!
//! # What owns what
//! - The **catalog** owns every directory, symlink and committed file. The volume keeps no copy of it.
//! - A [`live::Live`] stands for an inode that somebody has open here, or whose bytes are not saved yet. It owns the
//!   inode's staging file S (one per inode, from the first writer until nobody can change it any more).
//!   One that only grows at its end is a [`grow::Grown`].
//! - The [`overlay`] owns the names of files that were created here and never committed. A name is in the
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
//! The save lock ([`live::Saving`]; async, may be held across an upload: it is one inode's own) → `Overlay` → `Live::state` → `Handles`.
//! The last three are short and never held across an await.
//!
//! # At a crash
//! S and the journal survive; the catalog holds what was acknowledged. `engine::recover` puts the rest right.

pub mod attr;
pub mod close;
pub mod control;
mod copy;
mod departed;
pub mod dir;
pub mod grow;
pub mod handles;
pub mod hidden;
pub mod io;
pub mod labels;
pub mod live;
mod nameless;
pub mod open;
pub mod overlay;
mod permit;
pub mod process;
mod removed;
pub mod rename;
mod room;
pub mod save;
pub mod scratch;
pub mod setattr;
mod told;
mod trash;
mod tree;
pub mod upkeep;
mod writers;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::artifact::ids::{Ino, SessionId};
use crate::artifact::name::{Name, SessionName};
use crate::artifact::record::Session;
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Result};
use crate::catalog::ChangeKind;
use crate::engine::store::Store;
use crate::staging::file::{has_fine_ctime, notes_stores};
use crate::staging::journal::Journal;

use control::Answers;
use grow::Growing;
use handles::Handles;
use hidden::{Hidden, Listings};
use live::Live;
use overlay::Overlay;

/// Who asks: as the kernel says it. `pid` is a thread's ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
    pub pid: u32,
}

/// Makes the kernel drop a name, and says when it has.
pub type StaleName = Box<dyn Fn(ChangeKind) -> tokio::sync::oneshot::Receiver<()> + Send + Sync>;

/// How long a close waits for that. A name that is still there then shows the old inode until its time is over.
const STALE_NAME: std::time::Duration = std::time::Duration::from_secs(1);

/// Numbers taken from the catalog's sequence at once: a create then needs no round trip.
const RESERVE: u64 = 4096;

/// One mounted tree.
pub struct Volume {
    pub store: Arc<Store>,
    /// The directory at the mount point: a session's root or the tenant's.
    pub root: Ino,
    /// The session mounted as the root, if it is one.
    pub session: Option<Session>,
    /// The kernel and our privileges allow passthrough (set at INIT).
    pub passthrough: std::sync::atomic::AtomicBool,
    /// The kernel collects writes before it hands them on, but can be told not to, mappings included (set at INIT).
    pub collects_writes: std::sync::atomic::AtomicBool,
    fine_ctime: bool,
    /// The staging file system notes stores through a mapping after each write-back.
    notes_stores: bool,
    /// Where staging files are made.
    staging: std::path::PathBuf,
    overlay: Mutex<Overlay>,
    live: Mutex<HashMap<Ino, Arc<Live>>>,
    departed: departed::Departed,
    room_seen: room::Seen,
    handles: Handles,
    hidden: Hidden,
    listings: Listings,
    scratch: scratch::Scratch,
    answers: Answers,
    writers: writers::Writers,
    growing: Growing,
    journal: Arc<Journal>,
    numbers: Mutex<(u64, u64)>,
    staging_seq: AtomicU64,
    /// Hash of the content that the kernel's page cache holds of an inode.
    cached: Mutex<HashMap<Ino, crate::artifact::ids::BlobHash>>,
    /// Begins and ends of renames.
    renames: std::sync::atomic::AtomicU64,
    readers: Mutex<HashMap<crate::artifact::ids::BlobHash, crate::blob::reader::ContentReader>>,
    /// Inodes whose last release is still being worked on, for draining.
    busy: tokio::sync::watch::Sender<usize>,
    settle: tokio::sync::Notify,
    /// Staging files that nobody can change any more and whose stamp was that of the committed bytes.
    parted: Mutex<std::collections::HashSet<String>>,
    stale_name: std::sync::OnceLock<StaleName>,
    told: told::Told,
    removed: removed::Removed,
    /// Who deleted last: `rm -r` asks /proc once, not for each file.
    deleter: Mutex<trash::Deleter>,
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
        let staging = mount_dir.staging();
        let fine_ctime = has_fine_ctime(&staging)?;
        let notes_stores = notes_stores(&staging)?;
        let (journal, _) = Journal::open(&mount_dir.journal_path())?;
        store.discard_scratch().await;
        let first = store.catalog.reserve(RESERVE).await?;
        Ok(Arc::new(Self {
            hidden: Hidden::default(),
            listings: Listings::default(),
            scratch: scratch::Scratch::open(store.scratch_root(), store.options.scratch_limit)?,
            store,
            root,
            session,
            passthrough: std::sync::atomic::AtomicBool::new(false),
            collects_writes: std::sync::atomic::AtomicBool::new(false),
            fine_ctime,
            notes_stores,
            staging,
            overlay: Mutex::default(),
            live: Mutex::default(),
            departed: departed::Departed::default(),
            room_seen: room::Seen::default(),
            handles: Handles::default(),
            answers: Answers::default(),
            writers: writers::Writers::default(),
            growing: Growing::default(),
            journal: Arc::new(journal),
            numbers: Mutex::new((first, first + RESERVE)),
            staging_seq: AtomicU64::new(0),
            cached: Mutex::default(),
            renames: std::sync::atomic::AtomicU64::default(),
            readers: Mutex::default(),
            busy: tokio::sync::watch::Sender::new(0),
            settle: tokio::sync::Notify::new(),
            parted: Mutex::default(),
            stale_name: std::sync::OnceLock::new(),
            told: told::Told::default(),
            removed: removed::Removed::default(),
            deleter: Mutex::default(),
        }))
    }

    /// How to drop a name from the kernel's cache; the first that is told is kept.
    pub fn on_stale_name(&self, drop: StaleName) {
        self.stale_name.set(drop).unwrap_or_default();
    }

    /// The name leads to another inode than the kernel believes.
    async fn drop_cached_name(&self, parent: Ino, name: Name) {
        self.drop_cached(vec![ChangeKind::Entry { parent, name }]).await;
    }

    /// The kernel forgets, before this returns or soon after.
    async fn drop_cached(&self, changes: Vec<ChangeKind>) {
        let Some(drop) = self.stale_name.get() else { return };
        // In one go, and in this order: the last to be done is the last of all.
        let mut last = None;
        for change in changes {
            last = Some(drop(change));
        }
        let Some(last) = last else { return };
        if tokio::time::timeout(STALE_NAME, last).await.is_err() {
            tracing::warn!("the kernel keeps what has changed for a while");
        }
    }

    fn now(&self) -> Timestamp {
        self.store.clock.now()
    }

    /// A fresh number for an inode or a cookie.
    async fn number(&self) -> Result<u64> {
        loop {
            {
                let mut n = self.numbers.lock();
                if n.0 < n.1 {
                    n.0 += 1;
                    return Ok(n.0 - 1);
                }
            }
            let first = self.store.catalog.reserve(RESERVE).await?;
            let mut n = self.numbers.lock();
            // Another task may have refilled meanwhile: its block is still good, ours is merely unused.
            if n.0 >= n.1 {
                *n = (first, first + RESERVE);
            }
        }
    }

    fn live_of(&self, ino: Ino) -> Option<Arc<Live>> {
        self.live.lock().get(&ino).cloned()
    }

    /// The live record of `ino`, made when there is none, pinned until the guard is dropped: a release that ends meanwhile
    /// must not retire it, or the open would go on with a record that nobody else finds.
    fn pin(self: &Arc<Self>, ino: Ino, make: impl FnOnce() -> Live) -> Pinned {
        let mut map = self.live.lock();
        let live = map.entry(ino).or_insert_with(|| Arc::new(make())).clone();
        live.pins.fetch_add(1, Ordering::AcqRel);
        Pinned { volume: self.clone(), live }
    }

    /// Drops the live record when nothing needs it any more. Call with no lock held.
    fn retire(&self, live: &Arc<Live>) {
        let mut map = self.live.lock();
        let idle = live.pins.load(Ordering::Acquire) == 0 && live.is_idle();
        if idle && map.get(&live.ino).is_some_and(|l| Arc::ptr_eq(l, live)) {
            map.remove(&live.ino);
            self.departed.note(live.ino);
        }
    }

    /// The live record of `ino` if there is one, pinned as by [`Volume::pin`].
    fn pin_live(self: &Arc<Self>, ino: Ino) -> Option<Pinned> {
        let map = self.live.lock();
        let live = map.get(&ino)?.clone();
        live.pins.fetch_add(1, Ordering::AcqRel);
        Some(Pinned { volume: self.clone(), live })
    }

    fn staging_name(&self, ino: Ino) -> String {
        format!("{ino}-{}", self.staging_seq.fetch_add(1, Ordering::Relaxed))
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
        *self.busy.borrow()
    }

    /// Waits until every release handed over so far has been worked on.
    ///
    /// # Errors
    /// `TimedOut` after `deadline`.
    pub async fn quiesce(&self, deadline: std::time::Duration) -> Result<()> {
        let mut watch = self.busy.subscribe();
        tokio::time::timeout(deadline, watch.wait_for(|n| *n == 0))
            .await
            .map_err(|_| Error::new(crate::artifact::Kind::TimedOut, "files are still being saved"))?
            .map(|_| ())
            .map_err(|_| Error::internal("the volume is gone"))
    }
}

/// See [`Volume::pin`].
struct Pinned {
    volume: Arc<Volume>,
    live: Arc<Live>,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.live.pins.fetch_sub(1, Ordering::AcqRel);
        self.volume.retire(&self.live);
    }
}
