//! Small disks: file systems in a file, with little room, few inodes, or a fault.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::sandbox::Sandbox;

/// An ext4 in a file, mounted as the sandbox's state directory until it is dropped.
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// # Panics
    /// When it cannot be made (which needs root and a loop device).
    pub fn under(sandbox: &Sandbox, mib: u64, inodes: Option<u64>) -> Self {
        let (at, image) = (sandbox.state_dir(), sandbox.path().join("disk.img"));
        std::fs::File::create(&image).and_then(|f| f.set_len(mib << 20)).expect("an image");
        let mut make = Command::new("mkfs.ext4");
        make.args(["-q", "-m", "0", "-e", "remount-ro"]);
        if let Some(n) = inodes {
            make.args(["-N", &n.to_string()]);
        }
        run(make.arg(&image));
        run(Command::new("mount").args(["-o", "loop,errors=remount-ro"]).arg(&image).arg(&at));
        std::fs::remove_dir(at.join("lost+found")).expect("a fresh file system");
        std::fs::set_permissions(&at, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("a mode");
        Self { at }
    }

    /// What a power failure now would leave: bytes that reached the device alone.
    ///
    /// # Panics
    /// When it cannot be copied.
    #[must_use]
    pub fn image_now(&self) -> PathBuf {
        let image = self.at.with_file_name("disk.img");
        let copy = self.at.with_file_name("cut.img");
        run(Command::new("cp").arg("--sparse=always").args([&image, &copy]));
        copy
    }

    /// Goes on from such an image; nobody uses the disk meanwhile.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn go_on_from(&self, image: &Path) {
        rustix::mount::unmount(&self.at, rustix::mount::UnmountFlags::DETACH).expect("unmounted");
        run(Command::new("mount").args(["-o", "loop,errors=remount-ro"]).args([image, &self.at]));
    }

    /// Fills what is left of it.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.at.join("filler")).expect("a file");
        for piece in [1 << 20, 4096, 512] {
            while std::io::Write::write_all(&mut file, &vec![b'x'; piece]).is_ok() {}
        }
        // (A disk without room for it is as full.)
        file.sync_all().ok();
    }

    /// Takes what [`SmallDisk::fill`] wrote away.
    pub fn drain(&self) {
        std::fs::remove_file(self.at.join("filler")).expect("the filler");
    }

    /// Uses up its inodes, outside of what outputfs looks at.
    pub fn fill_inodes(&self) {
        let dir = self.at.join("empties");
        std::fs::create_dir(&dir).expect("a directory");
        let mut n = 0;
        while std::fs::File::create(dir.join(n.to_string())).is_ok() {
            n += 1;
        }
        assert!(n > 10, "only {n} inodes were left");
    }

    /// A fault of the file system: the kernel turns it read-only.
    pub fn break_down(&self) {
        let source = Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(&self.at).output().expect("findmnt");
        let device = String::from_utf8_lossy(&source.stdout).trim().rsplit('/').next().unwrap_or("").to_owned();
        let at = Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error");
        std::fs::write(&at, "1").unwrap_or_else(|e| panic!("{}: {e}", at.display()));
        let tried = std::fs::File::create(self.at.join("probe")).expect_err("the disk takes changes still");
        assert_eq!(tried.raw_os_error(), Some(libc::EROFS));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(e) = rustix::mount::unmount(&self.at, rustix::mount::UnmountFlags::DETACH) {
            eprintln!("left behind: {}: {e}", self.at.display());
        }
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
}
