//! Whether a path lies on a mount of our own: the daemon must not depend on itself.

use std::path::Path;

use rustix::fs::{Dev, major, minor};

use crate::artifact::{Error, Result};

/// `FUSE_SUPER_MAGIC` of linux/magic.h.
const FUSE_SUPER_MAGIC: u64 = 0x6573_5546;

/// File system type of our mounts in `/proc/self/mountinfo`.
pub const FS_TYPE: &str = "fuse.outputfs";

/// # Errors
/// `Invalid` when `path`, or where it is missing the nearest directory above it, lies on an outputfs mount; what
/// cannot be asked (a dead mount) as I/O errors with the path.
pub fn refuse(path: &Path) -> Result<()> {
    let absolute = std::path::absolute(path).map_err(|e| Error::io(path, &e))?;
    for dir in absolute.ancestors() {
        let fs = match rustix::fs::statfs(dir) {
            Err(rustix::io::Errno::NOENT) => continue,
            other => other.map_err(|e| Error::io(dir, &e.into()))?,
        };
        // Widths differ between architectures; the number has 32 bits.
        if u64::try_from(fs.f_type).ok() != Some(FUSE_SUPER_MAGIC) {
            return Ok(());
        }
        let dev = rustix::fs::stat(dir).map_err(|e| Error::io(dir, &e.into()))?.st_dev;
        let table = "/proc/self/mountinfo";
        let mounts = std::fs::read_to_string(table).map_err(|e| Error::io(table, &e))?;
        if is_ours(&mounts, dev) {
            let text =
                format!("{}: lies on an outputfs mount: outputfs cannot keep its own state there", path.display());
            return Err(Error::invalid(text));
        }
        return Ok(());
    }
    Ok(())
}

/// Looks `dev` up in the text of a mountinfo (proc_pid_mountinfo(5)).
fn is_ours(mounts: &str, dev: Dev) -> bool {
    let wanted = format!("{}:{}", major(dev), minor(dev));
    mounts.lines().any(|line| {
        let Some((before, after)) = line.split_once(" - ") else { return false };
        let mut behind = after.split(' ');
        let (kind, source) = (behind.next(), behind.next());
        // By mount(2) the kernel is not told our subtype.
        let ours = kind == Some(FS_TYPE) || (kind, source) == (Some("fuse"), Some("outputfs"));
        ours && before.split(' ').nth(2) == Some(wanted.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::makedev;

    #[test]
    fn our_mounts_are_known_by_device_and_type() {
        let text = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n\
                    99 35 0:52 / /artifacts rw - fuse.outputfs outputfs rw,user_id=0\n\
                    97 35 0:54 / /by-root rw - fuse outputfs rw,user_id=0\n\
                    98 35 0:53 / /other rw shared:7 - fuse.sshfs outputfs rw\n";
        assert!(is_ours(text, makedev(0, 52)));
        assert!(is_ours(text, makedev(0, 54)));
        assert!(!is_ours(text, makedev(0, 53)));
        assert!(!is_ours(text, makedev(98, 0)));
        assert!(!is_ours(text, makedev(0, 5)));
    }

    #[test]
    fn ordinary_places_are_fine_even_when_missing() {
        let dir = tempfile::tempdir().unwrap();
        refuse(dir.path()).unwrap();
        refuse(&dir.path().join("not/yet/there")).unwrap();
    }
}
