//! One staging file: the private, mutable bytes of one inode while anybody has it open for writing.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Result};

use super::hash::{each_piece, shorter};

/// What `fstat` says that tells one state of a file from another: equal stamps, equal bytes.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    pub size: u64,
    /// 512-byte blocks. No part of equality: write-back takes blocks for the tree of extents at its own time, and whoever punches
    /// a hole or fills one changes the ctime.
    pub blocks: u64,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
}

impl PartialEq for Stamp {
    fn eq(&self, other: &Self) -> bool {
        (self.size, self.mtime, self.ctime) == (other.size, other.mtime, other.ctime)
    }
}

impl Eq for Stamp {}

/// An open staging file. The descriptor is `O_RDWR | O_CLOEXEC`.
#[derive(Debug, Clone)]
pub struct StagingFile {
    pub name: String,
    pub path: PathBuf,
    pub file: Arc<File>,
}

impl Stamp {
    /// # Errors
    /// I/O errors with `path`.
    pub fn of(file: &File, path: &Path) -> Result<Self> {
        let meta = file.metadata().map_err(|e| Error::io(path, &e))?;
        let time = |seconds, nanos: i64| Timestamp::from_parts(seconds, u32::try_from(nanos).unwrap_or(0));
        Ok(Self {
            size: meta.size(),
            blocks: meta.blocks(),
            mtime: time(meta.mtime(), meta.mtime_nsec()),
            ctime: time(meta.ctime(), meta.ctime_nsec()),
        })
    }
}

