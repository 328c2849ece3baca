//! The directory to mount on: there, empty, ours alone.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::artifact::{Error, Kind, Result};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::settings::Settings;
use crate::engine::stale_mount;
use crate::staging::flock::Flock;

/// A directory that may be mounted on. No other outputfs takes it while this is held; what was made is removed in the
/// end. (The lock is on the directory below the mount.)
#[derive(Debug)]
pub struct Mountpoint {
    path: PathBuf,
    made: bool,
    _lock: Flock,
}

impl Mountpoint {
    /// Takes a dead mount of ours away first. `make`: makes the directory when it is missing. `adopt`: it need not be empty.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`, `NotEmpty`; `Busy` when something is mounted there.
    pub fn prepare(path: &Path, make: bool, adopt: bool) -> Outcome<Self> {
        let absolute = std::path::absolute(path).map_err(|e| Error::io(path, &e))?;
        if stale_mount::detach(&known_as(&absolute)?)? {
            tracing::info!(path = %path.display(), "the mount of a dead daemon was taken away");
        }
        let made = make && make_directory(&absolute)?;
        let this = Self::take(path, &absolute, (made, adopt));
        if this.is_err() && made {
            remove(&absolute);
        }
        this
    }

    fn take(said: &Path, absolute: &Path, (made, adopt): (bool, bool)) -> Outcome<Self> {
        let at = said.display();
        let meta = std::fs::metadata(absolute).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Failure::new(&Error::not_found(format!("{at}: no such directory to mount on")))
                    .hint(format!("mkdir {at}"))
            }
            _ => Error::io(said, &e).into(),
        })?;
        if !meta.is_dir() {
            return Err(Error::new(Kind::NotADirectory, format!("{at}: is no directory to mount on")).into());
        }
        let path = std::fs::canonicalize(absolute).map_err(|e| Error::io(said, &e))?;
        if stale_mount::is_ours(&path)? {
            return Err(busy(said));
        }
        let lock = File::open(&path).map_err(|e| Error::io(said, &e))?;
        let Some(lock) = Flock::exclusive(lock, said)? else { return Err(busy(said)) };
        // Between the look and the lock another may have mounted: then the lock is on the mount's root.
        if stale_mount::is_ours(&path)? {
            return Err(busy(said));
        }
        let mut entries = std::fs::read_dir(&path).map_err(|e| Error::io(said, &e))?;
        if !adopt && entries.next().is_some() {
            let e = Error::new(Kind::NotEmpty, format!("{at}: is not empty: what is in it would be hidden"));
            return Err(
                Failure::new(&e).hint("--adopt takes it in as artifacts first and leaves it in place underneath")
            );
        }
        Ok(Self { path, made, _lock: lock })
    }

    /// Absolute, without symbolic links: as the kernel shows it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the directory if we made it and nobody has put anything into it. Call it when nothing is mounted.
    pub fn release(self) {
        if self.made {
            remove(&self.path);
        }
    }
}

/// A daemon that keeps its own state below its own mount point would wait for itself. Asked before that state is made.
///
/// # Errors
/// `Invalid` with the directory that would be hidden.
pub fn refuse_own_ground(settings: &Settings, mountpoint: &Path) -> Result<()> {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mountpoint = real(&std::path::absolute(mountpoint).map_err(|e| Error::io(mountpoint, &e))?);
    let store = settings.store.store.as_deref().map(|s| Path::new(s.strip_prefix("file://").unwrap_or(s)));
    let local = store.filter(|path| path.is_absolute());
    for dir in std::iter::once(settings.store.state_dir.as_path()).chain(local) {
        // What is missing yet has no links in it, but what it lies in may.
        let known = dir.ancestors().find(|a| a.exists()).unwrap_or(dir);
        let rest = dir.strip_prefix(known).unwrap_or(Path::new(""));
        if real(known).join(rest).starts_with(&mountpoint) {
            let text =
                format!("{}: lies below the mount point: outputfs cannot keep its own state there", dir.display());
            return Err(Error::invalid(text));
        }
    }
    Ok(())
}

fn busy(said: &Path) -> Failure {
    let e = Error::new(Kind::Busy, format!("{}: an outputfs is mounted there already", said.display()));
    Failure::new(&e).hint(format!("'outputfs umount {}', or choose another directory", said.display()))
}

/// The path as the kernel's table has it, although its last part may be a dead mount that cannot be asked.
fn known_as(absolute: &Path) -> Result<PathBuf> {
    if let Some(known) = stale_mount::at(absolute)? {
        return Ok(known);
    }
    if let Ok(found) = std::fs::canonicalize(absolute) {
        return Ok(found);
    }
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else { return Ok(absolute.to_owned()) };
    match std::fs::canonicalize(parent) {
        Ok(parent) => Ok(parent.join(name)),
        // Nothing can be mounted there; whoever looks at it next says so.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(absolute.to_owned()),
        Err(e) => Err(Error::io(parent, &e)),
    }
}

/// `true` when it was missing.
fn make_directory(path: &Path) -> Result<bool> {
    match std::fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(Error::io(path, &e)),
    }
}

fn remove(path: &Path) {
    // Somebody's file in it is a reason to leave it.
    if let Err(e) = std::fs::remove_dir(path) {
        tracing::warn!(path = %path.display(), error = %e, "the mount point stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_and_removed_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outputs");
        let taken = Mountpoint::prepare(&path, true, false).unwrap();
        assert_eq!(Mountpoint::prepare(&path, true, false).unwrap_err().code, 1, "taken");
        taken.release();
        assert!(!path.exists());
        assert!(Mountpoint::prepare(&path, false, false).unwrap_err().text().contains("no such directory"));
    }

    #[test]
    fn what_was_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        Mountpoint::prepare(dir.path(), true, false).unwrap().release();
        assert!(dir.path().exists());
        std::fs::write(dir.path().join("x"), "").unwrap();
        assert!(Mountpoint::prepare(dir.path(), true, false).unwrap_err().text().contains("not empty"));
        assert!(Mountpoint::prepare(&dir.path().join("x"), true, false).unwrap_err().text().contains("no directory"));
    }
}
