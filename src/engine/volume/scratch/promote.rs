//! Directories, symlinks and special files that leave scratch: all that is below them becomes artifacts in one transaction, or nothing.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};

use crate::artifact::ids::{Ino, SessionId};
use crate::artifact::name::Name;
use crate::artifact::openfile::Why;
use crate::artifact::record::{Node, NodeKind};
use crate::artifact::xattr::Attr as Xattr;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::borders::{Graft, GraftNode};
use crate::catalog::{Birth, Commit, CommitError, FileStat, LabelChange, NewNode, Removed, RenameMode};
use crate::engine::ingest::CommitMeta;

use crate::engine::volume::Volume;
use crate::engine::volume::inode::attr::sparse;
use crate::engine::volume::ops::tree::Found;
use crate::engine::volume::scratch::content;
use crate::engine::volume::scratch::known::id_of;
use crate::engine::volume::scratch::moves::At;
use crate::engine::volume::scratch::moves::across;
use crate::engine::volume::scratch::names::attr_of;
use crate::engine::volume::scratch::names::read_xattr;
use crate::engine::volume::scratch::names::xattr_names;
use crate::engine::volume::scratch::os;
use crate::engine::volume::scratch::stat;

/// A commit that finds a blob gone stores the bytes and comes again, with all the others.
const ROUNDS: u32 = 5;
/// Files that are read and sent at a time.
const AT_ONCE: usize = 8;

/// One entry of the scratch tree, and where it will stand.
#[derive(Clone)]
struct Leaf {
    disk: PathBuf,
    meta: Metadata,
    ino: Ino,
    parent: Ino,
    name: Name,
    cookie: u64,
}

/// What a rename takes out of scratch.
#[derive(Default)]
struct Branch {
    /// Each after its directory.
    nodes: Vec<Leaf>,
    files: Vec<Leaf>,
    /// Further names of those files.
    links: Vec<Leaf>,
    /// The rules make these scratch at their new place too.
    stays: Vec<Leaf>,
}

impl Volume {
    /// `from` is in the scratch tree and no regular file; `to` is a name for artifacts.
    pub(super) async fn promote_tree(
        self: &Arc<Self>,
        from: At<'_>,
        to: At<'_>,
        mode: RenameMode,
        session: SessionId,
    ) -> Result<()> {
        if let Some(Found::Pending(live)) = self.find(to.0, to.1).await? {
            self.save(&live, Why::Birth).await?;
        }
        let replaced = match self.find(to.0, to.1).await? {
            Some(Found::Committed(node)) if mode == RenameMode::Replace => {
                if node.kind == NodeKind::Dir
                    && (self.has_scratch(node.ino)? || !self.inodes.overlay.lock().is_empty(node.ino))
                {
                    return Err(Error::new(Kind::NotEmpty, format!("{}: the directory is not empty", to.1)));
                }
                Some(node)
            }
            Some(_) => return Err(Error::new(Kind::Exists, format!("{}: exists", to.1))),
            None => None,
        };
        let branch = self.branch(from, to, session).await?;
        for file in &branch.files {
            if !self.released_soon(file.ino).await {
                // Its writers go on in the file where it is.
                return Err(across());
            }
        }
        let files = self.graft(&branch, mode, session).await?;
        if let Err(e) = self.leave_scratch(&branch, &files) {
            // It is done all the same: what is left over stands under its old name, as after a crash.
            tracing::warn!(error = %e, "what was moved out of scratch is left there too");
        }
        self.after_graft(&branch, to, replaced).await
    }

