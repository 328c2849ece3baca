//! The catalog: what exists. Traits whose methods are domain transactions, one for each of its users' concerns, and their implementation
//! for two engines.
//!
//! # Contract (checked by `tests/contract/catalog.rs` for every implementation)
//! - **Each method is one transaction**: it happens wholly or not at all, and transactions are linearizable
//!   across all processes that share the catalog.
//! - **Durability.** [`Artifacts::commit`] (unless [`Commit::durable`] is false), [`Artifacts::restore`], [`Sessions::seal`], [`Tree::sync`],
//!   [`Artifacts::trash_recovered`], [`Tree::reserve`], [`Artifacts::set_expiry`], [`Blobs::forget_provisional`] and every
//!   link change are on stable storage when they return. Namespace changes (`mkdir`, `rename`, …), labels and
//!   [`Blobs::settled`] are atomic and ordered at once, and on stable storage after the next durable call of any
//!   process, as on a journaling disk.
//! - **Sealing.** Every method that would change a sealed session fails with [`Kind::Sealed`], checked inside
//!   the transaction. Exceptions: links, and a later expiry.
//! - **Visibility.** What a method wrote is visible to every reader, in every process, once it has returned.
//! - **Expired** artifacts and their files do not exist for readers: readers pass `now`.
//! - **Names below a directory are bytes.** Sorting, where it is promised, is by cookie or as stated.
//! - A method may be polled on the FUSE thread: reads of one row answer without waiting; anything that waits
//!   (for the writer, for the network) returns `Pending` and goes on elsewhere.
//!
//! [`Kind::Sealed`]: crate::artifact::Kind::Sealed

pub mod artifacts;
pub mod attempts;
pub mod audit;
pub mod blobs;
pub mod borders;
pub mod changes;
pub mod guard;
pub mod links;
pub mod postgres;
pub mod quotas;
pub mod records;
pub mod sessions;
pub mod sql;
pub mod sqlite;
pub mod tree;
pub mod upkeep;

use crate::artifact::ids::{ArtifactId, BlobHash, Ino, MountId, SessionId, TenantId};
use crate::artifact::name::Name;
use crate::artifact::record::{Artifact, Chunks, Labels, NodeKind};
use crate::artifact::step::AttemptId;
use crate::artifact::time::Timestamp;
use bytes::Bytes;

pub use artifacts::Artifacts;
pub use attempts::Attempts;
pub use audit::Audit;
pub use blobs::Blobs;
pub use borders::Borders;
pub use changes::Changes;
pub use guard::Guards;
pub use links::Links;
pub use quotas::Quotas;
pub use records::Records;
pub use sessions::Sessions;
pub use tree::Tree;
pub use upkeep::Upkeep;

/// Who asks for a change: it does not hear of its own changes from [`Changes::changes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin(pub MountId);

impl Origin {
    /// For changes that no kernel asked for (a seal, a restore): every mount hears of them, the one through whose
    /// control file they came too, because its kernel's caches know nothing of them.
    pub const NOBODY: Origin = Origin(MountId(ulid::Ulid::nil()));
}

/// A new directory, symlink, fifo, socket or device. (Files come into being by [`Artifacts::commit`].)
#[derive(Clone, Debug)]
pub struct NewNode {
    pub ino: Ino,
    pub cookie: u64,
    pub parent: Ino,
    pub name: Name,
    pub kind: NodeKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u32,
    pub target: Option<Vec<u8>>,
    pub now: Timestamp,
}

/// Directories that shall be there, with the owner that those get which are missing.
#[derive(Clone, Debug)]
pub struct NewDirs {
    pub root: Ino,
    pub path: Vec<Name>,
    pub uid: u32,
    pub gid: u32,
}

/// Attributes to change; `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttrChange {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub atime: Option<Timestamp>,
    pub mtime: Option<Timestamp>,
    pub ctime: Option<Timestamp>,
}

/// Where and as what a file that the catalog does not know yet comes into being with its first commit.
#[derive(Clone, Debug)]
pub struct Birth {
    pub parent: Ino,
    pub name: Name,
    pub cookie: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// It is born by a rename over whatever file or symlink stands there, which gives way in the same transaction.
    pub replaces: bool,
}

/// What `stat(2)` has shown of a file before its commit, so that the commit, which may come later, changes nothing
/// that a program has seen. `None`: unknown, then times are the commit's own and every block counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileStat {
    /// Only with a birth: later changes come by [`Tree::set_attributes`].
    pub atime: Option<Timestamp>,
    pub ctime: Option<Timestamp>,
    /// When the name came to be: what the directory's times become, unless it has changed since.
    pub named: Option<Timestamp>,
    /// 512-byte blocks that hold data; fewer than the size wants: a sparse file.
    pub blocks: Option<u64>,
}

/// Where the bytes of a commit are.
#[derive(Clone, Debug)]
pub enum Payload {
    /// The caller saw the blob in the catalog (inline or stored). If it is gone by the time of the
    /// transaction, the commit fails with [`CommitError::BlobGone`] and the caller stores the bytes.
    Known,
    /// In the row itself.
    Inline(Bytes),
    /// In the store, put there by the caller before this call.
    Stored,
    /// In staging file `file` of the origin's mount; durable there (fsynced by the caller).
    Provisional { file: String },
}

