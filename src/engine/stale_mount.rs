//! Mounts of ours in the kernel's table. Those whose daemon is dead: every access fails with `ENOTCONN` until they are
//! taken away.
//!
//! # A daemon that was killed and does not end
//! A thread that tells the kernel of a changed name (`fuse_reverse_inval_entry`) waits for the directory's lock, and no signal ends that
//! wait. Who holds the lock may be a program in rename(2) that waits for this daemon's answer. Killed in that moment, the daemon keeps its
//! thread, the thread keeps `/dev/fuse` and the owner's lock, and every program on the mount waits for ever. Only an [`abort`] of the
//! connection ends it: the daemon's guard process does so at once, and whoever meets such a mount later ([`detach`]) does it again.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::artifact::{Error, Result};
use crate::staging::own_mount;
use crate::staging::state_dir::MountEntry;

/// For an answer of a daemon that is alive: far longer than a busy one takes.
const ANSWERS: Duration = Duration::from_secs(10);
/// For the end of a killed daemon once its connection is aborted.
const ENDS: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);

/// A line of mountinfo.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    at: PathBuf,
    /// The kernel's number of the connection: the minor number of its device.
    connection: u64,
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
    let Some(source) = on_top(mountpoint)?.and_then(|line| line.source) else { return Ok(false) };
    if let Some(pid) = own_mount::state_dir_of(&source).and_then(|root| owner_of(&root, mountpoint))
        && is_ending(pid)
    {
        abort(mountpoint)?;
        let until = Instant::now() + ENDS;
        while Path::new("/proc").join(pid.to_string()).exists() && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
    }
    // (The abort may have taken it away already.)
    if !is_ours(mountpoint)? {
        return Ok(true);
    }
    if !is_dead(mountpoint) {
        return Ok(false);
    }
    let done = match rustix::mount::unmount(mountpoint, UnmountFlags::DETACH) {
        // An ordinary user's mounts are made and unmade by a setuid helper.
        Err(Errno::PERM) => by_helper(mountpoint),
        done => done.map_err(|e| Error::io(mountpoint, &e.into())),
    };
    gone_all_the_same(mountpoint, done).map(|()| true)
}

/// Two commands that meet a dead mount both take it away: the second one fails, and has what it wants.
fn gone_all_the_same(mountpoint: &Path, done: Result<()>) -> Result<()> {
    match done {
        Err(e) if is_ours(mountpoint)? => Err(e),
        _ => Ok(()),
    }
}

/// Attributes may come from the kernel's cache after the daemon's end: only statfs always asks it. (`ECONNABORTED`: it died
/// of our question or just before.) A daemon that does not answer in time (stopped by a signal, say) is alive.
fn is_dead(mountpoint: &Path) -> bool {
    let (tell, heard) = std::sync::mpsc::channel();
    let path = mountpoint.to_owned();
    std::thread::spawn(move || {
        let dead = matches!(rustix::fs::statfs(&path).err(), Some(Errno::NOTCONN | Errno::CONNABORTED));
        // Nobody listens any more after the deadline.
        tell.send(dead).unwrap_or_default();
    });
    heard.recv_timeout(ANSWERS).unwrap_or(false)
}

/// Whether the process was killed and only threads of it are left that the kernel does not let go.
pub(crate) fn is_ending(pid: u32) -> bool {
    is_killed(&std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default())
}

/// By proc_pid_status(5): the first thread is a zombie while others are left, or it is one that cannot end, with the signal pending that
/// no thread can hold off. (The process's name stands in a line of its own, with its newlines escaped.)
fn is_killed(status: &str) -> bool {
    const KILL: u64 = 1 << 8;
    status.lines().filter_map(|line| line.split_once(':')).any(|(key, value)| match key {
        "State" => value.trim_start().starts_with('Z'),
        "SigPnd" | "ShdPnd" => u64::from_str_radix(value.trim(), 16).is_ok_and(|pending| pending & KILL != 0),
        _ => false,
    })
}

/// The process that serves the mount, as far as its state directory says.
fn owner_of(state_dir: &Path, mountpoint: &Path) -> Option<u32> {
    let entries = crate::staging::state_dir::mounts_in(&state_dir.join("mounts")).ok()?;
    let infos = entries.into_iter().rev().filter(|entry| entry.alive).filter_map(|entry| entry.info);
    infos.into_iter().find(|info| info.mountpoint.as_deref() == Some(mountpoint)).map(|info| info.pid)
}

