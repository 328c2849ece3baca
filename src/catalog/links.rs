//! Links that show an artifact or a session to whoever has them.

use async_trait::async_trait;

use crate::artifact::Result;
use crate::artifact::ids::{BlobHash, TenantId};
use crate::artifact::record::{Link, LinkTarget};
use crate::artifact::time::Timestamp;

#[async_trait]
pub trait Links: Send + Sync + 'static {
    async fn add_link(&self, link: Link) -> Result<()>;
    async fn link_by_token(&self, token_hash: BlobHash) -> Result<Option<Link>>;
    /// Links of a target, newest first; all of the tenant with `None`.
    async fn links(&self, tenant: TenantId, target: Option<LinkTarget>) -> Result<Vec<Link>>;
    /// Revokes by ID. `NotFound` when there is none; revoking twice is fine.
    async fn revoke(&self, tenant: TenantId, link_id: &str, now: Timestamp) -> Result<Link>;
    /// Links that lead somewhere at `now`.
    async fn active_links(&self, tenant: TenantId, now: Timestamp) -> Result<u64>;
}
