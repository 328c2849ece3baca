//! Bytes from a stream, first staged and then given their place: what comes over HTTP tells its name after its content.

use std::time::Instant;

use tokio::io::AsyncRead;

use crate::artifact::ids::{ArtifactId, BlobHash};
use crate::artifact::name::{Name, SessionName, split_path};
use crate::artifact::record::{Labels, Session};
use crate::artifact::{Error, Kind, Result};
use crate::catalog::{Committed, Origin, Outcome};
use crate::engine::claims::{Charge, Coming};
use crate::engine::ingest::Source;
use crate::engine::progress::Progress;
use crate::engine::push::{Staged, Stream};
use crate::engine::store::Store;
use crate::engine::transit::Transit;

/// Bytes of a client's that stay in memory until they are stored; more go to a staging file at once. A thousand clients have 16 MiB there,
/// however slow they and the store are.
const IN_MEMORY_MAX: usize = 16 << 10;

/// Staged bytes, hashed. Dropped without being kept, they are removed.
pub struct Received {
    staged: Staged,
    transit: Transit,
}

impl Received {
    fn new(source: Source, charge: Charge, started: Instant) -> Self {
        let transit = Transit::of(&source);
        Self {
            staged: Staged { source, mode: None, mtime: None, took: started.elapsed(), blocks: None, charge },
            transit,
        }
    }

    #[must_use]
    pub fn size(&self) -> u64 {
        self.staged.source.digest().size
    }

    #[must_use]
    pub fn hash(&self) -> BlobHash {
        self.staged.source.digest().hash
    }
}

impl Store {
    /// Stages all of `reader` in constant memory.
    ///
    /// # Errors
    /// What the reader says (`FileTooLarge`, `TimedOut`, `Invalid` by the kind of its error), `NoSpace`; `OverQuota`, `FileTooLarge` at
    /// the first byte that is sure to exceed a limit.
    pub async fn receive(&self, reader: &mut (dyn AsyncRead + Send + Unpin)) -> Result<Received> {
        self.receive_as(reader, None).await
    }

    /// The same of the bytes of an upload that was announced, for which there is room.
    ///
    /// # Errors
    /// As [`Store::receive`].
    pub async fn receive_as(
        &self,
        reader: &mut (dyn AsyncRead + Send + Unpin),
        upload: Option<ArtifactId>,
    ) -> Result<Received> {
        let started = Instant::now();
        let coming = Coming { replaces: None, upload };
        let (source, charge) = self
            .stage_stream(
                reader,
                Stream { memory: IN_MEMORY_MAX, ..Stream::of(None, "upload") },
                &Progress::none(),
                coming,
            )
            .await?;
        Ok(Received::new(source, charge, started))
    }

    /// Makes `received` an artifact: in `session` (made if missing) at `filename`, or without a session, where every artifact has
    /// a place of its own. `id` is the ID to give if a new one comes of it.
    ///
    /// # Errors
    /// As [`Store::push`].
    pub async fn keep(
        &self,
        mut received: Received,
        session: Option<&SessionName>,
        filename: &[u8],
        labels: &Labels,
        id: ArtifactId,
    ) -> Result<Committed> {
        let mut names = checked_path(filename)?;
        let Some(name) = names.pop() else { return Err(Error::invalid("a path without a name")) };
        let (session, made) = match session {
            Some(name) => match self.catalog.session(self.tenant.id, name).await? {
                Some(session) => (session, false),
                None => (self.ensure_session(name).await?, true),
            },
            None => {
                names.insert(0, Name::new(id.to_string().as_bytes())?);
                (self.catalog.loose_session(self.tenant.id, self.clock.now()).await?, false)
            }
        };
        if session.sealed.is_some() {
            return Err(Error::sealed(session.name.as_str()));
        }
        let now = self.clock.now();
        let mut labels = labels.clone();
        labels.provenance.run = self.run();
        received.transit.begins(self);
        let result = self.commit_at(&session, &names, &name, &labels, (0o644, now), &received.staged, id).await;
        received.transit.ends(result.as_ref().is_ok_and(|i| i.holds_staging));
        if let Err(e) = &result
            && made
        {
            self.take_back_session(&session, e).await;
        }
        let ingested = result?;
        if session.name.is_loose() && ingested.committed.outcome == Outcome::Idempotent {
            self.remove_loose(&session, &names, &name).await;
        }
        Ok(ingested.committed)
    }

    /// The place of a retried artifact that has one already.
    async fn remove_loose(&self, session: &Session, dirs: &[Name], name: &Name) {
        let path: Vec<&[u8]> = dirs.iter().chain([name]).map(Name::as_bytes).collect();
        let now = self.clock.now();
        for depth in (1..=path.len()).rev() {
            let found = self.lookup_path(session, &path[..depth].join(&b'/')).await;
            let removed = match found {
                Ok(found) if depth == path.len() => {
                    self.catalog.unlink(Origin::NOBODY, found.parent, &found.name, now).await
                }
                Ok(found) => self.catalog.rmdir(Origin::NOBODY, found.parent, &found.name, now).await,
                Err(e) => Err(e),
            };
            // It is only a second name that nothing shows.
            if let Err(e) = removed {
                tracing::debug!(error = %e, "the place of a repeated upload stays");
                return;
            }
        }
    }
}

/// A path that a file may have.
///
/// # Errors
/// `Invalid`, `NameTooLong`; `Reserved` for names that outputfs keeps for itself.
pub fn checked_path(filename: &[u8]) -> Result<Vec<Name>> {
    let names = split_path(filename)?;
    match names.first() {
        Some(name) if name.is_reserved() => {
            Err(Error::new(Kind::Reserved, format!("'{name}' is a name that outputfs keeps for itself")))
        }
        _ => Ok(names),
    }
}