/// Takes away the mounts of daemons that were killed and do not end, of all `mounts` of a state directory. Blocking.
///
/// # Errors
/// As [`detach`].
pub(crate) fn free(mounts: &[MountEntry]) -> Result<()> {
    for info in mounts.iter().filter(|m| m.alive).filter_map(|m| m.info.as_ref()) {
        if let Some(mountpoint) = info.mountpoint.as_ref().filter(|_| is_ending(info.pid)) {
            detach(mountpoint)?;
        }
    }
    Ok(())
}

/// Ends the kernel's connection of the mount of ours on top at `mountpoint`: all that waits for its daemon fails with `ECONNABORTED`. By
/// the file system of connections (Documentation/filesystems/fuse.rst), which lets the mount's owner; where that is not mounted by a forced
/// unmounting, which takes the mount away too. Nothing to do without such a mount. Blocking.
///
/// # Errors
/// When neither is permitted.
pub(crate) fn abort(mountpoint: &Path) -> Result<()> {
    let Some(line) = on_top(mountpoint)?.filter(|line| line.source.is_some()) else { return Ok(()) };
    if std::fs::write(format!("/sys/fs/fuse/connections/{}/abort", line.connection), "1").is_ok() {
        return Ok(());
    }
    let done = rustix::mount::unmount(mountpoint, UnmountFlags::FORCE | UnmountFlags::DETACH);
    gone_all_the_same(mountpoint, done.map_err(|e| Error::io(mountpoint, &e.into())))
}

/// Whether a mount of ours, alive or dead, is on top at `mountpoint`. Does not touch it. Blocking.
///
/// # Errors
/// When the kernel's table cannot be read.
pub(crate) fn is_ours(mountpoint: &Path) -> Result<bool> {
    Ok(on_top(mountpoint)?.is_some_and(|line| line.source.is_some()))
}

/// Where a mount of ours is, by the kernel's table, if `path` (absolute) names one. A mount is known by its place: asking it may take as long
/// as its daemon does. Blocking.
///
/// # Errors
/// When the kernel's table cannot be read.
pub(crate) fn at(path: &Path) -> Result<Option<PathBuf>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let Ok(parent) = std::fs::canonicalize(parent) else { return Ok(None) };
    let place = parent.join(name);
    Ok(is_ours(&place)?.then_some(place))
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
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let connection = device.split_once(':')?.1.parse().ok()?;
    let at = unescape(fields.nth(1)?);
    let mut behind = fields.skip_while(|f| *f != b"-").skip(1);
    let (kind, source) = (behind.next()?, behind.next()?);
    let source = std::str::from_utf8(source).ok().filter(|source| {
        let kind = std::str::from_utf8(kind).unwrap_or_default();
        own_mount::is_kind(kind, source)
    });
    Some(Line { at, connection, source: source.map(str::to_owned) })
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
        let line = |at: &str, source: Option<&str>| {
            let connection = if at == "/" || at == "/mnt 2" { 0 } else { 41 };
            Some(Line { at: at.into(), connection, source: source.map(str::to_owned) })
        };
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
    fn who_comes_second_to_a_dead_mount_does_not_fail() {
        let nothing_there = || Err(Error::io("/proc", &Errno::INVAL.into()));
        gone_all_the_same(Path::new("/proc"), nothing_there()).unwrap();
        gone_all_the_same(Path::new("/nonexistent"), Ok(())).unwrap();
    }

    #[test]
    fn a_killed_process_is_known_by_its_first_thread() {
        let status = |name: &str, state: &str, own: &str, shared: &str| {
            format!(
                "Name:\t{name}\nState:\t{state}\nSigQ:\t1/63706\nSigPnd:\t{own}\nShdPnd:\t{shared}\nSigCgt:\t0000000000000100\n"
            )
        };
        let (none, kill, others) = ("0000000000000000", "0000000000000100", "0000000180004a02");
        assert!(!is_killed(&status("a", "S (sleeping)", none, none)));
        assert!(!is_killed(&status("a", "D (disk sleep)", others, others)));
        assert!(!is_killed(&status("State: Z", "R (running)", none, none)));
        assert!(is_killed(&status("a", "Z (zombie)", none, none)));
        assert!(is_killed(&status("a", "D (disk sleep)", kill, none)), "its first thread hangs");
        assert!(is_killed(&status("a", "D (disk sleep)", others, "0000000180004b02")));
        assert!(!is_killed(""), "there is no such process");
        assert!(!is_ending(std::process::id()));
    }

    #[test]
    fn nothing_is_taken_away_from_a_place_without_our_mount() {
        assert!(!detach(Path::new("/proc")).unwrap());
        assert!(!detach(Path::new("/nonexistent")).unwrap());
    }
}
