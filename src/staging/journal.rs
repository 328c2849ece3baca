//! The journal: what each staging file of this mount is, so that a crash loses none of them.
//!
//! Append-only lines, each `<CRC-32 in 8 hex digits> <JSON>\n`; a torn last line is cut off. An append is one
//! `write(2)` without `fsync`: it survives `kill -9` of the daemon, which is all that a file still open is promised;
//! [`Journal::append_durable`] adds `fdatasync` for records that carry a promise (bytes that `close` could not store).
//! A broken line elsewhere (a block that never reached the disk before the power failed) is skipped and logged: the
//! lines after it still tell of files.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::artifact::ids::{BlobHash, Ino};
use crate::artifact::record::Labels;
use crate::artifact::{Error, Result};

/// Below this size in bytes a journal is not worth rewriting.
const COMPACT_FROM: u64 = 1 << 20;

/// One staging file's story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Record {
    /// `file` holds the bytes of `ino` while it is open for writing. `name` is written in hexadecimal (names need not be UTF-8).
    Open {
        file: String,
        ino: Ino,
        tenant: i64,
        session: i64,
        parent: Ino,
        #[serde(with = "hex::serde")]
        name: Vec<u8>,
        cookie: u64,
        mode: u32,
        uid: u32,
        gid: u32,
        in_catalog: bool,
        labels: Box<Labels>,
    },
    /// The inode's name changed before its first commit.
    Place {
        file: String,
        parent: Ino,
        #[serde(with = "hex::serde")]
        name: Vec<u8>,
        cookie: u64,
    },
    /// Bytes of `file` below `size` are a hole: they are those of blob `hash`, to which it appends.
    Base { file: String, size: u64, hash: BlobHash },
    /// The hole of [`Record::Base`] was filled: the file holds all of its bytes.
    Whole { file: String },
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
    /// The `Open` record with later places and labels applied; `in_catalog` once something was committed.
    pub open: Record,
    /// The file's bytes below this size are not in it.
    pub base: Option<(u64, BlobHash)>,
    pub committed: Option<(u64, BlobHash)>,
    pub retry: Option<(u64, BlobHash)>,
}

/// An open journal. Its lock is held for one `write(2)`, now and then for a compaction; never across an `fsync` of
/// [`Journal::append_durable`].
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: Arc<File>,
    /// Bytes of whole lines.
    len: u64,
    /// `len` after the last compaction: what was living then.
    living: u64,
    stories: BTreeMap<String, Story>,
}

impl Journal {
    /// Opens or makes the journal at `path` and reads what it holds.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn open(path: &Path) -> Result<(Self, Vec<Story>)> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(|e| Error::io(path, &e))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| Error::io(path, &e))?;
        let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
        if whole < bytes.len() {
            // Else the next record would be appended to the torn one and lost with it.
            file.set_len(whole as u64).map_err(|e| Error::io(path, &e))?;
        }
        let mut stories = BTreeMap::new();
        for (index, line) in bytes[..whole].split_inclusive(|&b| b == b'\n').enumerate() {
            match parse(&line[..line.len() - 1]) {
                Some(record) => apply(&mut stories, record),
                None => {
                    tracing::warn!(journal = %path.display(), line = index + 1, "skipped a broken line of the journal");
                }
            }
        }
        let told = stories.values().cloned().collect();
        let inner = Inner { file: Arc::new(file), len: whole as u64, living: 0, stories };
        Ok((Self { path: path.to_owned(), inner: Mutex::new(inner) }, told))
    }

    /// Appends; compacts (rewrite, fsync, rename) when the file passes 1 MiB and has doubled since the last time.
    ///
    /// # Errors
    /// I/O errors with the path. Then the record is not in the journal.
    pub fn append(&self, record: &Record) -> Result<()> {
        self.write(record).map(drop)
    }

    /// Appends and waits for stable storage. Blocking.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn append_durable(&self, record: &Record) -> Result<()> {
        // If a compaction replaces the file meanwhile, it has synced the record with the rest.
        self.write(record)?.sync_data().map_err(|e| Error::io(&self.path, &e))
    }

    /// The stories that are not done, by file name.
    #[must_use]
    pub fn stories(&self) -> Vec<Story> {
        self.inner.lock().stories.values().cloned().collect()
    }

    fn write(&self, record: &Record) -> Result<Arc<File>> {
        let line = format(record, &self.path)?;
        let mut inner = self.inner.lock();
        let written = (&*inner.file).write(&line);
        let failed = match written {
            Ok(n) if n == line.len() => None,
            Ok(_) => Some(std::io::Error::from(std::io::ErrorKind::StorageFull)),
            Err(e) => Some(e),
        };
        if let Some(e) = failed {
            // A part of a line must not stay in front of the next one: cut it off or, failing that, end it, so
            // that it is skipped as broken.
            if inner.file.set_len(inner.len).is_err() {
                (&*inner.file).write_all(b"\n").map_err(|e| Error::io(&self.path, &e))?;
                inner.len = inner.file.metadata().map_err(|e| Error::io(&self.path, &e))?.len();
            }
            return Err(Error::io(&self.path, &e));
        }
        inner.len += line.len() as u64;
        apply(&mut inner.stories, record.clone());
        if inner.len > COMPACT_FROM && inner.len > 2 * inner.living {
            self.compact(&mut inner)?;
        }
        Ok(inner.file.clone())
    }

    fn compact(&self, inner: &mut Inner) -> Result<()> {
        let temp = self.path.with_extension("new");
        let mut bytes = Vec::new();
        for record in inner.stories.values().flat_map(Story::records) {
            bytes.extend(format(&record, &self.path)?);
        }
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&temp)
            .map_err(|e| Error::io(&temp, &e))?;
        // What an earlier, failed compaction left.
        file.set_len(0).and_then(|()| file.write_all(&bytes)).map_err(|e| Error::io(&temp, &e))?;
        file.sync_data().map_err(|e| Error::io(&temp, &e))?;
        std::fs::rename(&temp, &self.path).map_err(|e| Error::io(&self.path, &e))?;
        let parent = self.path.parent().unwrap_or(Path::new("."));
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(|e| Error::io(parent, &e))?;
        inner.file = Arc::new(file);
        inner.len = bytes.len() as u64;
        inner.living = inner.len;
        Ok(())
    }
}

