//! What a volume does besides answering: draining, the settler's questions, changes from elsewhere, `df`.

use std::sync::Arc;
use std::time::Duration;

use crate::artifact::ids::{BlobHash, Ino, SessionId};
use crate::artifact::record::{BlobPlace, NodeKind};
use crate::artifact::{Error, Kind, Result};
use crate::blob::{BlobKey, Body};
use crate::catalog::ChangeKind;
use crate::engine::progress::Progress;
use crate::engine::settle::{Claim, Scope, StagingInUse};
use crate::engine::status::MountReport;
use crate::engine::supervise;

use crate::engine::volume::Volume;
use crate::engine::volume::kernel::STALE_NAME;

/// `statvfs(3)` of the volume, in units of `block_size` bytes.
#[derive(Clone, Copy, Debug)]
pub struct StatFs {
    pub blocks: u64,
    pub free: u64,
    pub files: u64,
    pub files_free: u64,
    pub block_size: u32,
}

const BLOCK: u64 = 4096;
/// How far ahead of a hash the writer must be before it is worth following.
const FOLLOW_FROM: u64 = 32 << 20;
/// Enough to see what is wrong; a store that is down for hours may leave thousands.
const UNSAVED_SHOWN: usize = 100;
const FOLLOW_EVERY: Duration = Duration::from_millis(100);

impl StagingInUse for Volume {
    fn claim(&self, file: &str) -> Claim {
        if self.in_use(file) {
            return Claim::InUse;
        }
        // A staging file that no live inode holds has been parted from: nobody can open it again, and it was looked
        // at then, after its last writer and mapping were gone.
        if self.staging.parted.lock().contains(file) { Claim::Unchanged } else { Claim::Free }
    }

    fn released(&self, file: &str, gone: bool) {
        if gone {
            self.staging.parted.lock().remove(file);
        }
        if gone
            && let Err(e) =
                self.staging.journal.append(&crate::staging::journal::Record::Done { file: file.to_owned() })
        {
            // Recovery finds no such file and is done with it.
            tracing::warn!(error = %e, "the journal could not be written");
        }
    }
}

impl Volume {
    /// Tasks that run as long as the mount.
    pub fn spawn_background(self: &Arc<Self>) -> Vec<tokio::task::JoinHandle<()>> {
        self.store.set_staging_in_use(self.clone());
        let (settling, following) = (self.clone(), self.clone());
        let settler = Arc::new(self.store.spawn_settler());
        let wakes = move || {
            let (settling, settler) = (settling.clone(), settler.clone());
            async move {
                loop {
                    settling.saves.settle.notified().await;
                    settler.wake();
                }
            }
        };
        let follows = move || {
            let following = following.clone();
            async move {
                loop {
                    tokio::time::sleep(FOLLOW_EVERY).await;
                    following.hidden.listings.drop_idle();
                    following.keep_room().await;
                    following.follow_writers().await;
                    following.part_from_writers().await;
                }
            }
        };
        vec![supervise::spawn("the settler's bell", wakes), supervise::spawn("hashing behind the writers", follows)]
    }

    /// What `status` shows of this mount.
    pub fn report(&self) -> MountReport {
        let mut report = MountReport { store_failure: self.store.last_store_error(), ..MountReport::default() };
        report.recovering = self.store.recovery().map(|r| r.left).unwrap_or_default();
        let live: Vec<_> = self.inodes.all();
        for live in live {
            let Some(standing) = live.standing() else { continue };
            report.writing += u64::from(standing.has_writers);
            let Some((size, name)) = standing.unsaved else { continue };
            report.unsaved_files += 1;
            report.unsaved_bytes += size;
            if report.unsaved.len() < UNSAVED_SHOWN {
                report.unsaved.push(crate::artifact::name::display_bytes(&name));
            }
        }
        report.unsaved.sort_unstable();
        report
    }

