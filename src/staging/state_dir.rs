//! The state directory and the mount directories in it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::flock::Flock;
use crate::artifact::ids::MountId;
use crate::artifact::{Error, Kind, Result};

/// A directory on its way in (not locked yet) or out (emptied): no mount ID, so nobody takes it for a mount.
const COMING: &str = ".new-";
const GOING: &str = ".gone-";

/// A directory that has been on its way in for so long has lost its maker: making one takes milliseconds.
const STALE: Duration = Duration::from_hours(1);

/// Who asks whether a lock is held holds it, shared, for microseconds: a taker waits that out.
const PROBE_WAIT: Duration = Duration::from_millis(50);

/// Set to 1, root uses a state directory that belongs to somebody else.
const FOREIGN: &str = "OUTPUTFS_FOREIGN_STATE_DIR";

/// `--state-dir`: made `0700` when missing. Absolute.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// # Errors
    /// When it cannot be made, is not ours, or lies on an outputfs mount (the daemon must not depend on itself).
    pub fn open(root: &Path) -> Result<Self> {
        super::own_mount::refuse(root)?;
        let existed = root.is_dir();
        make_dir(root)?;
        let root = std::fs::canonicalize(root).map_err(|e| Error::io(root, &e))?;
        let state = Self { root };
        state.check_private(existed)?;
        make_dir(&state.mounts_dir())?;
        Ok(state)
    }

    /// Nobody else may look into it or put something there. An empty directory made by `mkdir` is tightened; one
    /// that is in use for other things is not ours to change.
    fn check_private(&self, existed: bool) -> Result<()> {
        let root = &self.root;
        let meta = std::fs::metadata(root).map_err(|e| Error::io(root, &e))?;
        let me = rustix::process::geteuid();
        // Who owns it can read and change all of it. Root may say that this is meant: of a directory that a container's host user made.
        let meant = me.is_root() && std::env::var_os(FOREIGN).is_some_and(|v| v == "1");
        if meta.uid() != me.as_raw() && !meant {
            let (at, owner) = (root.display(), meta.uid());
            let way = if me.is_root() { format!(", or say {FOREIGN}=1 if that is meant") } else { String::new() };
            let text = format!("{at}: belongs to user {owner}, not to you ({me}): name another state directory{way}");
            return Err(Error::new(Kind::Forbidden, text));
        }
        let others = meta.mode() & 0o077;
        if others == 0 {
            return Ok(());
        }
        let mut entries = std::fs::read_dir(root).map_err(|e| Error::io(root, &e))?;
        if existed && entries.next().is_some() {
            let text = format!(
                "{}: is open to other users: give a directory of its own, or run chmod 700 on it",
                root.display()
            );
            return Err(Error::new(Kind::Forbidden, text));
        }
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o700)).map_err(|e| Error::io(root, &e))
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
    #[must_use]
    pub fn catalog_path(&self) -> PathBuf {
        self.root.join("catalog.db")
    }
    #[must_use]
    pub fn blobs_dir(&self) -> PathBuf {
        self.root.join("blobs")
    }
    #[must_use]
    pub fn cache_dir(&self) -> PathBuf {
        self.root.join("cache")
    }
    #[must_use]
    pub fn mounts_dir(&self) -> PathBuf {
        self.root.join("mounts")
    }
    /// Path of a staging file of any mount.
    #[must_use]
    pub fn staging_path(&self, mount: MountId, file: &str) -> PathBuf {
        self.mounts_dir().join(mount.to_string()).join("staging").join(file)
    }
    /// Whether its disk takes no changes.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        // One that turned so by a fault need not say it in its flags: a file that every state directory has tells.
        let said =
            rustix::fs::statvfs(&self.root).is_ok_and(|fs| fs.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
        let tried = OpenOptions::new().write(true).open(self.root.join("catalog.reserve"));
        said || tried.is_err_and(|e| e.kind() == ErrorKind::ReadOnlyFilesystem)
    }

    /// Bytes that we may still write to its disk, where that can be asked.
    #[must_use]
    pub fn free(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.root).ok()?;
        let blocks = if rustix::process::geteuid().is_root() { disk.f_bfree } else { disk.f_bavail };
        Some(blocks.saturating_mul(disk.f_frsize))
    }

    /// Every mount directory, oldest first, with what its owner wrote about itself.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn mounts(&self) -> Result<Vec<MountEntry>> {
        mounts_in(&self.mounts_dir())
    }

    /// Removes what makers and removers of mount directories left behind when they were killed.
    fn sweep(&self) -> Result<()> {
        for name in names(&self.mounts_dir())? {
            let path = self.mounts_dir().join(&name);
            let old = || {
                let modified = std::fs::metadata(&path).and_then(|m| m.modified());
                modified.ok().and_then(|t| t.elapsed().ok()).is_some_and(|age| age > STALE)
            };
            if name.starts_with(GOING) || (name.starts_with(COMING) && old()) {
                remove_tree(&path)?;
            }
        }
        Ok(())
    }
}

