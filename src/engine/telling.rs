//! IDs that leave through a door stay: they are pinned before they are told (see [`crate::artifact::versions`]).

use std::future::Future;

use crate::artifact::audit::AuditEntry;
use crate::artifact::ids::ArtifactId;
use crate::artifact::record::Artifact;
use crate::artifact::versions::tell;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::audit::AuditQuery;
use crate::engine::store::Store;

/// How often an answer is looked up again because a version in it gave way to its successor meanwhile.
const ROUNDS: u32 = 16;
/// A day: longer than any window in which versions take one another's place.
const YOUNG_MS: u64 = 24 * 3600 * 1000;

/// An answer that tells IDs.
pub(crate) trait Telling {
    fn told(&self) -> &[Artifact];
}

impl Telling for Artifact {
    fn told(&self) -> &[Artifact] {
        std::slice::from_ref(self)
    }
}

impl<T: Telling> Telling for Option<T> {
    fn told(&self) -> &[Artifact] {
        self.as_ref().map_or(&[], Telling::told)
    }
}

impl Telling for Vec<Artifact> {
    fn told(&self) -> &[Artifact] {
        self
    }
}

impl Telling for crate::artifact::query::Page {
    fn told(&self) -> &[Artifact] {
        &self.artifacts
    }
}

impl Store {
    /// What `ask` answers, once every ID in it is pinned; asked again when one had just gone.
    ///
    /// # Errors
    /// Of `ask` and of the catalog; `Busy` when versions follow one another faster than they can be pinned.
    pub(crate) async fn telling<T: Telling, F: Future<Output = Result<T>>>(&self, ask: impl Fn() -> F) -> Result<T> {
        for _ in 0..ROUNDS {
            let answer = ask().await?;
            if self.pin(answer.told()).await? {
                return Ok(answer);
            }
        }
        Err(Error::new(Kind::Busy, "the file is being written faster than it can be looked at"))
    }

    /// The audit trail. It tells IDs too, those that have gone among them.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditEntry>> {
        let found = self.catalog.audit(self.tenant.id, query).await?;
        // Of a line only the ID is known, and with it when it was made.
        let since = u64::try_from(self.clock.now().0 / 1_000_000).unwrap_or(0).saturating_sub(YOUNG_MS);
        let mut young: Vec<_> =
            found.iter().filter_map(|e| e.artifact).filter(|id| id.0.timestamp_ms() > since).collect();
        young.sort_unstable();
        young.dedup();
        self.pin_ids(young).await?;
        Ok(found)
    }

    /// False: one of them is no more. Writes only where an ID could still go.
    pub(crate) async fn pin(&self, artifacts: &[Artifact]) -> Result<bool> {
        let now = self.clock.now();
        let young: Vec<ArtifactId> = artifacts.iter().filter(|a| tell(a.fleeting, now)).map(|a| a.id).collect();
        self.pin_ids(young).await
    }

    async fn pin_ids(&self, young: Vec<ArtifactId>) -> Result<bool> {
        if young.is_empty() {
            return Ok(true);
        }
        match self.catalog.pin(young).await {
            Ok(gone) => Ok(gone.is_empty()),
            // Neither can a commit write now. Looking is to go on where nothing can be written.
            Err(e) if matches!(e.kind, Kind::NoSpace | Kind::TimedOut | Kind::ReadOnly) => {
                tracing::warn!(error = %e, "an ID is told that a later version may take the place of");
                Ok(true)
            }
            Err(e) => Err(e),
        }
    }
}