    /// Everything below `from`, numbered.
    async fn branch(&self, from: At<'_>, to: At<'_>, session: SessionId) -> Result<Branch> {
        let rules = self.ignore_rules(session).await?;
        let joined = |dir: &[u8], name: &Name| {
            if dir.is_empty() { name.as_bytes().to_vec() } else { [dir, b"/", name.as_bytes()].concat() }
        };
        let mut out = Branch::default();
        let mut names = HashMap::<(u64, u64), u64>::new();
        let path = joined(&self.store.catalog.path(to.0).await?, to.1);
        let mut todo = vec![(from.0, from.1.clone(), path)];
        while let Some((parent, name, path)) = todo.pop() {
            let disk = self.scratch.path_of(parent, &name)?;
            let Some(meta) = stat(&disk)? else { continue };
            let (ino, cookie) = self.scratch_know(parent, &name, &meta).await?;
            let mut leaf = Leaf { disk, meta, ino, parent, name, cookie };
            let is_root = out.nodes.is_empty();
            if is_root {
                (leaf.parent, leaf.name, leaf.cookie) = (to.0, to.1.clone(), self.number().await?);
            } else if rules.is_scratch(&path, leaf.meta.is_dir()) {
                out.stays.push(leaf);
                continue;
            }
            if leaf.meta.is_file() {
                let seen = names.entry(id_of(&leaf.meta)).or_default();
                *seen += 1;
                if *seen == 1 {
                    out.files.push(leaf);
                } else {
                    out.links.push(leaf);
                }
                continue;
            }
            if leaf.meta.is_dir() {
                for entry in fs::read_dir(&leaf.disk).map_err(|e| Error::io(&leaf.disk, &e))? {
                    let entry = entry.map_err(|e| Error::io(&leaf.disk, &e))?;
                    let name = Name::new(&std::os::unix::ffi::OsStringExt::into_vec(entry.file_name()))?;
                    let path = joined(&path, &name);
                    todo.push((ino, name, path));
                }
            }
            out.nodes.push(leaf);
        }
        // A name elsewhere in scratch would go on as another file of the same bytes.
        if out.files.iter().any(|f| names.get(&id_of(&f.meta)) != Some(&f.meta.nlink())) {
            return Err(across());
        }
        Ok(out)
    }

    /// Bytes first, then the one transaction; the files as they were when they were read.
    async fn graft(self: &Arc<Self>, branch: &Branch, mode: RenameMode, session: SessionId) -> Result<Vec<Metadata>> {
        let mut nodes = Vec::new();
        for leaf in &branch.nodes {
            nodes.push(self.graft_node(leaf)?);
        }
        let links: Vec<_> = branch.links.iter().map(|l| (l.ino, l.parent, l.name.clone(), l.cookie)).collect();
        for round in 0..ROUNDS {
            let read = futures::stream::iter(branch.files.clone())
                .map(|leaf| {
                    let volume = self.clone();
                    async move { volume.read_leaf(leaf, session, round == 0).await }
                })
                .buffered(AT_ONCE);
            let (files, metas): (Vec<Commit>, Vec<Metadata>) = read.try_collect::<Vec<_>>().await?.into_iter().unzip();
            let graft = Graft { nodes: nodes.clone(), files, links: links.clone(), mode, now: self.now() };
            match self.store.catalog.graft(self.store.origin, graft).await {
                Ok(_) => return Ok(metas),
                Err(CommitError::BlobGone) => {}
                Err(CommitError::Failed(e)) => return Err(e),
            }
        }
        Err(Error::internal("blobs vanished again and again before a tree could be recorded"))
    }

    fn graft_node(&self, leaf: &Leaf) -> Result<GraftNode> {
        let attr = attr_of(leaf.ino, &leaf.meta);
        let target = if attr.kind == NodeKind::Symlink {
            let target = rustix::fs::readlink(&leaf.disk, Vec::new()).map_err(|e| Error::io(&leaf.disk, &e.into()))?;
            Some(target.into_bytes())
        } else {
            None
        };
        let mut labels = LabelChange::default();
        if attr.kind == NodeKind::Dir {
            for name in xattr_names(&leaf.disk)?.into_iter().filter(|n| n.starts_with(b"user.")) {
                let value = read_xattr(&leaf.disk, &name)?;
                let text = || String::from_utf8_lossy(&value).into_owned();
                match Xattr::for_write(&name) {
                    Ok(Xattr::AgentId) => labels.agent_id = Some(Some(text())),
                    Ok(Xattr::Ttl) => labels.ttl = Some(Some(text())),
                    Ok(Xattr::User(name)) => labels.attributes.push((name, Some(value))),
                    _ => {}
                }
            }
        }
        let node = NewNode {
            ino: leaf.ino,
            cookie: leaf.cookie,
            parent: leaf.parent,
            name: leaf.name.clone(),
            kind: attr.kind,
            mode: attr.mode,
            uid: attr.uid,
            gid: attr.gid,
            rdev: attr.rdev,
            target,
            now: self.now(),
        };
        Ok(GraftNode { node, atime: attr.atime, mtime: attr.mtime, labels })
    }

