//! Reading, writing and the other calls on an open file that come to the daemon.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{FallocateFlags, SeekFrom};

use crate::artifact::record::{Node, StoreState};
use crate::artifact::{Error, Kind, Result};
use crate::blob::reader::ContentReader;
use crate::staging::file::StagingFile;

use crate::engine::volume::Volume;
use crate::engine::volume::handles::Handle;
use crate::engine::volume::inode::OpenInode;

/// What a handle reads, once it has read.
type ReaderSlot = parking_lot::Mutex<Option<ContentReader>>;

/// How often a version may be replaced while one read looks for its bytes.
pub(in crate::engine::volume) const OVERTAKEN: u32 = 8;

/// Bytes that are gone or changed, as those of a version that was replaced are.
fn is_overtaken(kind: Kind) -> bool {
    matches!(kind, Kind::NotFound | Kind::Corrupt)
}

/// Readers kept, each with an open file at most.
const READERS: usize = 256;

impl Volume {
    /// Up to `len` bytes at `offset`; fewer at the end.
    ///
    /// # Errors
    /// `Corrupt` when the bytes fail their hash, `StoreUnavailable`, `BadHandle`.
    pub async fn read(&self, fh: u64, offset: u64, len: usize) -> Result<Bytes> {
        let handle = self.handles.get(fh)?;
        match &*handle {
            Handle::File { live, reader, .. } => {
                // Bytes being written come first: everyone who has the inode open sees them.
                if let Some(bytes) = self.read_staged(live, offset, len).await? {
                    return Ok(bytes);
                }
                self.read_newest(live, reader, offset, len).await
            }
            Handle::Content(reader) => reader.0.read_at(offset, len).await,
            Handle::Fixed(bytes) => Ok(slice(bytes, offset, len)),
            Handle::Ctl(ctl) => Ok(ctl.read(offset, len)),
        }
    }

    /// Reads what the handle reads; when that has been replaced and is gone, what took its place, as on a disk.
    async fn read_newest(&self, live: &OpenInode, slot: &ReaderSlot, offset: u64, len: usize) -> Result<Bytes> {
        let known = slot.lock().clone();
        let mut reader = match known {
            Some(reader) => reader,
            None => self.reopen(live, slot).await?,
        };
        // The kernel asks by the size that it was last told, which may be that of a later version (a stat after the open).
        if let Some(hash) = self.kernel.told.otherwise(live.ino, reader.0.hash()) {
            let name = live.shown_name();
            // One that is gone again is no loss: there is a newer one, of which the kernel hears soon.
            if let Ok(told) = self.store.blob_reader(self.store.tenant.id, hash, &name).await {
                *slot.lock() = Some(told.clone());
                reader = told;
            }
        }
        let mut round = 0;
        loop {
            let error = match reader.0.read_at(offset, len).await {
                Err(e) if is_overtaken(e.kind) && round < OVERTAKEN => e,
                done => return done,
            };
            let former = reader.0.hash();
            reader = match self.reopen(live, slot).await {
                // Once also the same bytes: they may lie elsewhere now.
                Ok(next) if next.0.hash() != former || round == 0 => next,
                _ => {
                    tracing::error!(ino = %live.ino, error = %error, "a file cannot be read");
                    return Err(error);
                }
            };
            round += 1;
        }
    }

    /// Reading `node`'s content failed so; what the file is now, when a version that took its place explains that (or, in the first
    /// `round`, its bytes may lie elsewhere now).
    pub(in crate::engine::volume) async fn overtaken(
        &self,
        node: &Node,
        e: &Error,
        round: u32,
    ) -> Result<Option<Node>> {
        if !is_overtaken(e.kind) || round >= OVERTAKEN {
            return Ok(None);
        }
        let now = self.store.catalog.node(node.ino, self.now()).await?;
        Ok(now.filter(|n| n.content.is_some() && (n.content != node.content || round == 0)))
    }

    /// A handle opened on bytes that have since become a blob reads the blob.
    pub(in crate::engine::volume) async fn reopen(&self, live: &OpenInode, slot: &ReaderSlot) -> Result<ContentReader> {
        let node =
            self.store.catalog.node(live.ino, self.now()).await?.ok_or_else(|| Error::not_found("the file is gone"))?;
        let (reader, _) = self.newest_reader(node).await?;
        *slot.lock() = Some(reader.clone());
        Ok(reader)
    }

    /// A reader of a file's bytes, of `node` as the catalog had it or as it has it by now.
    pub(in crate::engine::volume) async fn newest_reader(&self, mut node: Node) -> Result<(ContentReader, Node)> {
        let mut round = 0;
        loop {
            match self.reader_of(&node).await {
                Ok(reader) => return Ok((reader, node)),
                Err(e) => node = self.overtaken(&node, &e, round).await?.ok_or(e)?,
            }
            round += 1;
        }
    }

    /// A reader of a committed file's bytes. Kept by hash, so that what was verified is not verified again at every open.
    pub(in crate::engine::volume) async fn reader_of(&self, node: &Node) -> Result<ContentReader> {
        let (id, hash) = node.content.ok_or_else(|| Error::internal("a committed file has content"))?;
        if let Some(reader) = self.readers.lock().get(&hash) {
            return Ok(reader.clone());
        }
        let artifact = self.store.catalog.artifact(self.store.tenant.id, id, self.now()).await?;
        let artifact = artifact.ok_or_else(|| Error::not_found("the file has expired"))?;
        // What is pending may still lie in a staging file that can change: looked up anew each time. (Asked first: it may arrive in the
        // store while we look.)
        let stored = self.store.catalog.store_state(id).await? == Some(StoreState::Stored);
        let reader = self.store.reader(&artifact).await?;
        if stored {
            let mut readers = self.readers.lock();
            if readers.len() >= READERS {
                readers.clear();
            }
            readers.insert(hash, reader.clone());
        }
        Ok(reader)
    }

