//! Blobs as files of a local directory: `ROOT/<key>`, mode 0400.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use ulid::Ulid;

use super::verify::{blocking, check_file, read_range};
use super::{BlobKey, BlobStore, Body, Listed, PresignHeaders};
use crate::artifact::ids::BlobHash;
use crate::artifact::record::Chunks;
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Kind, Result};

/// Keys a page of [`BlobStore::list`]; S3 has the same.
const PAGE: usize = 1000;
/// Where files are written before they are renamed to their key; no key may begin with it.
const TEMP: &str = ".tmp";
/// A temporary file that has not been written to for this long belongs to a process that died.
const TEMP_MAX_AGE: Duration = Duration::from_hours(24);

/// Blobs under one directory.
#[derive(Clone, Debug)]
pub struct LocalStore {
    root: PathBuf,
}

impl LocalStore {
    /// Opens or makes the store at `root` and removes what dead processes left half-written. Blocking.
    ///
    /// # Errors
    /// When it cannot be made or is not a directory we may write to.
    pub fn open(root: &Path) -> Result<Self> {
        let temp = root.join(TEMP);
        private_dir(&temp, true).map_err(|e| Error::io(&temp, &e))?;
        let now = SystemTime::now();
        for entry in std::fs::read_dir(&temp).map_err(|e| Error::io(&temp, &e))? {
            let entry = entry.map_err(|e| Error::io(&temp, &e))?;
            let modified = entry.metadata().and_then(|m| m.modified());
            if modified.is_ok_and(|m| now.duration_since(m).is_ok_and(|age| age > TEMP_MAX_AGE))
                && let Err(e) = std::fs::remove_file(entry.path())
            {
                // Only space is lost, and another process may have been quicker.
                tracing::warn!(path = %entry.path().display(), error = %e, "an abandoned file stays");
            }
        }
        Ok(Self { root: root.to_path_buf() })
    }

    fn path(&self, key: &BlobKey) -> Result<PathBuf> {
        let key = &key.0;
        let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
        if key.split('/').all(plain) && key.split('/').next() != Some(TEMP) {
            return Ok(self.root.join(key));
        }
        Err(Error::invalid(format!("'{key}' is not a key of a blob store")))
    }

    fn temp(&self) -> PathBuf {
        self.root.join(TEMP).join(Ulid::new().to_string())
    }
}

/// The durable write: a new file `temp`, filled by `fill`, fsynced, renamed to `target`, its directory fsynced.
/// When it fails nothing is left of it. Blocking.
fn write_durably(temp: &Path, target: &Path, fill: impl FnOnce(&File) -> Result<()>) -> Result<()> {
    let written = (|| {
        // Readable by ourselves: the copy is verified through the same descriptor.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(temp)
            .map_err(|e| Error::io(temp, &e))?;
        fill(&file)?;
        file.sync_all().map_err(|e| Error::io(temp, &e))?;
        rename_durably(temp, target)
    })();
    if written.is_err()
        && let Err(e) = std::fs::remove_file(temp)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %temp.display(), error = %e, "a half-written file stays until the store is next opened");
    }
    written
}

/// Renames and makes the new name durable, with the directories above it where they are new. Blocking.
fn rename_durably(from: &Path, to: &Path) -> Result<()> {
    let dir = to.parent().ok_or_else(|| Error::invalid(format!("{}: has no directory", to.display())))?;
    match std::fs::rename(from, to) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            make_dir(dir)?;
            std::fs::rename(from, to).map_err(|e| Error::io(from, &e))?;
        }
        done => done.map_err(|e| Error::io(from, &e))?,
    }
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| Error::io(dir, &e))
}

fn private_dir(dir: &Path, all: bool) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(all).mode(0o700).create(dir)
}

/// Makes `dir` and what is missing above it, each made durable in its parent.
fn make_dir(dir: &Path) -> Result<()> {
    match private_dir(dir, false) {
        Ok(()) => {}
        // Another writer made it; it may not have fsynced it yet.
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && dir.parent().is_some() => {
            dir.parent().map_or(Ok(()), make_dir)?;
            return make_dir(dir);
        }
        Err(e) => return Err(Error::io(dir, &e)),
    }
    dir.parent().map_or(Ok(()), sync_dir)
}

/// Copied in one call: a second of a slow disk.
const PIECE: usize = 64 << 20;