    /// Hashes large files behind their writers, so that `close` waits only for what is left.
    async fn follow_writers(self: &Arc<Self>) {
        let live: Vec<_> = self.inodes.all();
        for live in live {
            // A save at work has the follower itself.
            let Some(_saving) = live.try_saving() else { continue };
            let Some((file, mut follower, until)) = live.take_follower(FOLLOW_FROM) else { continue };
            let advanced = crate::engine::volume::save::blocking(move || {
                follower.advance(&file.file, &file.path, until)?;
                Ok(follower)
            })
            .await;
            match advanced {
                Ok(follower) => live.follow(follower),
                // The close hashes it all: slower, not wrong.
                Err(e) => tracing::debug!(ino = %live.ino, error = %e, "could not hash ahead"),
            }
        }
    }

    /// A handle that saved and was not released is held by more than one descriptor: what it writes next goes over the bytes of
    /// the version that it made. They are put into the store while nothing is written.
    async fn part_from_writers(self: &Arc<Self>) {
        let live: Vec<_> = self.inodes.all();
        for live in live {
            let Some(mut saving) = live.try_saving() else { continue };
            if live.rests_on_its_version()
                && let Err(e) = self.preserve(&mut saving).await
            {
                // Tried again at the next look; until then the bytes are where they were.
                tracing::debug!(ino = %live.ino, error = %e, "a version stays in its staging file");
            }
        }
    }

    /// Waits until everything closed so far is in the store.
    ///
    /// # Errors
    /// `TimedOut` after `deadline`, naming what is left and why.
    pub async fn drain(&self, deadline: Duration) -> Result<()> {
        let start = std::time::Instant::now();
        self.cool();
        let quiet = self.quiesce(deadline).await;
        let left = deadline.saturating_sub(start.elapsed());
        let pending = self.store.settle_all(Scope::Own, left, &Progress::none()).await?;
        quiet?;
        if pending.artifacts == 0 {
            return Ok(());
        }
        let why = self.store.last_store_error().map_or_else(String::new, |e| format!(": {}", e.message));
        Err(Error::new(
            Kind::TimedOut,
            format!(
                "{} ({}) not in the store yet{why}",
                crate::artifact::amount::count(pending.artifacts, "file"),
                crate::artifact::amount::count(pending.bytes, "byte")
            ),
        ))
    }

    /// A new writer is about to change bytes that the catalog says live in this staging file: they go to the store first.
    pub(in crate::engine::volume) async fn preserve(
        &self,
        saving: &mut crate::engine::volume::inode::Saving<'_>,
    ) -> Result<()> {
        let live = saving.inode();
        let Some(hash) = live.provisional() else { return Ok(()) };
        self.store_now(hash).await?;
        live.is_stored();
        Ok(())
    }

    /// Puts one blob into the store now, from wherever its bytes are.
    pub(in crate::engine::volume) async fn store_now(&self, hash: BlobHash) -> Result<()> {
        let Some(blob) = self.store.catalog.blob(self.store.tenant.id, hash).await? else { return Ok(()) };
        let body = match blob.place {
            BlobPlace::Stored => return Ok(()),
            BlobPlace::Inline(bytes) => Body::Bytes { bytes, hash },
            BlobPlace::Provisional { mount, file } => {
                let path = self.store.state.staging_path(mount, &file);
                let open = std::fs::File::open(&path).map_err(|e| Error::io(&path, &e))?;
                Body::File { file: Arc::new(open), path, size: blob.size, hash, chunks: blob.chunks }
            }
        };
        let key = BlobKey::blob(self.store.tenant_name.as_str(), hash);
        self.store.upload(&key, body.size(), async { Ok(body) }).await?;
        self.store.catalog.settled(self.store.tenant.id, hash).await
    }

