//! Saving: from the staging file to an artifact. See the module's doc for when.

pub mod append;
pub mod writers;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::artifact::openfile::Why;
use crate::artifact::record::Labels;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::{Birth, Outcome};
use crate::engine::ingest::{CommitMeta, Ingested, Source};
use crate::engine::options::Durability;
use crate::engine::upload::IN_MEMORY_MAX;
use crate::staging::file::{StagingFile, Stamp};
use crate::staging::hash::{Digest, hash_bytes, hash_file};
use crate::staging::journal::Record;

pub(in crate::engine::volume) use crate::engine::store::blocking;

use crate::engine::volume::Volume;
use crate::engine::volume::handles::Handle;
use crate::engine::volume::inode::OpenInode;
use crate::engine::volume::inode::Saved;
use crate::engine::volume::inode::Saving;
use crate::engine::volume::inode::ToCommit;
use crate::engine::volume::save::append::Growth;

/// Up to this size reading and hashing take tens of microseconds: done where we are.
pub(in crate::engine::volume) const AT_ONCE: u64 = 128 << 10;
/// How often a snapshot that changed under the hash is taken again before it is copied.
pub(in crate::engine::volume) const TRIES: u32 = 3;
/// A stamp this young proves nothing on file systems with coarse timestamps: one jiffy at HZ=100.
const COARSE: Duration = Duration::from_millis(10);

pub(in crate::engine::volume) struct Snapshot {
    pub stamp: Stamp,
    pub writes: u64,
    pub digest: Digest,
    pub bytes: Option<Bytes>,
    pub hashing: Duration,
    /// A private copy, taken because another writer was at work.
    pub copy: Option<StagingFile>,
    /// Only its end is new.
    pub growth: Option<Growth>,
}

/// What the saves of a mount share.
#[derive(Default)]
pub struct Saves {
    /// Ends of appended files, which another append goes on from.
    pub(super) appending: append::Growing,
    /// Who writes, and what was said of it.
    pub(super) writers: writers::Writers,
    /// Inodes whose last release is still being worked on, for draining.
    pub(super) busy: tokio::sync::watch::Sender<usize>,
    /// Wakes the settler.
    pub(super) settle: tokio::sync::Notify,
}

impl Volume {
    /// Saves what is unsaved. Returns when it is an artifact as `--durability` defines it.
    ///
    /// # Errors
    /// What [`crate::engine::store::Store::ingest`] says. After `StoreUnavailable` the bytes stay in staging, journaled, and
    /// are retried in the background.
    pub async fn save(self: &Arc<Self>, live: &Arc<OpenInode>, why: Why) -> Result<()> {
        let mut saving = live.saving().await;
        self.save_holding(&mut saving, why).await
    }

