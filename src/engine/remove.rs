//! Deleting, restoring, expiry, labels.

use crate::artifact::ids::{ArtifactId, Ino};
use crate::artifact::name::display_bytes;
use crate::artifact::record::{Artifact, Life, Session};
use crate::artifact::time::Ttl;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::{LabelChange, Origin};
use crate::engine::query::missing;
use crate::engine::store::Store;

impl Store {
    /// Soft-deletes what `what` names (`art_…`: all its names; `session/path`: that name). Answers the artifact as it was.
    ///
    /// # Errors
    /// `NotFound`, `Sealed`, `Invalid` for an earlier version.
    pub async fn rm(&self, what: &str) -> Result<Artifact> {
        let now = self.clock.now();
        if let Ok(id) = what.parse::<ArtifactId>() {
            let artifact = self.artifact_by_id(id).await?;
            must_live(&artifact)?;
            // Each turn removes one name; a file has finitely many, and none is added while it is deleted but by
            // a mount that wants to keep it.
            while let Some((parent, name)) = self.catalog.place(artifact.ino).await? {
                if self.catalog.unlink(Origin::NOBODY, parent, &name, now).await?.nlink == 0 {
                    break;
                }
            }
            self.catalog.sync().await?;
            return Ok(artifact);
        }
        let artifact = self.artifact(what).await?;
        let session = self
            .catalog
            .session_by_id(artifact.session)
            .await?
            .ok_or_else(|| Error::not_found("the session does not exist"))?;
        // The path as it was asked for: a hard link has several.
        let path = what.split_once(['/', ':']).map_or("", |(_, path)| path);
        let found = self.lookup_path(&session, path.as_bytes()).await?;
        self.catalog.unlink(Origin::NOBODY, found.parent, &found.name, now).await?;
        self.catalog.sync().await?;
        Ok(artifact)
    }

    /// Brings back a deleted file or an earlier version of it, as a new version.
    ///
    /// # Errors
    /// `NotFound`, `Sealed`.
    pub async fn restore(&self, session: &Session, path: &[u8], version: Option<u64>) -> Result<Artifact> {
        let mut candidates = self.at_path(session, path, Life::Trashed).await?;
        if version.is_some() {
            candidates.extend(self.at_path(session, path, Life::Superseded).await?);
            candidates.extend(self.at_path(session, path, Life::Live).await?);
        }
        let chosen = match version {
            Some(version) => candidates.into_iter().find(|a| a.version == version),
            None => candidates.into_iter().max_by_key(|a| (a.deleted, a.version)),
        };
        let chosen = chosen.ok_or_else(|| match version {
            Some(v) => Error::not_found(format!("'{}' has no version {v}", display_bytes(path))),
            None => missing(session, path),
        })?;
        let first = self.catalog.reserve(2).await?;
        let fresh = (Ino(first), first + 1);
        self.catalog.restore(Origin::NOBODY, chosen.id, self.new_artifact_id(), fresh, self.clock.now()).await
    }

    /// A new expiry, `ttl` from now.
    ///
    /// # Errors
    /// `NotFound`; `Sealed` for an earlier one in a sealed session.
    pub async fn set_ttl(&self, what: &str, ttl: Ttl) -> Result<Artifact> {
        let artifact = self.artifact(what).await?;
        self.catalog.set_expiry(Origin::NOBODY, artifact.id, self.clock.now().plus(ttl)).await
    }

    /// Changes labels of a live artifact.
    ///
    /// # Errors
    /// `NotFound`, `Sealed`, limits of metadata.
    pub async fn set_labels(&self, what: &str, change: LabelChange) -> Result<Artifact> {
        let artifact = self.artifact(what).await?;
        must_live(&artifact)?;
        self.catalog.set_labels(Origin::NOBODY, artifact.ino, change, self.clock.now()).await?;
        self.artifact_by_id(artifact.id).await
    }
}

fn must_live(artifact: &Artifact) -> Result<()> {
    match artifact.life {
        Life::Live => Ok(()),
        Life::Superseded => Err(Error::invalid(format!("{} is an earlier version: name the newest one", artifact.id))),
        Life::Trashed => Err(Error::new(Kind::NotFound, format!("{} is deleted already", artifact.id))),
    }
}
