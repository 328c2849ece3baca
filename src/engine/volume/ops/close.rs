//! Closing: FLUSH, fsync, RELEASE, and what becomes of the staging file afterwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::artifact::ids::Ino;
use crate::artifact::openfile::{Bytes, Leaving, Part, Released, Why};
use crate::artifact::{Error, Kind, Result};
use crate::catalog::ChangeKind;
use crate::engine::options::Durability;
use crate::metrics;
use crate::metrics::moved::{self, Clock};
use crate::staging::file::Freeze;
use crate::staging::journal::Record;

use crate::engine::volume::Volume;
use crate::engine::volume::handles::Handle;
use crate::engine::volume::inode::Given;
use crate::engine::volume::inode::OpenInode;
use crate::engine::volume::inode::Saving;
use crate::engine::volume::inode::Staged;
use crate::engine::volume::kernel::process::is_in_msync;
use crate::engine::volume::save::blocking;

/// How often a mapping that outlived its `close` is looked at again: the kernel tells nobody when it goes.
const LINGER: Duration = Duration::from_millis(50);

/// Counted as long as it is held: whatever ends the work, who waits for it hears of the end.
struct Finishing(Arc<Volume>);

impl Finishing {
    fn begin(volume: &Arc<Volume>) -> Self {
        volume.saves.busy.send_modify(|n| *n += 1);
        Self(Arc::clone(volume))
    }
}

impl Drop for Finishing {
    fn drop(&mut self) {
        self.0.saves.busy.send_modify(|n| *n -= 1);
    }
}

impl Volume {
    /// `close()` of one descriptor. Everything unsaved is committed before it returns, whoever closes.
    ///
    /// # Errors
    /// What [`Volume::save`] says; then the bytes are kept.
    pub async fn flush(self: &Arc<Self>, fh: u64) -> Result<()> {
        match &*self.handles.get(fh)? {
            Handle::File { live, write: true, .. } => {
                let started = Instant::now();
                let why = Why::Flush(fh);
                let saved = self.save(live, why).await.and_then(|()| self.acknowledge(live, why));
                metrics::get().closed(started.elapsed(), saved.is_ok());
                if saved.is_ok() {
                    live.settle_charge();
                }
                saved
            }
            _ => Ok(()),
        }
    }

    /// `fsync()`: committed, and in the store whatever `--durability` says.
    ///
    /// # Errors
    /// As [`Volume::flush`].
    pub async fn fsync(self: &Arc<Self>, fh: u64) -> Result<()> {
        let handle = self.handles.get(fh)?;
        let Handle::File { live, write, .. } = &*handle else { return Ok(()) };
        self.save(live, Why::Fsync(fh)).await?;
        if *write {
            self.acknowledge(live, Why::Fsync(fh))?;
        }
        live.settle_charge();
        if let Some(file) = live.scratch_file() {
            return blocking(move || file.sync()).await;
        }
        if self.store.options.durability == Durability::Fsync {
            // The commits of closes, this one's and all before it, reach the disk.
            self.store.catalog.sync().await?;
        }
        if self.store.blobs.is_local() {
            // On local disk already: that is the store.
            return Ok(());
        }
        match live.saved_hash() {
            Some(hash) => self.store_now(hash).await,
            None => Ok(()),
        }
    }

    /// What the kernel asks of thread `tid` for fsync(2) and, with `datasync`, for fdatasync(2) and msync(2).
    ///
    /// # Errors
    /// As [`Volume::fsync`].
    pub async fn sync(self: &Arc<Self>, fh: u64, datasync: bool, tid: u32) -> Result<()> {
        if datasync && is_in_msync(tid).await { self.msync(fh).await } else { self.fsync(fh).await }
    }

