//! What a catalog does when names cross the border to scratch, which it knows nothing of: whole trees come and go.

use async_trait::async_trait;

use super::{Commit, CommitError, Committed, LabelChange, NewNode, Origin, Removed, RenameMode};
use crate::artifact::Result;
use crate::artifact::ids::Ino;
use crate::artifact::name::Name;
use crate::artifact::time::Timestamp;

/// A tree that comes from scratch by one rename.
#[derive(Clone, Debug)]
pub struct Graft {
    /// Directories, symlinks and special files, each after the directory that it is in; the first is what the rename moves.
    pub nodes: Vec<GraftNode>,
    /// With a birth each, below those directories.
    pub files: Vec<Commit>,
    /// Further names of these files: inode, directory, name, cookie.
    pub links: Vec<(Ino, Ino, Name, u64)>,
    /// [`RenameMode::Exchange`] is no business of this.
    pub mode: RenameMode,
    pub now: Timestamp,
}

#[derive(Clone, Debug)]
pub struct GraftNode {
    pub node: NewNode,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    /// A directory's defaults and attributes.
    pub labels: LabelChange,
}

#[derive(Clone, Debug)]
pub struct Grafted {
    /// What gave way, as rename(2) has it.
    pub replaced: Option<Removed>,
    pub files: Vec<Committed>,
}

#[async_trait]
pub trait Borders: Send + Sync + 'static {
    /// All of the tree comes into being, or nothing of it. Durable when it returns.
    ///
    /// # Errors
    /// Of [`super::Tree::make`], [`super::Artifacts::commit`] and [`super::Tree::rename`].
    async fn graft(&self, origin: Origin, graft: Graft) -> Result<Grafted, CommitError>;
    /// Removes a name and all that is below it: the artifacts go to the trash. Answers what lost a name.
    ///
    /// # Errors
    /// `NotFound`, `Sealed`.
    async fn uproot(&self, origin: Origin, parent: Ino, name: &Name, now: Timestamp) -> Result<Vec<Removed>>;
}
