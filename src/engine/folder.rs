//! A plain folder whose files become artifacts, for where nothing can be mounted.
//!
//! # What owns what
//! The folder is its writers'. [`Folder`] remembers of each file the [`Stamp`] that it had when it was taken, and takes it again when
//! that differs. Who calls [`Folder::look`] is told of changes by the system; what it was not told of, [`Folder::look_at_all`] finds. A
//! file that changes while it is read is taken as it was read, and differs from its stamp: the next look takes it again.
//!
//! What is refused (sealed, quota, a reserved name) stays in the folder and is tried again with the next look at it; the last answer
//! counts. What was taken and is gone from the folder goes to the trash, as after an `unlink` on a mount. What was there before
//! is its owner's: it is taken once it changes. What an earlier run took is known by its size and time, which a copy keeps.
//!
//! # At a crash
//! What was taken is committed. The rest is in the folder, where nobody looks at it by himself: it is older than the next run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::Metadata;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;

use crate::artifact::ignore::IgnoreRules;
use crate::artifact::name::{SessionName, split_path};
use crate::artifact::record::{Labels, NodeKind};
use crate::artifact::{Error, Kind, Result};
use crate::catalog::Origin;
use crate::engine::progress::Progress;
use crate::engine::push::{PushRequest, PushSource};
use crate::engine::store::{Store, blocking};

/// Files stored at once: enough to hide an S3 request behind others.
const WIDTH: usize = 8;

/// What tells one content of a path from another (stat(2)). Of a directory, that it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    kind: What,
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
    /// Of its attributes too.
    changed: (i64, i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Dir,
    File,
    Link,
}

struct Seen {
    stamp: Stamp,
    /// Taken by us or an earlier run; else it was there before.
    ours: bool,
}

/// Paths are inside the folder, and so inside the session: `a/b.txt`; the folder itself is empty.
pub struct Folder {
    store: Arc<Store>,
    session: SessionName,
    root: PathBuf,
    labels: Labels,
    seen: HashMap<Vec<u8>, Seen>,
    refused: BTreeMap<Vec<u8>, Error>,
}