    async fn read_leaf(&self, leaf: Leaf, session: SessionId, may_be_known: bool) -> Result<(Commit, Metadata)> {
        let file = Arc::new(content::open_rw(&leaf.disk)?);
        let begun = std::time::Instant::now();
        let meta = file.metadata().map_err(|e| Error::io(&leaf.disk, &e))?;
        let attr = attr_of(leaf.ino, &meta);
        let source = self.store.source_of(leaf.disk.clone(), file.clone(), meta.len()).await?;
        let commit = CommitMeta {
            session,
            ino: leaf.ino,
            birth: Some(Birth {
                parent: leaf.parent,
                name: leaf.name.clone(),
                cookie: leaf.cookie,
                mode: attr.mode,
                uid: attr.uid,
                gid: attr.gid,
                replaces: false,
            }),
            id: self.store.new_artifact_id(),
            collapse: None,
            name: leaf.name.as_bytes().to_vec(),
            labels: self.scratch_labels(leaf.ino, &leaf.disk)?,
            durable: true,
            mtime: attr.mtime,
            stat: FileStat {
                atime: Some(attr.atime),
                ctime: None,
                named: None,
                blocks: sparse(attr.size, attr.blocks),
            },
            hashing: begun.elapsed(),
        };
        let commit = self.store.prepare(&source, commit, may_be_known).await?;
        let after = file.metadata().map_err(|e| Error::io(&leaf.disk, &e))?;
        if !same(&meta, &after) {
            return Err(Error::new(Kind::Busy, format!("{}: written to while it was moved", leaf.name)));
        }
        Ok((commit, meta))
    }

    /// What was taken leaves the scratch tree; what came there since then stays.
    fn leave_scratch(&self, branch: &Branch, files: &[Metadata]) -> Result<()> {
        {
            let mut known = self.scratch.known.lock();
            for leaf in branch.nodes.iter().chain(&branch.files).chain(&branch.links) {
                known.remove(leaf.ino);
            }
        }
        for leaf in &branch.stays {
            let dir = self.scratch.dir_path(leaf.parent)?;
            fs::create_dir_all(&dir).map_err(|e| Error::io(&dir, &e))?;
            fs::rename(&leaf.disk, dir.join(os(&leaf.name))).map_err(|e| Error::io(&leaf.disk, &e))?;
        }
        for (leaf, read) in branch.files.iter().zip(files) {
            let untouched = stat(&leaf.disk)?.is_some_and(|now| same(&now, read));
            if untouched {
                fs::remove_file(&leaf.disk).map_err(|e| Error::io(&leaf.disk, &e))?;
            }
        }
        for leaf in &branch.links {
            fs::remove_file(&leaf.disk).map_err(|e| Error::io(&leaf.disk, &e))?;
        }
        for leaf in branch.nodes.iter().rev() {
            let gone = if leaf.meta.is_dir() { fs::remove_dir(&leaf.disk) } else { fs::remove_file(&leaf.disk) };
            match gone {
                // Something was made there meanwhile.
                Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => {}
                gone => gone.map_err(|e| Error::io(&leaf.disk, &e))?,
            }
        }
        Ok(())
    }

    async fn after_graft(self: &Arc<Self>, branch: &Branch, to: At<'_>, replaced: Option<Node>) -> Result<()> {
        if let Some(node) = replaced {
            if node.kind == NodeKind::Dir {
                self.kernel.removed.note(self.attr_of(&node)?);
            } else {
                let nlink = node.nlink.saturating_sub(1);
                self.after_removal(&Removed { ino: node.ino, kind: node.kind, nlink }).await;
            }
        }
        for leaf in &branch.files {
            self.forget_cached(leaf.ino);
        }
        self.inodes.overlay.lock().untouch(to.0);
        self.store.settle_soon();
        Ok(())
    }
}

/// Nobody wrote in between.
fn same(a: &Metadata, b: &Metadata) -> bool {
    let stamp = |m: &Metadata| {
        let since = Duration::new(u64::try_from(m.mtime()).unwrap_or(0), u32::try_from(m.mtime_nsec()).unwrap_or(0));
        (id_of(m), m.len(), since)
    };
    stamp(a) == stamp(b)
}
