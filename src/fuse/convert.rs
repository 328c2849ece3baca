//! Between the kernel's words and ours.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Errno, FileAttr, FileType, INodeNo, TimeOrNow};

use crate::artifact::Error;
use crate::artifact::ids::Ino;
use crate::artifact::record::NodeKind;
use crate::artifact::time::Timestamp;
use crate::engine::volume::inode::attr::Attr;

/// How long the kernel may keep a name or attributes: changes from elsewhere are pushed to it, so the time only bounds a
/// lost notification.
pub const KEEP: Duration = Duration::from_secs(60);

/// What `st_blksize` says: programs size their buffers by it (Python's writes: ×13 slower with 4 KiB).
const BLOCK_SIZE: u32 = 128 << 10;

/// The kernel's root is inode 1, ours is whatever directory is mounted.
pub fn to_kernel(ino: Ino, root: Ino) -> INodeNo {
    if ino == root { INodeNo::ROOT } else { INodeNo(ino.0) }
}

pub fn from_kernel(ino: INodeNo, root: Ino) -> Ino {
    if ino == INodeNo::ROOT { root } else { Ino(ino.0) }
}

pub fn errno(e: &Error) -> Errno {
    Errno::from_i32(e.errno())
}

pub fn kind(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::File => FileType::RegularFile,
        NodeKind::Dir => FileType::Directory,
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::Fifo => FileType::NamedPipe,
        NodeKind::Socket => FileType::Socket,
        NodeKind::Char => FileType::CharDevice,
        NodeKind::Block => FileType::BlockDevice,
    }
}

/// Kind by the type bits of `mknod(2)`; none for what a tree cannot hold.
pub fn kind_of_mode(mode: u32) -> Option<NodeKind> {
    Some(match mode & libc::S_IFMT {
        0 | libc::S_IFREG => NodeKind::File,
        libc::S_IFDIR => NodeKind::Dir,
        libc::S_IFLNK => NodeKind::Symlink,
        libc::S_IFIFO => NodeKind::Fifo,
        libc::S_IFSOCK => NodeKind::Socket,
        libc::S_IFCHR => NodeKind::Char,
        libc::S_IFBLK => NodeKind::Block,
        _ => return None,
    })
}

pub fn system_time(t: Timestamp) -> SystemTime {
    let (seconds, nanos) = t.parts();
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base = if seconds >= 0 { UNIX_EPOCH.checked_add(whole) } else { UNIX_EPOCH.checked_sub(whole) };
    base.unwrap_or(UNIX_EPOCH) + Duration::from_nanos(u64::from(nanos))
}

/// A time that the kernel sent, as fuser hands it on. (Before the epoch fuser subtracts the nanoseconds that the kernel
/// meant to be added to the whole seconds; a test on a mount notices when it no longer does.) What 64 bits of
/// nanoseconds cannot hold, from the year 2262, is their end.
pub fn timestamp(t: SystemTime) -> Timestamp {
    match t.duration_since(UNIX_EPOCH) {
        Ok(d) => Timestamp(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)),
        Err(e) => {
            let before = e.duration();
            let seconds = i64::try_from(before.as_secs()).map_or(i64::MIN, |s| -s);
            Timestamp(seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(before.subsec_nanos())))
        }
    }
}

pub fn time_or_now(t: TimeOrNow, now: Timestamp) -> Timestamp {
    match t {
        TimeOrNow::SpecificTime(t) => timestamp(t),
        TimeOrNow::Now => now,
    }
}

pub fn file_attr(a: &Attr, root: Ino) -> FileAttr {
    FileAttr {
        ino: to_kernel(a.ino, root),
        size: a.size,
        blocks: a.blocks,
        atime: system_time(a.atime),
        mtime: system_time(a.mtime),
        ctime: system_time(a.ctime),
        crtime: UNIX_EPOCH,
        kind: kind(a.kind),
        perm: u16::try_from(a.mode & 0o7777).unwrap_or(0),
        nlink: a.nlink,
        uid: a.uid,
        gid: a.gid,
        rdev: a.rdev,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// How long the kernel may keep these attributes.
pub fn ttl(a: &Attr, now: Timestamp) -> Duration {
    if a.keep { until_expiry(a, now) } else { Duration::ZERO }
}

/// How long the kernel may keep the name that led to them. What outputfs shows by itself may go at any moment.
pub fn name_ttl(a: &Attr, now: Timestamp) -> Duration {
    if crate::engine::volume::hidden::is_hidden(a.ino) { Duration::ZERO } else { until_expiry(a, now) }
}

/// Never beyond the file's own end.
fn until_expiry(a: &Attr, now: Timestamp) -> Duration {
    let left = a.expires.map(|t| Duration::from_nanos(u64::try_from(t.0.saturating_sub(now.0)).unwrap_or(0)));
    left.map_or(KEEP, |left| left.min(KEEP))
}

/// Size first, then bytes: the kernel asks twice (xattr(7)).
pub fn xattr_reply(reply: fuser::ReplyXattr, size: u32, result: crate::artifact::Result<Vec<u8>>) {
    match result {
        Ok(value) if size == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() <= size as usize => reply.data(&value),
        Ok(_) => reply.error(fuser::Errno::ERANGE),
        Err(e) => reply.error(errno(&e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive() {
        for t in [Timestamp(0), Timestamp(1_500_000_000_123_456_789), Timestamp(-3_000_000_000)] {
            assert_eq!(timestamp(system_time(t)), t);
        }
        let before = UNIX_EPOCH.duration_since(system_time(Timestamp(-1_000_000_001))).unwrap();
        assert_eq!(before, Duration::from_nanos(1_000_000_001));
    }

    #[test]
    fn times_before_the_epoch_are_what_the_kernel_meant() {
        // -2 s and 750,000,000 ns more.
        let as_fuser_gives_it = UNIX_EPOCH - Duration::new(2, 750_000_000);
        assert_eq!(timestamp(as_fuser_gives_it), Timestamp(-1_250_000_000));
    }
}