    /// Uploaded bytes stay here for readers. `false`: the file is still the caller's to remove.
    pub(in crate::engine::volume) fn keep_in_cache(&self, hash: BlobHash, path: &std::path::Path) -> bool {
        match self.store.cache.insert_file(hash, path) {
            Ok(()) => true,
            Err(e) => {
                // A reader fetches it from the store again.
                tracing::warn!(error = %e, "uploaded file could not be kept in the cache");
                false
            }
        }
    }

    /// Every inode of a session, for telling the kernel of a change of them all.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn inodes_of(&self, session: SessionId) -> Result<Vec<Ino>> {
        let Some(session) = self.store.catalog.session_by_id(session).await? else { return Ok(Vec::new()) };
        let mut out = vec![session.root];
        let mut dirs = vec![session.root];
        while let Some(dir) = dirs.pop() {
            let mut after = 0;
            loop {
                let page = self.store.catalog.list(dir, after, 1024, self.now()).await?;
                let Some(last) = page.last() else { break };
                after = last.cookie;
                for entry in page {
                    out.push(entry.node.ino);
                    if entry.node.kind == NodeKind::Dir {
                        dirs.push(entry.node.ino);
                    }
                }
            }
        }
        Ok(out)
    }

    /// # Errors
    /// What a test asked for.
    pub fn changes_heard(&self) -> Result<()> {
        crate::engine::failpoints::hit("changes::heard")
    }

    /// Another process changed something: what this volume remembers of it is dropped.
    pub fn heard(&self, change: &ChangeKind) {
        self.rules_heard(change);
        if let ChangeKind::Inode { ino } = change {
            self.forget_cached(*ino);
        }
    }

    /// Seals from this mount: files closed here and still on their way come in, then nothing does.
    pub(in crate::engine::volume) async fn seal(
        &self,
        session: SessionId,
    ) -> Result<crate::artifact::record::Manifest> {
        let deadline = self.store.options.upload_timeout;
        self.quiesce(deadline).await?;
        self.cool();
        let session =
            self.store.catalog.session_by_id(session).await?.ok_or_else(|| Error::not_found("the session is gone"))?;
        let sealed = self.store.seal(&session, deadline, &Progress::none()).await?;
        self.forget_modes(session.id).await;
        Ok(sealed)
    }

    /// The kernel drops the modes that it knows of the session before its seal is answered. (The change log tells it too, a moment
    /// later: failing this it is told then.)
    async fn forget_modes(&self, session: SessionId) {
        let Some(drop) = self.kernel.stale_name.get() else { return };
        let mut told = None;
        match self.inodes_of(session).await {
            // They are dropped one after the other: the last is done when all are.
            Ok(inodes) => {
                for ino in inodes {
                    told = Some(drop(ChangeKind::Inode { ino }));
                }
            }
            Err(e) => tracing::warn!(error = %e, "modes of a sealed session show late"),
        }
        if let Some(told) = told
            && tokio::time::timeout(STALE_NAME, told).await.is_err()
        {
            tracing::warn!("modes of a sealed session show late");
        }
    }

    /// What `df` shows: the tenant's limits and use, or else the disk below the state directory.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn statfs(&self) -> Result<StatFs> {
        let usage = self.store.catalog.usage(self.store.tenant.id, self.now()).await?;
        let root = self.store.state.root();
        let disk = rustix::fs::statvfs(root).map_err(|e| Error::io(root, &e.into()))?;
        let disk_free = disk.f_bavail.saturating_mul(disk.f_frsize) / BLOCK;
        let used = usage.logical_bytes.div_ceil(BLOCK);
        let blocks = usage.max_bytes.map_or(used + disk_free, |max| max / BLOCK);
        let files = usage.max_artifacts.unwrap_or(usage.artifacts + disk.f_favail);
        Ok(StatFs {
            blocks,
            free: blocks.saturating_sub(used).min(disk_free),
            files,
            files_free: files.saturating_sub(usage.artifacts),
            block_size: u32::try_from(BLOCK).unwrap_or(4096),
        })
    }
}
