//! The transactions of [`Sessions`].

use async_trait::async_trait;

use super::super::{SqliteCatalog, audit, find, make, records, seal, sessions};
use crate::artifact::Result;
use crate::artifact::ids::{ArtifactId, SessionId, TenantId};
use crate::artifact::name::{SessionName, TenantName};
use crate::artifact::record::{Manifest, Session, SessionSummary, Tenant};
use crate::artifact::time::Timestamp;
use crate::catalog::Origin;
use crate::catalog::Sessions;
use crate::catalog::upkeep::Revived;

#[async_trait]
impl Sessions for SqliteCatalog {
    async fn tenant(&self, name: &TenantName, now: Timestamp) -> Result<Tenant> {
        if let Some(found) = self.readers.read(|c| make::find_tenant(c, name))? {
            return Ok(found);
        }
        let name = name.clone();
        self.change(move |c| make::tenant(c, &name, now)).await
    }

    async fn session(&self, tenant: TenantId, name: &SessionName) -> Result<Option<Session>> {
        self.readers.read(|c| make::session(c, tenant, name))
    }

    async fn session_by_id(&self, id: SessionId) -> Result<Option<Session>> {
        self.readers.read(|c| make::session_by_id(c, id))
    }

    async fn sessions(&self, tenant: TenantId, now: Timestamp) -> Result<Vec<SessionSummary>> {
        self.scan(move |c| find::sessions(c, tenant, now)).await
    }

    async fn ensure_session(
        &self,
        origin: Origin,
        tenant: TenantId,
        name: &SessionName,
        uid: u32,
        gid: u32,
        now: Timestamp,
    ) -> Result<Session> {
        if let Some(found) = self.readers.read(|c| make::session(c, tenant, name))? {
            return Ok(found);
        }
        let name = name.clone();
        self.change(move |c| make::ensure_session(c, origin, tenant, &name, (uid, gid), now)).await
    }

    async fn loose_session(&self, tenant: TenantId, now: Timestamp) -> Result<Session> {
        if let Some(found) = self.readers.read(|c| make::session(c, tenant, &SessionName::loose()))? {
            return Ok(found);
        }
        self.durable(move |c| records::loose_session(c, tenant, now)).await
    }

    async fn seal(&self, origin: Origin, session: SessionId, now: Timestamp) -> Result<Manifest> {
        self.durable(move |c| seal::seal(c, origin, session, now)).await
    }

    async fn manifest(&self, session: SessionId) -> Result<Option<Manifest>> {
        self.scan(move |c| seal::manifest(c, session)).await
    }

    async fn removed_sessions(&self, tenant: TenantId) -> Result<Vec<Session>> {
        self.scan(move |c| sessions::removed(c, tenant)).await
    }

    async fn restore_session(
        &self,
        origin: Origin,
        session: SessionId,
        name: Option<SessionName>,
        ids: Vec<ArtifactId>,
        since: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Revived> {
        let rules = self.versions;
        self.durable(move |c| {
            audit::called("restore", || sessions::restore(c, origin, rules, (session, name.as_ref()), &ids, since, now))
        })
        .await
    }
}
