//! The catalog: what exists. A trait whose methods are domain transactions, and its implementations.
//!
//! # Contract (checked by `tests/contract/catalog.rs` for every implementation)
//! - **Each method is one transaction**: it happens wholly or not at all, and transactions are linearizable
//!   across all processes that share the catalog.
//! - **Durability.** [`Catalog::commit`] (unless [`Commit::durable`] is false), [`Catalog::restore`], [`Catalog::seal`], [`Catalog::sync`],
//!   [`Catalog::trash_recovered`], [`Catalog::reserve`], [`Catalog::set_expiry`], [`Catalog::forget_provisional`] and every
//!   link change are on stable storage when they return. Namespace changes (`mkdir`, `rename`, …), labels and
//!   [`Catalog::settled`] are atomic and ordered at once, and on stable storage after the next durable call of any
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

pub mod attempts;
pub mod audit;
pub mod borders;
pub mod doors;
pub mod guard;
pub mod postgres;
pub mod quotas;
pub mod sql;
pub mod sqlite;
pub mod upkeep;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::artifact::Result;
use crate::artifact::ids::{ArtifactId, BlobHash, Ino, MountId, SessionId, TenantId};
use crate::artifact::metadata::Defaults;
use crate::artifact::name::{Name, SessionName, TenantName};
use crate::artifact::query::{Page, Query, Usage};
use crate::artifact::record::{
    Artifact, Blob, Chunks, DirEntry, Labels, Link, LinkTarget, Manifest, Node, NodeKind, Session, SessionSummary,
    StoreState, Tenant,
};
use crate::artifact::step::AttemptId;
use crate::artifact::time::Timestamp;

/// Who asks for a change: it does not hear of its own changes from [`Catalog::changes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin(pub MountId);

impl Origin {
    /// For changes that no kernel asked for (a seal, a restore): every mount hears of them, the one through whose
    /// control file they came too, because its kernel's caches know nothing of them.
    pub const NOBODY: Origin = Origin(MountId(ulid::Ulid::nil()));
}

/// A new directory, symlink, fifo, socket or device. (Files come into being by [`Catalog::commit`].)
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
    /// Only with a birth: later changes come by [`Catalog::set_attributes`].
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
    /// Where hashing goes on when bytes are appended to these: see [`Catalog::midstate`].
    pub midstate: Option<Vec<u8>>,
    pub bytes: Payload,
    /// [`upkeep::Upkeep::deletions`] before the bytes were first put anywhere: what was deleted since is put again.
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

/// Answer of [`Catalog::check_records`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordCheck {
    pub artifacts: u64,
    pub nodes: u64,
    pub faults: Vec<String>,
}

