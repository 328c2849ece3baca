//! The settler: moves bytes that were committed on local disk (inline or provisional) into the store.
//!
//! A staging file that nobody can change any more becomes the blob (a rename in a local store); one that is in use is
//! copied, with proof, and only when someone waits for it. The order is always: bytes in the store, the catalog says so, the staging file goes.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::artifact::ids::{BlobHash, MountId, SessionId};
use crate::artifact::record::BlobPlace;
use crate::artifact::{Error, Kind, Result};
use crate::blob::Body;
use crate::catalog::{PendingCount, Unsettled};
use crate::engine::failpoints::hit;
use crate::engine::progress::{Progress, Step};
use crate::engine::store::{Store, blocking};
use crate::engine::store_state::STAGED_PREFIX;
pub use crate::engine::store_state::{Claim, StagingInUse};
use crate::engine::supervise;
use crate::staging::file::{Freeze, StagingFile};
use crate::staging::hash::{Digest, hash_bytes, hash_file};

/// Blobs of one round.
pub(crate) const BATCH: u32 = 1024;

/// Blobs moved at one time.
const WIDTH: usize = 8;

/// How long the bytes of a blob must have been wrong before they are given up.
const LOST_AFTER: Duration = Duration::from_secs(20);
/// Pauses of the background task: the first after a failure, the longest, and how long it sleeps when nothing calls it.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(5);

/// How long one pass lets the recovery of an owner that has died meanwhile take.
const RECOVERY: Duration = Duration::from_secs(30);

/// How long the task lets small commits gather, so that a burst of them is one round.
const GATHER: Duration = Duration::from_millis(200);

/// Which bytes to settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What this process staged, and every inline blob.
    Own,
    /// All that the session still needs, of every mount on this host; files in use are copied.
    Session(SessionId),
}

/// The background task of [`Store::spawn_settler`]. Dropping it ends the task too.
pub struct Settler {
    store: Arc<Store>,
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Settler {
    /// There is new work: do not sleep on. ([`Store::ingest`] does this by itself.)
    pub fn wake(&self) {
        self.store.inner.wake.notify_one();
    }

    /// Ends the task after the blobs in hand.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take()
            && let Err(e) = task.await
        {
            tracing::error!(error = %e, "the settler broke down");
        }
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Whose staging files a round works on.
pub(crate) struct Owner<'a> {
    pub mount: MountId,
    /// Asked about own files; none: nobody else knows them.
    pub in_use: Option<&'a Arc<dyn StagingInUse>>,
    /// Another, living process's mount: its files are only ever copied.
    pub foreign: bool,
    /// Copy files in use.
    pub force: bool,
}

/// What became of one blob.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// In the store, and no longer anywhere else.
    Moved,
    /// In the store; the staging file is still there, for whoever uses it.
    Copied,
    Waits,
}

impl Store {
    /// Tells the settler whom to ask about staging files. Once, by the volume; a second call is ignored.
    pub fn set_staging_in_use(&self, registry: Arc<dyn StagingInUse>) {
        if self.inner.in_use.set(registry).is_err() {
            tracing::error!("a second volume on one store: its staging files are not known to the settler");
        }
    }

    /// One round over at most one batch: what can be moved is moved. Answers what it moved. Files in use are left
    /// alone, or with `force` copied (with proof) and left in place.
    ///
    /// # Errors
    /// The first failure; what was moved beside it stays moved.
    pub async fn settle_round(&self, force: bool) -> Result<PendingCount> {
        self.round(force, &Progress::none()).await
    }

    async fn round(&self, force: bool, progress: &Progress) -> Result<PendingCount> {
        let _one_at_a_time = self.inner.settling.lock().await;
        let mut work = self.catalog.unsettled(None, BATCH).await?;
        if self.mount_dir.is_some() {
            work.extend(self.catalog.unsettled(Some(self.origin.0), BATCH).await?);
        }
        let owner = Owner { mount: self.origin.0, in_use: self.inner.in_use.get(), foreign: false, force };
        self.settle_each(work, &owner, progress).await
    }

