//! A seal that has answered is seen: who seals waits until the mounts of this host have told their kernels (CONTRACT §6).
//!
//! Each mount notes in its directory, in the file `heard`, up to which seal its kernel knows. A mount that does not answer in time holds up
//! nobody: its writes are refused by the catalog all the same, and the kernel learns the modes when its copies expire.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::artifact::record::Session;
use crate::artifact::{Kind, Result};
use crate::catalog::{ChangeKind, Origin};
use crate::engine::store::{Store, blocking};

/// Longest wait: a kernel that waits for a lock that a program holds.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(2);
const FILE: &str = "heard";

impl Store {
    /// This mount's kernel knows of the seals up to the change `seq`. Blocking for one write without fsync.
    pub fn note_heard(&self, seq: u64) {
        let Some(dir) = &self.mount_dir else { return };
        let path = dir.path().join(FILE);
        // As long as ever, in one write over the last: a reader sees the one or the other.
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        if let Err(e) = file.and_then(|file| file.write_all_at(format!("{seq:020}").as_bytes(), 0)) {
            tracing::debug!(path = %path.display(), error = %e, "a seal waits for this mount in vain");
        }
    }

    /// Waits until the other mounts that show `session` have heard of its seal, which came after the change `before`.
    pub(crate) async fn until_heard(&self, before: u64, session: &Session) {
        match self.seal_since(before, session).await {
            Ok(Some(seq)) => self.wait_for_mounts(seq, session).await,
            Ok(None) => {}
            Err(e) => tracing::debug!(error = %e, "mounts are not waited for"),
        }
    }

    async fn seal_since(&self, before: u64, session: &Session) -> Result<Option<u64>> {
        let nobody = Origin(crate::artifact::ids::MountId(ulid::Ulid::new()));
        let changes = match self.catalog.changes(before, nobody, Duration::ZERO).await {
            // The log does not reach back so far: then so many changes came in between that nothing is to be waited for.
            Err(e) if e.kind == Kind::NotFound => Vec::new(),
            other => other?,
        };
        let seal = |kind: &ChangeKind| matches!(kind, ChangeKind::Sealed { session: sealed } if *sealed == session.id);
        Ok(changes.iter().find(|change| seal(&change.kind)).map(|change| change.seq))
    }

    async fn wait_for_mounts(&self, seq: u64, session: &Session) {
        let until = Instant::now() + PATIENCE;
        loop {
            let (state, own) = (self.state.clone(), self.origin.0);
            let (tenant, name) = (self.tenant_name.to_string(), session.name.to_string());
            let late = blocking(move || {
                let shows = |info: &crate::staging::state_dir::MountInfo| {
                    info.mountpoint.is_some()
                        && info.tenant == tenant
                        && info.session.as_ref().is_none_or(|s| *s == name)
                };
                let mounts = state.mounts()?;
                let mut theirs = mounts.iter().filter(|m| m.alive && m.id != own && m.info.as_ref().is_some_and(shows));
                Ok(theirs.any(|m| heard(&state.mounts_dir().join(m.id.to_string())).is_some_and(|h| h < seq)))
            })
            .await;
            match late {
                Ok(true) if Instant::now() < until => tokio::time::sleep(LOOK).await,
                Ok(true) => {
                    return tracing::warn!(session = %session.name, "a mount shows the old modes for a moment more");
                }
                Ok(false) => return,
                Err(e) => return tracing::debug!(error = %e, "mounts are not waited for"),
            }
        }
    }
}

/// None: it is of an earlier release, or has just begun or ended.
fn heard(dir: &Path) -> Option<u64> {
    std::fs::read_to_string(dir.join(FILE)).ok()?.trim().parse().ok()
}
