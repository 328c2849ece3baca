//! Whether an artifact can be had, and if not, why: asked by every door, decided in [`crate::artifact::standing`].

use crate::artifact::ids::{ArtifactId, SessionId};
use crate::artifact::record::{Artifact, Life, Session};
use crate::artifact::standing::{self, Asks};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Kind, Result};
use crate::engine::query::missing;
use crate::engine::store::Store;

impl Store {
    /// The artifact of that ID, if it stands for what is asked.
    ///
    /// # Errors
    /// `Deleted` and `Expired` with a sentence that says since when and what brings it back; `NotFound` when there never was one.
    pub async fn standing(&self, id: ArtifactId, asks: Asks) -> Result<Artifact> {
        self.telling(|| self.standing_now(id, asks)).await
    }

    async fn standing_now(&self, id: ArtifactId, asks: Asks) -> Result<Artifact> {
        let Some(artifact) = self.catalog.former(self.tenant.id, id).await? else {
            let ended = self.catalog.ended(self.tenant.id, id).await?;
            return Err(ended.map_or_else(
                || Error::not_found(format!("there is no artifact {id}")),
                |entry| standing::ended(id, &entry),
            ));
        };
        match self.refusal(&artifact, asks).await? {
            None => Ok(artifact),
            Some(refusal) => Err(refusal),
        }
    }

    /// Why the artifact cannot be had, if so.
    async fn refusal(&self, artifact: &Artifact, asks: Asks) -> Result<Option<Error>> {
        let now = self.clock.now();
        if standing::refusal(artifact, asks, false, now).is_none() {
            return Ok(None);
        }
        let session = self.catalog.session_by_id(artifact.session).await?;
        Ok(standing::refusal(artifact, asks, session.is_some_and(|s| s.sealed.is_some()), now))
    }

    /// Why nothing stands at `path`: what stood there last may be deleted or expired.
    ///
    /// # Errors
    /// Of the catalog.
    pub(crate) async fn absence(&self, session: &Session, path: &[u8]) -> Result<Error> {
        let mut last: Option<Artifact> = None;
        for life in [Life::Trashed, Life::Live] {
            // (Seen from before all time, nothing has expired.)
            for artifact in self.at_path(session, path, life, Timestamp(i64::MIN)).await? {
                if last.as_ref().is_none_or(|l| ended_at(l) < ended_at(&artifact)) {
                    last = Some(artifact);
                }
            }
        }
        let refusal = match last {
            Some(artifact) => self.refusal(&artifact, Asks::Standing).await?,
            None => None,
        };
        let absent = missing(session, path);
        Ok(refusal.map_or_else(|| absent.clone(), |why| Error::new(why.kind, format!("{absent}: {why}"))))
    }

    /// Something stands at `path`, a file or a directory.
    ///
    /// # Errors
    /// `NotFound`, `Deleted`, `Expired`.
    pub async fn must_stand(&self, session: SessionId, path: &[u8]) -> Result<()> {
        let session = self.catalog.session_by_id(session).await?;
        let session = session.ok_or_else(|| Error::not_found("the session is gone"))?;
        match self.lookup_path(&session, path).await {
            Err(e) if e.kind == Kind::NotFound => Err(self.absence(&session, path).await?),
            found => found.map(drop),
        }
    }

    /// What `what` names as [`Store::artifact`] has it, but of a path what was deleted there last, and by its ID also what is in the
    /// trash. For those who may write.
    ///
    /// # Errors
    /// As [`Store::artifact`].
    pub async fn deleted_artifact(&self, what: &str) -> Result<Artifact> {
        if let Ok(id) = what.parse::<ArtifactId>() {
            return self.standing(id, Asks::Deleted).await;
        }
        let (name, path) = crate::engine::query::split_address(what)?;
        for session in self.sessions_named(name).await? {
            let deleted = self.at_path(&session, path.as_bytes(), Life::Trashed, self.clock.now()).await?;
            if let Some(last) = deleted.into_iter().max_by_key(|a| (a.deleted, a.version)) {
                return Ok(last);
            }
        }
        Err(Error::not_found(format!("no '{path}' of session '{name}' is in the trash")))
    }
}

fn ended_at(artifact: &Artifact) -> (Option<Timestamp>, u64) {
    (artifact.deleted.or(artifact.expires), artifact.version)
}