    /// `msync()`: what a mapping stored is in the staging file by now, as what was written is, and goes to the disk. It is no version: a
    /// database calls it many times a second, and with passthrough the daemon never hears of it.
    ///
    /// # Errors
    /// Of the disk.
    async fn msync(&self, fh: u64) -> Result<()> {
        let Handle::File { live, .. } = &*self.handles.get(fh)? else { return Ok(()) };
        let Some(file) = live.staged_file() else { return Ok(()) };
        blocking(move || file.sync()).await
    }

    /// How long a caller waits while nothing moves for it. (The save itself goes on.)
    pub fn save_deadline(&self) -> Duration {
        self.store.options.upload_timeout + Duration::from_secs(5)
    }

    /// The last descriptor of an open file description is gone. Never fails: nobody would hear it.
    pub fn release(self: &Arc<Self>, fh: u64) {
        let Some(live) = self.dismiss(fh) else { return };
        self.released(&live, fh);
        // Whoever waits for the release looks again.
        self.saves.busy.send_modify(|_| {});
    }

    fn released(self: &Arc<Self>, live: &Arc<OpenInode>, fh: u64) {
        if self.scratch_released(live) {
            return;
        }
        match live.released() {
            Released::Nothing => return,
            Released::Retire => return self.inodes.retire(live),
            Released::Finish => {}
        }
        let (finishing, live) = (Finishing::begin(self), live.clone());
        let clock = Clock::new(self.store.options.upload_timeout);
        tokio::spawn(moved::scope(clock, async move { finishing.0.finish(&live, fh).await }));
    }

    /// Does for a file that nobody has open what its last release would.
    pub(in crate::engine::volume) fn finish_later(self: &Arc<Self>, live: Arc<OpenInode>) {
        live.linger(true);
        let finishing = Finishing::begin(self);
        let clock = Clock::new(self.store.options.upload_timeout);
        tokio::spawn(moved::scope(clock, async move { finishing.0.finish(&live, 0).await }));
    }

    /// Takes a handle out of the counts.
    pub(in crate::engine::volume) fn dismiss(&self, fh: u64) -> Option<Arc<OpenInode>> {
        let handle = self.handles.remove(fh)?;
        let Handle::File { live, write, .. } = &*handle else { return None };
        live.count_out(*write);
        Some(live.clone())
    }

    async fn finish(self: &Arc<Self>, live: &Arc<OpenInode>, fh: u64) {
        let mut delay = Duration::from_millis(100);
        let mut why = Why::Release(fh);
        loop {
            // Held from the refusal to the parting: who opens it in between would write to what is thrown away.
            let mut saving = live.saving().await;
            let parted = match self.save_holding(&mut saving, why).await {
                Ok(()) => self.part(&mut saving, false).await,
                Err(e) if !final_refusal(e.kind) => {
                    drop(saving);
                    // In doubt forever: until the store answers, the volume closes, or a writer comes back.
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(Duration::from_secs(30));
                    continue;
                }
                Err(e) => {
                    // Sealed, over quota, its directory gone: it can never be saved under this name.
                    tracing::warn!(ino = %live.ino, error = %e, "closed file is not kept");
                    self.discard(&mut saving, e).await
                }
            };
            drop(saving);
            match parted {
                Ok(Parted::Done) => break,
                Ok(Parted::Reopened) => {
                    live.linger(false);
                    break;
                }
                Ok(Parted::Changed) => {}
                Ok(Parted::Mapped) => {
                    tokio::time::sleep(LINGER).await;
                    why = Why::Linger;
                }
                Err(e) => {
                    tracing::error!(ino = %live.ino, error = %e, "staging file could not be put away");
                    break;
                }
            }
        }
        self.inodes.retire(live);
    }

