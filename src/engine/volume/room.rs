//! Limits at the moment of writing: refused at the first write that is sure to exceed them, not at the close.
//!
//! What decides is the commit's transaction, which no two writers can pass together; this looks ahead. Where the kernel writes
//! straight to the staging file the daemon sees no write: so a new open gets passthrough only while the staging disk would be full
//! before the limit is reached. Where the kernel collects writes (its writeback cache, on mounts without passthrough) a writer that may
//! meet a limit is opened for direct I/O.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::artifact::ids::Ino;
use crate::artifact::quota::{Quota, Room};
use crate::artifact::{Error, Result};

use super::Volume;
use super::live::Live;

/// How old a look that found no limits may be: new ones show within this time on every mount.
const FRESH: Duration = Duration::from_millis(200);

/// The last look. A leaf lock.
#[derive(Default)]
pub(super) struct Seen(Mutex<Option<(Instant, Room)>>);

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

    /// Whether a new file may come into being.
    ///
    /// # Errors
    /// `OverQuota`.
    pub(super) async fn may_make(&self) -> Result<()> {
        if self.room().await?.one_more().is_ok() {
            return Ok(());
        }
        self.exact_room().await?.one_more()
    }

    /// Whether the file may grow to `size`.
    ///
    /// # Errors
    /// `OverQuota`, `FileTooLarge`.
    pub(super) async fn may_grow(&self, live: &Live, size: u64) -> Result<()> {
        let room = self.room().await?;
        if !room.quota.limits_bytes() {
            return Ok(());
        }
        let own = {
            let st = live.state.lock();
            if st.scratch || st.orphan {
                return Ok(());
            }
            // What the catalog counts of it already.
            match st.staged.as_ref().and_then(|s| s.saved.as_ref()) {
                Some(saved) => saved.size,
                None if st.pending.is_some() => 0,
                None => st.size,
            }
        };
        if room.file_may_be(size, own).is_ok() {
            return Ok(());
        }
        self.exact_room().await?.file_may_be(size, own)
    }

    /// The same of a file that nobody has open.
    ///
    /// # Errors
    /// `OverQuota`, `FileTooLarge`.
    pub(super) async fn may_become(&self, ino: Ino, size: u64) -> Result<()> {
        if !self.room().await?.quota.limits_bytes() {
            return Ok(());
        }
        let own = self.store.catalog.node(ino, self.now()).await?.map_or(0, |n| n.size);
        self.exact_room().await?.file_may_be(size, own)
    }

    /// Whether writes may go past the daemon: the disk is full before a limit is reached.
    pub(super) async fn may_bypass(&self) -> Result<bool> {
        let Some(left) = self.room().await?.left() else { return Ok(true) };
        let disk = rustix::fs::statvfs(&self.staging).map_err(|e| Error::io(&self.staging, &e.into()))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize) <= left)
    }
}
