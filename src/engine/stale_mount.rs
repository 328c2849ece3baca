//! Mounts of ours in the kernel's table. Those whose daemon is dead: every access fails with `ENOTCONN` until they are
//! taken away.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::artifact::{Error, Result};
use crate::staging::own_mount;

/// A line of mountinfo.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    at: PathBuf,
    /// Of a mount of ours.
    source: Option<String>,
}

/// The mount on top at `mountpoint`, if any.
fn on_top(mountpoint: &Path) -> Result<Option<Line>> {
    let table = Path::new("/proc/self/mountinfo");
    let text = std::fs::read(table).map_err(|e| Error::io(table, &e))?;
    // The last one at a place is the one on top.
    Ok(text.split(|&b| b == b'\n').filter_map(parse).rfind(|line| line.at == mountpoint))
}

/// Takes a dead mount of ours away from `mountpoint`; `false` when there is none, or it is alive. Blocking.
///
/// # Errors
/// When it cannot be taken away.
pub(crate) fn detach(mountpoint: &Path) -> Result<bool> {
    if !is_ours(mountpoint)? || !is_dead(mountpoint) {
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
    Ok(on_top(mountpoint)?.is_some_and(|line| line.source.is_some()))
}

/// The state directory of the mount of ours on top at `mountpoint`, alive or dead. None: there is no such mount, or it is of
/// a release that did not say. Does not touch it. Blocking.
///
/// # Errors
/// When the kernel's table cannot be read.
pub(crate) fn state_dir(mountpoint: &Path) -> Result<Option<PathBuf>> {
    Ok(on_top(mountpoint)?.and_then(|line| own_mount::state_dir_of(&line.source?)))
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

fn parse(line: &[u8]) -> Option<Line> {
    let mut fields = line.split(|&b| b == b' ');
    let at = unescape(fields.nth(4)?);
    let mut behind = fields.skip_while(|f| *f != b"-").skip(1);
    let (kind, source) = (behind.next()?, behind.next()?);
    let source = std::str::from_utf8(source).ok().filter(|source| {
        let kind = std::str::from_utf8(kind).unwrap_or_default();
        own_mount::is_kind(kind, source)
    });
    Some(Line { at, source: source.map(str::to_owned) })
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
        let line = |at: &str, source: Option<&str>| Some(Line { at: at.into(), source: source.map(str::to_owned) });
        let text = br"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 shared:2 - fuse.outputfs outputfs rw,user_id=0";
        assert_eq!(parse(text), line("/mnt 2", Some("outputfs")));
        let text = b"36 35 0:41 / /m rw,noatime - fuse outputfs:/var/lib/outputfs rw,user_id=0";
        assert_eq!(parse(text), line("/m", Some("outputfs:/var/lib/outputfs")));
        let text = b"36 35 0:41 / /m rw,noatime - fuse sshfs rw,user_id=0";
        assert_eq!(parse(text), line("/m", None));
        let text = b"24 1 254:0 / / rw,relatime - ext4 /dev/root rw";
        assert_eq!(parse(text), line("/", None));
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn nothing_is_taken_away_from_a_place_without_our_mount() {
        assert!(!detach(Path::new("/proc")).unwrap());
        assert!(!detach(Path::new("/nonexistent")).unwrap());
    }
}