    /// Writes all of `data`; returns its length. `collected`: by the kernel, which has told the program of success. What is over a
    /// limit is then taken as well and refused by the close: the kernel would tell of `EIO`, and commit the other half.
    ///
    /// # Errors
    /// `BadHandle` on a handle not open for writing, disk errors, a control command's error.
    pub async fn write(self: &Arc<Self>, fh: u64, offset: u64, data: Bytes, collected: bool) -> Result<u32> {
        let handle = self.handles.get(fh)?;
        match &*handle {
            Handle::File { live, write: true, .. } => {
                let file = live.staged_file().ok_or_else(|| Error::new(Kind::BadHandle, "not open for writing"))?;
                self.scratch_may_write(live, offset, data.len() as u64)?;
                match self.may_grow(live, offset.saturating_add(data.len() as u64)).await {
                    Err(e) if collected && matches!(e.kind, Kind::OverQuota | Kind::FileTooLarge) => {}
                    allowed => allowed?,
                }
                let _writing = self.begin_write(live, offset).await?;
                write_all_at(&file, offset, &data)?;
                Ok(u32::try_from(data.len()).unwrap_or(u32::MAX))
            }
            Handle::Ctl(ctl) => self.control_write(ctl, &data).await,
            _ => Err(Error::new(Kind::BadHandle, "not open for writing")),
        }
    }

    /// `fallocate(2)`; `mode` as the kernel gives it.
    ///
    /// # Errors
    /// `Unsupported` for a mode that the staging file system lacks, disk errors.
    pub async fn fallocate(&self, fh: u64, offset: u64, length: u64, mode: u32) -> Result<()> {
        let (live, file) = self.writable(fh)?;
        if mode & libc::FALLOC_FL_PUNCH_HOLE.cast_unsigned() == 0 {
            self.scratch_may_write(&live, offset, length)?;
            self.may_grow(&live, offset.saturating_add(length)).await?;
        }
        // Whatever the mode: it may move or take away bytes.
        let _writing = self.begin_write(&live, 0).await?;
        let flags = FallocateFlags::from_bits_retain(mode);
        rustix::fs::fallocate(&*file.file, flags, offset, length).map_err(|e| Error::io(&file.path, &e.into()))
    }

    /// `lseek(2)` for `SEEK_DATA` and `SEEK_HOLE`.
    ///
    /// # Errors
    /// `Invalid` past the end (`ENXIO` to the program).
    pub async fn lseek(&self, fh: u64, offset: i64, whence: i32) -> Result<i64> {
        let handle = self.handles.get(fh)?;
        let at = u64::try_from(offset).map_err(|_| Error::new(Kind::NoSuchAddress, "before the start"))?;
        let data = whence == libc::SEEK_DATA;
        let past = || Error::new(Kind::NoSuchAddress, "past the end");
        let found = match &*handle {
            Handle::File { live, reader, .. } => {
                self.make_whole(live).await?;
                if let Some(file) = live.staged_file() {
                    let from = if data { SeekFrom::Data(at) } else { SeekFrom::Hole(at) };
                    return rustix::fs::seek(&*file.file, from).map(|n| i64::try_from(n).unwrap_or(i64::MAX)).map_err(
                        |e| match e {
                            rustix::io::Errno::NXIO => past(),
                            e => Error::io(&file.path, &e.into()),
                        },
                    );
                }
                let known = reader.lock().clone();
                let reader = match known {
                    Some(reader) => reader,
                    None => self.reopen(live, reader).await?,
                };
                if at < reader.size() { reader.0.seek(at, data).await? } else { None }
            }
            Handle::Content(r) if at < r.size() => r.0.seek(at, data).await?,
            // All data, with the one hole that every file has at its end (lseek(2)).
            Handle::Fixed(b) if at < b.len() as u64 => Some(if data { at } else { b.len() as u64 }),
            Handle::Content(_) | Handle::Fixed(_) | Handle::Ctl(_) => None,
        };
        found.map(|n| i64::try_from(n).unwrap_or(i64::MAX)).ok_or_else(past)
    }

    /// Before something looks at the staging file itself.
    pub(in crate::engine::volume) async fn make_whole(&self, live: &Arc<OpenInode>) -> Result<()> {
        if !live.grown(|grown| grown.is_sparse()).unwrap_or(false) {
            return Ok(());
        }
        let mut saving = live.saving().await;
        self.ungrow(&mut saving).await
    }

    pub(in crate::engine::volume) fn writable(&self, fh: u64) -> Result<(Arc<OpenInode>, StagingFile)> {
        match &*self.handles.get(fh)? {
            Handle::File { live, write: true, .. } => {
                let file = live.staged_file().ok_or_else(|| Error::new(Kind::BadHandle, "not open for writing"))?;
                Ok((live.clone(), file))
            }
            _ => Err(Error::new(Kind::BadHandle, "not open for writing")),
        }
    }
}

pub(in crate::engine::volume) fn write_all_at(file: &StagingFile, offset: u64, data: &[u8]) -> Result<()> {
    file.file.write_all_at(data, offset).map_err(|e| Error::io(&file.path, &e))
}

pub(in crate::engine::volume) fn slice(bytes: &Bytes, offset: u64, len: usize) -> Bytes {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let end = start.saturating_add(len).min(bytes.len());
    bytes.slice(start..end)
}
