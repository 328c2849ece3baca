//! Tenants and sessions: made, sealed, removed and brought back.

use async_trait::async_trait;

use crate::artifact::Result;
use crate::artifact::ids::{ArtifactId, SessionId, TenantId};
use crate::artifact::name::{SessionName, TenantName};
use crate::artifact::record::{Manifest, Session, SessionSummary, Tenant};
use crate::artifact::time::Timestamp;
use crate::catalog::Origin;
use crate::catalog::upkeep::Revived;

#[async_trait]
pub trait Sessions: Send + Sync + 'static {
    /// The tenant of that name, created at the first asking.
    async fn tenant(&self, name: &TenantName, now: Timestamp) -> Result<Tenant>;
    async fn session(&self, tenant: TenantId, name: &SessionName) -> Result<Option<Session>>;
    async fn session_by_id(&self, id: SessionId) -> Result<Option<Session>>;
    async fn sessions(&self, tenant: TenantId, now: Timestamp) -> Result<Vec<SessionSummary>>;
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
    /// Finds the tenant's loose session or makes it.
    async fn loose_session(&self, tenant: TenantId, now: Timestamp) -> Result<Session>;
    /// Seals: from this transaction on nothing changes. `Busy` while artifacts of the session are pending (settle, then
    /// again). Idempotent: a sealed session answers its manifest.
    async fn seal(&self, origin: Origin, session: SessionId, now: Timestamp) -> Result<Manifest>;
    async fn manifest(&self, session: SessionId) -> Result<Option<Manifest>>;
    /// Sessions in the trash, the last removed first.
    async fn removed_sessions(&self, tenant: TenantId) -> Result<Vec<Session>>;
    /// Brings back a session that is in the trash, under `name` if one is given, and one page of what was deleted with it: as many
    /// files as `ids`. `since` is what the page before answered. Durable.
    ///
    /// # Errors
    /// `Exists` when the name is taken; `NotFound`.
    async fn restore_session(
        &self,
        origin: Origin,
        session: SessionId,
        name: Option<SessionName>,
        ids: Vec<ArtifactId>,
        since: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Revived>;
}
