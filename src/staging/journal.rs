//! The journal: what each staging file of this mount is, so that a crash loses none of them.
//!
//! Append-only lines, each `<crc32c-or-similar hex> <json>\n`; a torn last line is ignored. An append is one `write(2)` without
//! `fsync`: it survives `kill -9` of the daemon, which is all that a file still open is promised; [`Journal::append_durable`] adds
//! `fdatasync` for records that carry a promise (bytes that `close` could not store).

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::artifact::Result;
use crate::artifact::ids::{BlobHash, Ino};
use crate::artifact::record::Labels;

/// One staging file's story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Record {
    /// `file` holds the bytes of `ino` while it is open for writing. `name` is base64 of the bytes (names need not be UTF-8).
    Open {
        file: String,
        ino: Ino,
        tenant: i64,
        session: i64,
        parent: Ino,
        name: Vec<u8>,
        cookie: u64,
        mode: u32,
        uid: u32,
        gid: u32,
        in_catalog: bool,
        labels: Box<Labels>,
    },
    /// The inode's name changed before its first commit.
    Place { file: String, parent: Ino, name: Vec<u8>, cookie: u64 },
    /// A state of the bytes was committed to the catalog: anything newer in the file is unsaved.
    Committed { file: String, size: u64, hash: BlobHash },
    /// `close` failed to store these bytes: they are to be committed as soon as the store answers.
    Retry { file: String, size: u64, hash: BlobHash, labels: Box<Labels> },
    /// The staging file is of no more use (settled, discarded, unchanged).
    Done { file: String },
}

/// What the journal says of one staging file at the end.
#[derive(Clone, Debug, PartialEq)]
pub struct Story {
    /// The `Open` record with later places and labels applied.
    pub open: Record,
    pub committed: Option<(u64, BlobHash)>,
    pub retry: Option<(u64, BlobHash)>,
}

#[derive(Debug)]
pub struct Journal {}

impl Journal {
    /// Opens or makes the journal at `path` and reads what it holds.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn open(path: &Path) -> Result<(Self, Vec<Story>)> {
        let _ = path;
        todo!()
    }
    /// Appends; compacts (rewrite, fsync, rename) when done stories outweigh living ones and the file passes 1 MiB.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn append(&self, record: &Record) -> Result<()> {
        let _ = record;
        todo!()
    }
    /// Appends and waits for stable storage. Blocking.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn append_durable(&self, record: &Record) -> Result<()> {
        let _ = record;
        todo!()
    }
    /// The stories that are not done.
    #[must_use]
    pub fn stories(&self) -> Vec<Story> {
        todo!()
    }
}
