//! Scratch: files whose names match the session's ignore rules, and directories that do with all below them. They
//! never become artifacts (CONTRACT §3.5).
//!
//! # Where it lives
//! In the state directory, as real files in a tree of its own: `scratch/<tenant>/<inode of a directory>/<name>`. Below a
//! scratch directory the tree is the tree. Names, modes, owners, times, user attributes and hard links of these files *are*
//! the metadata: there is no other record, so nothing can disagree after a crash, and nothing needs recovery. The tree is
//! keyed by the directory's inode, which is never reused: a directory that is renamed takes its scratch along.
//! Mounts of one session on one state directory share it, as processes share a directory; other machines do not see it.
//!
//! # What owns what
//! - The **tree** owns every scratch name. A name that the overlay or the catalog has comes first.
//! - [`Known`] gives inode numbers (from the catalog's sequence, for as long as the volume lives) and cookies to what
//!   the kernel has seen of the tree.
//! - An open scratch file has a [`OpenInode`](crate::engine::volume::inode::OpenInode) of that identity, whose staging file is the file in the tree: it is read and written
//!   as any other, through the daemon (which keeps the limit), and saving it does nothing.
//! - The rules act when a name is made or moved, as in git: a name that exists stays what it is.
//!
//! # Moves
//! - *Scratch to a name that does not match*: the file moves into staging, keeps its inode number, and one commit
//!   puts it in the place of whatever stood there. The rename is answered when that is durable; if it fails, the
//!   file moves back.
//! - *Artifact to a name that matches*: its bytes are copied into the tree, the artifact goes to the trash. One that
//!   somebody has open, or that has several names, stays an artifact under its new name: no later write may be lost.
//! - *Hard link*: from scratch to scratch it is one. To a name that does not match it makes an artifact of a copy. The other way: `EXDEV`.
//! - *A directory, symlink, fifo, socket or device*, either way: with all that is below it, in one transaction ([`promote`], [`demote`]). What the
//!   rules make scratch at the new place too stays scratch.
//! - `EXDEV`, so that the caller copies: a tree of which somebody has a file open that would change its kind, or a file with
//!   a name outside of it; and an exchange of a scratch name and an artifact's.
//!
//! # Lock order
//! `inode::Saving` → `Overlay` → `OpenInode::state`; [`Known`] and the rules are leaves: never held while another lock is taken.
//!
//! # At a crash
//! The tree is as the file system has it. A move into staging that was not answered ends as any other unsaved file: in the trash,
//! marked recovered. Sealing removes the session's part of the tree ([`crate::engine::scratch`]).

mod content;
mod demote;
mod known;
mod moves;
mod names;
mod promote;
mod rules;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::artifact::ids::{Ino, SessionId};
use crate::artifact::name::Name;
use crate::artifact::{Error, Kind, Result};

pub(super) use known::Known;
pub(super) use rules::Rules;

/// The scratch tree as one volume uses it.
pub struct Scratch {
    /// `scratch/<tenant>` in the state directory.
    root: PathBuf,
    known: Mutex<Known>,
    rules: Rules,
    limit: u64,
    /// Bytes in the tree as far as this volume knows: counted anew before anything is refused.
    used: AtomicU64,
}

impl Scratch {
    /// # Errors
    /// When the tree cannot be made or read.
    pub fn open(root: PathBuf, limit: u64) -> Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&root).map_err(|e| Error::io(&root, &e))?;
        let used = crate::engine::scratch::usage(&root)?;
        Ok(Self { root, known: Mutex::default(), rules: Rules::default(), limit, used: AtomicU64::new(used) })
    }

    /// True for inodes that this mount has found in the tree.
    pub fn is(&self, ino: Ino) -> bool {
        self.known.lock().has(ino)
    }

    /// Notes a name in the table; `fresh` is taken if the file has no number yet. Whatever file had `id` before and is not where it
    /// was is another one: a number of its own, in a session of its own.
    fn know(
        &self,
        at: (Ino, &Name),
        id: (u64, u64),
        fresh: Ino,
        cookie: u64,
        session: SessionId,
    ) -> Result<(Ino, u64)> {
        let former = self.known.lock().by_id(id);
        if let Some(former) = former.filter(|ino| *ino != fresh) {
            let there = match self.path(former) {
                Ok(path) => stat(&path)?.is_some_and(|meta| known::id_of(&meta) == id),
                Err(e) if e.kind == Kind::NotFound => false,
                Err(e) => return Err(e),
            };
            if !there {
                self.known.lock().remove(former);
            }
        }
        Ok(self.known.lock().add(at, id, fresh, cookie, session))
    }

    /// Where the children of a directory are, be it scratch or not.
    fn dir_path(&self, dir: Ino) -> Result<PathBuf> {
        if self.is(dir) { self.path(dir) } else { Ok(self.root.join(dir.0.to_string())) }
    }

    /// Scratch directories in a directory of the catalog's: each is a link to it, as on a disk (where the disk of the state directory
    /// counts them).
    pub fn subdirectories(&self, dir: Ino) -> u32 {
        use std::os::unix::fs::MetadataExt;
        let meta = std::fs::symlink_metadata(self.root.join(dir.0.to_string()));
        meta.map_or(0, |m| u32::try_from(m.nlink().saturating_sub(2)).unwrap_or(0))
    }

    /// Where a name is or would be.
    fn path_of(&self, parent: Ino, name: &Name) -> Result<PathBuf> {
        Ok(self.dir_path(parent)?.join(os(name)))
    }

    /// Where an inode is by the first name known of it.
    fn path(&self, ino: Ino) -> Result<PathBuf> {
        let mut names = Vec::new();
        let known = self.known.lock();
        let mut at = ino;
        while known.has(at) {
            let (parent, name) = known.place(at).ok_or_else(|| Error::not_found("the scratch file is gone"))?;
            names.push(name);
            at = parent;
        }
        drop(known);
        let mut path = self.root.join(at.0.to_string());
        path.extend(names.iter().rev().map(os));
        Ok(path)
    }

    /// Refuses `more` bytes beyond the limit. Blocking when the limit is near: the tree is counted.
    fn allow(&self, more: u64) -> Result<()> {
        if self.used.load(Ordering::Relaxed).saturating_add(more) <= self.limit {
            return Ok(());
        }
        let used = crate::engine::scratch::usage(&self.root)?;
        self.used.store(used, Ordering::Relaxed);
        if used.saturating_add(more) <= self.limit {
            return Ok(());
        }
        let text = format!("scratch files take {used} of {} bytes: remove some, or raise --scratch-limit", self.limit);
        // ENOSPC and not EDQUOT: of the two only this one outlives a writeback in the kernel (AS_ENOSPC).
        Err(Error::new(Kind::NoSpace, text))
    }

    fn grown(&self, by: u64) {
        self.used.fetch_add(by, Ordering::Relaxed);
    }
}

fn os(name: &Name) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name.as_bytes())
}

fn stat(path: &Path) -> Result<Option<std::fs::Metadata>> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(Error::io(path, &e)),
    }
}