/// [`StateDir::mounts`], of a state directory that is not opened.
///
/// # Errors
/// When the directory cannot be read.
pub fn mounts_in(dir: &Path) -> Result<Vec<MountEntry>> {
    let mut found = Vec::new();
    for name in names(dir)? {
        let Ok(id) = name.parse::<MountId>() else { continue };
        let path = dir.join(&name);
        let Some(alive) = is_locked(&path.join("lock"))? else { continue };
        // Not written yet, or torn: then nothing is known of it.
        let info = std::fs::read(path.join("mount.json")).ok().and_then(|b| serde_json::from_slice(&b).ok());
        found.push(MountEntry { id, alive, info });
    }
    found.sort_unstable_by_key(|m| m.id);
    Ok(found)
}

/// What `mount.json` says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MountInfo {
    pub pid: u32,
    /// Absolute; none for a command that stages bytes without a mount.
    pub mountpoint: Option<PathBuf>,
    pub session: Option<String>,
    pub tenant: String,
    /// The store it uploads to, as its owner described it.
    pub store: String,
}

#[derive(Clone, Debug)]
pub struct MountEntry {
    pub id: MountId,
    /// Its lock is held.
    pub alive: bool,
    pub info: Option<MountInfo>,
}

/// A mount directory that this process owns: the lock is held until drop. (Dropping leaves the directory.)
#[derive(Debug)]
pub struct MountDir {
    pub id: MountId,
    path: PathBuf,
    _lock: Flock,
}

impl MountDir {
    /// A new one for this process.
    ///
    /// # Errors
    /// When it cannot be made or locked.
    pub fn create(state: &StateDir) -> Result<Self> {
        state.sweep()?;
        let id = MountId(Ulid::new());
        // Locked before it has its name, so that nobody takes it from us in between.
        let coming = state.mounts_dir().join(format!("{COMING}{id}"));
        make_dir(&coming)?;
        make_dir(&coming.join("staging"))?;
        let lock_path = coming.join("lock");
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|e| Error::io(&lock_path, &e))?;
        let Some(lock) = Flock::exclusive(lock, &lock_path)? else {
            return Err(Error::new(Kind::Busy, format!("{}: is locked by another process", lock_path.display())));
        };
        let path = state.mounts_dir().join(id.to_string());
        std::fs::rename(&coming, &path).map_err(|e| Error::io(&path, &e))?;
        Ok(Self { id, path, _lock: lock })
    }
    /// Takes over the directory of a dead owner; `None` while the owner lives or when it is gone.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn take(state: &StateDir, id: MountId) -> Result<Option<Self>> {
        let path = state.mounts_dir().join(id.to_string());
        let lock_path = path.join("lock");
        let deadline = Instant::now() + PROBE_WAIT;
        let lock = loop {
            let Some(file) = open_lock(&lock_path)? else { return Ok(None) };
            if let Some(lock) = Flock::exclusive(file, &lock_path)? {
                break lock;
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        // Another taker may have finished and removed it between our open and our lock.
        let ours = lock.file().metadata().map_err(|e| Error::io(&lock_path, &e))?;
        match std::fs::symlink_metadata(&lock_path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {
                Ok(Some(Self { id, path, _lock: lock }))
            }
            Ok(_) => Ok(None),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(&lock_path, &e)),
        }
    }
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
    #[must_use]
    pub fn staging(&self) -> PathBuf {
        self.path.join("staging")
    }
    #[must_use]
    pub fn journal_path(&self) -> PathBuf {
        self.path.join("journal")
    }
    /// Writes `mount.json` (temp, rename).
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn write_info(&self, info: &MountInfo) -> Result<()> {
        let path = self.path.join("mount.json");
        let temp = self.path.join("mount.json.new");
        let text = serde_json::to_vec_pretty(info)
            .map_err(|e| Error::invalid(format!("{}: cannot be written as JSON: {e}", path.display())))?;
        // No fsync: it tells of a process, and no process outlives the loss of power.
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temp);
        file.and_then(|mut file| file.write_all(&text)).map_err(|e| Error::io(&temp, &e))?;
        std::fs::rename(&temp, &path).map_err(|e| Error::io(&path, &e))
    }
    /// Removes the directory if its staging is empty; `false` when bytes are left in it.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn remove(self) -> Result<bool> {
        self.remove_if_empty()
    }

    /// The same for a directory that is shared: its lock is held until the last owner drops it, but nobody sees it
    /// any more. `true` also when it was removed before.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn remove_if_empty(&self) -> Result<bool> {
        if !self.path.exists() {
            return Ok(true);
        }
        let staging = self.staging();
        if !names(&staging)?.is_empty() {
            return Ok(false);
        }
        // One step takes it out of sight, lock and all; only then is it taken apart.
        let going = self.path.with_file_name(format!("{GOING}{}", self.id));
        std::fs::rename(&self.path, &going).map_err(|e| Error::io(&self.path, &e))?;
        remove_tree(&going)?;
        Ok(true)
    }
}

fn make_dir(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| Error::io(path, &e))
}

fn remove_tree(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        // Another one swept it at the same time.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(|e| Error::io(path, &e)),
    }
}

