//! What a catalog does about the passing of time: expiry, trash, earlier versions, blobs that nothing needs.
//!
//! Each method is one transaction of a bounded number of rows; whoever sweeps calls again until there is no more. The rules are
//! those of [`crate::artifact::life`].

use async_trait::async_trait;

use crate::artifact::Result;
use crate::artifact::ids::{ArtifactId, BlobHash, Ino, TenantId};
use crate::artifact::life::Bounds;
use crate::artifact::name::Name;
use crate::artifact::record::Session;
use crate::artifact::time::Timestamp;
use crate::catalog::RecordCheck;

/// Artifacts that a sweep ended, and the logical bytes of them all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub expired: u64,
    pub purged: u64,
    pub pruned: u64,
    pub bytes: u64,
    /// There may be more to do.
    pub more: bool,
}

impl Swept {
    pub fn add(&mut self, other: Swept) {
        self.expired += other.expired;
        self.purged += other.purged;
        self.pruned += other.pruned;
        self.bytes += other.bytes;
        self.more = other.more;
    }

    #[must_use]
    pub fn total(&self) -> u64 {
        self.expired + self.purged + self.pruned
    }
}

/// A blob by name and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doomed {
    pub hash: BlobHash,
    pub size: u64,
}

/// A page of a walk over all blobs: those that nothing needs, and where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unneeded {
    pub blobs: Vec<Doomed>,
    /// None: the walk is done.
    pub next: Option<BlobHash>,
}

/// Blobs that wait for their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    pub condemned: u64,
    pub condemned_bytes: u64,
    /// Of the condemned, those whose grace period is over.
    pub due: u64,
    pub due_bytes: u64,
    pub deleting: u64,
}

/// What was taken away below a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Names of files and of all else that is no directory.
    pub files: u64,
    pub directories: u64,
    /// There is more.
    pub more: bool,
}

/// A page of a session that comes back from the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revived {
    pub session: Session,
    pub files: u64,
    /// What was deleted since then came with the session; for the next page.
    pub since: Timestamp,
    pub more: bool,
}

/// A name that ceased because its file expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiredName {
    pub at: Timestamp,
    pub ino: Ino,
    pub parent: Ino,
    pub name: Name,
}

#[async_trait]
pub trait Upkeep: Send + Sync + 'static {
    /// Ends artifacts as `bounds` says, at most `limit` of each cause: their names and records go, their blobs may become
    /// garbage. One whose bytes are not in the store yet waits.
    async fn sweep(&self, tenant: TenantId, bounds: Bounds, limit: u32) -> Result<Swept>;
    /// How many artifacts [`Upkeep::sweep`] would end, by now.
    async fn survey(&self, tenant: TenantId, bounds: Bounds) -> Result<Swept>;
    /// Ends those of `ids` that are in the trash, and the earlier versions of a path at which nothing is left that could be
    /// restored (counted as pruned), but for those that a link pins. Durable.
    async fn purge(&self, tenant: TenantId, ids: Vec<ArtifactId>, now: Timestamp) -> Result<Swept>;
    /// Blobs that lost an artifact since they were last looked at, needed or not; at most `limit`.
    async fn suspects(&self, tenant: TenantId, limit: u32) -> Result<Vec<BlobHash>>;
    /// Of these, those whose artifact was replaced within the version window; at most `limit`.
    async fn replaced(&self, tenant: TenantId, limit: u32) -> Result<Vec<BlobHash>>;
    /// Looks at `limit` blobs in hash order after `after`: which stored ones does no artifact need?
    async fn unneeded(&self, tenant: TenantId, after: Option<BlobHash>, limit: u32) -> Result<Unneeded>;
    /// Condemns those of `hashes` that are stored and that no artifact needs, in this very transaction. They are suspects no
    /// more. Their grace period counts from `since`, usually now.
    async fn condemn(&self, tenant: TenantId, hashes: Vec<BlobHash>, since: Timestamp) -> Result<Vec<Doomed>>;
    /// Begins the deletion of blobs condemned at or before `before`, at most `limit`; one that an artifact needs after all is
    /// rescued. From now on no commit uses them. Durable.
    async fn take_condemned(
        &self,
        tenant: TenantId,
        before: Timestamp,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Doomed>>;
    /// Blobs whose deletion has begun, in hash order after `after`.
    async fn deleting(&self, tenant: TenantId, after: Option<BlobHash>, limit: u32) -> Result<Vec<Doomed>>;
    /// When the deletion of the blob began; none: it is not being deleted.
    async fn deleting_since(&self, tenant: TenantId, hash: BlobHash) -> Result<Option<Timestamp>>;
    /// The bytes of these are no longer in the store: their rows go, if they are being deleted.
    async fn forget_deleted(&self, tenant: TenantId, hashes: Vec<BlobHash>, now: Timestamp) -> Result<()>;
    /// How many blobs have left the store so far, of all tenants: a number that only grows.
    async fn deletions(&self) -> Result<u64>;
    /// Begins the deletion of an object that has no record. `false`: it has one. Durable.
    async fn claim_orphan(&self, tenant: TenantId, blob: Doomed, now: Timestamp) -> Result<bool>;
    /// Those of `hashes` that have no record.
    async fn unknown_blobs(&self, tenant: TenantId, hashes: Vec<BlobHash>) -> Result<Vec<BlobHash>>;
    /// Condemned blobs that somebody still reads: their grace period begins anew.
    async fn hold(&self, tenant: TenantId, hashes: Vec<BlobHash>, now: Timestamp) -> Result<u64>;
    async fn garbage(&self, tenant: TenantId, before: Timestamp) -> Result<Garbage>;
    /// Gives back the disk space of what makes writing fast, as far as nobody else uses it. For the end of a process.
    async fn shrink(&self) -> Result<()>;
    /// Gives the disk a part of the room that is kept for the catalog, for files without which nothing could be freed.
    async fn give_room(&self) -> Result<()>;
    /// One sentence for each broken invariant of the records themselves: links between tree, artifacts and blobs, link
    /// counts, lives, versions. Reads everything of the tenant in one snapshot.
    async fn check_records(&self, tenant: TenantId) -> Result<RecordCheck>;
}
