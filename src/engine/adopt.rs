//! Taking in what a folder holds, before it is mounted over: what lies in it stays there, underneath.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::artifact::name::{Name, SessionName, display_bytes, split_path};
use crate::artifact::record::{Labels, NodeKind};
use crate::artifact::{Error, Kind, Result};
use crate::catalog::NewNode;
use crate::engine::progress::Progress;
use crate::engine::push::{PushRequest, PushSource, owner};
use crate::engine::store::{Store, blocking};

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Files that are artifacts now.
    pub files: u64,
    /// Names that the session had already: what it holds there stays.
    pub known: u64,
    /// Paths and why: scratch, and what is neither file, directory nor symbolic link.
    pub left_out: Vec<(Vec<u8>, &'static str)>,
}

enum Found {
    Dir,
    File,
    Link(Vec<u8>),
    /// Why it is left out.
    Other(&'static str),
}

struct Entry {
    from: PathBuf,
    /// Inside the session.
    path: Vec<u8>,
    found: Found,
}

impl Store {
    /// Takes in all of `dir`. A name that the session holds stays as it is there: what was adopted once may have changed since.
    ///
    /// # Errors
    /// As [`Store::push`]; of `dir`, with the path.
    pub async fn adopt(&self, name: &SessionName, dir: &Path, labels: &Labels) -> Result<Adopted> {
        let session = self.ensure_session(name).await?;
        let rules = self.ignore_rules(name).await?;
        let top = dir.to_owned();
        let entries = blocking(move || {
            let mut all = Vec::new();
            walk(&top, &[], &mut |path, is_dir| rules.is_scratch(path, is_dir), &mut all)?;
            Ok(all)
        })
        .await?;
        let mut adopted = Adopted::default();
        for entry in entries {
            match entry.found {
                Found::Other(why) => adopted.left_out.push((entry.path, why)),
                Found::Dir => drop(self.make_dirs(&session, &split_path(&entry.path)?, &mut Vec::new()).await?),
                Found::File | Found::Link(_) if self.holds(&session, &entry.path).await? => adopted.known += 1,
                Found::Link(target) => {
                    let mut names = split_path(&entry.path)?;
                    let Some(name) = names.pop() else { continue };
                    let parent = self.make_dirs(&session, &names, &mut Vec::new()).await?;
                    self.make_link(parent, name, target).await?;
                }
                Found::File => {
                    let request = PushRequest {
                        session: name.clone(),
                        path: entry.path,
                        source: PushSource::File(entry.from),
                        labels: labels.clone(),
                        mode: None,
                        mtime: None,
                        progress: Progress::none(),
                    };
                    self.push(request).await?;
                    adopted.files += 1;
                }
            }
        }
        Ok(adopted)
    }

    async fn holds(&self, session: &crate::artifact::record::Session, path: &[u8]) -> Result<bool> {
        match self.lookup_path(session, path).await {
            Ok(_) => Ok(true),
            Err(e) if e.kind == Kind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    pub(crate) async fn make_link(&self, parent: crate::artifact::ids::Ino, name: Name, target: Vec<u8>) -> Result<()> {
        let first = self.catalog.reserve(2).await?;
        let (uid, gid) = owner();
        let node = NewNode {
            ino: crate::artifact::ids::Ino(first),
            cookie: first + 1,
            parent,
            name,
            kind: NodeKind::Symlink,
            mode: 0o777,
            uid,
            gid,
            rdev: 0,
            target: Some(target),
            now: self.clock.now(),
        };
        self.catalog.make(self.origin, node).await.map(drop)
    }
}

/// Everything below `dir` but scratch, in order, directories before what is in them.
fn walk(dir: &Path, below: &[u8], scratch: &mut dyn FnMut(&[u8], bool) -> bool, all: &mut Vec<Entry>) -> Result<()> {
    let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut entries = entries.map_err(|e| Error::io(dir, &e))?;
    entries.sort_unstable_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (from, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().map_err(|e| Error::io(&from, &e))?;
        let path = if below.is_empty() { name.as_bytes().to_vec() } else { [below, b"/", name.as_bytes()].concat() };
        if below.is_empty() && Name::new(name.as_bytes())?.is_reserved() {
            let text = format!("'{}' is a name that outputfs keeps for itself: rename it first", display_bytes(&path));
            return Err(Error::new(Kind::Reserved, text));
        }
        let found = if scratch(&path, kind.is_dir()) {
            Found::Other("scratch")
        } else if kind.is_dir() {
            Found::Dir
        } else if kind.is_file() {
            Found::File
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&from).map_err(|e| Error::io(&from, &e))?;
            Found::Link(target.as_os_str().as_bytes().to_vec())
        } else if kind.is_fifo() {
            Found::Other("a pipe")
        } else if kind.is_socket() {
            Found::Other("a socket")
        } else {
            Found::Other("a device")
        };
        let deeper = matches!(found, Found::Dir);
        all.push(Entry { from: from.clone(), path: path.clone(), found });
        if deeper {
            walk(&from, &path, scratch, all)?;
        }
    }
    Ok(())
}