    /// What was written last is not to be saved. A file that the catalog has is shown as it is there; one that never got there
    /// vanishes from this mount, and with it its name.
    async fn discard(self: &Arc<Self>, saving: &mut Saving<'_>, why: Error) -> Result<Parted> {
        let live = saving.inode();
        let pending = {
            // Name and record go at one moment: who finds the one finds the other.
            let mut overlay = self.inodes.overlay.lock();
            match live.give_up(why) {
                Given::Reopened => return Ok(Parted::Reopened),
                Given::Up => None,
                Given::UpWith(place) => {
                    overlay.remove(place.parent, &place.name, live.ino);
                    Some(place)
                }
            }
        };
        let parted = self.part(saving, true).await?;
        match pending {
            Some(p) => self.kernel.drop_name(p.parent, p.name).await,
            None => self.show_again(live.ino).await,
        }
        Ok(parted)
    }

    /// The kernel shows what was never kept: its pages, its size. Where it collects writes it trusts its own size of a file until all
    /// names of it are looked up anew.
    async fn show_again(&self, ino: Ino) {
        self.forget_cached(ino);
        let mut changes = vec![ChangeKind::Inode { ino }];
        match self.store.catalog.places(ino).await {
            // Twice: who looks at one name while another is dropped keeps the inode.
            Ok(places) => changes.extend(
                places
                    .iter()
                    .chain(&places)
                    .map(|(parent, name)| ChangeKind::Entry { parent: *parent, name: name.clone() }),
            ),
            Err(e) => tracing::warn!(%ino, error = %e, "a refused file's size may stay in the kernel's caches"),
        }
        self.kernel.drop_cached(changes).await;
    }