impl Record {
    /// The staging file it tells of.
    #[must_use]
    pub fn file(&self) -> &str {
        match self {
            Record::Open { file, .. }
            | Record::Place { file, .. }
            | Record::Base { file, .. }
            | Record::Whole { file }
            | Record::Committed { file, .. }
            | Record::Retry { file, .. }
            | Record::Done { file } => file,
        }
    }
}

impl Story {
    /// The fewest records that tell it.
    fn records(&self) -> Vec<Record> {
        let mut out = vec![self.open.clone()];
        let Record::Open { file, labels, .. } = &self.open else { return out };
        if let Some((size, hash)) = self.base {
            out.push(Record::Base { file: file.clone(), size, hash });
        }
        if let Some((size, hash)) = self.committed {
            out.push(Record::Committed { file: file.clone(), size, hash });
        }
        if let Some((size, hash)) = self.retry {
            out.push(Record::Retry { file: file.clone(), size, hash, labels: labels.clone() });
        }
        out
    }
}

/// Applies one record. Records of files that were never opened, or are done, tell nothing.
fn apply(stories: &mut BTreeMap<String, Story>, record: Record) {
    if let Record::Open { file, .. } = &record {
        stories.insert(file.clone(), Story { open: record, base: None, committed: None, retry: None });
        return;
    }
    let Some(story) = stories.get_mut(record.file()) else { return };
    let Record::Open { parent, name, cookie, in_catalog, labels, .. } = &mut story.open else { return };
    match record {
        Record::Open { .. } => {}
        Record::Place { parent: p, name: n, cookie: c, .. } => (*parent, *name, *cookie) = (p, n, c),
        Record::Base { size, hash, .. } => story.base = Some((size, hash)),
        Record::Whole { .. } => story.base = None,
        Record::Committed { size, hash, .. } => {
            *in_catalog = true;
            story.committed = Some((size, hash));
            // Newer than what waited to be stored, or the very same.
            story.retry = None;
        }
        Record::Retry { size, hash, labels: l, .. } => {
            *labels = l;
            story.retry = Some((size, hash));
        }
        Record::Done { file } => drop(stories.remove(&file)),
    }
}

fn format(record: &Record, path: &Path) -> Result<Vec<u8>> {
    let json = serde_json::to_string(record)
        .map_err(|e| Error::internal(format!("{}: a record cannot be written as JSON: {e}", path.display())))?;
    Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes())
}

fn parse(line: &[u8]) -> Option<Record> {
    let (crc, json) = line.split_at_checked(9)?;
    let crc = std::str::from_utf8(crc).ok()?.strip_suffix(' ')?;
    let crc = u32::from_str_radix(crc, 16).ok()?;
    if crc != crc32fast::hash(json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
mod tests;
