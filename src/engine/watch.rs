//! Which sessions changed: for doors that tell their clients of it.

use std::collections::HashSet;
use std::time::Duration;

use ulid::Ulid;

use crate::artifact::ids::{Ino, MountId, SessionId};
use crate::artifact::{Kind, Result};
use crate::catalog::{ChangeKind, Origin};
use crate::engine::store::Store;

/// What happened between two looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    Sessions(HashSet<SessionId>),
    /// The change log does not reach back so far.
    Anything,
}

/// A place in the change log.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    seq: u64,
    /// Nobody's own: every change is news.
    origin: Origin,
}

impl Store {
    /// From now on.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn watch(&self) -> Result<Watch> {
        Ok(Watch { seq: self.catalog.last_change().await?, origin: Origin(MountId(Ulid::new())) })
    }

    /// Waits up to `wait` for the next changes, by whomever they were made, and says which sessions they are in. The
    /// answer may be empty: the time is over, or what changed is gone again.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn changed(&self, watch: &mut Watch, wait: Duration) -> Result<Changed> {
        let changes = match self.catalog.changes(watch.seq, watch.origin, wait).await {
            Ok(changes) => changes,
            Err(e) if e.kind == Kind::NotFound => {
                watch.seq = self.catalog.last_change().await?;
                return Ok(Changed::Anything);
            }
            Err(e) => return Err(e),
        };
        let mut sessions = HashSet::new();
        let mut inodes: HashSet<Ino> = HashSet::new();
        for change in changes {
            watch.seq = watch.seq.max(change.seq);
            match change.kind {
                ChangeKind::Sealed { session } => {
                    sessions.insert(session);
                }
                ChangeKind::Entry { parent: ino, .. } | ChangeKind::Inode { ino } => {
                    inodes.insert(ino);
                }
            }
        }
        let now = self.clock.now();
        for ino in inodes {
            // One that is gone meanwhile had its directory change too.
            if let Some(node) = self.catalog.node(ino, now).await?
                && node.session != SessionId::NONE
            {
                sessions.insert(node.session);
            }
        }
        Ok(Changed::Sessions(sessions))
    }
}