impl Folder {
    /// `adopt`: what is there already is taken with the first look.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub async fn open(
        store: Arc<Store>,
        session: SessionName,
        root: PathBuf,
        labels: Labels,
        adopt: bool,
    ) -> Result<Self> {
        let mut this = Self { store, session, root, labels, seen: HashMap::new(), refused: BTreeMap::new() };
        if !adopt {
            let rules = this.store.ignore_rules(&this.session).await?;
            let (found, _) = this.walk(BTreeSet::from([Vec::new()]), rules).await?;
            for (path, stamp) in found {
                let ours = this.is_taken(&path, &stamp).await?;
                this.seen.insert(path, Seen { stamp, ours });
            }
        }
        Ok(this)
    }

    async fn is_taken(&self, path: &[u8], stamp: &Stamp) -> Result<bool> {
        let Some(session) = self.store.catalog.session(self.store.tenant.id, &self.session).await? else {
            return Ok(false);
        };
        let node = match self.store.lookup_path(&session, path).await {
            Ok(found) => found.node,
            Err(e) if matches!(e.kind, Kind::NotFound | Kind::NotADirectory) => return Ok(false),
            Err(e) => return Err(e),
        };
        let (seconds, nanos) = node.mtime.parts();
        Ok(match stamp.kind {
            What::Dir => node.kind == NodeKind::Dir,
            What::Link => node.kind == NodeKind::Symlink,
            What::File => {
                let same = (node.size, (seconds, i64::from(nanos))) == (stamp.size, stamp.modified);
                node.kind == NodeKind::File && same
            }
        })
    }

    /// What is not stored, and why.
    pub fn refused(&self) -> &BTreeMap<Vec<u8>, Error> {
        &self.refused
    }

    /// Takes all that has changed. Answers whether there was anything.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub async fn look_at_all(&mut self) -> Result<bool> {
        let mut paths: BTreeSet<_> =
            self.seen.iter().filter(|(_, seen)| seen.ours).map(|(path, _)| path.clone()).collect();
        paths.insert(Vec::new());
        self.look(paths).await
    }

    /// Takes what has changed at `paths` and below them. Answers whether there was anything.
    ///
    /// # Errors
    /// When the folder or the catalog cannot be read. Of single files: [`Self::refused`].
    pub async fn look(&mut self, paths: BTreeSet<Vec<u8>>) -> Result<bool> {
        let rules = self.store.ignore_rules(&self.session).await?;
        let (found, missing) = self.walk(paths, rules).await?;
        let due: Vec<_> =
            found.into_iter().filter(|(path, stamp)| self.seen.get(path).is_none_or(|s| s.stamp != *stamp)).collect();
        let mut gone: BTreeSet<Vec<u8>> = missing.into_iter().filter(|path| self.knows_below(path)).collect();
        let any = !due.is_empty() || !gone.is_empty();
        // What is another kind of thing now has to make room first.
        for (path, stamp) in &due {
            if self.seen.get(path).is_some_and(|s| s.ours && (s.stamp.kind != stamp.kind || stamp.kind == What::Link)) {
                self.let_go(path).await;
            }
        }
        self.take(due).await?;
        // Afterwards: what was renamed is there under one name at least.
        while let Some(path) = gone.pop_last() {
            self.let_go(&path).await;
        }
        Ok(any)
    }

    async fn take(&mut self, due: Vec<(Vec<u8>, Stamp)>) -> Result<()> {
        let (dirs, files): (Vec<_>, Vec<_>) = due.into_iter().partition(|(_, stamp)| stamp.kind == What::Dir);
        // In the order of their paths: what lies in one comes after it.
        for (path, stamp) in dirs {
            let made = self.make_dir(&path).await;
            self.note(path, stamp, made);
        }
        let mut taking = futures::stream::iter(files)
            .map(|(path, stamp)| {
                let (store, session, from) = (self.store.clone(), self.session.clone(), self.at(&path));
                let labels = self.labels.clone();
                async move {
                    let taken = match stamp.kind {
                        What::Link => store.link_at(&session, &path, &from).await,
                        _ => store.push(push_of(session, path.clone(), from, labels)).await.map(drop),
                    };
                    (path, stamp, taken)
                }
            })
            .buffer_unordered(WIDTH);
        let mut all = Vec::new();
        while let Some(one) = taking.next().await {
            all.push(one);
        }
        drop(taking);
        for (path, stamp, taken) in all {
            self.note(path, stamp, taken);
        }
        Ok(())
    }

    fn note(&mut self, path: Vec<u8>, stamp: Stamp, taken: Result<()>) {
        match taken {
            Ok(()) => {
                self.refused.remove(&path);
                self.seen.insert(path, Seen { stamp, ours: true });
            }
            // It went while we looked.
            Err(e) if e.kind == Kind::NotFound && std::fs::symlink_metadata(self.at(&path)).is_err() => {}
            Err(e) => drop(self.refused.insert(path, e)),
        }
    }

    async fn make_dir(&self, path: &[u8]) -> Result<()> {
        let session = self.store.session_to_write(&self.session).await?;
        let names = split_path(path)?;
        if names.first().is_some_and(crate::artifact::name::Name::is_reserved) {
            return Err(Error::new(Kind::Reserved, "outputfs keeps this name for itself"));
        }
        self.store.make_dirs(&session, &names, &mut Vec::new()).await.map(drop)
    }

    /// What was taken at `path` and below it goes to the trash; what others put there stays.
    async fn let_go(&mut self, path: &[u8]) {
        let mut ours: Vec<_> = self.seen.keys().filter(|known| is_below(known, path)).cloned().collect();
        ours.sort_unstable_by(|a, b| b.cmp(a));
        for path in ours {
            let Some(seen) = self.seen.remove(&path) else { continue };
            self.refused.remove(&path);
            if !seen.ours {
                continue;
            }
            match self.store.drop_path(&self.session, &path, seen.stamp.kind == What::Dir).await {
                // Others were faster, or use it.
                Err(e) if matches!(e.kind, Kind::NotFound | Kind::NotEmpty | Kind::NotADirectory) => {}
                Err(e) => drop(self.refused.insert(path, e)),
                Ok(()) => {}
            }
        }
    }

    fn knows_below(&self, path: &[u8]) -> bool {
        self.seen.contains_key(path) || self.seen.keys().any(|known| is_below(known, path))
    }

    fn at(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(std::ffi::OsStr::from_bytes(path)) }
    }

    /// What is at `paths` and below them, in the order of the paths and without scratch; and which of `paths` are not there.
    async fn walk(
        &self,
        paths: BTreeSet<Vec<u8>>,
        rules: IgnoreRules,
    ) -> Result<(BTreeMap<Vec<u8>, Stamp>, Vec<Vec<u8>>)> {
        let root = self.root.clone();
        blocking(move || {
            let (mut found, mut missing, mut todo) = (BTreeMap::new(), Vec::new(), Vec::new());
            for path in paths {
                // A link above it leads elsewhere.
                match reached(&root, &path) {
                    Ok(Some(meta)) => todo.push((path, meta)),
                    Ok(None) => missing.push(path),
                    Err(e) => return Err(e),
                }
            }
            while let Some((path, meta)) = todo.pop() {
                let dir = meta.is_dir();
                if (!path.is_empty() && rules.is_scratch(&path, dir)) || found.contains_key(&path) {
                    continue;
                }
                if dir {
                    todo.extend(children(&root, &path)?);
                }
                if let Some(stamp) = stamp(&meta).filter(|_| !path.is_empty()) {
                    found.insert(path, stamp);
                }
            }
            Ok((found, missing))
        })
        .await
    }
}

