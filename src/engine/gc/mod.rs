//! Collection: what time has ended leaves the catalog, what nothing needs leaves the store (`artifact::life` has the rules).
//!
//! # One sweep
//! 1. Deletions that a dead process began are finished.
//! 2. Artifacts end: expired, long enough in the trash, versions too old. Pages of [`PAGE`], each a transaction.
//! 3. Blobs that lost an artifact are looked at and, if nothing needs them, condemned. A full sweep looks at all blobs.
//! 4. Blobs condemned for longer than the grace period are taken, deleted from the store, forgotten.
//! 5. A full sweep compares the store's listing with the catalog ([`orphans`]): objects that have no record and unfinished
//!    uploads go once they are a day old; records whose object is missing are reported.
//!
//! Killed anywhere, the next sweep goes on. Memory is that of a page, however many blobs there are. The grace period is for those
//! who read: a descriptor that is open on another mount reads on; each mount renews it for what it has open ([`super::volume`]).
//!
//! One process of a state directory sweeps a tenant at a time ([`SweepLock`]). The lock is also how a commit that waits for a
//! deletion knows whether its deleter still lives ([`wait`]).

mod orphans;
pub mod replaced;
pub mod timer;
mod wait;

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde::Serialize;

use crate::artifact::ids::BlobHash;
use crate::artifact::life::Bounds;
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::upkeep::{Doomed, Swept};
use crate::engine::failpoints::hit;
use crate::engine::store::Store;
use crate::staging::sweep_lock::SweepLock;

/// Rows of one transaction: a commit waits behind it for some milliseconds.
const PAGE: u32 = 200;
/// Blobs looked at in one read.
const LOOK: u32 = 2000;
/// Deletions at one time.
const WIDTH: usize = 8;
/// How long a sweep that somebody asked for waits for another one to end.
const TURN: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How far a sweep goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What has changed since the last sweep.
    Usual,
    /// Every blob of the catalog and every object of the store.
    Full,
}

/// What a sweep did, or would do.
#[derive(Clone, Debug, Default, Serialize, PartialEq, Eq)]
pub struct GcReport {
    pub dry_run: bool,
    /// Artifacts that expired; that left the trash; versions beyond their age.
    pub expired: u64,
    pub purged: u64,
    pub pruned: u64,
    /// Logical bytes of these.
    pub bytes: u64,
    /// Blobs that nothing needs any more, found by this sweep.
    pub condemned: u64,
    pub condemned_bytes: u64,
    /// Blobs that left the store.
    pub deleted: u64,
    pub deleted_bytes: u64,
    /// Condemned ones whose grace period is not over.
    pub waiting: u64,
    pub waiting_bytes: u64,
    /// Objects of the store without a record, older than a day.
    pub orphans: u64,
    pub orphan_bytes: u64,
    /// Unfinished uploads older than a day.
    pub uploads: u64,
    /// Blobs that artifacts need and the store does not have: how many, and the first hundred by their hash (the log has all).
    pub missing_blobs: u64,
    pub missing: Vec<String>,
}

impl GcReport {
    fn swept(&mut self, swept: Swept) {
        self.expired += swept.expired;
        self.purged += swept.purged;
        self.pruned += swept.pruned;
        self.bytes += swept.bytes;
    }
}

/// `now` less a duration.
fn ago(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
}

impl Store {
    fn bounds(&self) -> Bounds {
        let (now, keep) = (self.clock.now(), self.options.keeping);
        Bounds { now, trashed: ago(now, keep.trash), versions: keep.versions.map(|v| ago(now, v)) }
    }

