//! [`Upkeep`] for SQLite: which connection runs what, and what is durable.

use async_trait::async_trait;

use super::super::reserve::Reserve;
use super::super::{SqliteCatalog, check, collect, schema, sweep, write_something};
use crate::artifact::ids::{ArtifactId, BlobHash, TenantId};
use crate::artifact::life::Bounds;
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Result};
use crate::catalog::RecordCheck;
use crate::catalog::Upkeep;
use crate::catalog::upkeep::{Doomed, Garbage, Swept, Unneeded};

#[async_trait]
impl Upkeep for SqliteCatalog {
    async fn sweep(&self, tenant: TenantId, bounds: Bounds, limit: u32) -> Result<Swept> {
        self.change(move |c| sweep::sweep(c, tenant, &bounds, limit)).await
    }

    async fn survey(&self, tenant: TenantId, bounds: Bounds) -> Result<Swept> {
        self.scan(move |c| sweep::survey(c, tenant, &bounds)).await
    }

    async fn purge(&self, tenant: TenantId, ids: Vec<ArtifactId>, now: Timestamp) -> Result<Swept> {
        self.durable(move |c| sweep::purge(c, tenant, &ids, now)).await
    }

    async fn suspects(&self, tenant: TenantId, limit: u32) -> Result<Vec<BlobHash>> {
        self.scan(move |c| collect::suspects(c, tenant, limit)).await
    }

    async fn replaced(&self, tenant: TenantId, limit: u32) -> Result<Vec<BlobHash>> {
        self.scan(move |c| collect::replaced(c, tenant, limit)).await
    }

    async fn unneeded(&self, tenant: TenantId, after: Option<BlobHash>, limit: u32) -> Result<Unneeded> {
        self.scan(move |c| collect::unneeded(c, tenant, after, limit)).await
    }

    async fn condemn(&self, tenant: TenantId, hashes: Vec<BlobHash>, since: Timestamp) -> Result<Vec<Doomed>> {
        self.change(move |c| collect::condemn(c, tenant, &hashes, since)).await
    }

    async fn take_condemned(
        &self,
        tenant: TenantId,
        before: Timestamp,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Doomed>> {
        // Durable, as is every sweep before it: the bytes go next, and no record may come back that needs them.
        self.durable(move |c| {
            write_something(c)?;
            collect::take(c, tenant, before, limit, now)
        })
        .await
    }

    async fn deleting(&self, tenant: TenantId, after: Option<BlobHash>, limit: u32) -> Result<Vec<Doomed>> {
        self.scan(move |c| collect::deleting(c, tenant, after, limit)).await
    }

    async fn deleting_since(&self, tenant: TenantId, hash: BlobHash) -> Result<Option<Timestamp>> {
        self.readers.read(|c| collect::deleting_since(c, tenant, hash))
    }

    async fn forget_deleted(&self, tenant: TenantId, hashes: Vec<BlobHash>, now: Timestamp) -> Result<()> {
        self.change(move |c| collect::forget(c, tenant, &hashes, now)).await
    }

    async fn shrink(&self) -> Result<()> {
        if self.writer.refuses().is_some() {
            return Ok(());
        }
        self.writer.ahead().settle();
        let Some(path) = self.readers.path().map(std::path::Path::to_owned) else { return Ok(()) };
        let work = move || {
            schema::empty_log(&path)?;
            if let Some(reserve) = Reserve::open(&path) {
                reserve.after_closing();
            }
            Ok(())
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| Error::internal(format!("the end of the catalog's log broke down: {e}")))?
    }

    async fn give_room(&self) -> Result<()> {
        if let Some(reserve) = self.readers.path().and_then(Reserve::open) {
            reserve.give();
        }
        Ok(())
    }

    async fn deletions(&self) -> Result<u64> {
        self.readers.read(collect::deletions)
    }

    async fn claim_orphan(&self, tenant: TenantId, blob: Doomed, now: Timestamp) -> Result<bool> {
        self.durable(move |c| collect::claim(c, tenant, blob, now)).await
    }

    async fn unknown_blobs(&self, tenant: TenantId, hashes: Vec<BlobHash>) -> Result<Vec<BlobHash>> {
        self.scan(move |c| collect::unknown(c, tenant, hashes)).await
    }

    async fn hold(&self, tenant: TenantId, hashes: Vec<BlobHash>, now: Timestamp) -> Result<u64> {
        // Nearly always none of them is condemned: the writer need not be asked.
        let condemned = self.scan(move |c| collect::condemned_of(c, tenant, hashes)).await?;
        if condemned.is_empty() {
            return Ok(0);
        }
        self.change(move |c| collect::hold(c, tenant, &condemned, now)).await
    }

    async fn garbage(&self, tenant: TenantId, before: Timestamp) -> Result<Garbage> {
        self.scan(move |c| collect::garbage(c, tenant, before)).await
    }

    async fn check_records(&self, tenant: TenantId) -> Result<RecordCheck> {
        self.scan(move |c| check::records(c, tenant)).await
    }
}
