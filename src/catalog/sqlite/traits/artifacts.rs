//! The transactions of [`Artifacts`].

use async_trait::async_trait;

use super::super::writer::Commits;
use super::super::{
    SqliteCatalog, artifacts, audit, codec, commit, find, labels, make, recover, tree, versions, write_something,
};
use crate::artifact::ids::{ArtifactId, Ino, TenantId};
use crate::artifact::metadata::Defaults;
use crate::artifact::name::Name;
use crate::artifact::query::{Page, Query, Usage};
use crate::artifact::record::{Artifact, Labels, Life};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Result};
use crate::catalog::Artifacts;
use crate::catalog::{Commit, CommitError, Committed, LabelChange, Origin};

#[async_trait]
impl Artifacts for SqliteCatalog {
    async fn artifact(&self, tenant: TenantId, id: ArtifactId, now: Timestamp) -> Result<Option<Artifact>> {
        let found = self.readers.snapshot(|c| artifacts::by_id(c, id))?;
        Ok(found.filter(|a| a.tenant == tenant && a.expires.is_none_or(|t| t > now)))
    }

    async fn former(&self, tenant: TenantId, id: ArtifactId) -> Result<Option<Artifact>> {
        let found = self.readers.snapshot(|c| artifacts::by_id(c, id))?;
        Ok(found.filter(|a| a.tenant == tenant))
    }

    async fn versions(&self, parent: Ino, name: &Name, now: Timestamp) -> Result<Vec<Artifact>> {
        let name = name.clone();
        self.scan(move |c| artifacts::versions(c, parent, &name, now)).await
    }

    async fn find(&self, query: &Query, now: Timestamp) -> Result<Page> {
        let query = query.clone();
        self.scan(move |c| find::find(c, &query, now)).await
    }

    async fn usage(&self, tenant: TenantId, now: Timestamp) -> Result<Usage> {
        self.scan(move |c| find::usage(c, tenant, now)).await
    }

    async fn labels(&self, ino: Ino) -> Result<Labels> {
        self.readers.snapshot(|c| labels::labels(c, ino))
    }

    async fn defaults(&self, ino: Ino) -> Result<Defaults> {
        self.readers.read(|c| labels::defaults(c, ino))
    }

    async fn set_labels(&self, origin: Origin, ino: Ino, change: LabelChange, now: Timestamp) -> Result<()> {
        self.change(move |c| labels::set_labels(c, origin, ino, &change, now)).await
    }

    async fn set_expiry(&self, origin: Origin, id: ArtifactId, expires: Option<Timestamp>) -> Result<Artifact> {
        self.durable(move |c| labels::set_expiry(c, origin, id, expires)).await
    }

    async fn pin(&self, ids: Vec<ArtifactId>) -> Result<Vec<ArtifactId>> {
        self.change(move |c| versions::pin(c, &ids)).await
    }

    async fn commit(&self, origin: Origin, commit: Commit) -> Result<Committed, CommitError> {
        let rules = self.versions;
        let commits = if commit.durable { Commits::Durable } else { Commits::Ordered };
        self.writer.run(commits, move |c| commit::commit(c, origin, rules, &commit)).await
    }

    async fn trash_recovered(&self, origin: Origin, commit: Commit) -> Result<Option<Artifact>> {
        self.durable(move |c| recover::trash_recovered(c, origin, &commit)).await
    }

    async fn restore(
        &self,
        origin: Origin,
        artifact: ArtifactId,
        id: ArtifactId,
        fresh: (Ino, u64),
        now: Timestamp,
    ) -> Result<Artifact> {
        let rules = self.versions;
        self.durable(move |c| audit::called("restore", || recover::restore(c, origin, rules, artifact, id, fresh, now)))
            .await
    }

    async fn restore_to(
        &self,
        origin: Origin,
        artifact: ArtifactId,
        to: (Ino, &Name),
        id: ArtifactId,
        fresh: (Ino, u64),
        now: Timestamp,
    ) -> Result<Artifact> {
        let (parent, name) = (to.0, to.1.clone());
        let rules = self.versions;
        self.durable(move |c| {
            recover::move_in_trash(c, artifact, (parent, &name), now)?;
            recover::restore(c, origin, rules, artifact, id, fresh, now)
        })
        .await
    }

    async fn trash_version(&self, tenant: TenantId, id: ArtifactId, now: Timestamp) -> Result<()> {
        self.durable(move |c| {
            write_something(c)?;
            let found = artifacts::by_id(c, id)?.filter(|a| a.tenant == tenant && a.life == Life::Superseded);
            let found = found.ok_or_else(|| Error::not_found(format!("{id} is no earlier version")))?;
            if make::session_by_id(c, found.session)?.is_some_and(|s| s.sealed.is_some()) {
                return Err(tree::sealed(c, found.session)?);
            }
            artifacts::set_life(c, id, codec::TRASHED, Some(now))
        })
        .await
    }
}
