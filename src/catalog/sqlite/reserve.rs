//! Room on the disk that only the catalog may use: on a full disk a file can still be removed, the trash emptied, a session sealed,
//! a mount taken off or made.
//!
//! It is a file beside the catalog, allocated and never written, of a quarter of what was free at most. The writer looks at the disk
//! before each batch. When little is left, a part of the room goes over to the catalog's own files: blocks behind their ends, which
//! their next growth takes (`FALLOC_FL_KEEP_SIZE` of fallocate(2)), so that whoever fills the disk cannot have them; the next part
//! follows when that is used up. Who opens a catalog that nobody has open needs some files more ([`Reserve::for_opening`]): blocks
//! and, from files that are kept for nothing else, inodes. All of it is taken anew when there is plenty. Several processes may do so
//! at once: either state is a good one.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};

const MIB: u64 = 1 << 20;
/// What some thousand removals need.
const ROOM: u64 = 16 * MIB;
/// Less than this is not worth a file: on a disk with less than 8 MiB free there is no room.
const WORTH: u64 = 2 * MIB;
/// How much is behind the end of the write-ahead log, which is overwritten from its start after every 4 MiB, and behind the end of
/// the database, after a part has gone over.
const FOR_LOG: u64 = 4 * MIB;
const FOR_DATABASE: u64 = 2 * MIB;
/// What the files of an opening take: the index of the log, its first pages; for a mount also its directory and journal.
const FOR_OPENING: u64 = MIB / 2;
/// Files that are kept for their inodes.
const SPARE_INODES: u64 = 8;

/// The file that holds the room.
#[derive(Debug)]
pub struct Reserve {
    file: File,
    catalog: PathBuf,
}

