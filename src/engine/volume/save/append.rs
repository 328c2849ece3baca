//! Appending to committed content without moving it (a log that is reopened for each line).
//!
//! A file opened with `O_APPEND` is *grown*: its I/O goes through the daemon, never by passthrough, so that the daemon
//! sees the offset of every byte written, whatever the writer does after the open (`pwrite`, a second descriptor, a shared
//! mapping, `fcntl` that clears `O_APPEND`). As long as nothing below the last committed size was touched, a save hashes what
//! follows it and nothing else, going on from the state of the hash that was kept. The first write below that size makes
//! the file an ordinary one again ([`Volume::ungrow`]).
//!
//! - **Remote store**: the staging file is a hole as long as the content, and the tail after it. Reads below come from the
//!   committed blob ([`Base`]); a save sends the tail alone and the server puts the two together.
//! - **At home** (a local store, or `--durability local`): the staging file is whole, as it must be to become a blob. It is
//!   kept *warm* after the last close, for the version window: the next append goes on in it. Meanwhile the versions that it
//!   holds are prefixes of it; the settler stores those before it takes the file itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::artifact::ids::{BlobHash, Ino};
use crate::artifact::record::{BlobPlace, CHUNK, Node};
use crate::artifact::{Error, Kind, Result};
use crate::blob::reader::ContentReader;
use crate::engine::upload::IN_MEMORY_MAX;
use crate::staging::file::{StagingFile, Stamp};
use crate::staging::hash::{Hasher, Midstate, hash_on};
use crate::staging::journal::Record;

use crate::engine::volume::Volume;
use crate::engine::volume::inode::OpenInode;
use crate::engine::volume::inode::Saved;
use crate::engine::volume::inode::Saving;
use crate::engine::volume::inode::Staged;
use crate::engine::volume::save::Snapshot;
use crate::engine::volume::save::TRIES;
use crate::engine::volume::save::blocking;

/// Below this a copy and a hash cost less than the detour of each write through the daemon.
const WORTH_AT_HOME: u64 = 1 << 20;
/// Below this S3 takes no part of an upload, so that the server cannot copy it into the new object.
const WORTH_REMOTE: u64 = 5 << 20;
/// Hash states kept, some kilobytes each. More files than this being appended to at one time pay for a last chunk again.
const ENDS: usize = 256;
/// So many refusals in a row and the server is taken not to know how: a restart asks it again.
const REFUSALS: u32 = 3;

/// What lies below the tail of a staging file that begins with a hole.
#[derive(Clone)]
pub struct Base {
    /// Of the hole.
    size: u64,
    reader: ContentReader,
}

/// A staging file of which the daemon sees every write.
pub struct Grown {
    base: Option<Base>,
    /// At the end of what was saved last.
    end: Hasher,
    /// The lowest offset written since the last save began.
    dirty_from: u64,
    /// Versions that are prefixes of the file and live in it alone, but for the last.
    older: Vec<BlobHash>,
}

/// What a save of a grown file found.
pub struct Growth {
    /// At the end of the new version.
    pub end: Hasher,
    /// Remote: the bytes to send, and the version that they follow.
    pub tail: Option<Tail>,
}

pub struct Tail {
    pub bytes: Bytes,
    pub after: (BlobHash, u64),
}

/// Staging files kept for the next append, and the ends of recent versions. A leaf lock each.
#[derive(Default)]
pub struct Growing {
    ends: Mutex<HashMap<BlobHash, Hasher>>,
    warm: Mutex<HashMap<Ino, (Staged, Instant)>>,
    refusals: std::sync::atomic::AtomicU32,
}

/// A write on its way. Its offset is noted before the bytes land and again after: a save in between either has the bytes or
/// learns that it has not.
pub struct Writing<'a> {
    live: &'a OpenInode,
    from: u64,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.live.grown(|grown| grown.touch(self.from));
    }
}

impl Grown {
    /// Bytes from `from` on were written.
    pub fn touch(&mut self, from: u64) {
        self.dirty_from = self.dirty_from.min(from);
    }

    pub fn base(&self) -> Option<&Base> {
        self.base.as_ref()
    }

    pub fn is_sparse(&self) -> bool {
        self.base.is_some()
    }

    /// 512-byte blocks that the hole would take.
    pub fn blocks_below(&self) -> u64 {
        self.base.as_ref().map_or(0, |b| b.size.div_ceil(512))
    }
}

