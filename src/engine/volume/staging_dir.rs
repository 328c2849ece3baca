//! Where a mount's staging files are, what its file system can do, and the journal of them.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::artifact::Result;
use crate::artifact::ids::Ino;
use crate::staging::file::{has_fine_ctime, notes_stores};
use crate::staging::journal::Journal;

pub struct StagingDir {
    pub path: PathBuf,
    pub fine_ctime: bool,
    /// The file system notes stores through a mapping after each write-back.
    pub notes_stores: bool,
    pub journal: Arc<Journal>,
    seq: AtomicU64,
    /// Staging files that nobody can change any more and whose stamp was that of the committed bytes.
    pub parted: Mutex<HashSet<String>>,
}

impl StagingDir {
    /// # Errors
    /// Of the directory and of the journal.
    pub fn open(path: PathBuf, journal: &std::path::Path) -> Result<Self> {
        Ok(Self {
            fine_ctime: has_fine_ctime(&path)?,
            notes_stores: notes_stores(&path)?,
            journal: Arc::new(Journal::open(journal)?.0),
            seq: AtomicU64::new(0),
            parted: Mutex::default(),
            path,
        })
    }

    /// A name that no staging file had before.
    pub fn fresh_name(&self, ino: Ino) -> String {
        format!("{ino}-{}", self.seq.fetch_add(1, Ordering::Relaxed))
    }
}
