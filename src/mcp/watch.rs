//! Subscriptions: one task looks at the change log for all connections, while any of them wants to know.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::artifact::ids::SessionId;
use crate::engine::store::Store;
use crate::engine::supervise;
use crate::engine::watch::Changed;

/// The longest that one look waits; also how long the task outlives its last listener.
const WAIT: Duration = Duration::from_secs(2);
/// After a catalog that cannot be asked.
const PAUSE: Duration = Duration::from_secs(1);
/// Batches that a slow connection may be behind; one further behind is told that anything may have changed.
const BEHIND: usize = 256;
/// Sessions that one connection subscribes to.
pub const SUBSCRIPTIONS_MAX: usize = 1000;

/// Tells which sessions changed.
pub struct Watcher {
    store: Arc<Store>,
    sender: broadcast::Sender<Changed>,
    running: Arc<Mutex<bool>>,
}

impl Watcher {
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, sender: broadcast::Sender::new(BEHIND), running: Arc::default() }
    }

    /// What changes from now on.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn listen(&self) -> crate::artifact::Result<broadcast::Receiver<Changed>> {
        let receiver = self.sender.subscribe();
        // Where to begin is read before anybody is told that the subscription stands.
        let mut watch = self.store.watch().await?;
        {
            let mut running = self.running.lock();
            if *running {
                return Ok(receiver);
            }
            *running = true;
        }
        let (store, sender, running) = (Arc::clone(&self.store), self.sender.clone(), Arc::clone(&self.running));
        supervise::spawn("following changes for subscribers", move || {
            let (store, sender, running) = (Arc::clone(&store), sender.clone(), Arc::clone(&running));
            async move {
                loop {
                    match store.changed(&mut watch, WAIT).await {
                        Ok(Changed::Sessions(sessions)) if sessions.is_empty() => {}
                        // Nobody listening is no failure: the look below ends the task.
                        Ok(changed) => drop(sender.send(changed)),
                        Err(e) => {
                            tracing::warn!("subscribers hear nothing at the moment: {e}");
                            tokio::time::sleep(PAUSE).await;
                        }
                    }
                    // Under the lock: whoever comes now either is counted or starts the next task.
                    let mut running = running.lock();
                    if sender.receiver_count() == 0 {
                        *running = false;
                        return;
                    }
                }
            }
        });
        Ok(receiver)
    }
}

/// What one connection of the older protocol subscribed to; its task ends with the connection.
#[derive(Default)]
pub struct Subscriptions {
    pub uris: Mutex<HashSet<(SessionId, String)>>,
    pub task: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

/// The URIs among `wanted` that `changed` is about.
#[must_use]
pub fn concerned(wanted: &HashSet<(SessionId, String)>, changed: &Changed) -> Vec<String> {
    let hit = |id: &SessionId| match changed {
        Changed::Anything => true,
        Changed::Sessions(sessions) => sessions.contains(id),
    };
    let mut uris: Vec<String> = wanted.iter().filter(|(id, _)| hit(id)).map(|(_, uri)| uri.clone()).collect();
    uris.sort();
    uris
}

/// The next news; none: the watcher is gone.
pub async fn next(receiver: &mut broadcast::Receiver<Changed>) -> Option<Changed> {
    match receiver.recv().await {
        Ok(changed) => Some(changed),
        Err(broadcast::error::RecvError::Lagged(_)) => Some(Changed::Anything),
        Err(broadcast::error::RecvError::Closed) => None,
    }
}
