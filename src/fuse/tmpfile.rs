//! `O_TMPFILE`: a file that is made without a name, to get one with linkat(2) when it is whole.
//!
//! The kernel asks for it with `FUSE_TMPFILE` (Linux 6.1; fs/fuse/dir.c, `fuse_tmpfile`), which the FUSE library answers with
//! `ENOSYS` before any filesystem is asked. In all but its number the request is a `FUSE_CREATE` (`fuse_create_open` sends both)
//! whose name is `/`, which no file can have. So it is handed to the library with the number of a create, and
//! [`super::ops`] tells the two apart by that name.
//!
//! Between the kernel and the library there is nothing but read(2), which is therefore defined here, before the C library's: the
//! same call, with a look at what came in when a buffer of the library's size is filled. This goes when the library hands
//! `FUSE_TMPFILE` on.

use std::ffi::{c_int, c_void};

/// The name in a `FUSE_TMPFILE` request.
pub const NO_NAME: &str = "/";

/// Opcodes of include/uapi/linux/fuse.h.
const FUSE_CREATE: u32 = 35;
const FUSE_TMPFILE: u32 = 51;
/// Of `struct fuse_in_header`, which begins with `uint32_t len; uint32_t opcode;`.
const HEADER: usize = 40;
/// No other read of this process has a buffer of this size: the library's holds a write of 16 MiB and its header.
const LIBRARY_BUFFER: usize = 16 << 20;
/// Major and minor number of /dev/fuse (Documentation/admin-guide/devices.txt).
const FUSE_DEVICE: (u32, u32) = (10, 229);

/// read(2).
///
/// # Safety
/// As for read(2): `buf` is valid for writes of `count` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(fd: c_int, buf: *mut c_void, count: usize) -> isize {
    // SAFETY: the system call of that name, with the caller's arguments; it sets errno as the C library's does.
    let got = unsafe { libc::syscall(libc::SYS_read, fd, buf, count) };
    let got = isize::try_from(got).unwrap_or(-1);
    if count > LIBRARY_BUFFER && got.cast_unsigned() >= HEADER && got > 0 {
        // SAFETY: the kernel has just written `got`, at least HEADER, bytes there, and until this returns they are nobody else's.
        let header = unsafe { std::slice::from_raw_parts_mut(buf.cast::<u8>(), HEADER) };
        if is_tmpfile(header, got.cast_unsigned()) && is_fuse(fd) {
            header[4..8].copy_from_slice(&FUSE_CREATE.to_ne_bytes());
        }
    }
    got
}

fn is_tmpfile(header: &[u8], got: usize) -> bool {
    let word = |at: usize| header[at..at + 4].try_into().map_or(0, u32::from_ne_bytes);
    word(4) == FUSE_TMPFILE && word(0) as usize == got
}

fn is_fuse(fd: c_int) -> bool {
    // SAFETY: the descriptor was read from a moment ago, and its owner still is in that call.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    rustix::fs::fstat(fd).is_ok_and(|s| (rustix::fs::major(s.st_rdev), rustix::fs::minor(s.st_rdev)) == FUSE_DEVICE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_by_number_and_length() {
        let request = |len: u32, opcode: u32| {
            let mut header = [0; HEADER];
            header[..4].copy_from_slice(&len.to_ne_bytes());
            header[4..8].copy_from_slice(&opcode.to_ne_bytes());
            header
        };
        assert!(is_tmpfile(&request(58, FUSE_TMPFILE), 58));
        assert!(!is_tmpfile(&request(58, FUSE_CREATE), 58));
        assert!(!is_tmpfile(&request(58, FUSE_TMPFILE), 59));
    }

    /// A file that looks like a request is read as it is.
    #[test]
    fn other_reads_bring_what_is_there() {
        use std::io::{Read, Write};
        let mut looks = tempfile::tempfile().unwrap();
        looks.write_all(&[58u32.to_ne_bytes(), FUSE_TMPFILE.to_ne_bytes()].concat()).unwrap();
        looks.write_all(&[0; 50]).unwrap();
        std::io::Seek::rewind(&mut looks).unwrap();
        let mut buf = vec![1; LIBRARY_BUFFER + 1];
        assert_eq!(looks.read(&mut buf).unwrap(), 58);
        assert_eq!(buf[4..8], FUSE_TMPFILE.to_ne_bytes());
        assert_eq!(std::fs::read("/nonexistent").unwrap_err().kind(), std::io::ErrorKind::NotFound);
    }
}