impl StagingFile {
    /// Makes `dir/name`, mode 0600, `O_EXCL`.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn create(dir: &Path, name: &str) -> Result<Self> {
        Self::open_with(dir, name, OpenOptions::new().create_new(true).mode(0o600))
    }

    /// Opens what a dead owner left.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn open(dir: &Path, name: &str) -> Result<Self> {
        Self::open_with(dir, name, &mut OpenOptions::new())
    }

    fn open_with(dir: &Path, name: &str, options: &mut OpenOptions) -> Result<Self> {
        let path = dir.join(name);
        // std adds O_CLOEXEC. No symlink: only this program writes here.
        let file = options
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(|e| Error::io(&path, &e))?;
        Ok(Self { name: name.to_owned(), path, file: Arc::new(file) })
    }

    /// # Errors
    /// I/O errors with the path.
    pub fn stamp(&self) -> Result<Stamp> {
        Stamp::of(&self.file, &self.path)
    }

    /// Waits for writes at work: after it a [`StagingFile::stamp`] taken before stands for bytes that are all there.
    ///
    /// A write moves the times first and copies its bytes then (`file_update_time` in `generic_file_write_iter` and its like), so that a
    /// stamp alone may be that of a write whose bytes are still to come. Both happen under the inode's lock, which this takes:
    /// `SEEK_HOLE` does on ext4, btrfs and tmpfs; on XFS (a lock of its own there) the removal of an attribute that is not there.
    /// Blocking, as long as the write.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn await_writes(&self) -> Result<()> {
        const XFS: i64 = 0x5846_5342;
        match rustix::fs::seek(&*self.file, SeekFrom::Hole(0)) {
            // An empty file has neither data nor holes.
            Ok(_) | Err(Errno::NXIO) => {}
            Err(e) => return Err(Error::io(&self.path, &e.into())),
        }
        let kind = rustix::fs::fstatfs(&*self.file).map_err(|e| Error::io(&self.path, &e.into()))?.f_type;
        if kind == XFS {
            match rustix::fs::fremovexattr(&*self.file, c"user.outputfs.none") {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(e) => return Err(Error::io(&self.path, &e.into())),
            }
        }
        Ok(())
    }

    /// Makes it the first `size` bytes of `source`: reflink (`FICLONE`), else `copy_file_range`, else read and
    /// write; holes stay holes where the file system says so. What it held before is gone. Blocking.
    ///
    /// # Errors
    /// I/O errors with the path; `Corrupt` when the source is shorter.
    pub fn fill_from(&self, source: &File, source_path: &Path, size: u64) -> Result<()> {
        let has = Stamp::of(source, source_path)?.size;
        if has < size {
            return Err(shorter(source_path, has, size));
        }
        let set_len = |len| self.file.set_len(len).map_err(|e| Error::io(&self.path, &e));
        set_len(0)?;
        if rustix::fs::ioctl_ficlone(&self.file, source).is_ok() {
            // A clone is of the whole source.
            return set_len(size);
        }
        set_len(size)?;
        self.fill_hole(source, source_path, size)
    }

    /// Copies the first `size` bytes of `source` into it and leaves what follows: for a file that was begun as a hole of
    /// that size. Blocking.
    ///
    /// # Errors
    /// I/O errors with the path; `Corrupt` when the source is shorter.
    pub fn fill_hole(&self, source: &File, source_path: &Path, size: u64) -> Result<()> {
        let has = Stamp::of(source, source_path)?.size;
        if has < size {
            return Err(shorter(source_path, has, size));
        }
        let mut at = 0;
        while let Some((from, to)) = next_data(source, at, size) {
            self.copy_range(source, source_path, from, to)?;
            at = to;
        }
        Ok(())
    }

    fn copy_range(&self, source: &File, source_path: &Path, from: u64, to: u64) -> Result<()> {
        let mut at = from;
        while at < to {
            let (mut source_at, mut own_at) = (at, at);
            let len = usize::try_from(to - at).unwrap_or(usize::MAX).min(PIECE);
            crate::metrics::moved::tick();
            let result = rustix::fs::copy_file_range(source, Some(&mut source_at), &self.file, Some(&mut own_at), len);
            match result {
                // Some file systems answer 0 where they cannot: reading tells the end of a file from that.
                Ok(0) => break,
                Ok(n) => at += n as u64,
                Err(Errno::INTR) => {}
                Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO) => {
                    return Err(io(&self.path, result.err()));
                }
                // Other file system, or none that can.
                Err(_) => break,
            }
        }
        let mut failed = None;
        each_piece(source, source_path, at, to, |piece| {
            if failed.is_none() {
                failed = self.file.write_all_at(piece, at).err();
                at += piece.len() as u64;
            }
        })?;
        failed.map_or(Ok(()), |e| Err(Error::io(&self.path, &e)))
    }

    /// Up to `len` bytes at `offset`; fewer at the end. Blocking.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let mut done = 0;
        while done < len {
            match self.file.read_at(&mut bytes[done..], offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(&self.path, &e)),
            }
        }
        bytes.truncate(done);
        Ok(bytes)
    }

    /// `fdatasync`. Blocking.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io(&self.path, &e))
    }

    /// Gives up the descriptor and proves that nobody can change the bytes any more: a read lease (`F_SETLEASE`,
    /// `F_RDLCK`) on a fresh read-only descriptor is granted only when no writer and no writable mapping is left.
    /// Other clones of `self` must be gone, and so must a passthrough backing ID on it. The lease is given back at
    /// once. Where the file system knows no leases, the answer is [`Freeze::InUse`]: nothing is proven.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn freeze(self) -> Result<Freeze> {
        let StagingFile { name, path, file } = self;
        let reader = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(|e| Error::io(&path, &e))?;
        drop(file);
        if set_lease(&reader, libc::F_RDLCK).is_ok() {
            set_lease(&reader, libc::F_UNLCK).map_err(|e| Error::io(&path, &e))?;
            return Ok(Freeze::Frozen { path, file: reader });
        }
        drop(reader);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(|e| Error::io(&path, &e))?;
        Ok(Freeze::InUse(StagingFile { name, path, file: Arc::new(file) }))
    }
}

/// Copied in one call: a second of a slow disk.
const PIECE: usize = 64 << 20;
/// `F_SETSIG` of fcntl.h, which the libc crate lacks.
const F_SETSIG: i32 = 10;

