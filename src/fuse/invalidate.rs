//! Pushing changes from elsewhere (other mounts, the CLI, HTTP) into the kernel's caches.
//!
//! A notification may wait for an inode lock that a process holds while it waits for us: so they are sent from a thread
//! of their own, never from one that answers requests.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fuser::Notifier;

use crate::artifact::Kind;
use crate::catalog::ChangeKind;
use crate::engine::supervise;
use crate::engine::volume::Volume;

use super::convert::to_kernel;
use super::expiry;

const WAIT: Duration = Duration::from_secs(30);
const AFTER_ERROR: Duration = Duration::from_millis(200);

/// What to drop, and who waits for it.
pub(super) type Forget = (ChangeKind, Option<tokio::sync::oneshot::Sender<()>>);

/// Follows the catalog's change log until it is aborted.
pub fn spawn(volume: Arc<Volume>, notifier: Notifier) -> tokio::task::JoinHandle<()> {
    let (tx, rx) = std::sync::mpsc::channel::<Forget>();
    let root = volume.root;
    std::thread::Builder::new()
        .name(String::from("outputfs-inval"))
        .spawn(move || {
            for (change, waiting) in rx {
                supervise::guarded("telling the kernel of a change", || push(&notifier, root, &change));
                // Who waited may have given up: the cache is right all the same.
                waiting.map_or(Ok(()), |w| w.send(())).unwrap_or_default();
            }
        })
        .map_or_else(
            |e| tracing::error!(error = %e, "no thread for cache invalidation: other mounts' changes show late"),
            |_| (),
        );
    let (expiring, asked) = (tx.clone(), tx.clone());
    volume.kernel.on_stale_name(Box::new(move |change| {
        let (done, waiting) = tokio::sync::oneshot::channel();
        // Without the thread nobody answers, and the sender is gone at once.
        asked.send((change, Some(done))).unwrap_or_default();
        waiting
    }));
    supervise::spawn("following others' changes", move || {
        let (volume, expiring, tx) = (volume.clone(), expiring.clone(), tx.clone());
        async move {
            let ends = expiry::follow(&volume, expiring);
            tokio::select! {
                () = ends => {}
                () = follow_changes(&volume, tx) => {}
            }
        }
    })
}

async fn follow_changes(volume: &Arc<Volume>, tx: std::sync::mpsc::Sender<Forget>) {
    let root = volume.root;
    let catalog = volume.store.catalog.clone();
    let mut seq = None;
    loop {
        let Some(from) = seq else {
            match catalog.last_change().await {
                Ok(last) => {
                    volume.store.note_heard(last);
                    seq = Some(last);
                }
                Err(e) => {
                    tracing::warn!(error = %e, "the change log cannot be read");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            }
            continue;
        };
        match catalog
            .changes(from, volume.store.origin, WAIT)
            .await
            .and_then(|changes| volume.changes_heard().map(|()| changes))
        {
            Ok(changes) => {
                for change in changes {
                    seq = Some(change.seq);
                    volume.heard(&change.kind);
                    let sealed = matches!(change.kind, ChangeKind::Sealed { .. });
                    let mut told = None;
                    for kind in expand(volume, change.kind).await {
                        let (done, waiting) = tokio::sync::oneshot::channel();
                        if tx.send((kind, sealed.then_some(done))).is_err() {
                            return;
                        }
                        told = sealed.then_some(waiting);
                    }
                    if sealed {
                        tokio::spawn(note_heard(volume.clone(), change.seq, told));
                    }
                }
            }
            Err(e) if e.kind == Kind::NotFound => {
                // We were away longer than the log reaches: everything may be stale, the root above all.
                if tx.send((ChangeKind::Inode { ino: root }, None)).is_err() {
                    return;
                }
                seq = None;
            }
            Err(e) => {
                tracing::warn!(error = %e, "the change log cannot be read");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

/// Tells who sealed, once the kernel knows: the thread goes through what it was sent in order.
async fn note_heard(volume: Arc<Volume>, seq: u64, told: Option<tokio::sync::oneshot::Receiver<()>>) {
    if let Some(told) = told
        && told.await.is_err()
    {
        return tracing::debug!("the kernel is not told any more: the mount ends");
    }
    volume.store.note_heard(seq);
}

/// What else the kernel has to drop for a change.
async fn expand(volume: &Volume, change: ChangeKind) -> Vec<ChangeKind> {
    match change {
        ChangeKind::Sealed { session } => match volume.inodes_of(session).await {
            Ok(inodes) => inodes.into_iter().map(|ino| ChangeKind::Inode { ino }).collect(),
            Err(e) => {
                // The kernel learns it when its copies expire; every write fails at the catalog meanwhile.
                tracing::warn!(error = %e, "cached modes of a sealed session stay for a minute");
                Vec::new()
            }
        },
        // With the writeback cache the kernel trusts its own size of a file: only a name looked up anew gives it another.
        ChangeKind::Inode { ino } if !volume.kernel.passthrough.load(Ordering::Relaxed) => {
            let mut all = vec![change];
            if let Ok(places) = volume.store.catalog.places(ino).await {
                all.extend(places.into_iter().map(|(parent, name)| ChangeKind::Entry { parent, name }));
            }
            all
        }
        other => vec![other],
    }
}

fn push(notifier: &Notifier, root: crate::artifact::ids::Ino, change: &ChangeKind) {
    let result = match change {
        ChangeKind::Entry { parent, name } => notifier
            .inval_entry(to_kernel(*parent, root), std::ffi::OsStr::from_bytes(name.as_bytes()))
            .and_then(|()| notifier.inval_inode(to_kernel(*parent, root), 0, 0)),
        ChangeKind::Inode { ino } => notifier.inval_inode(to_kernel(*ino, root), 0, 0),
        // Attributes alone: the bytes are what they were.
        ChangeKind::Sealed { .. } => Ok(()),
    };
    if let Err(e) = result {
        // Not cached, or the mount is going away: either way nothing stale is left.
        tracing::debug!(error = %e, ?change, "cache invalidation");
    }
}
