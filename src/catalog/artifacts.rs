//! Artifacts: commits, versions, what is said of them, and their way back.

use async_trait::async_trait;

use crate::artifact::Result;
use crate::artifact::ids::{ArtifactId, Ino, TenantId};
use crate::artifact::metadata::Defaults;
use crate::artifact::name::Name;
use crate::artifact::query::{Page, Query, Usage};
use crate::artifact::record::{Artifact, Labels};
use crate::artifact::time::Timestamp;
use crate::catalog::{Commit, CommitError, Committed, LabelChange, Origin};

#[async_trait]
pub trait Artifacts: Send + Sync + 'static {
    /// Any artifact that still exists (live, superseded, trashed), by ID. Expired ones do not exist.
    async fn artifact(&self, tenant: TenantId, id: ArtifactId, now: Timestamp) -> Result<Option<Artifact>>;
    /// As [`Artifacts::artifact`], but also one that has expired and is not swept yet.
    async fn former(&self, tenant: TenantId, id: ArtifactId) -> Result<Option<Artifact>>;
    /// Existing versions of a path, oldest first, the live one included.
    async fn versions(&self, parent: Ino, name: &Name, now: Timestamp) -> Result<Vec<Artifact>>;
    /// Artifacts by session, agent, metadata, type, time, life; newest first; keyset-paginated.
    async fn find(&self, query: &Query, now: Timestamp) -> Result<Page>;
    async fn usage(&self, tenant: TenantId, now: Timestamp) -> Result<Usage>;
    /// The `user.*` attributes of a file (its newest artifact's labels) or a directory (its defaults). Of a file,
    /// `explicit` over `environment` is all of its metadata: what directories gave it is shown as environment.
    async fn labels(&self, ino: Ino) -> Result<Labels>;
    /// What `ino` (a directory) and everything above it give to new files, nearest first. Not the tenant's own.
    async fn defaults(&self, ino: Ino) -> Result<Defaults>;
    async fn set_labels(&self, origin: Origin, ino: Ino, change: LabelChange, now: Timestamp) -> Result<()>;
    /// A new expiry for one artifact (live or not). In a sealed session only a later one.
    async fn set_expiry(&self, origin: Origin, id: ArtifactId, expires: Option<Timestamp>) -> Result<Artifact>;
    /// Pins artifacts whose IDs are about to be told: from then on no commit takes their place. Answers those that exist no more, which
    /// must not be told. Ordered before every later commit of any process; it need not outlast a power failure, which no writer does.
    async fn pin(&self, ids: Vec<ArtifactId>) -> Result<Vec<ArtifactId>>;
    /// The one transaction that makes an artifact. In it: seal, quota (`OverQuota`, `FileTooLarge`),
    /// idempotency key, blob, version, node, labels merged with the directories' defaults, expiry.
    async fn commit(&self, origin: Origin, commit: Commit) -> std::result::Result<Committed, CommitError>;
    /// Keeps bytes found in staging after a crash as a trashed artifact of their session, marked recovered.
    /// Works on sealed sessions' leftovers too: those are dropped, `Ok(None)`.
    async fn trash_recovered(&self, origin: Origin, commit: Commit) -> Result<Option<Artifact>>;
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
    /// As [`Artifacts::restore`] of a deleted artifact, but to the name `to` in its session: a file that stands there gets
    /// a new version.
    async fn restore_to(
        &self,
        origin: Origin,
        artifact: ArtifactId,
        to: (Ino, &Name),
        id: ArtifactId,
        fresh: (Ino, u64),
        now: Timestamp,
    ) -> Result<Artifact>;
    /// Puts an earlier version into the trash, the newest untouched. `NotFound` when it is none, `Sealed`.
    async fn trash_version(&self, tenant: TenantId, id: ArtifactId, now: Timestamp) -> Result<()>;
}