    /// Settles what another, living mount of this host has staged, by copying it.
    async fn round_of(&self, mount: MountId, progress: &Progress) -> Result<PendingCount> {
        let _one_at_a_time = self.inner.settling.lock().await;
        let work = self.catalog.unsettled(Some(mount), BATCH).await?;
        let owner = Owner { mount, in_use: None, foreign: true, force: true };
        self.settle_each(work, &owner, progress).await
    }

    pub(crate) async fn settle_each(
        &self,
        work: Vec<Unsettled>,
        owner: &Owner<'_>,
        progress: &Progress,
    ) -> Result<PendingCount> {
        let mut moved = PendingCount::default();
        let mut failed = None;
        let mut twice = Vec::new();
        let mut seen: HashSet<BlobHash> = HashSet::new();
        let mut once = Vec::new();
        for unsettled in work {
            // Other tenants' blobs go under other keys: their own processes know which.
            if unsettled.tenant != self.tenant.id {
                continue;
            }
            if seen.insert(unsettled.hash) { once.push(unsettled) } else { twice.push(unsettled) }
        }
        let results = stream::iter(by_file(once)).map(|group| async move {
            let mut fates = Vec::with_capacity(group.len());
            for unsettled in group {
                let fate = self.settle_one(&unsettled, owner).await;
                // The file must stay while a version in it can still be stored.
                let stop = match &fate {
                    Ok(fate) => *fate == Fate::Waits,
                    Err(e) => e.kind != Kind::Corrupt,
                };
                fates.push((unsettled, fate));
                if stop {
                    break;
                }
            }
            fates
        });
        let mut results = results.buffer_unordered(WIDTH).map(stream::iter).flatten();
        let mut step = Step::default();
        let mut done: HashSet<BlobHash> = HashSet::new();
        while let Some((unsettled, fate)) = results.next().await {
            match fate {
                Ok(Fate::Moved | Fate::Copied) => {
                    moved.artifacts += 1;
                    moved.bytes += unsettled.size;
                    done.insert(unsettled.hash);
                    step.items += 1;
                    step.done += unsettled.size;
                    progress.tell(&step);
                }
                Ok(Fate::Waits) => {}
                Err(e) if e.kind == Kind::Corrupt && !owner.foreign && self.doubted_for_long(unsettled.hash) => {
                    // No later round will find them: waiting for it would keep every drain from its end. Reading says EIO and
                    // `check` names it.
                    tracing::error!(blob = %unsettled.hash, error = %e, "the bytes of a blob are lost");
                    self.catalog.settled(unsettled.tenant, unsettled.hash).await?;
                }
                Err(e) => {
                    tracing::warn!(blob = %unsettled.hash, error = %e, "a blob could not be settled");
                    failed.get_or_insert(e);
                }
            }
        }
        // The same bytes in a second staging file: the store has them now.
        for unsettled in twice.into_iter().filter(|u| done.contains(&u.hash)) {
            self.drop_copy(&unsettled, owner).await?;
        }
        failed.map_or(Ok(moved), Err)
    }

    /// A staging file may be short of its bytes for a moment, while it is being filled or handed over. Not for this long.
    fn doubted_for_long(&self, hash: BlobHash) -> bool {
        let mut doubted = self.inner.doubted.lock();
        let since = doubted.entry(hash).or_insert_with(Instant::now);
        let long = since.elapsed() >= LOST_AFTER;
        if long {
            doubted.remove(&hash);
        }
        long
    }

