//! Mounts whose daemon is dead: every access fails with `ENOTCONN` until they are taken away.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::artifact::{Error, Result};

/// How the kernel names a mount of ours: by `fusermount3` with its subtype, by mount(2) without.
const BY_HELPER: &[u8] = b"fuse.outputfs";
const BY_ROOT: (&[u8], &[u8]) = (b"fuse", b"outputfs");

/// Takes a dead mount of ours away from `mountpoint`; `false` when there is none, or it is alive. Blocking.
///
/// # Errors
/// When it cannot be taken away.
pub(crate) fn detach(mountpoint: &Path) -> Result<bool> {
    let table = Path::new("/proc/self/mountinfo");
    let text = std::fs::read(table).map_err(|e| Error::io(table, &e))?;
    // The last one at a place is the one on top.
    let on_top = text.split(|&b| b == b'\n').filter_map(parse).rfind(|(at, _)| at == mountpoint);
    if on_top.is_none_or(|(_, ours)| !ours) || !is_dead(mountpoint) {
        return Ok(false);
    }
    match rustix::mount::unmount(mountpoint, UnmountFlags::DETACH) {
        Ok(()) => Ok(true),
        // An ordinary user's mounts are made and unmade by a setuid helper.
        Err(Errno::PERM) => by_helper(mountpoint).map(|()| true),
        Err(e) => Err(Error::io(mountpoint, &e.into())),
    }
}

/// Attributes may come from the kernel's cache after the daemon's end: only statfs always asks it. (`ECONNABORTED`: it died
/// of our question or just before.)
fn is_dead(mountpoint: &Path) -> bool {
    matches!(rustix::fs::statfs(mountpoint).err(), Some(Errno::NOTCONN | Errno::CONNABORTED))
}

/// Whether a mount of ours, alive or dead, is on top at `mountpoint`. Does not touch it. Blocking.
///
/// # Errors
/// When the kernel's table cannot be read.
pub(crate) fn is_ours(mountpoint: &Path) -> Result<bool> {
    let table = Path::new("/proc/self/mountinfo");
    let text = std::fs::read(table).map_err(|e| Error::io(table, &e))?;
    let on_top = text.split(|&b| b == b'\n').filter_map(parse).rfind(|(at, _)| at == mountpoint);
    Ok(on_top.is_some_and(|(_, ours)| ours))
}

fn by_helper(mountpoint: &Path) -> Result<()> {
    let status = Command::new("fusermount3")
        .args(["-u", "-z", "--"])
        .arg(mountpoint)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|e| Error::io("fusermount3", &e))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::internal(format!("{}: a dead mount that fusermount3 cannot unmount", mountpoint.display())))
    }
}

/// Mount point of a line of mountinfo (proc(5)), and whether it is of our type.
fn parse(line: &[u8]) -> Option<(PathBuf, bool)> {
    let mut fields = line.split(|&b| b == b' ');
    let at = unescape(fields.nth(4)?);
    let mut behind = fields.skip_while(|f| *f != b"-").skip(1);
    let (kind, source) = (behind.next()?, behind.next()?);
    Some((at, kind == BY_HELPER || (kind, source) == BY_ROOT))
}

/// Space, tab, newline and backslash are written in octal there.
fn unescape(text: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| byte == b'\\').and_then(|d| {
            let text = std::str::from_utf8(d).ok()?;
            u8::from_str_radix(text, 8).ok()
        });
        if let Some(decoded) = octal {
            out.push(decoded);
            rest = &after[3..];
        } else {
            out.push(byte);
            rest = after;
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_mountinfo() {
        let line = br"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 shared:2 - fuse.outputfs outputfs rw,user_id=0";
        assert_eq!(parse(line), Some((PathBuf::from("/mnt 2"), true)));
        let line = b"36 35 0:41 / /m rw,noatime - fuse outputfs rw,user_id=0";
        assert_eq!(parse(line), Some((PathBuf::from("/m"), true)));
        let line = b"36 35 0:41 / /m rw,noatime - fuse sshfs rw,user_id=0";
        assert_eq!(parse(line), Some((PathBuf::from("/m"), false)));
        let line = b"24 1 254:0 / / rw,relatime - ext4 /dev/root rw";
        assert_eq!(parse(line), Some((PathBuf::from("/"), false)));
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn nothing_is_taken_away_from_a_place_without_our_mount() {
        assert!(!detach(Path::new("/proc")).unwrap());
        assert!(!detach(Path::new("/nonexistent")).unwrap());
    }
}