    /// Parts from the staging file when nobody can change it any more. `discarded`: what it holds and was not saved is refused.
    async fn part(self: &Arc<Self>, saving: &mut Saving<'_>, discarded: bool) -> Result<Parted> {
        let live = saving.inode();
        let Some((staged, orphan)) = live.take_staged(discarded) else { return Ok(Parted::Reopened) };
        let kept = staged.and_then(|staged| if discarded { Some(staged) } else { self.keep_warm(live, staged) });
        let Some(mut staged) = kept else {
            live.linger(false);
            return Ok(Parted::Done);
        };
        let mut leaving = self.leaving(live, &staged, orphan)?;
        if leaving.decide() == Part::Freeze {
            staged = self.freeze(staged).await?;
            if staged.mappable {
                live.put_back(staged);
                return Ok(Parted::Mapped);
            }
            leaving = self.leaving(live, &staged, orphan)?;
        }
        let part = leaving.decide();
        if part == Part::Save {
            // Changed (a truncate by path) since the save that led here.
            live.put_back(staged);
            return Ok(Parted::Changed);
        }
        let sparse = staged.grown.as_ref().is_some_and(crate::engine::volume::save::append::Grown::is_sparse);
        let saved = staged.saved.clone();
        let name = staged.file.name.clone();
        let path = staged.file.path.clone();
        let stamp = staged.file.stamp()?;
        drop(staged);
        if part == Part::Settle {
            if saved.as_ref().is_some_and(|s| s.stamp == stamp && !s.doubtful) {
                self.staging.parted.lock().insert(name);
            }
            // The settler moves it into the store, removes it, and says so: until then the journal keeps its story.
            live.linger(false);
            self.saves.settle.notify_one();
            return Ok(Parted::Done);
        }
        let cached = match &saved {
            Some(s) if !self.store.blobs.is_local() && s.artifact.is_some() && !orphan && !sparse => {
                self.keep_in_cache(s.hash, &path)
            }
            _ => false,
        };
        if !cached
            && let Err(e) = std::fs::remove_file(&path)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            return Err(Error::io(&path, &e));
        }
        self.staging.journal.append(&Record::Done { file: name })?;
        live.linger(false);
        Ok(Parted::Done)
    }

    fn leaving(&self, live: &OpenInode, staged: &Staged, orphan: bool) -> Result<Leaving> {
        let stamp = staged.file.stamp()?;
        let same = staged.saved.as_ref().is_some_and(|s| s.stamp == stamp && s.writes == live.writes());
        Ok(Leaving {
            orphan,
            mappable: staged.mappable,
            bytes: if same { Bytes::Saved } else { Bytes::Unsaved },
            provisional: staged.saved.as_ref().is_some_and(|s| s.provisional),
        })
    }

    /// Proves that no mapping is left and that none changed the bytes; still `mappable`: one lives on, or did.
    async fn freeze(&self, mut staged: Staged) -> Result<Staged> {
        match staged.file.freeze()? {
            Freeze::InUse(file) => staged.file = file,
            Freeze::Frozen { path, .. } => {
                // A mapping may have changed bytes without a trace in the stamp: look once more.
                let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                staged.file = crate::staging::file::StagingFile::open(&self.staging.path, &name)?;
                staged.mappable = self.changed_unseen(&staged).await?;
            }
        }
        Ok(staged)
    }

    /// Does the frozen file differ from what was committed, whatever its stamp says?
    async fn changed_unseen(&self, staged: &Staged) -> Result<bool> {
        let Some(saved) = &staged.saved else { return Ok(staged.file.stamp()?.size > 0) };
        let (file, size, hash) = (staged.file.clone(), saved.size, saved.hash);
        if file.stamp()?.size != size {
            return Ok(true);
        }
        blocking(move || {
            crate::staging::hash::hash_file(&file.file, &file.path, size).map(|digest| digest.hash != hash)
        })
        .await
    }

    /// An unlinked file's staging goes with its last handle.
    pub(in crate::engine::volume) fn drop_staging_if_closed(&self, live: &Arc<OpenInode>) {
        let staged = live.take_if_closed();
        let provisional = staged.as_ref().and_then(|s| s.saved.as_ref()).is_some_and(|s| s.provisional);
        if provisional {
            // The trash needs its bytes: the settler takes the file.
            self.saves.settle.notify_one();
        } else if let Some(staged) = staged {
            let name = staged.file.name.clone();
            if let Err(e) = std::fs::remove_file(&staged.file.path) {
                tracing::warn!(file = %staged.file.path.display(), error = %e, "staging file left behind");
            }
            if let Err(e) = self.staging.journal.append(&Record::Done { file: name }) {
                tracing::warn!(error = %e, "the journal could not be written");
            }
        }
        self.inodes.retire(live);
    }

    /// Removes staging files whose bytes nothing needs any more: a later version replaced the one they held.
    pub(in crate::engine::volume) fn put_away(&self, files: &[String]) {
        // Somebody goes on writing into it.
        for file in files.iter().filter(|f| !self.in_use(f)) {
            self.staging.parted.lock().remove(file);
            let path = self.staging.path.join(file);
            match crate::engine::settle::remove_staging(&path) {
                Ok(()) => {
                    if let Err(e) = self.staging.journal.append(&Record::Done { file: file.clone() }) {
                        tracing::warn!(error = %e, "the journal could not be written");
                    }
                }
                Err(e) => tracing::warn!(error = %e, "a staging file that nothing needs is left behind"),
            }
        }
    }

    /// Staging files that must not be moved: their inode is live here.
    pub fn in_use(&self, file: &str) -> bool {
        let Some(ino) = file.split('-').next().and_then(|n| n.parse().ok()).map(Ino) else { return false };
        if self.is_warm(file, ino) {
            return true;
        }
        self.inodes.get(ino).is_some_and(|l| l.is_staged_in(file))
    }
}

/// No later attempt can succeed: its session is sealed, its limits are reached, its directory is gone.
pub(in crate::engine::volume) fn final_refusal(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Sealed
            | Kind::OverQuota
            | Kind::FileTooLarge
            | Kind::MetadataTooLarge
            | Kind::Exists
            | Kind::NotFound
            | Kind::NotADirectory
            | Kind::IsADirectory
            | Kind::Reserved
            | Kind::CrossSession
            | Kind::Invalid
    )
}

enum Parted {
    Done,
    /// A new open came: its release will come back here.
    Reopened,
    /// A mapping lives on, or changed the bytes.
    Mapped,
    /// It holds something that is not saved.
    Changed,
}