    async fn settle_one(&self, unsettled: &Unsettled, owner: &Owner<'_>) -> Result<Fate> {
        match &unsettled.place {
            BlobPlace::Stored => Ok(Fate::Moved),
            BlobPlace::Inline(bytes) => {
                // The copy of the map's answer ends the lock before anything is awaited.
                let beside = self.inner.beside.lock().get(&unsettled.hash).copied();
                match beside {
                    Some(true) => {
                        self.mark_settled(unsettled).await?;
                        self.inner.beside.lock().remove(&unsettled.hash);
                        return Ok(Fate::Moved);
                    }
                    // On its way: whoever sends it says when it has arrived.
                    Some(false) => return Ok(Fate::Waits),
                    None => {}
                }
                let digest = hash_bytes(bytes);
                if digest.hash != unsettled.hash {
                    let text = format!("blob {}: its bytes in the catalog are damaged", unsettled.hash);
                    return Err(Error::new(Kind::Corrupt, text));
                }
                let body = Body::Bytes { bytes: bytes.clone(), hash: unsettled.hash };
                self.settle_put(unsettled, body).await.map(|()| Fate::Moved)
            }
            BlobPlace::Provisional { file, .. } => self.settle_file(unsettled, file, owner).await,
        }
    }

    async fn settle_file(&self, unsettled: &Unsettled, file: &str, owner: &Owner<'_>) -> Result<Fate> {
        let path = self.state.staging_path(owner.mount, file);
        let claim = match owner.in_use {
            _ if owner.foreign => Claim::InUse,
            _ if file.starts_with(STAGED_PREFIX) => Claim::Unchanged,
            Some(volume) => volume.claim(file),
            None => Claim::Free,
        };
        if claim == Claim::InUse {
            if !owner.force {
                return Ok(Fate::Waits);
            }
            return match self.settle_copy(unsettled, &path).await {
                Ok(()) => Ok(Fate::Copied),
                // Written to since, or settled by its owner meanwhile: a later round sees what became of it.
                Err(e) if matches!(e.kind, Kind::Corrupt | Kind::NotFound) => Ok(Fate::Waits),
                Err(e) => Err(e),
            };
        }
        let result = self.settle_move(unsettled, &path, claim == Claim::Unchanged, owner.force).await;
        let gone = matches!(result, Ok(Fate::Moved));
        if let Some(volume) = owner.in_use.filter(|_| !file.starts_with(STAGED_PREFIX)) {
            volume.released(file, gone);
        }
        result
    }

    /// The staging file itself becomes the blob, if nobody can write it any more.
    async fn settle_move(&self, unsettled: &Unsettled, path: &Path, proven: bool, force: bool) -> Result<Fate> {
        let (size, hash, at) = (unsettled.size, unsettled.hash, path.to_owned());
        let frozen = blocking(move || freeze(&at, size, hash, proven)).await?;
        match frozen {
            Frozen::Whole => {
                hit("settle::before_adopt")?;
                let key = self.blob_key(hash);
                self.hand_over(&key, path, size, hash, &unsettled.chunks).await?;
                self.mark_settled(unsettled).await?;
            }
            // Longer than what was committed: the rest is someone's unsaved work.
            Frozen::Prefix => return self.settle_copy(unsettled, path).await.map(|()| Fate::Copied),
            Frozen::InUse if force => return self.settle_copy(unsettled, path).await.map(|()| Fate::Copied),
            Frozen::Missing => {
                // Killed between the two steps of an earlier settling.
                let key = self.blob_key(hash);
                if self.blobs.head(&key).await? != Some(size) {
                    let text = format!("blob {hash}: staging file {} is gone", path.display());
                    return Err(Error::new(Kind::Corrupt, text));
                }
                self.mark_settled(unsettled).await?;
            }
            Frozen::InUse => return Ok(Fate::Waits),
        }
        let (cache, at) = (Arc::clone(&self.cache), path.to_owned());
        let local = self.blobs.is_local();
        blocking(move || {
            // Nobody can write it and its bytes were proven: the next reader need not fetch them.
            if !local && at.exists() {
                match cache.insert_file(hash, &at) {
                    Ok(()) => return Ok(Fate::Moved),
                    Err(e) => tracing::warn!(error = %e, "an uploaded file could not be kept in the cache"),
                }
            }
            remove_staging(&at).map(|()| Fate::Moved)
        })
        .await
    }

