//! The transactions of [`Blobs`].

use async_trait::async_trait;

use super::super::{SqliteCatalog, artifacts, blobs, check, write_something};
use crate::artifact::Result;
use crate::artifact::ids::{ArtifactId, BlobHash, MountId, SessionId, TenantId};
use crate::artifact::record::{Artifact, Blob, StoreState};
use crate::catalog::Blobs;
use crate::catalog::{PendingCount, Unsettled};

#[async_trait]
impl Blobs for SqliteCatalog {
    async fn blob(&self, tenant: TenantId, hash: BlobHash) -> Result<Option<Blob>> {
        self.readers.read(|c| blobs::blob(c, tenant, hash))
    }

    async fn midstate(&self, tenant: TenantId, hash: BlobHash) -> Result<Option<Vec<u8>>> {
        self.readers.read(|c| blobs::midstate(c, tenant, hash))
    }

    async fn unsettled(&self, mount: Option<MountId>, limit: u32) -> Result<Vec<Unsettled>> {
        self.scan(move |c| blobs::unsettled(c, mount, limit)).await
    }

    async fn settled(&self, tenant: TenantId, hash: BlobHash) -> Result<()> {
        self.change(move |c| blobs::settle(c, tenant, hash)).await
    }

    async fn forget_provisional(&self, tenant: TenantId, hash: BlobHash, mount: MountId, file: &str) -> Result<()> {
        let file = file.to_owned();
        // Durable, as is every settling before it: the caller removes the file next.
        self.durable(move |c| {
            write_something(c)?;
            blobs::forget_provisional(c, tenant, hash, mount, &file)
        })
        .await
    }

    async fn pending(&self, session: Option<SessionId>, mount: Option<MountId>) -> Result<PendingCount> {
        self.scan(move |c| blobs::pending(c, session, mount)).await
    }

    async fn unmoved(&self, session: Option<SessionId>, mount: Option<MountId>) -> Result<PendingCount> {
        self.scan(move |c| blobs::unmoved(c, session, mount)).await
    }

    async fn waiting(&self, mount: MountId, limit: u32) -> Result<Vec<Artifact>> {
        self.scan(move |c| artifacts::waiting(c, mount, limit)).await
    }

    async fn store_state(&self, id: ArtifactId) -> Result<Option<StoreState>> {
        self.readers.read(|c| blobs::store_state(c, id))
    }

    async fn needed_blobs(&self, tenant: TenantId, after: Option<BlobHash>, limit: u32) -> Result<Vec<Blob>> {
        self.scan(move |c| check::needed_blobs(c, tenant, after, limit)).await
    }
}
