//! Directories, symlinks and special files that become scratch: what is below them goes to the trash in one
//! transaction, a copy of it into the scratch tree.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

use crate::artifact::ids::{Ino, SessionId};
use crate::artifact::name::Name;
use crate::artifact::openfile::Why;
use crate::artifact::record::{Node, NodeKind};
use crate::artifact::{Error, Kind, Result};
use crate::staging::file::StagingFile;

use crate::engine::volume::Volume;
use crate::engine::volume::scratch::known::id_of;
use crate::engine::volume::scratch::moves::At;
use crate::engine::volume::scratch::moves::across;
use crate::engine::volume::scratch::moves::chmod;
use crate::engine::volume::scratch::names::own;
use crate::engine::volume::scratch::os;
use crate::engine::volume::scratch::stat;

/// Entries fetched from the catalog at once.
const PAGE: u32 = 512;

/// One node of the catalog's, and where its copy is below the copy's root.
struct Leaf {
    node: Node,
    parent: Ino,
    name: Name,
    below: PathBuf,
}

impl Volume {
    /// `node` stands at `from` and is no regular file; `to` is a name for scratch.
    pub(super) async fn demote_tree(
        self: &Arc<Self>,
        node: &Node,
        from: At<'_>,
        to: At<'_>,
        session: SessionId,
    ) -> Result<()> {
        if self.is_top(node.ino, session).await? {
            return Err(across());
        }
        let tree = self.cut(node, to).await?;
        self.scratch.allow(tree.iter().map(|l| l.node.size).sum())?;
        let copy = self.scratch.root.join(format!(".new-{}", self.number().await?));
        let done = self.demote_copied(&tree, &copy, from, to, session).await;
        if done.is_err() {
            let gone = if node.kind == NodeKind::Dir { fs::remove_dir_all(&copy) } else { fs::remove_file(&copy) };
            if let Err(e) = gone
                && e.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(path = %copy.display(), error = %e, "left behind");
            }
        }
        done
    }

    /// All below `node`, each after its directory. Nothing of it may be open.
    async fn cut(self: &Arc<Self>, node: &Node, to: At<'_>) -> Result<Vec<Leaf>> {
        let mut out = vec![Leaf { node: node.clone(), parent: to.0, name: to.1.clone(), below: PathBuf::new() }];
        let mut names = HashMap::<Ino, u32>::new();
        let mut at = 0;
        while at < out.len() {
            let (dir, below) = (out[at].node.ino, out[at].below.clone());
            let is_dir = out[at].node.kind == NodeKind::Dir;
            at += 1;
            if !is_dir {
                continue;
            }
            let pending = self.inodes.overlay.lock().list(dir, 0);
            for (_, entry) in pending {
                self.save(&entry.live, Why::Birth).await?;
            }
            let mut after = 0;
            loop {
                let page = self.store.catalog.list(dir, after, PAGE, self.now()).await?;
                let Some(last) = page.last() else { break };
                after = last.cookie;
                for entry in page {
                    if entry.node.kind == NodeKind::File {
                        *names.entry(entry.node.ino).or_default() += 1;
                        if !self.released_soon(entry.node.ino).await {
                            return Err(across());
                        }
                    }
                    let below = below.join(os(&entry.name));
                    out.push(Leaf { node: entry.node, parent: dir, name: entry.name, below });
                }
            }
        }
        // A name elsewhere keeps the artifact.
        if out.iter().any(|l| names.get(&l.node.ino).is_some_and(|n| *n != l.node.nlink)) {
            return Err(across());
        }
        Ok(out)
    }

    async fn demote_copied(
        self: &Arc<Self>,
        tree: &[Leaf],
        copy: &Path,
        from: At<'_>,
        to: At<'_>,
        session: SessionId,
    ) -> Result<()> {
        let mut made = HashMap::<Ino, PathBuf>::new();
        for leaf in tree {
            let path = below(copy, &leaf.below);
            match made.get(&leaf.node.ino) {
                Some(first) => fs::hard_link(first, &path).map_err(|e| Error::io(&path, &e))?,
                None => self.copy_leaf(&leaf.node, &path).await?,
            }
            if leaf.node.kind == NodeKind::File {
                made.insert(leaf.node.ino, path);
            }
        }
        let dst = self.scratch_room(to.0, to.1)?;
        let gives_way = stat(&dst)?;
        let artifact = if self.scratch.is(to.0) { None } else { self.find(to.0, to.1).await? };
        if artifact.is_some() {
            // An ignored name that was an artifact's before the rules changed.
            return Err(across());
        }
        // First the copy, then the end of the artifacts: a crash between leaves both.
        fs::rename(copy, &dst).map_err(|e| match e.kind() {
            std::io::ErrorKind::DirectoryNotEmpty => {
                Error::new(Kind::NotEmpty, format!("{}: the directory is not empty", to.1))
            }
            _ => Error::io(&dst, &e),
        })?;
        if let Some(meta) = gives_way {
            self.scratch_gone(to.0, to.1, &meta);
        }
        let removed = self.store.catalog.uproot(self.store.origin, from.0, from.1, self.now()).await;
        if let Err(e) = removed {
            // Back, to be removed by the caller.
            fs::rename(&dst, copy).map_err(|e| Error::io(&dst, &e))?;
            return Err(e);
        }
        for leaf in tree {
            if leaf.node.kind == NodeKind::Dir {
                self.move_scratch_of(leaf.node.ino, &below(&dst, &leaf.below))?;
            }
            let path = below(&dst, &leaf.below);
            let meta = fs::symlink_metadata(&path).map_err(|e| Error::io(&path, &e))?;
            let cookie = self.number().await?;
            self.scratch.know((leaf.parent, &leaf.name), id_of(&meta), leaf.node.ino, cookie, session)?;
            self.forget_cached(leaf.node.ino);
        }
        // What came into a directory touched it, and a bare mode might have kept it out.
        for leaf in tree.iter().rev().filter(|l| l.node.kind == NodeKind::Dir) {
            dress(&leaf.node, &below(&dst, &leaf.below))?;
        }
        self.scratch.grown(tree.iter().map(|l| l.node.size).sum());
        self.inodes.overlay.lock().untouch(from.0);
        Ok(())
    }

    async fn copy_leaf(&self, node: &Node, path: &Path) -> Result<()> {
        let made = match node.kind {
            NodeKind::Dir => rustix::fs::mkdir(path, Mode::from_raw_mode(0o700)),
            NodeKind::Symlink => rustix::fs::symlink(node.target.as_deref().unwrap_or_default(), path),
            NodeKind::File => {
                let mut options = fs::OpenOptions::new();
                let file = options.read(true).write(true).create_new(true).mode(0o600).open(path);
                let file = Arc::new(file.map_err(|e| Error::io(path, &e))?);
                let staging = StagingFile { name: String::new(), path: path.to_owned(), file };
                if node.content.is_some() {
                    self.fill(&staging, node).await?;
                }
                Ok(())
            }
            NodeKind::Fifo => special(path, FileType::Fifo, node.rdev),
            NodeKind::Socket => special(path, FileType::Socket, node.rdev),
            NodeKind::Char => special(path, FileType::CharacterDevice, node.rdev),
            NodeKind::Block => special(path, FileType::BlockDevice, node.rdev),
        };
        made.map_err(|e| Error::io(path, &e.into()))?;
        if matches!(node.kind, NodeKind::Dir | NodeKind::File) {
            self.carry_attributes(node.ino, path).await?;
        }
        if node.kind == NodeKind::Dir { Ok(()) } else { dress(node, path) }
    }

    /// Scratch that lies in a directory of the catalog's moves into the directory's copy.
    fn move_scratch_of(&self, dir: Ino, copy: &Path) -> Result<()> {
        let old = self.scratch.root.join(dir.0.to_string());
        let entries = match fs::read_dir(&old) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io(&old, &e)),
        };
        for entry in entries {
            let entry = entry.map_err(|e| Error::io(&old, &e))?;
            fs::rename(entry.path(), copy.join(entry.file_name())).map_err(|e| Error::io(entry.path(), &e))?;
        }
        fs::remove_dir(&old).map_err(|e| Error::io(&old, &e))
    }
}

/// `join` of an empty path would end in a slash.
fn below(root: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { root.to_owned() } else { root.join(path) }
}

fn special(path: &Path, kind: FileType, rdev: u32) -> rustix::io::Result<()> {
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), u64::from(rdev))
}

/// Owner, mode and times.
fn dress(node: &Node, path: &Path) -> Result<()> {
    own(path, node.uid, node.gid)?;
    if node.kind != NodeKind::Symlink {
        chmod(path, node.mode)?;
    }
    let spec = |at: crate::artifact::time::Timestamp| {
        let (seconds, nanos) = at.parts();
        Timespec { tv_sec: seconds, tv_nsec: i64::from(nanos) }
    };
    let times = Timestamps { last_access: spec(node.atime), last_modification: spec(node.mtime) };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| Error::io(path, &e.into()))
}
