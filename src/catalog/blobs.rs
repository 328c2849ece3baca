//! Blobs, and those whose bytes are not in the store yet.

use async_trait::async_trait;

use crate::artifact::Result;
use crate::artifact::ids::{ArtifactId, BlobHash, MountId, SessionId, TenantId};
use crate::artifact::record::{Artifact, Blob, StoreState};
use crate::catalog::{PendingCount, Unsettled};

#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    async fn blob(&self, tenant: TenantId, hash: BlobHash) -> Result<Option<Blob>>;
    /// The state of SHA-256 after the blob's last whole chunk, as its first commit gave it. None where it gave none.
    async fn midstate(&self, tenant: TenantId, hash: BlobHash) -> Result<Option<Vec<u8>>>;
    /// Blobs, inline or provisional, that wait to be moved into the store: of `mount`, or inline ones of
    /// anyone with `None`; at most `limit`, oldest first.
    async fn unsettled(&self, mount: Option<MountId>, limit: u32) -> Result<Vec<Unsettled>>;
    /// The blob is in the store now: inline bytes and provisional places are dropped. Not durable by itself: whoever
    /// removes a staging file next calls [`Blobs::forget_provisional`] (or `sync`) first.
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
    /// Blobs that artifacts need, in hash order after `after`: a page of at most `limit`; empty: the end.
    async fn needed_blobs(&self, tenant: TenantId, after: Option<BlobHash>, limit: u32) -> Result<Vec<Blob>>;
}
