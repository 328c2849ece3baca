//! Our mounts in the kernel's table (proc_pid_mountinfo(5)): their name there, which says where their state is, and
//! whether a path lies on one: the daemon must not depend on itself.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use rustix::fs::{Dev, major, minor};

use crate::artifact::{Error, Result};

/// `FUSE_SUPER_MAGIC` of linux/magic.h.
const FUSE_SUPER_MAGIC: u64 = 0x6573_5546;

/// File system type of our mounts in `/proc/self/mountinfo`.
pub const FS_TYPE: &str = "fuse.outputfs";

/// What every mount's source begins with. Releases that did not tell the state directory said only this.
const SOURCE: &str = "outputfs";

/// Kept as they are in a source. The rest (a comma ends an option of fusermount3(1), a space is octal in the
/// kernel's table) is percent-encoded.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'_').remove(b'-');

/// The source of a mount: `outputfs:` and its state directory. It outlives the daemon, so `umount` needs nobody to ask.
#[must_use]
pub fn source(state_dir: &Path) -> String {
    format!("{SOURCE}:{}", percent_encode(state_dir.as_os_str().as_bytes(), PLAIN))
}

/// The state directory of a mount with this source; none when it does not say.
#[must_use]
pub fn state_dir_of(source: &str) -> Option<PathBuf> {
    let encoded = source.strip_prefix(SOURCE)?.strip_prefix(':')?;
    let bytes: Vec<u8> = percent_decode_str(encoded).collect();
    Some(PathBuf::from(OsString::from_vec(bytes))).filter(|dir| dir.is_absolute())
}

/// Whether a mount of this type from this source is ours. (By mount(2) the kernel is not told our subtype.)
#[must_use]
pub fn is_kind(kind: &str, source: &str) -> bool {
    kind == FS_TYPE || (kind == "fuse" && (source == SOURCE || state_dir_of(source).is_some()))
}

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
        let (Some(kind), Some(source)) = (behind.next(), behind.next()) else { return false };
        is_kind(kind, source) && before.split(' ').nth(2) == Some(wanted.as_str())
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
                    96 35 0:55 / /told rw - fuse outputfs:/var/lib/outputfs rw,user_id=0\n\
                    98 35 0:53 / /other rw shared:7 - fuse.sshfs outputfs rw\n";
        assert!(is_ours(text, makedev(0, 52)));
        assert!(is_ours(text, makedev(0, 54)));
        assert!(is_ours(text, makedev(0, 55)));
        assert!(!is_ours(text, makedev(0, 53)));
        assert!(!is_ours(text, makedev(98, 0)));
        assert!(!is_ours(text, makedev(0, 5)));
    }

    #[test]
    fn a_source_gives_its_state_directory_back() {
        for dir in ["/var/lib/outputfs", "/with space,comma/ä%20"] {
            let source = source(Path::new(dir));
            assert!(source.bytes().all(|b| !b" ,\\".contains(&b)), "{source}");
            assert_eq!(state_dir_of(&source), Some(PathBuf::from(dir)));
        }
        assert_eq!(source(Path::new("/var/lib/outputfs")), "outputfs:/var/lib/outputfs");
        for other in ["outputfs", "outputfs:relative", "outputfsx:/a", "sshfs:/a"] {
            assert_eq!(state_dir_of(other), None, "{other}");
        }
    }

    #[test]
    fn ordinary_places_are_fine_even_when_missing() {
        let dir = tempfile::tempdir().unwrap();
        refuse(dir.path()).unwrap();
        refuse(&dir.path().join("not/yet/there")).unwrap();
    }
}
