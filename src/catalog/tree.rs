//! The tree: names, inodes, attributes.

use async_trait::async_trait;

use crate::artifact::Result;
use crate::artifact::ids::{Ino, TenantId};
use crate::artifact::name::Name;
use crate::artifact::record::{DirEntry, Node};
use crate::artifact::time::Timestamp;
use crate::catalog::upkeep::{Cleared, ExpiredName};
use crate::catalog::{AttrChange, NewDirs, NewNode, Origin, Removed, RenameMode};

#[async_trait]
pub trait Tree: Send + Sync + 'static {
    async fn lookup(&self, parent: Ino, name: &Name, now: Timestamp) -> Result<Option<Node>>;
    async fn node(&self, ino: Ino, now: Timestamp) -> Result<Option<Node>>;
    /// The parent directory and name of `ino` (of a hard-linked file: its oldest name).
    async fn place(&self, ino: Ino) -> Result<Option<(Ino, Name)>>;
    /// Every parent directory and name of `ino`, the oldest first.
    async fn places(&self, ino: Ino) -> Result<Vec<(Ino, Name)>>;
    /// Path of `ino` inside its session, names joined by `/`; empty for the session's root.
    async fn path(&self, ino: Ino) -> Result<Vec<u8>>;
    /// Up to `limit` entries with a cookie above `after`, in cookie order.
    async fn list(&self, dir: Ino, after: u64, limit: u32, now: Timestamp) -> Result<Vec<DirEntry>>;
    /// Takes `count` numbers for inodes and cookies out of the sequence for ever; returns the first.
    async fn reserve(&self, count: u64) -> Result<u64>;
    /// Makes a directory, symlink or special file. A directory in the tenant's root is a session: its name must
    /// be a [`SessionName`](crate::artifact::name::SessionName) (`Invalid` else); anything else there is `Reserved`.
    async fn make(&self, origin: Origin, node: NewNode) -> Result<Node>;
    /// `mkdir -p`: the directory at `path` below `dirs.root`, and those that had to be made, the highest first; all or none.
    /// `NotADirectory` where something else stands.
    async fn make_dirs(&self, origin: Origin, dirs: NewDirs, now: Timestamp) -> Result<(Ino, Vec<(Ino, Name)>)>;
    /// A further name for a file or symlink. `CrossSession` between sessions.
    async fn link(
        &self,
        origin: Origin,
        ino: Ino,
        parent: Ino,
        name: Name,
        cookie: u64,
        now: Timestamp,
    ) -> Result<Node>;
    /// Removes the name of a non-directory. The last name gone, its artifact is trashed.
    async fn unlink(&self, origin: Origin, parent: Ino, name: &Name, now: Timestamp) -> Result<Removed>;
    /// As [`Tree::unlink`]; the trash remembers `by`.
    async fn unlink_by(
        &self,
        origin: Origin,
        parent: Ino,
        name: &Name,
        by: Option<String>,
        now: Timestamp,
    ) -> Result<Removed>;
    /// Unlinks what is below the directory, at most `limit` names, deepest first; the directory stays.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`, `Sealed`: then nothing happened.
    async fn clear(&self, origin: Origin, dir: Ino, limit: u32, now: Timestamp) -> Result<Cleared>;
    /// Removes an empty directory. A session goes with its root: into the trash if it has held artifacts, else for good.
    async fn rmdir(&self, origin: Origin, parent: Ino, name: &Name, now: Timestamp) -> Result<Removed>;
    /// Moves a name, keeping the inode and the artifact's ID, replacing the target atomically as rename(2) says.
    /// The artifact becomes the newest version of its new path; a replaced one becomes an earlier version of it.
    /// Renaming a session's directory is `Reserved`. Returns what was replaced.
    async fn rename(
        &self,
        origin: Origin,
        from: (Ino, &Name),
        to: (Ino, &Name),
        mode: RenameMode,
        cookies: (u64, u64),
        now: Timestamp,
    ) -> Result<Option<Removed>>;
    async fn set_attributes(&self, origin: Origin, ino: Ino, change: AttrChange) -> Result<Node>;
    /// Names whose files' expiry lies after `after` and up to `until`, by expiry; at most `limit`.
    async fn expired_names(
        &self,
        tenant: TenantId,
        after: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ExpiredName>>;
    /// Everything before is on stable storage when it returns (`fsync` of a directory).
    async fn sync(&self) -> Result<()>;
}
