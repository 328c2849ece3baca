//! The store's listing beside the catalog: objects without a record, uploads that nobody finishes, records without an object.

use std::collections::HashSet;
use std::time::Duration;

use super::{GcReport, ago};
use crate::artifact::Result;
use crate::artifact::ids::BlobHash;
use crate::artifact::record::BlobPlace;
use crate::artifact::time::Timestamp;
use crate::blob::{BlobKey, Listed};
use crate::catalog::upkeep::Doomed;
use crate::engine::failpoints::hit;
use crate::engine::store::Store;

/// An object or upload without a record may be one whose commit is still to come; none takes a day.
const AGE: Duration = Duration::from_hours(24);
/// Records of one read.
const PAGE: u32 = 1000;
/// Faults that are told one by one.
const TOLD: usize = 100;

/// The walk through the records of stored blobs, beside the listing.
#[derive(Default)]
struct Records {
    page: std::collections::VecDeque<BlobHash>,
    after: Option<BlobHash>,
    done: bool,
}

impl Store {
    pub(super) async fn collect_orphans(&self, report: &mut GcReport, dry: bool) -> Result<()> {
        let prefix = format!("{}/blobs/", self.tenant_name);
        let before = ago(self.clock.now(), AGE);
        let mut after: Option<BlobKey> = None;
        let mut records = Records::default();
        loop {
            let page = self.blobs.list(&prefix, after.as_ref()).await?;
            after = page.last().map(|l| l.key.clone());
            let objects: Vec<(BlobHash, Listed)> =
                page.into_iter().filter_map(|l| Some((self.hash_of(&l.key)?, l))).collect();
            let seen: HashSet<BlobHash> = objects.iter().map(|(h, _)| *h).collect();
            // Up to the last object of this page the listing is known.
            let known_to = if after.is_none() { None } else { objects.last().map(|(h, _)| *h) };
            if after.is_none() || known_to.is_some() {
                self.find_missing(&mut records, &seen, known_to, report).await?;
            }
            self.remove_orphans(objects, before, report, dry).await?;
            if after.is_none() {
                break;
            }
        }
        self.end_uploads(&prefix, before, report, dry).await
    }

    /// The hash that a key names, if it is one of ours.
    fn hash_of(&self, key: &BlobKey) -> Option<BlobHash> {
        let hash: BlobHash = key.0.rsplit('/').next()?.parse().ok()?;
        (self.blob_key(hash) == *key).then_some(hash)
    }

    async fn remove_orphans(
        &self,
        objects: Vec<(BlobHash, Listed)>,
        before: Timestamp,
        report: &mut GcReport,
        dry: bool,
    ) -> Result<()> {
        let old: Vec<_> = objects.into_iter().filter(|(_, l)| l.modified.is_some_and(|t| t <= before)).collect();
        let hashes = old.iter().map(|(h, _)| *h).collect();
        let unknown: HashSet<BlobHash> =
            self.catalog.unknown_blobs(self.tenant.id, hashes).await?.into_iter().collect();
        for (hash, listed) in old {
            if !unknown.contains(&hash) {
                continue;
            }
            if !dry {
                // From here on a commit that brings these bytes waits, and uploads them after the deletion: what it has
                // uploaded before may be this very object.
                let blob = Doomed { hash, size: listed.size };
                if !self.catalog.claim_orphan(self.tenant.id, blob, self.clock.now()).await? {
                    continue;
                }
                hit("gc::after_claim")?;
                self.blobs.delete(&listed.key).await?;
                self.catalog.forget_deleted(self.tenant.id, vec![hash], self.clock.now()).await?;
            }
            report.orphans += 1;
            report.orphan_bytes += listed.size;
        }
        Ok(())
    }

    /// Records of stored blobs up to `to` (none: all that are left) that the listing `seen` does not have.
    async fn find_missing(
        &self,
        records: &mut Records,
        seen: &HashSet<BlobHash>,
        to: Option<BlobHash>,
        report: &mut GcReport,
    ) -> Result<()> {
        loop {
            if records.page.is_empty() {
                if records.done {
                    return Ok(());
                }
                let page = self.catalog.needed_blobs(self.tenant.id, records.after, PAGE).await?;
                records.done = page.is_empty();
                records.after = page.last().map(|b| b.hash).or(records.after);
                let stored = page.iter().filter(|b| b.place == BlobPlace::Stored);
                records.page.extend(stored.map(|b| b.hash));
                continue;
            }
            let Some(hash) = records.page.front().copied() else { continue };
            if to.is_some_and(|to| hash > to) {
                return Ok(());
            }
            records.page.pop_front();
            if !seen.contains(&hash) && self.is_missing(hash).await? {
                report.missing_blobs += 1;
                if report.missing.len() < TOLD {
                    report.missing.push(hash.to_hex());
                }
                tracing::error!(blob = %hash, "the store does not have a blob that artifacts need");
            }
        }
    }

    /// Listings are of a moment ago: the store and the catalog are asked once more.
    async fn is_missing(&self, hash: BlobHash) -> Result<bool> {
        if self.blobs.head(&self.blob_key(hash)).await?.is_some() {
            return Ok(false);
        }
        let still = self.catalog.blob(self.tenant.id, hash).await?;
        let needed = still.is_some_and(|b| b.place == BlobPlace::Stored)
            && self.catalog.deleting_since(self.tenant.id, hash).await?.is_none();
        // Ended between the two questions, it is no loss.
        let garbage = self.catalog.unneeded(self.tenant.id, hash.before(), 1).await?;
        Ok(needed && garbage.blobs.iter().all(|b| b.hash != hash))
    }

    async fn end_uploads(&self, prefix: &str, before: Timestamp, report: &mut GcReport, dry: bool) -> Result<()> {
        let mut after = None;
        // Servers that do not know the markers of this listing answer its first page for ever.
        let mut seen = HashSet::new();
        loop {
            let mut page = self.blobs.list_unfinished(prefix, after.as_ref()).await?;
            page.retain(|u| seen.insert((u.key.0.clone(), u.id.clone())));
            let Some(last) = page.last().cloned() else { return Ok(()) };
            for upload in page.iter().filter(|u| u.started.is_some_and(|t| t <= before)) {
                if !dry {
                    self.blobs.abort(upload).await?;
                }
                report.uploads += 1;
            }
            after = Some(last);
        }
    }
}