/// The first `size` bytes of `from` in `to`: shared where the file system can, else copied inside the kernel.
fn copy(from: &File, from_path: &Path, to: &File, to_path: &Path, size: u64) -> Result<()> {
    let at = |e: rustix::io::Errno| Error::io(to_path, &e.into());
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        // It may have grown since it was hashed; a shorter one is found by the check that follows.
        let now = to.metadata().map_err(|e| Error::io(to_path, &e))?.len();
        return to.set_len(size.min(now)).map_err(|e| Error::io(to_path, &e));
    }
    // Holes stay holes. (A source that is too short leaves zeros, which the check that follows refuses.)
    to.set_len(size).map_err(|e| Error::io(to_path, &e))?;
    let (mut read, mut written) = (0, 0);
    while read < size {
        match rustix::fs::seek(from, rustix::fs::SeekFrom::Data(read)) {
            Ok(data) if data < size => (read, written) = (data, data),
            Ok(_) | Err(rustix::io::Errno::NXIO) => break,
            // A file system that knows no holes.
            Err(_) => {}
        }
        let hole = rustix::fs::seek(from, rustix::fs::SeekFrom::Hole(read)).unwrap_or(size).clamp(read + 1, size);
        let want = usize::try_from(hole - read).unwrap_or(usize::MAX).min(PIECE);
        crate::metrics::moved::tick();
        match rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), want) {
            Ok(0) => break,
            Ok(_) => {}
            Err(rustix::io::Errno::XDEV | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::INVAL) => {
                let end = (read + super::verify::INLINE_IO).min(size);
                let piece = read_range(from, from_path, read..end)?;
                std::os::unix::fs::FileExt::write_all_at(to, &piece, written).map_err(|e| Error::io(to_path, &e))?;
                (read, written) = (end, written + piece.len() as u64);
            }
            Err(e) => return Err(at(e)),
        }
    }
    Ok(())
}

/// None for a file system that keeps no times.
fn modified(meta: &std::fs::Metadata) -> Option<Timestamp> {
    let since = meta.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_nanos()).ok().map(Timestamp)
}

/// Appends to `out` the keys under `dir` that begin with `prefix` and come after `after`, in key order.
fn walk(dir: &Path, above: &str, prefix: &str, after: Option<&str>, out: &mut Vec<Listed>) -> Result<()> {
    let read = match std::fs::read_dir(dir) {
        Ok(read) => read,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io(dir, &e)),
    };
    let mut names = Vec::new();
    for entry in read {
        let entry = entry.map_err(|e| Error::io(dir, &e))?;
        let is_dir = entry.file_type().map_err(|e| Error::io(entry.path(), &e))?.is_dir();
        // Keys are UTF-8; anything else is not ours.
        let Ok(name) = entry.file_name().into_string() else { continue };
        if above.is_empty() && name == TEMP {
            continue;
        }
        // With its slash a directory sorts as its keys do: `a-b` before `a/b`.
        names.push((format!("{above}{name}{}", if is_dir { "/" } else { "" }), is_dir, entry.path()));
    }
    names.sort_unstable();
    for (key, is_dir, path) in names {
        if out.len() >= PAGE {
            return Ok(());
        }
        let past = after.is_none_or(|after| key.as_str() > after);
        if is_dir {
            let holds_prefix = key.starts_with(prefix) || prefix.starts_with(&key);
            if holds_prefix && (past || after.is_some_and(|after| after.starts_with(&key))) {
                walk(&path, &key, prefix, after, out)?;
            }
        } else if past && key.starts_with(prefix) {
            match std::fs::metadata(&path) {
                Ok(meta) => out.push(Listed { key: BlobKey(key), size: meta.len(), modified: modified(&meta) }),
                // Deleted since.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io(&path, &e)),
            }
        }
    }
    Ok(())
}

/// The error of a missing blob names the key, not the path, as S3's does.
fn missing(key: &BlobKey) -> Error {
    Error::not_found(format!("the store has no '{}'", key.0))
}

#[async_trait]
impl BlobStore for LocalStore {
    fn describe(&self) -> String {
        self.root.display().to_string()
    }

    fn is_local(&self) -> bool {
        true
    }