impl Store {
    /// A symbolic link of the folder. What has the name in the session makes room.
    async fn link_at(&self, session: &SessionName, path: &[u8], from: &Path) -> Result<()> {
        let target = std::fs::read_link(from).map_err(|e| Error::io(from, &e))?.into_os_string().into_vec();
        let session = self.session_to_write(session).await?;
        let mut names = split_path(path)?;
        let Some(name) = names.pop() else { return Ok(()) };
        match self.lookup_path(&session, path).await {
            Ok(found) if found.node.target.as_deref() == Some(&target) => return Ok(()),
            Ok(found) if found.node.kind != NodeKind::Dir => {
                self.catalog.unlink(Origin::NOBODY, found.parent, &found.name, self.clock.now()).await?;
            }
            Err(e) if e.kind != Kind::NotFound => return Err(e),
            _ => {}
        }
        let parent = self.make_dirs(&session, &names, &mut Vec::new()).await?;
        self.make_link(parent, name, target).await
    }

    async fn drop_path(&self, session: &SessionName, path: &[u8], dir: bool) -> Result<()> {
        let session = self.session_to_write(session).await?;
        let found = self.lookup_path(&session, path).await?;
        let now = self.clock.now();
        if dir {
            self.catalog.rmdir(Origin::NOBODY, found.parent, &found.name, now).await.map(drop)
        } else if found.node.kind == NodeKind::Dir {
            Ok(())
        } else {
            self.catalog.unlink(Origin::NOBODY, found.parent, &found.name, now).await.map(drop)
        }
    }

    async fn session_to_write(&self, name: &SessionName) -> Result<crate::artifact::record::Session> {
        let session = self.ensure_session(name).await?;
        if session.sealed.is_some() { Err(Error::sealed(name.as_str())) } else { Ok(session) }
    }
}

fn push_of(session: SessionName, path: Vec<u8>, from: PathBuf, labels: Labels) -> PushRequest {
    let progress = Progress::none();
    PushRequest { session, path, source: PushSource::File(from), labels, mode: None, mtime: None, progress }
}

fn is_below(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// What is at `path` below `root` without following a link on the way; none: nothing.
fn reached(root: &Path, path: &[u8]) -> Result<Option<Metadata>> {
    let mut at = root.to_owned();
    let mut meta = look_at(&at)?;
    for name in path.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
        if !meta.as_ref().is_some_and(Metadata::is_dir) {
            return Ok(None);
        }
        at.push(std::ffi::OsStr::from_bytes(name));
        meta = look_at(&at)?;
    }
    Ok(meta)
}

fn look_at(path: &Path) -> Result<Option<Metadata>> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(Error::io(path, &e)),
    }
}

fn children(root: &Path, path: &[u8]) -> Result<Vec<(Vec<u8>, Metadata)>> {
    let dir = root.join(std::ffi::OsStr::from_bytes(path));
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        // It went while we looked.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(&dir, &e)),
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(&dir, &e))?;
        let Some(meta) = look_at(&entry.path())? else { continue };
        let name = entry.file_name();
        let path = if path.is_empty() { name.as_bytes().to_vec() } else { [path, b"/", name.as_bytes()].concat() };
        all.push((path, meta));
    }
    Ok(all)
}

/// Of pipes, sockets and devices there is none: they have no bytes to keep.
fn stamp(meta: &Metadata) -> Option<Stamp> {
    let inode = (meta.dev(), meta.ino());
    if meta.is_dir() {
        return Some(Stamp { kind: What::Dir, inode: (0, 0), size: 0, modified: (0, 0), changed: (0, 0) });
    }
    let kind = if meta.is_file() { What::File } else { What::Link };
    let stamp = Stamp {
        kind,
        inode,
        size: meta.len(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    };
    (meta.is_file() || meta.is_symlink()).then_some(stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_is_by_whole_names() {
        assert!(is_below(b"a/b", b"a") && is_below(b"a", b"a") && is_below(b"x", b""));
        assert!(!is_below(b"ab", b"a") && !is_below(b"a", b"a/b"));
    }

    #[test]
    fn a_link_above_a_path_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::fs::write(dir.path().join("real/f"), "1").unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        assert!(reached(dir.path(), b"real/f").unwrap().unwrap().is_file());
        assert!(reached(dir.path(), b"link").unwrap().unwrap().is_symlink());
        assert!(reached(dir.path(), b"link/f").unwrap().is_none());
        assert!(reached(dir.path(), b"real/f/x").unwrap().is_none() && reached(dir.path(), b"none").unwrap().is_none());
    }
}