/// The entries of a directory, those that are UTF-8: we make no others.
fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(dir).map_err(|e| Error::io(dir, &e))?;
    entries
        .map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()).map_err(|e| Error::io(dir, &e)))
        .collect()
}

fn open_lock(path: &Path) -> Result<Option<File>> {
    // (Reading is enough for flock(2), and possible on a disk that has turned read-only.)
    match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path, &e)),
    }
}

/// Whether somebody holds the lock at `path`; `None` when there is none (any more).
fn is_locked(path: &Path) -> Result<Option<bool>> {
    let Some(lock) = open_lock(path)? else { return Ok(None) };
    Ok(Some(Flock::shared(lock, path)?.is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("a/b")).unwrap();
        (dir, state)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn made_private_and_kept_so() {
        let (dir, state) = state();
        assert_eq!(mode(state.root()), 0o700);
        assert_eq!(mode(&state.mounts_dir()), 0o700);
        StateDir::open(state.root()).unwrap();

        let plain = dir.path().join("plain");
        std::fs::create_dir(&plain).unwrap();
        std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o755)).unwrap();
        StateDir::open(&plain).unwrap();
        assert_eq!(mode(&plain), 0o700);

        let shared = dir.path().join("shared");
        std::fs::create_dir(&shared).unwrap();
        std::fs::write(shared.join("theirs"), "x").unwrap();
        std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o755)).unwrap();
        let err = StateDir::open(&shared).unwrap_err();
        assert_eq!(err.kind, Kind::Forbidden);
        assert!(err.message.contains("chmod 700"), "{err}");
        assert_eq!(mode(&shared), 0o755);
        assert!(StateDir::open(&shared.join("theirs")).is_err());
    }

    #[test]
    fn a_living_owner_keeps_its_directory_and_a_dead_one_loses_it() {
        let (_dir, state) = state();
        let mount = MountDir::create(&state).unwrap();
        let id = mount.id;
        let info = MountInfo {
            pid: 1,
            mountpoint: Some(PathBuf::from("/m")),
            session: None,
            tenant: String::from("default"),
            store: String::from("local"),
        };
        mount.write_info(&info).unwrap();
        let listed = state.mounts().unwrap();
        assert_eq!(listed.len(), 1);
        assert!(listed[0].alive && listed[0].id == id);
        assert_eq!(listed[0].info.as_ref().unwrap().mountpoint, info.mountpoint);
        assert!(MountDir::take(&state, id).unwrap().is_none());

        std::fs::write(mount.staging().join("1-1"), "bytes").unwrap();
        assert_eq!(state.staging_path(id, "1-1"), mount.staging().join("1-1"));
        drop(mount);
        assert!(!state.mounts().unwrap()[0].alive);
        let taken = MountDir::take(&state, id).unwrap().unwrap();
        assert!(MountDir::take(&state, id).unwrap().is_none());
        assert!(!taken.remove().unwrap(), "bytes are left in it");

        let taken = MountDir::take(&state, id).unwrap().unwrap();
        std::fs::remove_file(taken.staging().join("1-1")).unwrap();
        assert!(taken.remove().unwrap());
        assert!(state.mounts().unwrap().is_empty());
        assert!(MountDir::take(&state, id).unwrap().is_none());
        assert_eq!(std::fs::read_dir(state.mounts_dir()).unwrap().count(), 0);
    }

    #[test]
    #[allow(clippy::used_underscore_binding, reason = "the field is held, and looked at here alone")]
    fn the_lock_is_not_inherited_by_programs() {
        let (_dir, state) = state();
        let mount = MountDir::create(&state).unwrap();
        assert!(rustix::io::fcntl_getfd(mount._lock.file()).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }

    #[test]
    fn of_many_takers_one_wins_whoever_looks_on() {
        let (_dir, state) = state();
        for _ in 0..20 {
            let id = MountDir::create(&state).unwrap().id;
            let wins = std::thread::scope(|scope| {
                let takers: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(|| {
                            state.mounts().unwrap();
                            // The winner recovers and removes it, so that a late one finds it gone.
                            MountDir::take(&state, id).unwrap().is_some_and(|m| m.remove().unwrap())
                        })
                    })
                    .collect();
                takers.into_iter().map(|t| u32::from(t.join().unwrap())).sum::<u32>()
            });
            assert_eq!(wins, 1);
        }
        assert_eq!(std::fs::read_dir(state.mounts_dir()).unwrap().count(), 0);
    }

    #[test]
    fn leftovers_of_killed_makers_and_removers_are_swept() {
        let (_dir, state) = state();
        let gone = state.mounts_dir().join(".gone-x");
        let fresh = state.mounts_dir().join(".new-x");
        let stale = state.mounts_dir().join(".new-y");
        for dir in [&gone, &fresh, &stale] {
            std::fs::create_dir_all(dir.join("staging")).unwrap();
        }
        let old = std::time::SystemTime::now() - 2 * STALE;
        File::open(&stale).unwrap().set_modified(old).unwrap();
        assert!(state.mounts().unwrap().is_empty());
        let _mount = MountDir::create(&state).unwrap();
        assert!(!gone.exists() && !stale.exists() && fresh.exists());
    }
}