    async fn put(&self, key: &BlobKey, body: Body) -> Result<()> {
        let (target, temp) = (self.path(key)?, self.temp());
        let base = match &body {
            Body::Grown { base, .. } => Some(self.path(base)?),
            _ => None,
        };
        // Never inline: fsync takes milliseconds however small the file is.
        blocking(u64::MAX, move || {
            write_durably(&temp, &target, |file| match body {
                Body::Bytes { bytes, .. } => (&*file).write_all(&bytes).map_err(|e| Error::io(&temp, &e)),
                Body::File { file: from, path, size, hash, chunks } => {
                    copy(&from, &path, file, &temp, size)?;
                    check_file(file, &temp, size, hash, &chunks)
                }
                Body::Grown { base_size, tail, hash, chunks, .. } => {
                    let Some(from) = base else { return Err(Error::internal("a grown blob without its base")) };
                    let base = File::open(&from).map_err(|e| match e.kind() {
                        std::io::ErrorKind::NotFound => Error::new(Kind::Unsupported, "the base is gone"),
                        _ => Error::io(&from, &e),
                    })?;
                    copy(&base, &from, file, &temp, base_size)?;
                    file.write_all_at(&tail, base_size).map_err(|e| Error::io(&temp, &e))?;
                    check_file(file, &temp, base_size + tail.len() as u64, hash, &chunks)
                }
            })
        })
        .await
    }

    async fn adopt(&self, key: &BlobKey, path: &Path, size: u64, hash: BlobHash, chunks: &Chunks) -> Result<()> {
        let (target, temp, from, chunks) = (self.path(key)?, self.temp(), path.to_path_buf(), chunks.clone());
        blocking(u64::MAX, move || {
            let restricted = std::fs::set_permissions(&from, Permissions::from_mode(0o400));
            if let Err(e) = restricted {
                // Gone: an earlier call moved it and failed afterwards.
                let moved = e.kind() == std::io::ErrorKind::NotFound
                    && std::fs::metadata(&target).is_ok_and(|meta| meta.len() == size);
                return if moved { rename_settled(&target) } else { Err(Error::io(&from, &e)) };
            }
            let crosses = {
                use std::os::unix::fs::MetadataExt;
                let device = |p: &Path| std::fs::metadata(p).map(|m| m.dev());
                let temp_dir = temp.parent().unwrap_or(&temp);
                device(&from).map_err(|e| Error::io(&from, &e))?
                    != device(temp_dir).map_err(|e| Error::io(temp_dir, &e))?
            };
            if !crosses {
                return rename_durably(&from, &target);
            }
            let file = File::open(&from).map_err(|e| Error::io(&from, &e))?;
            write_durably(&temp, &target, |to| {
                copy(&file, &from, to, &temp, size)?;
                check_file(to, &temp, size, hash, &chunks)
            })?;
            std::fs::remove_file(&from).map_err(|e| Error::io(&from, &e))
        })
        .await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> Result<Bytes> {
        let path = self.path(key)?;
        let key = key.clone();
        let open = move || {
            let file = File::open(&path).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => missing(&key),
                _ => Error::io(&path, &e),
            })?;
            let range = match range {
                Some(range) => range,
                None => 0..file.metadata().map_err(|e| Error::io(&path, &e))?.len(),
            };
            Ok::<_, Error>((file, path, range))
        };
        let (file, path, range) = open()?;
        blocking(range.end.saturating_sub(range.start), move || read_range(&file, &path, range).map(Bytes::from)).await
    }

    async fn head(&self, key: &BlobKey) -> Result<Option<u64>> {
        let path = self.path(key)?;
        match std::fs::metadata(&path) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(&path, &e)),
        }
    }

    async fn delete(&self, key: &BlobKey) -> Result<()> {
        let path = self.path(key)?;
        // Not fsynced: a deletion that a power cut undoes leaves only garbage, which `check` finds.
        blocking(u64::MAX, move || match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&path, &e)),
            _ => Ok(()),
        })
        .await
    }

    async fn list(&self, prefix: &str, after: Option<&BlobKey>) -> Result<Vec<Listed>> {
        let (root, prefix, after) = (self.root.clone(), prefix.to_owned(), after.map(|key| key.0.clone()));
        blocking(u64::MAX, move || {
            let mut out = Vec::new();
            walk(&root, "", &prefix, after.as_deref(), &mut out)?;
            Ok(out)
        })
        .await
    }

    async fn presign_get(&self, key: &BlobKey, _: Duration, _: PresignHeaders) -> Result<Option<String>> {
        self.path(key).map(|_| None)
    }

    fn local_path(&self, key: &BlobKey) -> Option<PathBuf> {
        self.path(key).ok()
    }
}

/// Repeats the last step of a rename that may have been cut off before it.
fn rename_settled(target: &Path) -> Result<()> {
    target.parent().map_or(Ok(()), sync_dir)
}
