//! Deleting, restoring, expiry, labels.

use crate::artifact::ids::{ArtifactId, BlobHash, Ino};
use crate::artifact::metadata::{check_content_type, check_label};
use crate::artifact::name::display_bytes;
use crate::artifact::query::Query;
use crate::artifact::record::{Artifact, Life, NodeKind, Session};
use crate::artifact::standing::Asks;
use crate::artifact::time::Ttl;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::upkeep::{Cleared, Swept};
use crate::catalog::{LabelChange, Origin};
use crate::engine::query::missing;
use crate::engine::store::Store;

/// Rows of one transaction.
const PURGE_PAGE: usize = 500;
/// Blobs without an artifact that a purge looks at besides its own; the collector sees to the others.
const SUSPECTS: u32 = 1000;
/// Names of one transaction: commits of others wait behind it for some tens of milliseconds.
const CLEAR_PAGE: u32 = 500;

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

    /// Soft-deletes a directory of a session with all that is below it; of a session's root (`path` empty) what is below it.
    /// A file goes as with [`Store::rm`].
    ///
    /// # Errors
    /// `NotFound`, `Sealed`; what was deleted before stays deleted (and can be restored).
    pub async fn rm_tree(&self, session: &Session, path: &[u8]) -> Result<Cleared> {
        let found = if path.is_empty() { None } else { Some(self.lookup_path(session, path).await?) };
        let mut total = Cleared::default();
        if let Some(file) = found.as_ref().filter(|f| f.node.kind != NodeKind::Dir) {
            self.catalog.unlink(Origin::NOBODY, file.parent, &file.name, self.clock.now()).await?;
            total.files = 1;
        } else {
            let dir = found.as_ref().map_or(session.root, |f| f.node.ino);
            loop {
                let page = self.catalog.clear(Origin::NOBODY, dir, CLEAR_PAGE, self.clock.now()).await?;
                total.files += page.files;
                total.directories += page.directories;
                if !page.more {
                    break;
                }
            }
            if let Some(dir) = &found {
                self.catalog.rmdir(Origin::NOBODY, dir.parent, &dir.name, self.clock.now()).await?;
                total.directories += 1;
            }
        }
        self.catalog.sync().await?;
        Ok(total)
    }

    /// Soft-deletes an earlier version alone.
    ///
    /// # Errors
    /// `NotFound` when it is none, `Sealed`.
    pub async fn rm_version(&self, id: ArtifactId) -> Result<()> {
        self.catalog.trash_version(self.tenant.id, id, self.clock.now()).await
    }

    /// Brings back a deleted file or an earlier version of it, as a new version.
    ///
    /// # Errors
    /// `NotFound`, `Sealed`.
    pub async fn restore(&self, session: &Session, path: &[u8], version: Option<u64>) -> Result<Artifact> {
        self.restore_artifact(self.restorable(session, path, version).await?.id).await
    }

    /// What [`Self::restore`] would bring back.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn restorable(&self, session: &Session, path: &[u8], version: Option<u64>) -> Result<Artifact> {
        let now = self.clock.now();
        let mut candidates = self.at_path(session, path, Life::Trashed, now).await?;
        if version.is_some() {
            candidates.extend(self.at_path(session, path, Life::Superseded, now).await?);
            candidates.extend(self.at_path(session, path, Life::Live, now).await?);
        }
        let chosen = match version {
            Some(version) => candidates.into_iter().find(|a| a.version == version),
            None => candidates.into_iter().max_by_key(|a| (a.deleted, a.version)),
        };
        chosen.ok_or_else(|| match version {
            Some(v) => Error::not_found(format!("'{}' has no version {v}", display_bytes(path))),
            None => missing(session, path),
        })
    }

    /// The same of the session of that name, or of one in the trash that has it.
    ///
    /// # Errors
    /// As [`Store::restore`]; `Exists` when another session took the name of a deleted one.
    pub async fn restore_path(&self, session: &str, path: &[u8], version: Option<u64>) -> Result<Artifact> {
        let mut failed = None;
        for session in self.sessions_named(session).await? {
            match self.restore(&session, path, version).await {
                Err(e) if e.kind == Kind::NotFound => failed = failed.or(Some(e)),
                done => return done,
            }
        }
        Err(failed.unwrap_or_else(|| Error::internal("a session without a name")))
    }

    /// The same of one artifact by its ID.
    ///
    /// # Errors
    /// `NotFound`, `Sealed`.
    pub async fn restore_artifact(&self, id: ArtifactId) -> Result<Artifact> {
        // Of this tenant, that is.
        self.standing(id, Asks::Deleted).await?;
        let first = self.catalog.reserve(2).await?;
        let fresh = (Ino(first), first + 1);
        self.catalog.restore(Origin::NOBODY, id, self.new_artifact_id(), fresh, self.clock.now()).await
    }

    /// What was deleted, newest first; of all sessions with `None`.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn trash(&self, session: Option<&Session>) -> Result<Vec<Artifact>> {
        let query = Query { session: session.map(|s| s.id), life: Life::Trashed, ..Query::all(self.tenant.id) };
        let mut found = self.find_all(query).await?;
        found.sort_by_key(|a| std::cmp::Reverse((a.deleted, a.id)));
        Ok(found)
    }

    /// Ends deleted artifacts for good; those of `ids` that are not in the trash stay. Copies in the cache that nothing needs any more
    /// go at once, the bytes leave the store with the garbage.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn purge(&self, ids: &[ArtifactId]) -> Result<Swept> {
        let mut all = Swept::default();
        for page in ids.chunks(PURGE_PAGE) {
            let mut ended = Vec::new();
            for id in page.iter().filter(|_| self.cache.used() > 0) {
                ended.extend(self.catalog.artifact(self.tenant.id, *id, self.clock.now()).await?.map(|a| a.hash));
            }
            all.add(self.catalog.purge(self.tenant.id, page.to_vec(), self.clock.now()).await?);
            if !ended.is_empty()
                && let Err(e) = self.uncache(ended).await
            {
                // The purge is done; the collector drops them later.
                tracing::warn!(error = %e, "cached copies of what was purged stay for a while");
            }
        }
        Ok(all)
    }

    /// Drops the cached copies, of these blobs and of what else lost its last artifact (earlier versions), that nothing needs.
    async fn uncache(&self, mut ended: Vec<BlobHash>) -> Result<()> {
        ended.extend(self.catalog.suspects(self.tenant.id, SUSPECTS).await?);
        ended.sort_unstable();
        ended.dedup();
        for hash in ended.into_iter().filter(|hash| self.cache.holds(*hash)) {
            let found = self.catalog.unneeded(self.tenant.id, hash.before(), 1).await?;
            if found.blobs.iter().any(|blob| blob.hash == hash) {
                self.cache.discard(hash);
            }
        }
        Ok(())
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
        change.agent_id.iter().flatten().try_for_each(|value| check_label("agent_id", value))?;
        change.content_type.iter().flatten().try_for_each(|value| check_content_type(value))?;
        let artifact = self.artifact(what).await?;
        must_live(&artifact)?;
        self.catalog.set_labels(Origin::NOBODY, artifact.ino, change, self.clock.now()).await?;
        self.artifact_by_id(artifact.id).await
    }
}

fn must_live(artifact: &Artifact) -> Result<()> {
    match artifact.life {
        Life::Superseded => Err(Error::invalid(format!("{} is an earlier version: name the newest one", artifact.id))),
        // (What is in the trash does not get here.)
        Life::Live | Life::Trashed => Ok(()),
    }
}
