//! Sealing a session (CONTRACT §6).

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::artifact::manifest;
use crate::artifact::record::{Manifest, Session};
use crate::artifact::{Error, Kind, Result};
use crate::blob::{BlobKey, Body};
use crate::catalog::Origin;
use crate::engine::failpoints::hit;
use crate::engine::progress::Progress;
use crate::engine::settle::Scope;
use crate::engine::store::Store;
use crate::staging::hash::hash_bytes;

impl Store {
    /// Settles what is pending (everybody's on this host; others are waited for), seals, and puts the manifest beside the blobs.
    /// Idempotent, also after a crash between the two.
    ///
    /// # Errors
    /// `Busy` when bytes are still pending at `deadline`; `StoreUnavailable` when the manifest could not be stored: the session is
    /// sealed then, and sealing it again stores the manifest.
    pub async fn seal(&self, session: &Session, deadline: Duration, progress: &Progress) -> Result<Manifest> {
        let end = Instant::now() + deadline;
        loop {
            let rest = end.saturating_duration_since(Instant::now());
            let known = self.catalog.manifest(session.id).await?;
            let before = self.catalog.last_change().await?;
            let first = known.is_none();
            let left = if known.is_some() { 0 } else { self.unsettled_of(session, rest, progress).await? };
            hit("seal::before")?;
            let sealed = match known {
                Some(manifest) => Ok(manifest),
                None => self.catalog.seal(Origin::NOBODY, session.id, self.clock.now()).await,
            };
            match sealed {
                Ok(manifest) => {
                    hit("seal::after_commit")?;
                    if first {
                        self.until_heard(before, session).await;
                    }
                    self.discard_scratch().await;
                    self.store_manifest(&manifest).await?;
                    hit("seal::after_manifest")?;
                    tracing::info!(session = %session.name, artifacts = manifest.artifacts.len(), digest = %manifest.digest, "seal");
                    return Ok(manifest);
                }
                // Someone committed between the settling and the seal: settle that too.
                Err(e) if e.kind == Kind::Busy && Instant::now() < end => {
                    tracing::debug!(session = %session.name, left, "bytes came in while sealing");
                }
                Err(e) => return Err(self.why_busy(e)),
            }
        }
    }

    async fn unsettled_of(&self, session: &Session, deadline: Duration, progress: &Progress) -> Result<u64> {
        Ok(self.settle_all(Scope::Session(session.id), deadline, progress).await?.artifacts)
    }

    fn why_busy(&self, e: Error) -> Error {
        match self.last_store_error() {
            Some(failure) if e.kind == Kind::Busy => Error::new(
                Kind::StoreUnavailable,
                format!("{} (the store fails since {}: {})", e.message, failure.since, failure.message),
            ),
            _ => e,
        }
    }

    /// Puts the manifest unless these very bytes are there.
    async fn store_manifest(&self, made: &Manifest) -> Result<()> {
        let key = BlobKey::manifest(self.tenant_name.as_str(), made.session_id.as_str());
        let bytes = Bytes::from(manifest::to_bytes(made));
        match self.blobs.get(&key, None).await {
            Ok(there) if there == bytes => return Ok(()),
            Ok(_) => {}
            Err(e) if e.kind == Kind::NotFound => {}
            Err(e) => {
                self.note_store::<()>(&Err(e.clone()));
                return Err(e);
            }
        }
        let hash = hash_bytes(&bytes).hash;
        self.upload(&key, bytes.len() as u64, async { Ok(Body::Bytes { bytes: bytes.clone(), hash }) }).await
    }
}
