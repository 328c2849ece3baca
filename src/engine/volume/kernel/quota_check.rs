//! Limits at the moment of writing: refused at the first write that is sure to exceed them, not at the close.
//!
//! What decides is the commit's transaction, which no two writers can pass together; this looks ahead. Where the kernel writes
//! straight to the staging file the daemon sees no write: so a new open gets passthrough only while the staging disk would be full
//! before the limit is reached. Where the kernel collects writes (its writeback cache, on mounts without passthrough) a writer that may
//! meet a limit is opened for direct I/O.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::artifact::ids::Ino;
use crate::artifact::quota::{Quota, Room};
use crate::artifact::{Error, Result};

use crate::engine::volume::Volume;
use crate::engine::volume::inode::OpenInode;

/// How old a look that found no limits may be: new ones show within this time on every mount.
const FRESH: Duration = Duration::from_millis(10);

/// Free bytes that writers find on the staging disk as long as copies can go for it; on a small disk a sixteenth of it.
const ROOM_FOR_WRITERS: u64 = 256 << 20;

/// The last look. A leaf lock.
#[derive(Default)]
pub(in crate::engine::volume) struct Seen(Mutex<Option<(Instant, Room)>>);

impl Volume {
    async fn room(&self) -> Result<Room> {
        if let Some((at, room)) = *self.room_seen.0.lock()
            && at.elapsed() < FRESH
            // With limits every commit matters; without, only whether there are some by now.
            && room.quota == Quota::default()
        {
            return Ok(room);
        }
        let room = self.store.catalog.room(self.store.tenant.id).await?;
        *self.room_seen.0.lock() = Some((Instant::now(), room));
        Ok(room)
    }

    /// As it truly is: expired artifacts take no room, though they are not swept yet.
    async fn exact_room(&self) -> Result<Room> {
        let room = self.store.catalog.room(self.store.tenant.id).await?;
        let usage = self.store.catalog.usage(self.store.tenant.id, self.now()).await?;
        Ok(Room { artifacts: usage.artifacts, bytes: usage.logical_bytes, ..room })
    }

    /// With what others have announced and staged, `mine` of which is the asker's.
    async fn claimed(&self, room: Room, mine: u64) -> Result<Room> {
        self.store.claimed(room, mine, None).await
    }

    /// Whether a new file may come into being.
    ///
    /// # Errors
    /// `OverQuota`.
    pub(in crate::engine::volume) async fn may_make(&self) -> Result<()> {
        let room = self.room().await?;
        if room.quota.max_artifacts.is_none() {
            return Ok(());
        }
        if self.with_drafts(room).await?.one_more().is_ok() {
            return Ok(());
        }
        self.with_drafts(self.exact_room().await?).await?.one_more()
    }

    /// With the files that have come into being here and are not committed yet.
    async fn with_drafts(&self, room: Room) -> Result<Room> {
        let room = self.claimed(room, 0).await?;
        let drafts = self.inodes.overlay.lock().count();
        Ok(Room { artifacts: room.artifacts.saturating_add(drafts), ..room })
    }

    /// Whether the file may grow to `size`.
    ///
    /// # Errors
    /// `OverQuota`, `FileTooLarge`.
    pub(in crate::engine::volume) async fn may_grow(&self, live: &OpenInode, size: u64) -> Result<()> {
        let room = self.room().await?;
        if !room.quota.limits_bytes() {
            return Ok(());
        }
        let Some((own, mine)) = live.counted() else { return Ok(()) };
        if self.claimed(room, mine).await?.file_may_be(size, own).is_err() {
            self.claimed(self.exact_room().await?, mine).await?.file_may_be(size, own)?;
        }
        live.charge(self.store.ledger(), size.saturating_sub(own).max(mine));
        Ok(())
    }

    /// The same of a file that nobody has open.
    ///
    /// # Errors
    /// `OverQuota`, `FileTooLarge`.
    pub(in crate::engine::volume) async fn may_become(&self, ino: Ino, size: u64) -> Result<()> {
        if !self.room().await?.quota.limits_bytes() {
            return Ok(());
        }
        let own = self.store.catalog.node(ino, self.now()).await?.map_or(0, |n| n.size);
        self.claimed(self.exact_room().await?, 0).await?.file_may_be(size, own)
    }

    /// Copies of what the store has go before a writer meets a full disk. (With passthrough its writes do not come by here.)
    pub(in crate::engine::volume) async fn keep_room(&self) {
        if self.store.cache.used() == 0 {
            return;
        }
        let Ok(disk) = rustix::fs::statvfs(&self.staging.path) else { return };
        let (free, whole) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
        let wanted = (whole / 16).min(ROOM_FOR_WRITERS);
        if free < wanted {
            let cache = Arc::clone(&self.store.cache);
            let freed =
                crate::engine::volume::save::blocking(move || Ok(cache.make_room(wanted - free))).await.unwrap_or(0);
            tracing::debug!(freed, "the disk is nearly full: copies of what the store has went");
        }
    }

    /// Whether writes may go past the daemon: the disk is full before a limit is reached.
    pub(in crate::engine::volume) async fn may_bypass(&self) -> Result<bool> {
        let room = self.room().await?;
        if !room.quota.limits_bytes() {
            return Ok(true);
        }
        let Some(left) = self.claimed(room, 0).await?.left() else { return Ok(true) };
        let disk = rustix::fs::statvfs(&self.staging.path).map_err(|e| Error::io(&self.staging.path, &e.into()))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize) <= left)
    }
}