impl Growing {
    fn end_of(&self, hash: BlobHash) -> Option<Hasher> {
        self.ends.lock().get(&hash).cloned()
    }

    fn remember(&self, hash: BlobHash, end: &Hasher) {
        let mut ends = self.ends.lock();
        if ends.len() >= ENDS {
            ends.clear();
        }
        ends.insert(hash, end.clone());
    }
}

impl Volume {
    /// Makes `file`, fresh and empty, a grown one on the content of `node`; `None`: not worth it or not possible, the
    /// file is still empty.
    pub(in crate::engine::volume) async fn grow(
        &self,
        _saving: &mut Saving<'_>,
        file: &StagingFile,
        node: &Node,
    ) -> Result<Option<Grown>> {
        let Some((id, hash)) = node.content else { return Ok(None) };
        let at_home = self.store.stores_at_home();
        let worth = if at_home { WORTH_AT_HOME } else { WORTH_REMOTE };
        if node.size < worth || (!at_home && self.saves.appending.refusals.load(Ordering::Relaxed) >= REFUSALS) {
            return Ok(None);
        }
        let (tenant, catalog) = (self.store.tenant.id, &self.store.catalog);
        let Some(blob) = catalog.blob(tenant, hash).await? else { return Ok(None) };
        if catalog.artifact(tenant, id, self.now()).await?.is_none() {
            return Ok(None);
        }
        if !at_home && blob.place != BlobPlace::Stored {
            return Ok(None);
        }
        let kept = self.saves.appending.end_of(hash);
        let begun = match (&kept, catalog.midstate(tenant, hash).await?) {
            (Some(_), _) => kept,
            (None, Some(state)) => Hasher::resume_at(&Midstate(state), node.size, &blob.chunks),
            (None, None) if at_home => Some(Hasher::new()),
            // All of it would have to be fetched.
            (None, None) => None,
        };
        let Some(mut end) = begun else { return Ok(None) };
        let reader = self.reader_of(node).await?;
        if at_home {
            self.fill(file, node).await?;
            let (f, size) = (file.clone(), node.size);
            end = blocking(move || hash_on(&mut end, &f.file, &f.path, size).map(|()| end)).await?;
        } else {
            while end.size() < node.size {
                let len = usize::try_from((node.size - end.size()).min(CHUNK)).unwrap_or(usize::MAX);
                let piece = reader.0.read_at(end.size(), len).await?;
                if piece.is_empty() {
                    return Err(Error::new(Kind::Corrupt, format!("blob {hash} ends early")));
                }
                end.update(&piece);
            }
        }
        // What was kept is no better than its proof: the state must be that of these very bytes.
        if end.clone().finish().hash != hash {
            tracing::warn!(blob = %hash, "the kept state of its hash is not its own; all of it is hashed again");
            file.file.set_len(0).map_err(|e| Error::io(&file.path, &e))?;
            return Ok(None);
        }
        let base = if at_home {
            None
        } else {
            // Before the hole exists: a crash must not take zeros for bytes.
            self.staging.journal.append(&Record::Base { file: file.name.clone(), size: node.size, hash })?;
            file.file.set_len(node.size).map_err(|e| Error::io(&file.path, &e))?;
            Some(Base { size: node.size, reader })
        };
        Ok(Some(Grown { base, end, dirty_from: u64::MAX, older: Vec::new() }))
    }

