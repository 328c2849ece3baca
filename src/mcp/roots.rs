//! The folders that a client may have files stored from. A path is opened relative to its root's descriptor and the
//! kernel refuses every way out of it, symbolic links and `..` included (`openat2` with `RESOLVE_BENEATH`).

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::artifact::{Error, Kind, Result};

/// Allowed folders, each held open: renaming or replacing one later does not move the border.
#[derive(Debug, Default)]
pub struct Roots(Vec<Root>);

#[derive(Debug)]
struct Root {
    /// As resolved when it was opened.
    path: PathBuf,
    dir: OwnedFd,
}

impl Roots {
    /// # Errors
    /// When a folder cannot be opened.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        paths.iter().map(|path| Root::open(path)).collect::<Result<Vec<_>>>().map(Self)
    }

    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.0.iter().map(|r| r.path.display().to_string()).collect()
    }

    /// Opens a regular file in one of the folders for reading. A relative path is looked for in each of them in turn. Blocks
    /// for as long as the file system does.
    ///
    /// # Errors
    /// `Forbidden` when there is no folder or the path leads out of all of them; `NotFound`; `Invalid` for what is no
    /// regular file.
    pub fn file(&self, path: &Path) -> Result<File> {
        if self.0.is_empty() {
            return Err(Error::new(
                Kind::Forbidden,
                "this server reads no files of its machine: give the content itself, or start it with --root DIR",
            ));
        }
        let mut refused = None;
        for root in &self.0 {
            let Some(inside) = root.inside(path) else { continue };
            match root.file(&inside, path) {
                Ok(file) => return Ok(file),
                // The first folder's reason is the one to tell, unless another knows the file.
                Err(e) => refused = refused.or(Some(e)),
            }
        }
        Err(refused.unwrap_or_else(|| outside(path)))
    }
}

impl Root {
    fn open(path: &Path) -> Result<Self> {
        let path = path.canonicalize().map_err(|e| Error::io(path, &e))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&path, flags, Mode::empty()).map_err(|e| Error::io(&path, &e.into()))?;
        Ok(Self { path, dir })
    }

    /// `path` seen from this folder; none: it names another place. Only names are compared here; what they lead to is
    /// the kernel's to judge.
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        if path.is_relative() {
            return Some(path.to_owned());
        }
        if let Ok(rest) = path.strip_prefix(&self.path) {
            return Some(rest.to_owned());
        }
        // The folder itself may have been named through a symbolic link.
        let parent = path.parent()?.canonicalize().ok()?;
        Some(parent.strip_prefix(&self.path).ok()?.join(path.file_name()?))
    }

    fn file(&self, inside: &Path, said: &Path) -> Result<File> {
        if inside.components().next().is_none() || inside.components().all(|c| c == Component::CurDir) {
            return Err(Error::new(Kind::IsADirectory, format!("{}: is a directory", said.display())));
        }
        // Non-blocking: a named pipe must not hold us up before we see what it is.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let fd = rustix::fs::openat2(&self.dir, inside, flags, Mode::empty(), resolve).map_err(|e| match e {
            rustix::io::Errno::XDEV | rustix::io::Errno::LOOP => outside(said),
            e => Error::io(said, &e.into()),
        })?;
        let file = File::from(fd);
        let meta = file.metadata().map_err(|e| Error::io(said, &e))?;
        if meta.is_dir() {
            return Err(Error::new(Kind::IsADirectory, format!("{}: is a directory", said.display())));
        }
        if !meta.is_file() {
            return Err(Error::invalid(format!("{}: is not a regular file", said.display())));
        }
        Ok(file)
    }
}

fn outside(path: &Path) -> Error {
    Error::new(Kind::Forbidden, format!("{}: is outside of the folders that this server may read", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_leads_out_of_a_root() {
        let dir = tempfile::tempdir().unwrap();
        let (root, secret) = (dir.path().join("work"), dir.path().join("secret.txt"));
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(&secret, "secret").unwrap();
        std::fs::write(root.join("sub/a.txt"), "inside").unwrap();
        symlink(&secret, root.join("absolute")).unwrap();
        symlink("../../secret.txt", root.join("sub/relative")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("sub/a.txt", root.join("inner")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        let alias = dir.path().join("alias");
        symlink(&root, &alias).unwrap();
        let roots = Roots::open(std::slice::from_ref(&root)).unwrap();
        let read = |path: &Path| {
            let mut text = String::new();
            roots.file(path).map(|mut f| f.read_to_string(&mut text)).map(|_| text)
        };
        for good in [root.join("sub/a.txt"), "sub/a.txt".into(), root.join("inner"), alias.join("sub/a.txt")] {
            assert_eq!(read(&good).unwrap(), "inside", "{}", good.display());
        }
        for bad in
            ["absolute", "sub/relative", "up/secret.txt", "../secret.txt", "sub/../../secret.txt", "magic/etc/passwd"]
        {
            assert_eq!(read(Path::new(bad)).unwrap_err().kind, Kind::Forbidden, "{bad}");
            assert_eq!(read(&root.join(bad)).unwrap_err().kind, Kind::Forbidden, "{bad}");
        }
        assert_eq!(read(&secret).unwrap_err().kind, Kind::Forbidden);
        assert_eq!(read(Path::new("/etc/passwd")).unwrap_err().kind, Kind::Forbidden);
        assert_eq!(read(Path::new("sub/none")).unwrap_err().kind, Kind::NotFound);
        assert_eq!(read(&root).unwrap_err().kind, Kind::IsADirectory);
        assert_eq!(Roots::default().file(Path::new("sub/a.txt")).unwrap_err().kind, Kind::Forbidden);
    }

    #[test]
    fn pipes_and_devices_are_no_files() {
        let dir = tempfile::tempdir().unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("pipe"), Mode::from_raw_mode(0o600)).unwrap();
        let roots = Roots::open(&[dir.path().to_owned()]).unwrap();
        assert_eq!(roots.file(Path::new("pipe")).unwrap_err().kind, Kind::Invalid);
    }
}
