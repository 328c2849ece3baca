//! Room on the disk that only the catalog may use: on a full disk a file can still be removed, a session sealed, a mount
//! taken off.
//!
//! It is a file beside the catalog, allocated and never written. The writer looks at the disk before each batch. When less than
//! [`LOW`] is left, the room goes over to the catalog's own files: blocks behind their ends, which their next growth takes
//! (`FALLOC_FL_KEEP_SIZE` of fallocate(2)), so that whoever fills the disk cannot have them. It is taken anew when there is
//! plenty. Several processes may do so at once: either state is a good one.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};

/// What a few thousand removals need, in bytes.
const ROOM: u64 = 16 << 20;
/// How much of it goes behind the end of the write-ahead log, which is overwritten from its start after every 4 MiB, and how much
/// behind the end of the database, in bytes.
const FOR_LOG: u64 = 10 << 20;
const FOR_DATABASE: u64 = 5 << 20;
/// Free space in bytes below which the room is given back.
const LOW: u64 = 4 << 20;
/// Free space in bytes above which it is taken.
const PLENTY: u64 = 4 * ROOM;

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
        match OpenOptions::new().write(true).create(true).truncate(false).open(&path) {
            Ok(file) => Some(Self { file, catalog: catalog.to_owned() }),
            Err(e) => {
                tracing::debug!(path = %path.display(), error = %e, "no room is kept for the catalog");
                None
            }
        }
    }

    /// Looks at the disk and takes or gives the room.
    pub fn look(&self) {
        let Ok(disk) = fstatvfs(&self.file) else { return };
        let root = rustix::process::geteuid().is_root();
        let free = disk.f_frsize * if root { disk.f_bfree } else { disk.f_bavail };
        if (LOW..PLENTY).contains(&free) {
            return;
        }
        let held = self.file.metadata().is_ok_and(|m| m.len() >= ROOM);
        let done = match (free < LOW, held) {
            (true, true) => {
                tracing::warn!("the disk is full: the catalog lives on what was kept for it");
                self.file.set_len(0).and_then(|()| self.hand_over())
            }
            (false, false) => fallocate(&self.file, FallocateFlags::empty(), 0, ROOM).map_err(Into::into),
            _ => Ok(()),
        };
        if let Err(e) = done {
            // A file system without fallocate(2), or full: as if there were no room.
            tracing::debug!(error = %e, "the room for the catalog could not be changed");
        }
    }

    fn hand_over(&self) -> std::io::Result<()> {
        let mut log = self.catalog.clone().into_os_string();
        log.push("-wal");
        for (path, room) in [(PathBuf::from(log), FOR_LOG), (self.catalog.clone(), FOR_DATABASE)] {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
            let end = file.metadata()?.len();
            fallocate(&file, FallocateFlags::KEEP_SIZE, end, room)?;
        }
        Ok(())
    }
}