    /// To be held while bytes from `from` on are written into the staging file.
    pub(in crate::engine::volume) async fn begin_write<'a>(
        &self,
        live: &'a Arc<OpenInode>,
        from: u64,
    ) -> Result<Writing<'a>> {
        if !live.note_write(from) {
            let mut saving = live.saving().await;
            self.ungrow(&mut saving).await?;
            live.note_write(from);
        }
        Ok(Writing { live, from })
    }

    /// Up to `len` bytes of the staging file, wherever they are. `None`: there is no staging file.
    pub(in crate::engine::volume) async fn read_staged(
        &self,
        live: &OpenInode,
        offset: u64,
        len: usize,
    ) -> Result<Option<Bytes>> {
        let Some((file, base)) = live.staged_on_base() else { return Ok(None) };
        let Some(base) = base.filter(|b| offset < b.size) else {
            return file.read_at(offset, len).map(|b| Some(b.into()));
        };
        let below = len.min(usize::try_from(base.size - offset).unwrap_or(usize::MAX));
        let head = match base.reader.0.read_at(offset, below).await {
            // Replaced by later versions long ago, and collected: they begin with the same bytes.
            Err(e) if e.kind == Kind::NotFound => self.latest_reader(live).await?.0.read_at(offset, below).await?,
            read => read?,
        };
        if head.len() < below || below == len {
            return Ok(Some(head));
        }
        let tail = file.read_at(base.size, len - below)?;
        let mut all = BytesMut::with_capacity(head.len() + tail.len());
        all.extend_from_slice(&head);
        all.extend_from_slice(&tail);
        Ok(Some(all.freeze()))
    }

    /// A reader of what was saved last from the staging file.
    async fn latest_reader(&self, live: &OpenInode) -> Result<ContentReader> {
        let (hash, name) = (live.saved_hash(), live.shown_name());
        let hash = hash.ok_or_else(|| Error::not_found("the bytes before what was appended are gone"))?;
        self.store.blob_reader(self.store.tenant.id, hash, &name).await
    }

    /// Makes a grown staging file an ordinary one: whole, and holding no version's only copy.
    pub(in crate::engine::volume) async fn ungrow(&self, saving: &mut Saving<'_>) -> Result<()> {
        let live = saving.inode();
        let Some((file, base)) = live.staged_on_base().filter(|_| live.is_grown()) else { return Ok(()) };
        if let Some(base) = base {
            let source = match base.reader.0.as_file().await {
                Err(e) if e.kind == Kind::NotFound => self.latest_reader(live).await?.0.as_file().await?,
                source => source?,
            };
            let before = file.stamp()?;
            let f = file.clone();
            blocking(move || f.fill_hole(&source.0, &source.1, base.size)).await?;
            self.staging.journal.append(&Record::Whole { file: file.name.clone() })?;
            let after = file.stamp()?;
            live.is_filled(before, after);
        }
        self.store_older(saving).await?;
        self.preserve(saving).await?;
        live.stop_growing();
        Ok(())
    }

    /// Stores the versions that are prefixes of the staging file, but for the last.
    async fn store_older(&self, saving: &mut Saving<'_>) -> Result<()> {
        let live = saving.inode();
        loop {
            let Some(hash) = live.grown(|grown| grown.older.last().copied()).flatten() else { return Ok(()) };
            self.store_now(hash).await?;
            live.grown(|grown| grown.older.retain(|h| *h != hash));
        }
    }

    /// The state of a grown file, when nothing but its end changed since the last save; `None`: it is (now) an ordinary one.
    pub(in crate::engine::volume) async fn grown_snapshot(
        &self,
        saving: &mut Saving<'_>,
        file: &StagingFile,
    ) -> Result<Option<Snapshot>> {
        let live = saving.inode();
        let begun = Instant::now();
        let remote = !self.store.stores_at_home();
        for _ in 0..TRIES {
            let Some(start) = start(live, file, remote)? else { break };
            let Start { stamp, writes, from, mut end, .. } = start;
            let f = file.clone();
            let read = move || {
                f.await_writes()?;
                if !remote {
                    hash_on(&mut end, &f.file, &f.path, stamp.size)?;
                    return Ok((end, Bytes::new()));
                }
                let bytes = Bytes::from(f.read_at(from, usize::try_from(stamp.size - from).unwrap_or(usize::MAX))?);
                end.update(&bytes);
                Ok((end, bytes))
            };
            let (end, bytes) = if stamp.size - from <= crate::engine::volume::save::AT_ONCE {
                read()?
            } else {
                blocking(read).await?
            };
            let stable = live.grown(|grown| grown.dirty_from >= stamp.size).unwrap_or(false);
            if end.size() != stamp.size || !stable {
                continue;
            }
            let digest = end.clone().finish();
            let tail = remote.then_some(Tail { bytes, after: (start.hash, from) });
            let growth = Some(Growth { end, tail });
            return Ok(Some(Snapshot {
                stamp,
                writes,
                digest,
                bytes: None,
                hashing: begun.elapsed(),
                copy: None,
                growth,
            }));
        }
        self.ungrow(saving).await?;
        Ok(None)
    }

    /// A grown file's new version is committed. `old` is what was saved before it; `gone`: it was replaced.
    pub(in crate::engine::volume) fn grew(
        &self,
        staged: &mut Staged,
        old: Option<&Saved>,
        growth: &Growth,
        hash: BlobHash,
        gone: bool,
    ) {
        if growth.tail.is_some() {
            self.saves.appending.refusals.store(0, Ordering::Relaxed);
        }
        self.saves.appending.remember(hash, &growth.end);
        if let Some(grown) = staged.grown.as_mut() {
            grown.end = growth.end.clone();
            if let Some(old) = old.filter(|o| o.provisional && o.hash != hash && !gone) {
                grown.older.push(old.hash);
            }
        }
    }

    /// The store did not put base and tail together: from here on all bytes are sent.
    pub(in crate::engine::volume) async fn cannot_grow(&self, saving: &mut Saving<'_>, error: &Error) -> Result<()> {
        let times = self.saves.appending.refusals.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::info!(ino = %saving.inode().ino, times, error = %error, "appended bytes could not be sent alone");
        self.ungrow(saving).await
    }

    /// Keeps a grown staging file for the next append instead of giving it to the settler; gives it back when it is not one.
    pub(in crate::engine::volume) fn keep_warm(&self, live: &OpenInode, staged: Staged) -> Option<Staged> {
        let last = staged.saved.as_ref().is_some_and(|s| s.provisional);
        let wanted = staged.grown.as_ref().is_some_and(|g| !g.is_sparse());
        if !last || !wanted || self.store.options.versions.window.is_zero() {
            return Some(staged);
        }
        self.saves.appending.warm.lock().insert(live.ino, (staged, Instant::now()));
        None
    }

    /// The warm staging file of `ino`, if it still holds the content of `node`; else the settler gets it.
    pub(in crate::engine::volume) fn take_warm(&self, ino: Ino, node: &Node, append: bool) -> Option<Staged> {
        let (staged, _) = self.saves.appending.warm.lock().remove(&ino)?;
        let current = staged.saved.as_ref().is_some_and(|s| {
            node.content.is_some_and(|(_, hash)| hash == s.hash)
                && staged.file.stamp().is_ok_and(|stamp| stamp == s.stamp)
        });
        if append && current {
            return Some(staged);
        }
        self.hand_over(staged);
        None
    }

    /// Is it being kept for the next append? Not when its time is over, or `all` are to go: then the settler may have it.
    pub(in crate::engine::volume) fn is_warm(&self, file: &str, ino: Ino) -> bool {
        let mut warm = self.saves.appending.warm.lock();
        match warm.get(&ino) {
            Some((staged, _)) if staged.file.name != file => false,
            Some((_, since)) if since.elapsed() < self.warm_for() => true,
            Some(_) => {
                let gone = warm.remove(&ino);
                drop(warm);
                if let Some((staged, _)) = gone {
                    self.hand_over(staged);
                }
                false
            }
            None => false,
        }
    }

    /// Every warm staging file to the settler: somebody waits for the store.
    pub(in crate::engine::volume) fn cool(&self) {
        let all: Vec<_> = self.saves.appending.warm.lock().drain().collect();
        for (_, (staged, _)) in all {
            self.hand_over(staged);
        }
    }

    fn warm_for(&self) -> Duration {
        self.store.options.versions.window
    }

    fn hand_over(&self, staged: Staged) {
        let unchanged = staged
            .saved
            .as_ref()
            .is_some_and(|s| !s.doubtful && staged.file.stamp().is_ok_and(|stamp| stamp == s.stamp));
        let name = staged.file.name.clone();
        // The settler's proof that nobody writes needs our descriptor gone.
        drop(staged);
        if unchanged {
            self.staging.parted.lock().insert(name);
        }
        self.saves.settle.notify_one();
    }
}

/// From where and to where a save of a grown file has to look.
struct Start {
    stamp: Stamp,
    writes: u64,
    from: u64,
    hash: BlobHash,
    end: Hasher,
}

fn start(live: &OpenInode, file: &StagingFile, remote: bool) -> Result<Option<Start>> {
    let look = |grown: &mut Grown, saved: &Saved, writers: usize| {
        let (from, hash) = (saved.size, saved.hash);
        // Before the stamp: a write that comes between the two is counted and not yet saved.
        let writes = live.writes();
        let stamp = file.stamp()?;
        let only_its_end = grown.dirty_from >= from && stamp.size >= from && grown.end.size() == from;
        let too_much = remote && stamp.size - from.min(stamp.size) > IN_MEMORY_MAX;
        // At home the version lives in this very file: another writer could change it.
        let shared = !remote && writers > 1;
        if !only_its_end || too_much || shared {
            return Ok(None);
        }
        grown.dirty_from = u64::MAX;
        Ok(Some(Start { stamp, writes, from, hash, end: grown.end.clone() }))
    };
    live.grown_after(look).unwrap_or(Ok(None))
}
