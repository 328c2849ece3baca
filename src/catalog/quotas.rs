//! What a catalog knows of limits and use.

use async_trait::async_trait;

use crate::artifact::Result;
use crate::artifact::ids::{ArtifactId, MountId, TenantId};
use crate::artifact::query::{By, Share};
use crate::artifact::quota::{Claims, Quota, Room};
use crate::artifact::time::Timestamp;

#[async_trait]
pub trait Quotas: Send + Sync + 'static {
    /// Sets all limits of a tenant. Durable when it returns. Commits under way by then may still go by the former ones.
    async fn set_quota(&self, tenant: TenantId, quota: Quota) -> Result<()>;
    /// One row: cheap enough for each open.
    async fn room(&self, tenant: TenantId) -> Result<Room>;
    /// What is announced and staged by now: of uploads all but `upload`, of staged bytes those of other processes than `me`.
    async fn claims(&self, tenant: TenantId, me: MountId, upload: Option<ArtifactId>, now: Timestamp)
    -> Result<Claims>;
    /// The size of the largest live artifact.
    async fn largest(&self, tenant: TenantId) -> Result<u64>;
    /// How much `owner` has staged and not committed.
    async fn set_staged(&self, tenant: TenantId, owner: MountId, bytes: u64) -> Result<()>;
    /// What lives, divided; the largest first, days newest first.
    async fn shares(&self, tenant: TenantId, by: By, now: Timestamp) -> Result<Vec<Share>>;
}
