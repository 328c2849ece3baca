//! `copy_file_range(2)`: copies that stay inside the daemon, and whole copies of what is stored.
//!
//! `cp a b` asks for all of `a` into the new, empty `b`. When `a` is in the store already, so is `b`: its hash is known and
//! nothing is to be sent. What has been copied is noted ([`Copied`]) as long as nothing else touches the file; a save that
//! finds it whole commits the source's blob without reading a byte. The kernel holds the target's inode lock during the call,
//! also against writes that pass the daemon by; a mapping is not held off by it, so that files that can be mapped
//! are hashed as ever.

use std::os::unix::fs::FileExt;

use crate::artifact::ids::BlobHash;
use crate::artifact::record::BlobPlace;
use crate::artifact::{Error, Kind, Result};
use crate::staging::file::{StagingFile, Stamp};
use crate::staging::hash::{Digest, Midstate};

use crate::engine::volume::Volume;
use crate::engine::volume::handles::Handle;
use crate::engine::volume::inode::OpenInode;
use crate::engine::volume::inode::copied::Copied;
use crate::engine::volume::ops::io::write_all_at;
use crate::engine::volume::save::blocking;

/// Above this a copy is worth a hop to the blocking pool.
const COPY_AT_ONCE: u64 = 1 << 20;

impl Volume {
    /// Copies between two open files inside the daemon: the bytes never pass through the caller.
    ///
    /// # Errors
    /// `BadHandle`, disk and store errors.
    pub async fn copy_file_range(&self, from: (u64, u64), to: (u64, u64), len: u64) -> Result<u32> {
        let (live, target) = self.writable(to.0)?;
        let source = self.handles.get(from.0)?;
        let mut origin = None;
        let (file, path) = match &*source {
            Handle::File { live, reader, .. } => {
                self.make_whole(live).await?;
                if let Some(f) = live.staged_file() {
                    (f.file.clone(), f.path.clone())
                } else {
                    let known = reader.lock().clone();
                    let reader = match known {
                        Some(r) => r,
                        None => self.reopen(live, reader).await?,
                    };
                    origin = Some(reader.0.hash());
                    reader.0.as_file().await?
                }
            }
            Handle::Content(r) => {
                origin = Some(r.0.hash());
                r.0.as_file().await?
            }
            _ => return Err(Error::new(Kind::Unsupported, "cannot be copied from")),
        };
        self.scratch_may_write(&live, to.1, len.min(1 << 30))?;
        let begun = self.begin_copy(&live, &target, origin.filter(|_| from.1 == to.1), to.1).await?;
        let _writing = self.begin_write(&live, to.1).await?;
        // The answer is 32 bits: whoever wants more asks again.
        let len = len.min(1 << 30);
        let copy = move || {
            let (mut off_in, mut off_out) = (from.1, to.1);
            let mut left = len;
            while left > 0 {
                let want = usize::try_from(left).unwrap_or(usize::MAX);
                match rustix::fs::copy_file_range(&*file, Some(&mut off_in), &*target.file, Some(&mut off_out), want) {
                    Ok(0) => break,
                    Ok(n) => left -= n as u64,
                    Err(rustix::io::Errno::XDEV | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::INVAL) => {
                        let mut buf = vec![0; want.min(1 << 20)];
                        let n = file.read_at(&mut buf, off_in).map_err(|e| Error::io(&path, &e))?;
                        if n == 0 {
                            break;
                        }
                        write_all_at(&target, off_out, &buf[..n])?;
                        off_in += n as u64;
                        off_out += n as u64;
                        left -= n as u64;
                    }
                    Err(e) => return Err(Error::io(&target.path, &e.into())),
                }
            }
            Ok(u32::try_from(len - left).unwrap_or(u32::MAX))
        };
        let copied = if len <= COPY_AT_ONCE { copy()? } else { blocking(copy).await? };
        end_copy(&live, begun, u64::from(copied))?;
        Ok(copied)
    }

    /// Before a piece of `origin`, a stored blob, is copied to `at` of the target, the same place; takes out what was
    /// noted before. `None`: this is no whole copy.
    async fn begin_copy(
        &self,
        live: &OpenInode,
        target: &StagingFile,
        origin: Option<BlobHash>,
        at: u64,
    ) -> Result<Option<Copied>> {
        let (writes, stamp) = (live.writes(), target.stamp()?);
        let (may, noted) = live.take_copied();
        let Some(origin) = origin.filter(|_| may) else { return Ok(None) };
        if at == 0 && stamp.size == 0 {
            let digest = self.stored_digest(origin).await?;
            return Ok(digest.map(|digest| Copied { digest, upto: 0, stamp, writes }));
        }
        let goes_on = |c: &Copied| c.upto == at && c.digest.hash == origin && (c.stamp, c.writes) == (stamp, writes);
        Ok(noted.filter(goes_on))
    }

    /// What a pass over the bytes of a blob that is in the store would find.
    async fn stored_digest(&self, hash: BlobHash) -> Result<Option<Digest>> {
        let (tenant, catalog) = (self.store.tenant.id, &self.store.catalog);
        // What is not in the store yet may have to be sent from here: then its bytes are hashed, as any other's.
        let Some(blob) = catalog.blob(tenant, hash).await?.filter(|b| b.place == BlobPlace::Stored) else {
            return Ok(None);
        };
        let midstate = catalog.midstate(tenant, hash).await?.map(Midstate);
        Ok(Some(Digest { hash, size: blob.size, chunks: blob.chunks, midstate }))
    }

    /// The digest of a staging file that is a whole copy of a stored blob, untouched since.
    pub(in crate::engine::volume) fn copied(&self, live: &OpenInode, stamp: Stamp) -> Option<Digest> {
        live.whole_copy(stamp).filter(|_| !self.doubtful(&stamp))
    }
}

/// After `n` more bytes were copied. A write that came in between through the daemon ends the note.
fn end_copy(live: &OpenInode, begun: Option<Copied>, n: u64) -> Result<()> {
    let Some(begun) = begun else { return Ok(()) };
    let writes = begun.writes + 1;
    live.note_copied(writes, |stamp| Copied { upto: begun.upto + n, stamp, writes, ..begun })
}