fn set_lease(file: &File, kind: i32) -> std::io::Result<()> {
    // Whoever opens the file for writing meanwhile makes the kernel send SIGIO, which ends a process that does not
    // handle it. SIGURG is ignored by default, and the lease is given back at once anyway.
    for (command, argument) in [(F_SETSIG, libc::SIGURG), (libc::F_SETLEASE, kind)] {
        // SAFETY: both commands take an int and touch no memory; the descriptor lives as long as `file`.
        if unsafe { libc::fcntl(file.as_raw_fd(), command, argument) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The next stretch of data at or after `at`, cut at `size`. Where the file system does not know holes, all is data.
fn next_data(source: &File, at: u64, size: u64) -> Option<(u64, u64)> {
    if at >= size {
        return None;
    }
    match rustix::fs::seek(source, SeekFrom::Data(at)) {
        Ok(from) if from >= size => None,
        Ok(from) => {
            let to = rustix::fs::seek(source, SeekFrom::Hole(from)).unwrap_or(size);
            Some((from, to.clamp(from + 1, size)))
        }
        // Nothing but a hole up to the end.
        Err(Errno::NXIO) => None,
        Err(_) => Some((at, size)),
    }
}

fn io(path: &Path, errno: Option<Errno>) -> Error {
    Error::io(path, &errno.unwrap_or(Errno::IO).into())
}

/// Answer of [`StagingFile::freeze`].
#[derive(Debug)]
pub enum Freeze {
    /// Nobody can write: the file may become the blob. Open read-only.
    Frozen { path: PathBuf, file: File },
    /// A writer or a mapping lives on.
    InUse(StagingFile),
}

/// False where pages are never written back (tmpfs, ramfs): there a store through a mapping need not move the times.
///
/// # Errors
/// I/O errors with `dir`.
pub fn notes_stores(dir: &Path) -> Result<bool> {
    /// `TMPFS_MAGIC` and `RAMFS_MAGIC` of statfs(2).
    const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
    let disk = rustix::fs::statfs(dir).map_err(|e| Error::io(dir, &e.into()))?;
    Ok(!IN_MEMORY.contains(&u64::try_from(disk.f_type).unwrap_or(0)))
}

/// Does this file system tell two writes apart that follow one another at once (multigrain timestamps, Linux 6.13)?
/// If not, a stamp younger than 10 ms proves nothing and the caller hashes again. Probed in `dir`; ask once.
///
/// # Errors
/// I/O errors with the path.
pub fn has_fine_ctime(dir: &Path) -> Result<bool> {
    let path = dir.join(format!(".probe-{}", ulid::Ulid::new()));
    let file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(|e| Error::io(&path, &e))?;
    // Only the descriptor is needed; no probe may be left for recovery to find.
    std::fs::remove_file(&path).map_err(|e| Error::io(&path, &e))?;
    let mut last = Stamp::of(&file, &path)?.ctime;
    // Coarse times move every 1 to 10 ms; this many writes take some 50 µs.
    for _ in 0..16 {
        file.write_all_at(b"x", 0).map_err(|e| Error::io(&path, &e))?;
        let now = Stamp::of(&file, &path)?.ctime;
        if now == last {
            return Ok(false);
        }
        last = now;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Kind;
    use crate::artifact::record::CHUNK;

    fn staged(bytes: &[u8]) -> (tempfile::TempDir, StagingFile) {
        let dir = tempfile::tempdir().unwrap();
        let file = StagingFile::create(dir.path(), "7-1").unwrap();
        file.file.write_all_at(bytes, 0).unwrap();
        (dir, file)
    }

    #[test]
    fn created_once_private_and_not_inherited() {
        let (dir, file) = staged(b"hello");
        assert_eq!(std::fs::metadata(&file.path).unwrap().mode() & 0o777, 0o600);
        assert!(rustix::io::fcntl_getfd(&file.file).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        assert_eq!(StagingFile::create(dir.path(), "7-1").unwrap_err().kind, Kind::Exists);
        let again = StagingFile::open(dir.path(), "7-1").unwrap();
        assert_eq!(again.read_at(1, 100).unwrap(), b"ello");
        assert_eq!(again.read_at(9, 1).unwrap(), b"");
        assert_eq!(again.stamp().unwrap(), file.stamp().unwrap());
        assert_eq!(file.stamp().unwrap().size, 5);
        assert_eq!(StagingFile::open(dir.path(), "7-2").unwrap_err().kind, Kind::NotFound);
        std::os::unix::fs::symlink("7-1", dir.path().join("7-3")).unwrap();
        assert!(StagingFile::open(dir.path(), "7-3").is_err());
    }

    #[test]
    fn filling_keeps_bytes_and_holes() {
        let (dir, source) = staged(b"head");
        source.file.set_len(8 * CHUNK).unwrap();
        source.file.write_all_at(b"middle", 5 * CHUNK + 3).unwrap();
        for size in [0, 2, 4, CHUNK, 5 * CHUNK + 5, 8 * CHUNK] {
            let copy = StagingFile::create(dir.path(), &format!("c-{size}")).unwrap();
            copy.file.write_all_at(&[9; 100], 50).unwrap();
            copy.fill_from(&source.file, &source.path, size).unwrap();
            let len = usize::try_from(size).unwrap();
            assert!(copy.read_at(0, len + 1).unwrap() == source.read_at(0, len).unwrap(), "{size}");
            assert!(copy.stamp().unwrap().blocks <= source.stamp().unwrap().blocks, "{size}");
        }
        let err = StagingFile::create(dir.path(), "d").unwrap().fill_from(&source.file, &source.path, 8 * CHUNK + 1);
        assert_eq!(err.unwrap_err().kind, Kind::Corrupt);
    }

    #[test]
    fn filling_across_file_systems() {
        let Ok(shm) = tempfile::tempdir_in("/dev/shm") else { panic!("/dev/shm is part of every Linux") };
        let (dir, _) = staged(b"");
        let source = StagingFile::create(shm.path(), "s").unwrap();
        let bytes: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
        source.file.write_all_at(&bytes, 123_456).unwrap();
        let copy = StagingFile::create(dir.path(), "c").unwrap();
        copy.fill_from(&source.file, &source.path, 4_123_456).unwrap();
        assert!(copy.read_at(0, 5_000_000).unwrap() == source.read_at(0, 5_000_000).unwrap());
    }

    #[test]
    fn frozen_when_the_last_writer_is_gone() {
        let (_dir, file) = staged(b"hello");
        let other = file.clone();
        let Freeze::InUse(file) = file.freeze().unwrap() else { panic!("a clone can still write") };
        file.file.write_all_at(b"J", 0).unwrap();
        drop(other);
        let Freeze::Frozen { path, file } = file.freeze().unwrap() else { panic!("nobody can write") };
        assert_eq!(std::fs::read(&path).unwrap(), b"Jello");
        assert!(file.write_at(b"x", 0).is_err());
        // The lease was given back: a writer is not held up.
        OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    }

    #[test]
    fn a_writer_that_comes_during_the_proof_ends_nobody() {
        let (_dir, file) = staged(b"hello");
        let path = file.path.clone();
        drop(file);
        let reader = File::open(&path).unwrap();
        set_lease(&reader, libc::F_RDLCK).unwrap();
        let writer = || OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path);
        assert_eq!(writer().unwrap_err().kind(), ErrorKind::WouldBlock);
        set_lease(&reader, libc::F_UNLCK).unwrap();
        writer().unwrap();
    }

    #[test]
    fn a_shared_mapping_keeps_it_from_freezing() {
        let (_dir, file) = staged(b"hello");
        // SAFETY: a fresh shared mapping of one page of an open file, unmapped below and not touched after that.
        let map = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.file.as_raw_fd(),
                0,
            )
        };
        assert_ne!(map, libc::MAP_FAILED);
        let Freeze::InUse(file) = file.freeze().unwrap() else { panic!("the mapping can write") };
        // SAFETY: `map` is the mapping of 4096 bytes made above.
        assert_eq!(unsafe { libc::munmap(map, 4096) }, 0);
        assert!(matches!(file.freeze().unwrap(), Freeze::Frozen { .. }));
    }

    #[test]
    fn the_probe_leaves_nothing_and_agrees_with_the_clock_of_the_file_system() {
        let dir = tempfile::tempdir().unwrap();
        let fine = has_fine_ctime(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let (_dir, file) = staged(b"a");
        let mut same = 0;
        for _ in 0..64 {
            let before = file.stamp().unwrap();
            file.file.write_all_at(b"b", 0).unwrap();
            same += u32::from(file.stamp().unwrap() == before);
        }
        assert_eq!(fine, same == 0, "{same} of 64 writes did not show");
    }
}
