//! What a catalog knows of limits and use.

use async_trait::async_trait;

use crate::artifact::Result;
use crate::artifact::ids::TenantId;
use crate::artifact::query::{By, Share};
use crate::artifact::quota::{Quota, Room};
use crate::artifact::time::Timestamp;

#[async_trait]
pub trait Quotas: Send + Sync + 'static {
    /// Sets all limits of a tenant. Durable when it returns. Commits under way by then may still go by the former ones.
    async fn set_quota(&self, tenant: TenantId, quota: Quota) -> Result<()>;
    /// One row: cheap enough for each open.
    async fn room(&self, tenant: TenantId) -> Result<Room>;
    /// What lives, divided; the largest first, days newest first.
    async fn shares(&self, tenant: TenantId, by: By, now: Timestamp) -> Result<Vec<Share>>;
}
