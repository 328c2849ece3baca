//! Open file descriptions of the kernel's, by number.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::artifact::record::Labels;
use crate::artifact::{Error, Kind, Result};
use crate::blob::reader::ContentReader;

use crate::engine::volume::hidden::control::CtlHandle;
use crate::engine::volume::inode::OpenInode;

/// What an open number stands for.
pub enum Handle {
    /// A regular file of the tree.
    File {
        live: Arc<OpenInode>,
        write: bool,
        /// `O_RDWR`: only such a descriptor can be mapped shared and writable.
        mappable: bool,
        /// Content of the moment it was opened, used while the inode has no staging file.
        reader: Mutex<Option<ContentReader>>,
        /// Labels of its opener's process, when the inode had others from an earlier writer.
        by: std::sync::OnceLock<Box<Labels>>,
    },
    /// A hidden file whose bytes are known at open: a manifest.
    Fixed(Bytes),
    /// A hidden file that shows an artifact.
    Content(ContentReader),
    /// A control file.
    Ctl(CtlHandle),
}

/// The table of open handles. Numbers start at 1 and are never reused.
#[derive(Default)]
pub struct Handles {
    next: AtomicU64,
    table: RwLock<HashMap<u64, Arc<Handle>>>,
}

impl Handles {
    pub fn add(&self, handle: Handle) -> u64 {
        let fh = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.table.write().insert(fh, Arc::new(handle));
        fh
    }

    /// The number that the next handle gets.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed) + 1
    }

    /// # Errors
    /// `BadHandle` when the number is not open.
    pub fn get(&self, fh: u64) -> Result<Arc<Handle>> {
        self.table.read().get(&fh).cloned().ok_or_else(|| Error::new(Kind::BadHandle, "no such open file"))
    }

    /// All that are open now.
    pub fn all(&self) -> Vec<Arc<Handle>> {
        self.table.read().values().cloned().collect()
    }

    pub fn remove(&self, fh: u64) -> Option<Arc<Handle>> {
        self.table.write().remove(&fh)
    }
}
