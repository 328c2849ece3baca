//! Expiry in the kernel's caches.
//!
//! What the kernel is told of a file it keeps no longer than the file lives ([`super::convert`]). What it keeps without asking for a
//! time (listings), and what is left when the host slept or its clock was set, is dropped here as soon as an expiry is passed.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use crate::artifact::time::Timestamp;
use crate::catalog::ChangeKind;
use crate::engine::gc::replaced::HOLD_EVERY;
use crate::engine::volume::Volume;

use super::invalidate::Forget;

/// Well within the second that is promised; one look is an index lookup.
const LOOK: Duration = Duration::from_millis(100);
const PAGE: u32 = 1000;

/// Follows the clock until it is dropped.
pub(super) async fn follow(volume: &Arc<Volume>, tx: Sender<Forget>) {
    let keeping = volume.store.options.keeping.blobs;
    let mut last = volume.store.clock.now();
    let mut held = (last, Instant::now());
    loop {
        tokio::time::sleep(LOOK).await;
        let now = volume.store.clock.now();
        match expire(volume, &tx, last, now).await {
            Ok(reached) => last = reached,
            Err(e) => tracing::warn!(error = %e, "expired names may stay in the kernel's caches for a minute"),
        }
        // By whichever clock is ahead: of the time that garbage is kept, three quarters are left for this to fail.
        let passed = Duration::from_nanos(u64::try_from(now.0.saturating_sub(held.0.0)).unwrap_or(0));
        if passed.max(held.1.elapsed()) >= (keeping / 4).min(HOLD_EVERY) {
            held = (now, Instant::now());
            if let Err(e) = volume.hold_open_blobs().await {
                tracing::warn!(error = %e, "deleted files that are open here may lose their bytes");
            }
        }
    }
}

/// Tells of what expired after `last` and up to `now`. How far it came.
async fn expire(
    volume: &Arc<Volume>,
    tx: &Sender<Forget>,
    last: Timestamp,
    now: Timestamp,
) -> crate::artifact::Result<Timestamp> {
    let mut last = last;
    while last < now {
        let page = volume.store.catalog.expired_names(volume.store.tenant.id, last, now, PAGE).await?;
        let full = page.len() >= PAGE as usize;
        let reached = page.last().map(|e| e.at);
        for expired in page {
            let inode = ChangeKind::Inode { ino: expired.ino };
            volume.heard(&inode);
            let name = ChangeKind::Entry { parent: expired.parent, name: expired.name };
            if tx.send((name, None)).is_err() || tx.send((inode, None)).is_err() {
                return Ok(now);
            }
        }
        match reached.filter(|_| full) {
            // More of the same moment than a page holds: they are passed over, and end with their times in the kernel.
            Some(at) => last = at,
            None => break,
        }
    }
    Ok(now)
}