    /// Sweeps. Waits for another sweep of this state directory to end first.
    ///
    /// # Errors
    /// `Busy` when it does not end; of the catalog and the store. What was done stays done.
    pub async fn gc(&self, depth: Depth) -> Result<GcReport> {
        if self.options.many_machines {
            let text = "garbage of a catalog that several machines share is not collected yet: what is deleted stays in the store";
            return Err(Error::new(Kind::Unsupported, text));
        }
        let deadline = Instant::now() + TURN;
        loop {
            if let Some(report) = self.try_gc(depth).await? {
                return Ok(report);
            }
            if Instant::now() >= deadline {
                let text = "another process has been collecting garbage here for a minute: try again later";
                return Err(Error::new(Kind::Busy, text));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Sweeps, unless somebody does (`None`), or other machines might: the lock is one of this state directory.
    ///
    /// # Errors
    /// As [`Store::gc`].
    pub async fn try_gc(&self, depth: Depth) -> Result<Option<GcReport>> {
        if self.options.many_machines {
            return Ok(None);
        }
        let Some(lock) = SweepLock::try_take(&self.state, self.tenant_name.as_str())? else { return Ok(None) };
        let mut report = GcReport::default();
        self.finish_deletions(&mut report).await?;
        self.end_artifacts(&mut report).await?;
        hit("gc::after_sweep")?;
        self.condemn_suspects(&mut report).await?;
        if depth == Depth::Full {
            self.condemn_all(&mut report).await?;
        }
        hit("gc::after_condemn")?;
        self.delete_due(&mut report).await?;
        if depth == Depth::Full {
            self.collect_orphans(&mut report, false).await?;
        }
        let waiting = self.catalog.garbage(self.tenant.id, self.clock.now()).await?;
        (report.waiting, report.waiting_bytes) = (waiting.condemned, waiting.condemned_bytes);
        drop(lock);
        Ok(Some(report))
    }

    /// What a full sweep would do now. Changes nothing.
    ///
    /// # Errors
    /// Of the catalog and the store.
    pub async fn gc_dry_run(&self) -> Result<GcReport> {
        let mut report = GcReport { dry_run: true, ..GcReport::default() };
        report.swept(self.catalog.survey(self.tenant.id, self.bounds()).await?);
        let mut after = None;
        loop {
            let page = self.catalog.unneeded(self.tenant.id, after, LOOK).await?;
            report.condemned += page.blobs.len() as u64;
            report.condemned_bytes += page.blobs.iter().map(|b| b.size).sum::<u64>();
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let due = ago(self.clock.now(), self.options.keeping.blobs);
        let garbage = self.catalog.garbage(self.tenant.id, due).await?;
        (report.deleted, report.deleted_bytes) = (garbage.due + garbage.deleting, garbage.due_bytes);
        (report.waiting, report.waiting_bytes) =
            (garbage.condemned - garbage.due, garbage.condemned_bytes - garbage.due_bytes);
        self.collect_orphans(&mut report, true).await?;
        Ok(report)
    }

    async fn end_artifacts(&self, report: &mut GcReport) -> Result<()> {
        loop {
            // The clock goes on while a long sweep runs, but what it ends it ends by one moment.
            let swept = self.catalog.sweep(self.tenant.id, self.bounds(), PAGE).await?;
            report.swept(swept);
            // A full page that ended nothing waits for bytes on their way to the store: next time.
            if !swept.more || swept.total() == 0 {
                return Ok(());
            }
        }
    }

    async fn condemn_suspects(&self, report: &mut GcReport) -> Result<()> {
        loop {
            let suspects = self.catalog.suspects(self.tenant.id, PAGE).await?;
            if suspects.is_empty() {
                return Ok(());
            }
            self.condemn_page(suspects, report).await?;
        }
    }

    async fn condemn_all(&self, report: &mut GcReport) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.catalog.unneeded(self.tenant.id, after, LOOK).await?;
            for part in page.blobs.chunks(PAGE as usize) {
                self.condemn_page(part.iter().map(|b| b.hash).collect(), report).await?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn condemn_page(&self, hashes: Vec<BlobHash>, report: &mut GcReport) -> Result<()> {
        let condemned = self.catalog.condemn(self.tenant.id, hashes, self.clock.now()).await?;
        // No artifact needs them: who still has one open here keeps the copy's descriptor.
        for blob in &condemned {
            self.cache.discard(blob.hash);
        }
        report.condemned += condemned.len() as u64;
        report.condemned_bytes += condemned.iter().map(|b| b.size).sum::<u64>();
        Ok(())
    }

    async fn finish_deletions(&self, report: &mut GcReport) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.catalog.deleting(self.tenant.id, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.hash);
            self.delete_page(page, report).await?;
        }
    }

    async fn delete_due(&self, report: &mut GcReport) -> Result<()> {
        loop {
            let now = self.clock.now();
            let due = ago(now, self.options.keeping.blobs);
            let taken = self.catalog.take_condemned(self.tenant.id, due, PAGE, now).await?;
            if taken.is_empty() {
                return Ok(());
            }
            hit("gc::after_take")?;
            self.delete_page(taken, report).await?;
        }
    }

    /// Out of the store, then out of the catalog. Those that fail stay in deletion: the next sweep tries again.
    async fn delete_page(&self, page: Vec<Doomed>, report: &mut GcReport) -> Result<()> {
        let mut deletions = stream::iter(page)
            .map(|blob| async move { (blob, self.blobs.delete(&self.blob_key(blob.hash)).await) })
            .buffer_unordered(WIDTH);
        let (mut gone, mut failed) = (Vec::new(), None);
        while let Some((blob, result)) = deletions.next().await {
            match result {
                Ok(()) => {
                    hit("gc::after_delete")?;
                    self.cache.discard(blob.hash);
                    report.deleted += 1;
                    report.deleted_bytes += blob.size;
                    gone.push(blob.hash);
                }
                Err(e) => failed = Some(e),
            }
        }
        self.catalog.forget_deleted(self.tenant.id, gone, self.clock.now()).await?;
        hit("gc::after_forget")?;
        failed.map_or(Ok(()), Err)
    }
}
