//! The transactions of [`Links`].

use async_trait::async_trait;

use super::super::{SqliteCatalog, codec, links};
use crate::artifact::Result;
use crate::artifact::ids::{BlobHash, TenantId};
use crate::artifact::record::{Link, LinkTarget};
use crate::artifact::time::Timestamp;
use crate::catalog::Links;
use crate::catalog::sql::params;

#[async_trait]
impl Links for SqliteCatalog {
    async fn add_link(&self, link: Link) -> Result<()> {
        self.durable(move |c| links::add(c, &link)).await
    }

    async fn link_by_token(&self, token_hash: BlobHash) -> Result<Option<Link>> {
        self.readers.read(|c| links::by_token(c, token_hash))
    }

    async fn links(&self, tenant: TenantId, target: Option<LinkTarget>) -> Result<Vec<Link>> {
        self.scan(move |c| links::list(c, tenant, target)).await
    }

    async fn revoke(&self, tenant: TenantId, link_id: &str, now: Timestamp) -> Result<Link> {
        let id = link_id.to_owned();
        self.durable(move |c| links::revoke(c, tenant, &id, now)).await
    }

    async fn active_links(&self, tenant: TenantId, now: Timestamp) -> Result<u64> {
        let sql =
            "SELECT count(*) FROM links WHERE tenant = ? AND revoked IS NULL AND (expires IS NULL OR expires > ?)";
        self.scan(move |c| Ok(c.prepare_cached(sql)?.query_row(params![tenant.0, now.0], |r| codec::uint(r, 0))?)).await
    }
}