/// Closed bytes that become an artifact.
#[derive(Clone, Debug)]
pub struct Commit {
    pub tenant: TenantId,
    pub session: SessionId,
    /// The file's inode: reserved and new with `birth`, else in the catalog.
    pub ino: Ino,
    pub birth: Option<Birth>,
    /// The ID to give if a new artifact comes of it.
    pub id: ArtifactId,
    /// The artifact that the same open handle made before: replaced, version number and all, unless a link points at it.
    pub collapse: Option<ArtifactId>,
    pub hash: BlobHash,
    pub size: u64,
    pub chunks: Chunks,
    /// Where hashing goes on when bytes are appended to these: see [`Blobs::midstate`].
    pub midstate: Option<Vec<u8>>,
    pub bytes: Payload,
    /// [`Upkeep::deletions`] before the bytes were first put anywhere: what was deleted since is put again.
    pub begun: u64,
    /// What the bytes alone look like ([`crate::artifact::content_type::by_bytes`]); None: they begin as those of the version before.
    /// The name, wherever the file then stands, and `labels.content_type` say better.
    pub bytes_type: Option<String>,
    pub labels: Labels,
    /// The attempt of a step that writes.
    pub attempt: Option<AttemptId>,
    pub mtime: Timestamp,
    pub stat: FileStat,
    /// Bytes on this disk are stored: it is the store's. (Inline or provisional ones have still to be moved to their place.)
    pub kept: bool,
    /// On stable storage at the answer; else as a namespace change: there after the next durable call.
    pub durable: bool,
    pub now: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A new artifact.
    New,
    /// The path held the same bytes: nothing happened, same ID.
    Same,
    /// The same, but what was said of them anew was applied; same ID.
    Updated,
    /// The handle's earlier artifact was replaced, or that of the same writer within the window.
    Collapsed,
    /// The idempotency key had made this artifact before; the name is now a hard link to it.
    Idempotent,
}

#[derive(Clone, Debug)]
pub struct Committed {
    pub artifact: Artifact,
    pub outcome: Outcome,
    /// The inode that now stands under the name: another one than asked for with [`Outcome::Idempotent`], and when a
    /// birth met a file that another mount had made under its name meanwhile (then it is a version of that file).
    pub ino: Ino,
    /// Staging files of the origin's mount that held the replaced version alone: nothing needs them any more.
    pub freed: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitError {
    /// [`Payload::Known`] no longer holds: store the bytes and commit again.
    BlobGone,
    Failed(crate::artifact::Error),
}

impl From<crate::artifact::Error> for CommitError {
    fn from(e: crate::artifact::Error) -> Self {
        Self::Failed(e)
    }
}

/// What became of one name by `unlink`, `rename` onto it, or `rmdir`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    pub ino: Ino,
    pub kind: NodeKind,
    /// Names left.
    pub nlink: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RenameMode {
    #[default]
    Replace,
    NoReplace,
    Exchange,
}

/// A change of an artifact's or directory's labels by `setxattr`, `removexattr` or the API. Each `Some` is applied.
#[derive(Clone, Debug, Default)]
pub struct LabelChange {
    /// Key and value; `None` removes it.
    pub metadata: Vec<(String, Option<String>)>,
    /// `user.<name>` as an attribute: metadata or carried aside, as [`crate::artifact::aside::put`] decides; `None` removes it.
    pub attributes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub agent_id: Option<Option<String>>,
    pub content_type: Option<Option<String>>,
    /// On a file: the new expiry counted from `now`. On a directory: the default.
    pub ttl: Option<Option<String>>,
    /// With `XATTR_CREATE` / `XATTR_REPLACE`, for the first two.
    pub must: MustExist,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MustExist {
    #[default]
    Either,
    /// Fails with `AttributeExists` when the key exists.
    New,
    /// Fails with `NoSuchAttribute` when it does not. Removal always demands this.
    Old,
}

/// One thing that another mount must drop from the kernel's caches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A name came, went or leads elsewhere; the times and link count of `parent` changed with it.
    Entry { parent: Ino, name: Name },
    /// Content or attributes of an inode.
    Inode { ino: Ino },
    /// The session was sealed: every mode in it lost its `w`.
    Sealed { session: SessionId },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub seq: u64,
    pub kind: ChangeKind,
}

/// A blob that is not in the store yet: work for the settler.
#[derive(Clone, Debug)]
pub struct Unsettled {
    pub tenant: TenantId,
    pub hash: BlobHash,
    pub size: u64,
    pub chunks: Chunks,
    pub place: crate::artifact::record::BlobPlace,
}

impl Outcome {
    /// As the doors say it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New | Self::Collapsed => "created",
            Self::Same | Self::Idempotent => "unchanged",
            Self::Updated => "updated",
        }
    }
}

/// State of one session's bytes, for `status`, `seal` and draining.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingCount {
    pub artifacts: u64,
    pub bytes: u64,
}

/// Answer of [`Upkeep::check_records`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordCheck {
    pub artifacts: u64,
    pub nodes: u64,
    pub faults: Vec<String>,
}

/// All of a catalog: one trait for each of its users' concerns, none of them large.
pub trait Catalog:
    Artifacts + Attempts + Audit + Blobs + Borders + Changes + Guards + Links + Quotas + Records + Sessions + Tree + Upkeep
{
}

impl<
    T: Artifacts
        + Attempts
        + Audit
        + Blobs
        + Borders
        + Changes
        + Guards
        + Links
        + Quotas
        + Records
        + Sessions
        + Tree
        + Upkeep,
> Catalog for T
{
}