    /// Puts the committed prefix of a file that may be written to meanwhile: the store checks what it is sent.
    async fn settle_copy(&self, unsettled: &Unsettled, path: &Path) -> Result<()> {
        let at = path.to_owned();
        let file = blocking(move || std::fs::File::open(&at).map_err(|e| Error::io(&at, &e))).await?;
        let body = Body::File {
            file: Arc::new(file),
            path: path.to_owned(),
            size: unsettled.size,
            hash: unsettled.hash,
            chunks: unsettled.chunks.clone(),
        };
        self.settle_put(unsettled, body).await
    }

    async fn settle_put(&self, unsettled: &Unsettled, body: Body) -> Result<()> {
        hit("settle::before_adopt")?;
        self.upload(&self.blob_key(unsettled.hash), unsettled.size, async { Ok(body) }).await?;
        self.mark_settled(unsettled).await
    }

    async fn mark_settled(&self, unsettled: &Unsettled) -> Result<()> {
        hit("settle::after_adopt")?;
        self.catalog.settled(unsettled.tenant, unsettled.hash).await?;
        hit("settle::after_mark")
    }

    /// Removes a staging file whose bytes the store has.
    async fn drop_copy(&self, unsettled: &Unsettled, owner: &Owner<'_>) -> Result<()> {
        let BlobPlace::Provisional { file, .. } = &unsettled.place else { return Ok(()) };
        let free = match owner.in_use {
            _ if owner.foreign => false,
            _ if file.starts_with(STAGED_PREFIX) => true,
            Some(volume) => volume.claim(file) == Claim::Unchanged,
            None => true,
        };
        if free {
            let path = self.state.staging_path(owner.mount, file);
            blocking(move || remove_staging(&path)).await?;
        }
        if let Some(volume) = owner.in_use.filter(|_| !file.starts_with(STAGED_PREFIX)) {
            volume.released(file, free);
        }
        Ok(())
    }

    /// Settles, by force, until nothing in `scope` is pending or `deadline` has passed; retries a failing store with
    /// backoff. Answers what is still pending: zero means done.
    ///
    /// # Errors
    /// Of the catalog. A failing store is no error here: it shows in the answer and in [`Store::last_store_error`].
    pub async fn settle_all(&self, scope: Scope, deadline: Duration, progress: &Progress) -> Result<PendingCount> {
        let end = Instant::now() + deadline;
        let mut pause = Duration::from_millis(5);
        loop {
            let left = self.pending_in(scope).await?;
            if left.artifacts == 0 || Instant::now() >= end {
                return Ok(left);
            }
            let pass = tokio::time::timeout_at(end, self.pass(scope, progress)).await;
            let moved = match pass {
                Ok(Ok(moved)) => moved,
                Ok(Err(e)) => {
                    tracing::warn!(error = %e, "settling will be tried again");
                    false
                }
                Err(_past) => return self.pending_in(scope).await,
            };
            if moved {
                pause = Duration::from_millis(5);
            } else {
                tokio::time::sleep_until((Instant::now() + pause).min(end)).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
    }

    /// One pass over everybody in the scope: whether anything moved.
    async fn pass(&self, scope: Scope, progress: &Progress) -> Result<bool> {
        let own = self.round(true, progress).await;
        let mut moved = own.as_ref().is_ok_and(|m| m.artifacts > 0);
        if let Scope::Session(_) = scope {
            let state = self.state.clone();
            for mount in blocking(move || state.mounts()).await?.into_iter().filter(|m| m.id != self.origin.0) {
                if mount.alive {
                    moved |= self.round_of(mount.id, progress).await?.artifacts > 0;
                } else {
                    // It died after this store was opened. Boxed: recovery settles too.
                    let recovery = Box::pin(self.recover(RECOVERY)).await?;
                    moved |= recovery.owners > 0 || recovery.settled > 0;
                }
            }
        }
        own.map(|_| moved)
    }

    async fn pending_in(&self, scope: Scope) -> Result<PendingCount> {
        match scope {
            Scope::Session(session) => self.catalog.unmoved(Some(session), None).await,
            Scope::Own => {
                let mut all = PendingCount::default();
                let inline = self.catalog.unsettled(None, BATCH).await?;
                for u in inline.iter().filter(|u| u.tenant == self.tenant.id) {
                    all.artifacts += 1;
                    all.bytes += u.size;
                }
                if self.mount_dir.is_some() {
                    let own = self.catalog.unmoved(None, Some(self.origin.0)).await?;
                    all.artifacts += own.artifacts;
                    all.bytes += own.bytes;
                }
                Ok(all)
            }
        }
    }

    /// Settles in the background, with backoff while the store fails; failures show in [`Store::status`].
    pub fn spawn_settler(self: &Arc<Self>) -> Settler {
        let stop = CancellationToken::new();
        let (store, ends) = (Arc::clone(self), stop.clone());
        let task = supervise::spawn("the settler", move || run(Arc::clone(&store), ends.clone()));
        Settler { store: Arc::clone(self), stop, task: Some(task) }
    }
}

async fn run(store: Arc<Store>, stop: CancellationToken) {
    let mut pause = BACKOFF_FIRST;
    loop {
        let result = store.settle_round(false).await;
        let wait = match &result {
            Ok(moved) if moved.artifacts > 0 => GATHER,
            Ok(_) => IDLE,
            Err(_) => pause,
        };
        pause = if result.is_ok() { BACKOFF_FIRST } else { (pause * 2).min(BACKOFF_MAX) };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            // New work is no reason to knock at a failing store again.
            () = store.inner.wake.notified(), if result.is_ok() => {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(GATHER) => {}
                }
            }
        }
    }
}