impl Reserve {
    /// Opens `catalog.reserve` beside `catalog`. None where it cannot be made: there is then no room, and all else works.
    pub fn open(catalog: &Path) -> Option<Self> {
        let path = catalog.with_extension("reserve");
        match OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path) {
            Ok(file) => Some(Self { file, catalog: catalog.to_owned() }),
            Err(e) => {
                tracing::debug!(path = %path.display(), error = %e, "no room is kept for the catalog");
                None
            }
        }
    }

    /// Looks at the disk and takes or gives the room.
    pub fn look(&self) {
        let (Some(free), Some(held)) = (self.free(), self.held()) else { return };
        let wanted = (free / 4).min(ROOM);
        let done = if free < (held / 4).max(MIB) && held > 0 {
            self.hand_over(held)
        } else if wanted >= WORTH && wanted > held {
            fallocate(&self.file, FallocateFlags::empty(), 0, wanted).map_err(Into::into)
        } else {
            Ok(())
        };
        if let Err(e) = done {
            // A file system without fallocate(2), or full: as if there were no room.
            tracing::debug!(error = %e, "the room for the catalog could not be changed");
        }
    }

    /// Before the first connection: it makes files of its own.
    pub fn for_opening(&self) {
        let Some(free) = self.free() else { return };
        if free < FOR_OPENING {
            self.give();
        }
        // What was freed a moment ago is counted as free, and cannot be had before the file system's journal is committed. `SQLite` maps the
        // log's index, and a page of it for which there is no block ends the process (SIGBUS).
        if free < 4 * FOR_OPENING
            && let Err(e) = rustix::fs::syncfs(&self.file)
        {
            tracing::debug!(error = %e, "what was freed may be had a moment later");
        }
        self.spare_inodes();
        self.look();
    }

    /// Frees a part of the room for whoever comes first.
    pub fn give(&self) {
        if let Some(held) = self.held().filter(|held| *held > 0)
            && let Err(e) = self.file.set_len(held.saturating_sub(FOR_OPENING))
        {
            tracing::debug!(error = %e, "the room for the catalog could not be changed");
        }
    }

    /// What the catalog's own files gave back to the disk when they were closed: it must not go to whoever fills it.
    pub fn after_closing(&self) {
        let (Some(free), Some(held)) = (self.free(), self.held()) else { return };
        if free < ROOM
            && let Err(e) =
                fallocate(&self.file, FallocateFlags::empty(), 0, held + (free / 2).min(ROOM - held.min(ROOM)))
        {
            tracing::debug!(error = %e, "the room for the catalog could not be changed");
        }
    }

    fn free(&self) -> Option<u64> {
        let disk = fstatvfs(&self.file).ok()?;
        let root = rustix::process::geteuid().is_root();
        Some(disk.f_frsize * if root { disk.f_bfree } else { disk.f_bavail })
    }

    fn held(&self) -> Option<u64> {
        self.file.metadata().ok().map(|m| m.len())
    }

    /// Fills up what the catalog's files have in advance.
    fn hand_over(&self, mut held: u64) -> std::io::Result<()> {
        let mut log = self.catalog.clone().into_os_string();
        log.push("-wal");
        // On a small disk each gets its share; what openings need stays.
        let ours = held.saturating_sub(2 * FOR_OPENING);
        let (for_log, for_database) = (FOR_LOG.min(ours / 3 * 2), FOR_DATABASE.min(ours / 3));
        // (SQLite takes an empty log for none, and holds no locks on it.)
        let log = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(PathBuf::from(log))?;
        self.fill_up(log.as_fd(), for_log, &mut held)?;
        match opened(&self.catalog)? {
            Some(database) => self.fill_up(database, for_database, &mut held),
            None => Ok(()),
        }
    }

    /// Has `file` own `room` bytes behind its end, out of what is `held`.
    fn fill_up(&self, file: BorrowedFd<'_>, room: u64, held: &mut u64) -> std::io::Result<()> {
        let stat = rustix::fs::fstat(file)?;
        let (size, blocks) = (u64::try_from(stat.st_size).unwrap_or(0), u64::try_from(stat.st_blocks).unwrap_or(0));
        let ahead = (blocks * 512).saturating_sub(size);
        let missing = room.saturating_sub(ahead).min(*held);
        if room == 0 || ahead >= room / 2 || missing == 0 {
            return Ok(());
        }
        tracing::warn!("the disk is full: the catalog lives on what was kept for it ({held} bytes)");
        *held -= missing;
        self.file.set_len(*held)?;
        fallocate(file, FallocateFlags::KEEP_SIZE, size, ahead + missing)?;
        Ok(())
    }

    /// Inodes that are free for an opening: some are kept while there are many, and given when there are none.
    fn spare_inodes(&self) {
        let Ok(disk) = fstatvfs(&self.file) else { return };
        // A file system that makes inodes as it needs them.
        if disk.f_files == 0 {
            return;
        }
        for n in 0..SPARE_INODES {
            let path = self.catalog.with_extension(format!("spare-{n}"));
            let done = if disk.f_ffree >= 16 * SPARE_INODES {
                OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map(drop)
            } else if disk.f_ffree < SPARE_INODES {
                std::fs::remove_file(&path)
            } else {
                return;
            };
            if let Err(e) = done {
                tracing::debug!(path = %path.display(), error = %e, "no inode was kept or given");
            }
        }
    }
}

/// `SQLite`'s own descriptor of the file; none while it has none. A descriptor of ours would do harm: when it is closed, the kernel ends
/// the locks that `SQLite` holds on the file (fcntl(2)), and another process may take the log away from under us.
fn opened(path: &Path) -> std::io::Result<Option<BorrowedFd<'static>>> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|n| n.parse().ok());
        if let Some(number) = number
            && std::fs::read_link(entry.path()).is_ok_and(|to| to == path)
        {
            // SAFETY: it is open, and stays so: whoever calls holds the connection that it belongs to. It is not closed here.
            return Ok(Some(unsafe { BorrowedFd::borrow_raw(number) }));
        }
    }
    Ok(None)
}
