//! What programs that come over HTTP need of the catalog: keys, uploads they carry out themselves, counted requests, published
//! pages, and a place for artifacts without a session.
//!
//! # Contract
//! - Every change is durable when its method returns, but for [`Records::meter`], which a power failure may undo.
//! - **The loose session** of a tenant holds artifacts that were stored without a session. Its name is empty, no directory
//!   shows it and no list of sessions names it; its artifacts have no session's name, and the first name of their path,
//!   which keeps them apart, is not shown.

use async_trait::async_trait;

use crate::artifact::Result;
use crate::artifact::ids::{ArtifactId, TenantId};
use crate::artifact::key::ApiKey;
use crate::artifact::name::SessionName;
use crate::artifact::record::Labels;
use crate::artifact::time::Timestamp;

/// Bytes that a client announced, to put them into the store itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Upload {
    /// The artifact that they become.
    pub id: ArtifactId,
    pub tenant: TenantId,
    pub session: Option<SessionName>,
    pub filename: Vec<u8>,
    /// Bytes, exactly.
    pub size: u64,
    pub labels: Labels,
    pub created: Timestamp,
    /// Not taken after this; then it is swept.
    pub expires: Timestamp,
    /// What came of it: the artifact with these bytes at this path may have been there.
    pub artifact: Option<ArtifactId>,
}

/// The public page of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    pub artifact: ArtifactId,
    pub tenant: TenantId,
    pub title: Option<String>,
    pub visibility: String,
    pub access: String,
    /// ID of the link under which the page stands.
    pub link: String,
    /// How often it was published anew after a withdrawal.
    pub generation: u64,
    pub created: Timestamp,
    pub withdrawn: Option<Timestamp>,
}

/// Use of one key since it was last told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    pub id: String,
    pub requests: u64,
    pub last: Timestamp,
}

#[async_trait]
pub trait Records: Send + Sync + 'static {
    async fn add_key(&self, key: ApiKey) -> Result<()>;
    /// Also a revoked one.
    async fn key(&self, id: &str) -> Result<Option<ApiKey>>;
    /// Newest first, revoked ones too.
    async fn keys(&self, tenant: TenantId) -> Result<Vec<ApiKey>>;
    /// `NotFound` when there is none; revoking twice is fine.
    async fn revoke_key(&self, tenant: TenantId, id: &str, now: Timestamp) -> Result<ApiKey>;
    /// Ends the keys that were made for a run.
    async fn drop_keys_of(&self, run: &str) -> Result<()>;
    /// Adds requests to the tenant's `month` (year × 100 + month) and notes when keys were used.
    async fn meter(&self, tenant: TenantId, month: u32, uses: Vec<KeyUse>) -> Result<()>;
    /// Requests of that month.
    async fn metered(&self, tenant: TenantId, month: u32) -> Result<u64>;
    /// The secret of that name: `fresh` if there was none.
    async fn secret(&self, name: &str, fresh: [u8; 32]) -> Result<[u8; 32]>;
    /// Its bytes are reserved from then on, until it is finished, dropped or has expired. `OverQuota` when there is no room for it beside
    /// what others announced.
    async fn add_upload(&self, upload: Upload) -> Result<()>;
    async fn upload(&self, tenant: TenantId, id: ArtifactId) -> Result<Option<Upload>>;
    /// The newest upload under an idempotency key that has not expired.
    async fn upload_by_key(&self, tenant: TenantId, key: &str, now: Timestamp) -> Result<Option<Upload>>;
    async fn finish_upload(&self, tenant: TenantId, id: ArtifactId, artifact: ArtifactId) -> Result<()>;
    /// Uploads that have expired, finished or not; at most `limit`.
    async fn stale_uploads(&self, tenant: TenantId, now: Timestamp, limit: u32) -> Result<Vec<Upload>>;
    async fn drop_upload(&self, tenant: TenantId, id: ArtifactId) -> Result<()>;
    /// Puts or replaces the record of an artifact's page.
    async fn put_publication(&self, publication: Publication) -> Result<()>;
    /// Also a withdrawn one.
    async fn publication(&self, tenant: TenantId, artifact: ArtifactId) -> Result<Option<Publication>>;
    /// The page under a link, if it is one.
    async fn publication_of_link(&self, tenant: TenantId, link: &str) -> Result<Option<Publication>>;
}
