//! A full disk: writers are told, what was acknowledged stays, and everything else still works.

use std::collections::HashMap;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::{MountOptions, Sandbox, Store, TestMount};

/// A state directory that holds 96 MiB.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn under(sandbox: &Sandbox) -> Self {
        let at = sandbox.state_dir();
        let options = Some(c"size=96m");
        rustix::mount::mount("tmpfs", &at, "tmpfs", rustix::mount::MountFlags::empty(), options).unwrap();
        Self(at)
    }
}

impl SmallDisk {
    fn grow(&self) {
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount_remount(&self.0, flags, c"size=128m").unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(e) = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH) {
            eprintln!("left behind: {}: {e}", self.0.display());
        }
    }
}

fn body(n: usize) -> Vec<u8> {
    // No two alike, none of them compressible into one blob.
    (0..1_500_000_u32)
        .flat_map(|i| (i.wrapping_mul(2_654_435_761) ^ u32::try_from(n).unwrap()).to_le_bytes())
        .take(3_000_000)
        .collect()
}

/// Writes and closes; the errno of the first call that failed.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), i32> {
    let errno = |e: std::io::Error| e.raw_os_error().unwrap();
    let file = std::fs::File::create(path).map_err(errno)?;
    file.write_all_at(bytes, 0).map_err(errno)?;
    // SAFETY: the descriptor was just taken out of its owner and is closed once.
    match unsafe { libc::close(file.into_raw_fd()) } {
        0 => Ok(()),
        _ => Err(errno(std::io::Error::last_os_error())),
    }
}

fn a_full_disk(options: MountOptions) {
    let sandbox = Arc::new(Sandbox::new(Store::Local));
    let disk = SmallDisk::under(&sandbox);
    // How long the end of the mount waits for a store that has no room.
    let mut m = TestMount::of(&sandbox, options.session("s1").args(&["--upload-timeout", "3s"]));
    let mut kept = HashMap::new();
    let mut refused = 0;
    for n in 0..60 {
        let name = format!("f{n}");
        match write(&m.join(&name), &body(n)) {
            Ok(()) => drop(kept.insert(name, n)),
            Err(e) => {
                assert_eq!(e, libc::ENOSPC, "{name}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && kept.len() > 10, "{refused} refused, {} kept", kept.len());
    let whole = |m: &TestMount, kept: &HashMap<String, usize>| {
        for (name, n) in kept {
            assert!(std::fs::read(m.join(name)).unwrap() == body(*n), "{name}");
        }
    };
    whole(&m, &kept);
    // Nothing of this needs more room than was kept for it.
    for name in ["f0", "f1", "f2"] {
        std::fs::remove_file(m.join(name)).unwrap();
        kept.remove(name);
    }
    std::fs::rename(m.join("f3"), m.join("renamed")).unwrap();
    let n = kept.remove("f3").unwrap();
    kept.insert(String::from("renamed"), n);
    sandbox.cli("status", &[] as &[&str]);
    // A seal stores a manifest: there is room for that only if the settler has made some meanwhile.
    if let Err(e) = m.ctl("seal") {
        assert_eq!(e.errno, Some(libc::ENOSPC));
    }
    m.sigterm();
    // Commands that only look work; a mount needs room for what will be written to it.
    sandbox.cli("check", &["--read-data"]);
    disk.grow();
    m.remount();
    whole(&m, &kept);
    sandbox.cli("check", &["--read-data"]);
    drop(m);
    drop(disk);
}

#[test]
fn a_full_disk_takes_nothing_from_what_is_there() {
    a_full_disk(MountOptions::new());
}

#[test]
fn a_full_disk_takes_nothing_from_what_is_there_without_passthrough() {
    a_full_disk(MountOptions::new().no_passthrough());
}