/// Versions that live in one staging file are prefixes of it: one after the other, the longest last, for it takes the file
/// away.
fn by_file(all: Vec<Unsettled>) -> Vec<Vec<Unsettled>> {
    let mut groups: Vec<Vec<Unsettled>> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for unsettled in all {
        let at = match &unsettled.place {
            BlobPlace::Provisional { file, .. } => *known.entry(file.clone()).or_insert(groups.len()),
            _ => groups.len(),
        };
        match groups.get_mut(at) {
            Some(group) => group.push(unsettled),
            None => groups.push(vec![unsettled]),
        }
    }
    for group in &mut groups {
        group.sort_by_key(|u| u.size);
    }
    groups
}

/// What a staging file is now.
enum Frozen {
    /// The blob, and nobody can write it any more.
    Whole,
    /// The blob and more.
    Prefix,
    InUse,
    Missing,
}

fn freeze(path: &Path, size: u64, hash: BlobHash, proven: bool) -> Result<Frozen> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Err(Error::internal(format!("{}: no staging file", path.display())));
    };
    let staging = match StagingFile::open(dir, name) {
        Ok(staging) => staging,
        Err(e) if e.kind == Kind::NotFound => return Ok(Frozen::Missing),
        Err(e) => return Err(e),
    };
    let Freeze::Frozen { path, file } = staging.freeze()? else { return Ok(Frozen::InUse) };
    let len = file.metadata().map_err(|e| Error::io(&path, &e))?.len();
    if !proven {
        let found: Digest = hash_file(&file, &path, size)?;
        if found.hash != hash {
            let text = format!("{}: no longer holds blob {hash}", path.display());
            return Err(Error::new(Kind::Corrupt, text));
        }
    }
    if len > size {
        return Ok(Frozen::Prefix);
    }
    file.sync_all().map_err(|e| Error::io(&path, &e))?;
    Ok(Frozen::Whole)
}

/// Gone already is as good: a local store took the file itself.
pub(crate) fn remove_staging(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path, &e)),
        _ => Ok(()),
    }
}