#[async_trait]
pub trait Catalog:
    upkeep::Upkeep
    + borders::Borders
    + doors::Doors
    + attempts::Attempts
    + quotas::Quotas
    + audit::Audit
    + guard::Guards
    + Send
    + Sync
    + 'static
{
    // ---- reading: one row ----------------------------------------------------------------------------
    /// The tenant of that name, created at the first asking.
    async fn tenant(&self, name: &TenantName, now: Timestamp) -> Result<Tenant>;
    async fn session(&self, tenant: TenantId, name: &SessionName) -> Result<Option<Session>>;
    async fn session_by_id(&self, id: SessionId) -> Result<Option<Session>>;
    async fn lookup(&self, parent: Ino, name: &Name, now: Timestamp) -> Result<Option<Node>>;
    async fn node(&self, ino: Ino, now: Timestamp) -> Result<Option<Node>>;
    /// The parent directory and name of `ino` (of a hard-linked file: its oldest name).
    async fn place(&self, ino: Ino) -> Result<Option<(Ino, Name)>>;
    /// Every parent directory and name of `ino`, the oldest first.
    async fn places(&self, ino: Ino) -> Result<Vec<(Ino, Name)>>;
    /// Path of `ino` inside its session, names joined by `/`; empty for the session's root.
    async fn path(&self, ino: Ino) -> Result<Vec<u8>>;
    /// Any artifact that still exists (live, superseded, trashed), by ID. Expired ones do not exist.
    async fn artifact(&self, tenant: TenantId, id: ArtifactId, now: Timestamp) -> Result<Option<Artifact>>;
    async fn blob(&self, tenant: TenantId, hash: BlobHash) -> Result<Option<Blob>>;
    /// The state of SHA-256 after the blob's last whole chunk, as its first commit gave it. None where it gave none.
    async fn midstate(&self, tenant: TenantId, hash: BlobHash) -> Result<Option<Vec<u8>>>;
    /// The `user.*` attributes of a file (its newest artifact's labels) or a directory (its defaults). Of a file,
    /// `explicit` over `environment` is all of its metadata: what directories gave it is shown as environment.
    async fn labels(&self, ino: Ino) -> Result<Labels>;
    /// What `ino` (a directory) and everything above it give to new files, nearest first. Not the tenant's own.
    async fn defaults(&self, ino: Ino) -> Result<Defaults>;

    // ---- reading: many rows --------------------------------------------------------------------------
    /// Up to `limit` entries with a cookie above `after`, in cookie order.
    async fn list(&self, dir: Ino, after: u64, limit: u32, now: Timestamp) -> Result<Vec<DirEntry>>;
    /// Existing versions of a path, oldest first, the live one included.
    async fn versions(&self, parent: Ino, name: &Name, now: Timestamp) -> Result<Vec<Artifact>>;
    /// Artifacts by session, agent, metadata, type, time, life; newest first; keyset-paginated.
    async fn find(&self, query: &Query, now: Timestamp) -> Result<Page>;
    async fn sessions(&self, tenant: TenantId, now: Timestamp) -> Result<Vec<SessionSummary>>;
    async fn usage(&self, tenant: TenantId, now: Timestamp) -> Result<Usage>;
    /// The highest change number so far.
    async fn last_change(&self) -> Result<u64>;
    /// Changes after `seq` that `origin` did not make. Waits up to `wait` for the first, and wakes within
    /// 50 ms of it whichever process made it. `Err` of kind `NotFound` when the log no longer reaches back to
    /// `seq`: then everything may have changed.
    async fn changes(&self, seq: u64, origin: Origin, wait: Duration) -> Result<Vec<Change>>;
    async fn manifest(&self, session: SessionId) -> Result<Option<Manifest>>;

    // ---- the tree ------------------------------------------------------------------------------------
    /// Takes `count` numbers for inodes and cookies out of the sequence for ever; returns the first.
    async fn reserve(&self, count: u64) -> Result<u64>;
    /// Makes a directory, symlink or special file. A directory in the tenant's root is a session: its name must
    /// be a [`SessionName`] (`Invalid` else); anything else there is `Reserved`.
    async fn make(&self, origin: Origin, node: NewNode) -> Result<Node>;
    /// `mkdir -p`: the directory at `path` below `dirs.root`, and those that had to be made, the highest first; all or none.
    /// `NotADirectory` where something else stands.
    async fn make_dirs(&self, origin: Origin, dirs: NewDirs, now: Timestamp) -> Result<(Ino, Vec<(Ino, Name)>)>;
    /// Finds the session or makes it (mode 0755, owner `uid`:`gid`).
    async fn ensure_session(
        &self,
        origin: Origin,
        tenant: TenantId,
        name: &SessionName,
        uid: u32,
        gid: u32,
        now: Timestamp,
    ) -> Result<Session>;
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
    /// Everything before is on stable storage when it returns (`fsync` of a directory).
    async fn sync(&self) -> Result<()>;

    // ---- artifacts -----------------------------------------------------------------------------------
    /// The one transaction that makes an artifact. In it: seal, quota (`OverQuota`, `FileTooLarge`),
    /// idempotency key, blob, version, node, labels merged with the directories' defaults, expiry.
    async fn commit(&self, origin: Origin, commit: Commit) -> std::result::Result<Committed, CommitError>;
    /// Keeps bytes found in staging after a crash as a trashed artifact of their session, marked recovered.
    /// Works on sealed sessions' leftovers too: those are dropped, `Ok(None)`.
    async fn trash_recovered(&self, origin: Origin, commit: Commit) -> Result<Option<Artifact>>;
    async fn set_labels(&self, origin: Origin, ino: Ino, change: LabelChange, now: Timestamp) -> Result<()>;
    /// Pins artifacts whose IDs are about to be told: from then on no commit takes their place. Answers those that exist no more, which
    /// must not be told. Ordered before every later commit of any process; it need not outlast a power failure, which no writer does.
    async fn pin(&self, ids: Vec<ArtifactId>) -> Result<Vec<ArtifactId>>;
    /// A new expiry for one artifact (live or not). In a sealed session only a later one.
    async fn set_expiry(&self, origin: Origin, id: ArtifactId, expires: Option<Timestamp>) -> Result<Artifact>;

    // ---- bytes that are not in the store yet ---------------------------------------------------------
    /// Blobs, inline or provisional, that wait to be moved into the store: of `mount`, or inline ones of
    /// anyone with `None`; at most `limit`, oldest first.
    async fn unsettled(&self, mount: Option<MountId>, limit: u32) -> Result<Vec<Unsettled>>;
    /// The blob is in the store now: inline bytes and provisional places are dropped. Not durable by itself: whoever
    /// removes a staging file next calls [`Catalog::forget_provisional`] (or `sync`) first.
    async fn settled(&self, tenant: TenantId, hash: BlobHash) -> Result<()>;
    /// The staging file no longer holds these bytes. `Err(Busy)` when an artifact still needs them and
    /// nothing else holds them: the caller must settle first.
    async fn forget_provisional(&self, tenant: TenantId, hash: BlobHash, mount: MountId, file: &str) -> Result<()>;
    /// Artifacts whose state is `pending`.
    async fn pending(&self, session: Option<SessionId>, mount: Option<MountId>) -> Result<PendingCount>;
    /// Artifacts whose bytes have still to be moved to their place in the store, those on a local store's disk too.
    async fn unmoved(&self, session: Option<SessionId>, mount: Option<MountId>) -> Result<PendingCount>;
    /// Of `mount`'s pending artifacts, and those whose bytes are inline, at most `limit`.
    async fn waiting(&self, mount: MountId, limit: u32) -> Result<Vec<Artifact>>;
    async fn store_state(&self, id: ArtifactId) -> Result<Option<StoreState>>;

    // ---- sealing -------------------------------------------------------------------------------------
    /// Seals: from this transaction on nothing changes. `Busy` while artifacts of the session are pending (settle, then
    /// again). Idempotent: a sealed session answers its manifest.
    async fn seal(&self, origin: Origin, session: SessionId, now: Timestamp) -> Result<Manifest>;

    // ---- links ---------------------------------------------------------------------------------------
    async fn add_link(&self, link: Link) -> Result<()>;
    async fn link_by_token(&self, token_hash: BlobHash) -> Result<Option<Link>>;
    /// Links of a target, newest first; all of the tenant with `None`.
    async fn links(&self, tenant: TenantId, target: Option<LinkTarget>) -> Result<Vec<Link>>;
    /// Revokes by ID. `NotFound` when there is none; revoking twice is fine.
    async fn revoke(&self, tenant: TenantId, link_id: &str, now: Timestamp) -> Result<Link>;

    // ---- restore -------------------------------------------------------------------------------------
    /// Brings a version or a trashed artifact back to its path as a new version with the same bytes and a new
    /// ID (`id`); the live artifact, if any, becomes an earlier version. Removed directories of the path come back.
    /// `fresh` is the inode and cookie of a file that has to be made. A live artifact is answered as it is.
    async fn restore(
        &self,
        origin: Origin,
        artifact: ArtifactId,
        id: ArtifactId,
        fresh: (Ino, u64),
        now: Timestamp,
    ) -> Result<Artifact>;

    // ---- checking ------------------------------------------------------------------------------------
    /// One sentence for each broken invariant of the records themselves: links between tree, artifacts and blobs, link
    /// counts, lives, versions. Reads everything of the tenant in one snapshot.
    async fn check_records(&self, tenant: TenantId) -> Result<RecordCheck>;
    /// Blobs that artifacts need, in hash order after `after`: a page of at most `limit`; empty: the end.
    async fn needed_blobs(&self, tenant: TenantId, after: Option<BlobHash>, limit: u32) -> Result<Vec<Blob>>;
}