    /// The same, for who holds the save lock already: what he did to the staging file is saved before anyone else can
    /// part from it.
    pub(in crate::engine::volume) async fn save_holding(
        self: &Arc<Self>,
        saving: &mut Saving<'_>,
        why: Why,
    ) -> Result<()> {
        let live = saving.inode();
        for attempt in 1.. {
            let Some((file, stamp)) = self.unsaved(live, why)? else { break };
            let stamp = self.fence(live, &file, stamp).await?;
            let snapshot = match self.grown_snapshot(saving, &file).await? {
                Some(snapshot) => snapshot,
                None => self.snapshot(live, file, stamp).await?,
            };
            if self.already_saved(saving, &snapshot) {
                break;
            }
            live.begin_commit();
            let meta = self.commit_meta(live, &snapshot, why);
            let source = self.source(live, &snapshot, why)?;
            let birth = meta.birth.clone();
            match self.store.ingest(source, meta).await {
                Ok(done) => {
                    let goes_on = why.goes_on(live.last_made().map(|(_, maker)| maker));
                    self.saved(saving, &snapshot, birth.as_ref(), &done, why)?;
                    if let Some(birth) = birth.as_ref().filter(|_| done.committed.ino != live.ino) {
                        self.kernel.drop_name(birth.parent, birth.name.clone()).await;
                    }
                    if let Err(e) = self.set_again(live).await {
                        // The bytes are safe, and close() speaks of them alone.
                        tracing::warn!(ino = %live.ino, error = %e, "attributes set during a save are lost");
                    }
                    // What only grows is guarded at each write.
                    let guarded = live.is_grown();
                    if guarded || !goes_on {
                        return Ok(());
                    }
                    match self.preserve(saving).await {
                        // Written over already: what stands there now is saved in its place.
                        Err(e) if e.kind == Kind::Corrupt && attempt < TRIES => {}
                        done => return done,
                    }
                }
                // Written to between the hash and the upload: what was promised was not sent. Look again.
                Err(e) if e.kind == Kind::Corrupt && attempt < TRIES => {}
                // Its last name went while this was on its way: nothing of it is kept, and nobody is to be told.
                Err(e) if e.kind == Kind::NotFound && birth.is_none() => {
                    self.orphan(live);
                    return Ok(());
                }
                Err(e) if e.kind == Kind::Unsupported && snapshot.growth.is_some() => {
                    self.cannot_grow(saving, &e).await?;
                }
                Err(e) => {
                    self.failed(saving, &snapshot, &e);
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// The staging file and its stamp when it holds something that `why` is to commit.
    fn unsaved(&self, live: &OpenInode, why: Why) -> Result<Option<(StagingFile, Stamp)>> {
        let Some((file, stamp, seen)) = live.look(self.staging.notes_stores)? else { return Ok(None) };
        Ok(why.saves(seen).then_some((file, stamp)))
    }

    /// The one way to answer a close or an fsync of a writer with success. Whatever led here: bytes that will not be kept are told.
    ///
    /// # Errors
    /// Why they are not kept.
    pub(in crate::engine::volume) fn acknowledge(&self, live: &OpenInode, why: Why) -> Result<()> {
        let kept = live.look(self.staging.notes_stores)?.is_some_and(|(_, _, seen)| why.acknowledges(seen));
        if kept {
            return Ok(());
        }
        let lacks = || Error::internal("a file that is open for writing lost its staging file");
        let error = live.refused().unwrap_or_else(lacks);
        tracing::error!(ino = %live.ino, ?why, error = %error, "about to acknowledge bytes that are not kept");
        Err(error)
    }

    /// Writes back what a mapping may have changed, before it is hashed: that protects the pages again, so that every later store
    /// moves the stamp. (The kernel notes the first store to a clean page alone: `file_update_time` in `page_mkwrite`.)
    async fn fence(&self, live: &OpenInode, file: &StagingFile, stamp: Stamp) -> Result<Stamp> {
        if !live.may_be_mapped() {
            return Ok(stamp);
        }
        let file = file.clone();
        blocking(move || {
            file.sync()?;
            file.stamp()
        })
        .await
    }

    /// Reads or hashes the bytes so that what is committed is one consistent state of the file.
    async fn snapshot(&self, live: &Arc<OpenInode>, file: StagingFile, mut stamp: Stamp) -> Result<Snapshot> {
        let begun = std::time::Instant::now();
        let writes = live.writes();
        if let Some(digest) = self.copied(live, stamp) {
            crate::metrics::get().copies.inc();
            let hashing = begun.elapsed();
            return Ok(Snapshot { stamp, writes, digest, bytes: None, hashing, copy: None, growth: None });
        }
        for attempt in 1.. {
            let writes = live.writes();
            if stamp.size <= IN_MEMORY_MAX {
                let f = file.clone();
                let read = move || {
                    f.await_writes()?;
                    read_and_hash(&f, stamp.size)
                };
                // (Another writer's call may take long, and is waited for.)
                let at_once = stamp.size <= AT_ONCE && !live.has_other_writers();
                let (bytes, digest) = if at_once { read()? } else { blocking(read).await? };
                let after = file.stamp()?;
                let stable = after == stamp && bytes.len() as u64 == stamp.size && writes == live.writes();
                if stable || attempt >= TRIES {
                    // In memory it is a copy already: what a reader would have got from one read of the file.
                    return Ok(Snapshot {
                        stamp,
                        writes,
                        digest,
                        bytes: Some(bytes),
                        hashing: begun.elapsed(),
                        copy: None,
                        growth: None,
                    });
                }
                stamp = after;
                continue;
            }
            if live.has_other_writers() || attempt >= TRIES {
                return self.snapshot_by_copy(live, &file).await;
            }
            let follower = live.end_following();
            let f = file.clone();
            let digest = blocking(move || {
                f.await_writes()?;
                match follower {
                    Some(mut follower) => follower.finish(&f.file, &f.path, stamp.size),
                    None => hash_file(&f.file, &f.path, stamp.size),
                }
            })
            .await;
            let after = file.stamp()?;
            match digest {
                Ok(digest) if after == stamp && writes == live.writes() => {
                    let hashing = begun.elapsed();
                    return Ok(Snapshot { stamp, writes, digest, bytes: None, hashing, copy: None, growth: None });
                }
                // It shrank or changed while we read: look again.
                Ok(_) => {}
                Err(e) if e.kind == Kind::Corrupt => {}
                Err(e) => return Err(e),
            }
            stamp = after;
        }
        Err(Error::internal("unreachable: the loop above returns"))
    }

    /// Another descriptor may write while this one closes: commit a private copy, so that an earlier version's bytes survive.
    async fn snapshot_by_copy(&self, live: &Arc<OpenInode>, file: &StagingFile) -> Result<Snapshot> {
        let name = self.staging.fresh_name(live.ino);
        let dir = self.staging.path.clone();
        let source = file.clone();
        let writes = live.writes();
        let begun = std::time::Instant::now();
        let (stamp, digest, copy) = blocking(move || {
            let copy = StagingFile::create(&dir, &name)?;
            let stamp = source.stamp()?;
            source.await_writes()?;
            copy.fill_from(&source.file, &source.path, stamp.size)?;
            let digest = hash_file(&copy.file, &copy.path, copy.stamp()?.size)?;
            Ok((stamp, digest, copy))
        })
        .await?;
        let hashing = begun.elapsed();
        Ok(Snapshot { stamp, writes, digest, bytes: None, hashing, copy: Some(copy), growth: None })
    }

    /// Same bytes as committed last from here: remember the new stamp, commit nothing.
    fn already_saved(&self, saving: &mut Saving<'_>, snapshot: &Snapshot) -> bool {
        let live = saving.inode();
        let doubtful = self.doubtful(&snapshot.stamp);
        live.is_saved_as(snapshot.digest.hash, snapshot.stamp, snapshot.writes, doubtful)
    }

    pub(in crate::engine::volume) fn doubtful(&self, stamp: &Stamp) -> bool {
        let age = self.now().0.saturating_sub(stamp.ctime.0);
        !self.staging.fine_ctime && age < i64::try_from(COARSE.as_nanos()).unwrap_or(i64::MAX)
    }

    fn commit_meta(&self, live: &OpenInode, snapshot: &Snapshot, why: Why) -> CommitMeta {
        let ToCommit { birth, last, name, labels, mtime, stat } = live.to_commit(&snapshot.stamp);
        CommitMeta {
            session: live.session,
            ino: live.ino,
            birth,
            collapse: why.replaces(last),
            id: self.store.new_artifact_id(),
            name,
            labels: self.labels_for(why, &labels),
            mtime,
            stat,
            durable: self.store.options.durability != Durability::Fsync,
            hashing: snapshot.hashing,
        }
    }

    /// The inode's labels, with what the environment of the closing handle's opener says where another process opened it first.
    fn labels_for(&self, why: Why, labels: &Labels) -> Labels {
        let handle = self.handles.get(why.handle()).ok();
        let by = handle.as_deref().and_then(|h| if let Handle::File { by, .. } = h { by.get() } else { None });
        let Some(by) = by.filter(|by| by.provenance != labels.provenance) else { return labels.clone() };
        Labels {
            explicit: labels.explicit.clone(),
            agent_id: labels.agent_id.clone(),
            ttl: labels.ttl.clone(),
            content_type: labels.content_type.clone(),
            aside: labels.aside.clone(),
            ..(**by).clone()
        }
    }

    fn source(&self, live: &OpenInode, snapshot: &Snapshot, why: Why) -> Result<Source> {
        if let Some(tail) = snapshot.growth.as_ref().and_then(|g| g.tail.as_ref()) {
            return Ok(Source::Grown {
                base: tail.after.0,
                base_size: tail.after.1,
                tail: tail.bytes.clone(),
                digest: snapshot.digest.clone(),
            });
        }
        if let Some(bytes) = &snapshot.bytes
            && (snapshot.digest.size <= self.store.options.inline_max
                || !self.store.stores_at_home()
                // Somebody may write on in the staging file: this version's bytes go to the store.
                || why.goes_on(None)
                || live.has_other_writers())
        {
            return Ok(Source::Bytes(bytes.clone(), snapshot.digest.clone()));
        }
        let staged = || live.staged_file();
        let staging = snapshot.copy.clone().or_else(staged);
        let staging = staging.ok_or_else(|| Error::internal("a file being saved lost its staging file"))?;
        Ok(Source::File { staging, digest: snapshot.digest.clone() })
    }

    fn saved(
        &self,
        saving: &mut Saving<'_>,
        snapshot: &Snapshot,
        birth: Option<&Birth>,
        done: &Ingested,
        why: Why,
    ) -> Result<()> {
        let live = saving.inode();
        let doubtful = self.doubtful(&snapshot.stamp);
        let maker = why.maker(self.handles.next());
        let saved = Saved {
            stamp: snapshot.stamp,
            writes: snapshot.writes,
            hash: snapshot.digest.hash,
            size: snapshot.digest.size,
            artifact: Some((done.committed.artifact.id, maker)),
            provisional: snapshot.copy.is_none() && done.holds_staging,
            doubtful,
        };
        let committed = live.committed(saved, |staged, old| {
            if let Some(growth) = &snapshot.growth {
                let gone = done.committed.outcome == Outcome::Collapsed;
                self.grew(staged, old, growth, snapshot.digest.hash, gone);
            }
        });
        let Some((file, old)) = committed else { return Ok(()) };
        self.forget_cached(live.ino);
        self.kernel.told.own(live.ino, snapshot.digest.hash);
        self.rules_may_change(&live.name());
        if let Some(birth) = birth {
            let mut overlay = self.inodes.overlay.lock();
            overlay.remove(birth.parent, &birth.name, live.ino);
            overlay.untouch(birth.parent);
        }
        self.staging.journal.append(&Record::Committed {
            file,
            size: snapshot.digest.size,
            hash: snapshot.digest.hash,
        })?;
        if old.is_some_and(|o| o.provisional && o.hash != snapshot.digest.hash) || snapshot.copy.is_some() {
            self.saves.settle.notify_one();
        }
        self.put_away(&done.committed.freed);
        if done.committed.outcome == Outcome::Idempotent && done.committed.ino != live.ino {
            tracing::info!(artifact = %done.committed.artifact.id, "an idempotency key made this file a link to an earlier one");
        }
        Ok(())
    }

    /// `close` could not store the bytes: they stay, and the record says what to do with them.
    fn failed(&self, saving: &mut Saving<'_>, snapshot: &Snapshot, error: &Error) {
        let live = saving.inode();
        tracing::warn!(ino = %live.ino, bytes = snapshot.digest.size, error = %error, "file could not be saved");
        if crate::engine::volume::ops::close::final_refusal(error.kind) {
            return;
        }
        let (name, labels) = live.keep_unsaved();
        let Some(file) = name else { return };
        let record =
            Record::Retry { file, size: snapshot.digest.size, hash: snapshot.digest.hash, labels: Box::new(labels) };
        if let Err(e) = self.staging.journal.append_durable(&record) {
            // The bytes are in the staging file all the same; only the order of recovery is lost.
            tracing::error!(ino = %live.ino, error = %e, "the journal could not be written");
        }
    }

    /// A label set for the first commit of a file that has none yet.
    pub(in crate::engine::volume) fn labels_mut(
        live: &OpenInode,
        change: impl FnOnce(&mut Labels) -> Result<()>,
    ) -> Result<()> {
        live.change_labels(change)
    }
}

fn read_and_hash(file: &StagingFile, size: u64) -> Result<(Bytes, Digest)> {
    let len = usize::try_from(size).map_err(|_| Error::new(Kind::FileTooLarge, "the file does not fit into memory"))?;
    let bytes = Bytes::from(file.read_at(0, len)?);
    let digest = hash_bytes(&bytes);
    Ok((bytes, digest))
}
