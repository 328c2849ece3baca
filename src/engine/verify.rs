//! `verify`: re-reads every blob of a session and proves hashes, manifest digest and the stored manifest.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use serde::Serialize;

use crate::artifact::ids::BlobHash;
use crate::artifact::manifest;
use crate::artifact::name::display_bytes;
use crate::artifact::query::Query;
use crate::artifact::record::{Artifact, Manifest, Session};
use crate::artifact::{Kind, Result};
use crate::blob::BlobKey;
use crate::check;
use crate::engine::progress::{Progress, Step};
use crate::engine::store::Store;

/// Blobs read at one time: enough to hide a round trip to S3.
const WIDTH: usize = 4;

/// Something that is not as the record says.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Fault {
    /// None: it is about the manifest.
    pub artifact_id: Option<String>,
    pub filename: Option<String>,
    /// One sentence.
    pub message: String,
}

#[derive(Clone, Debug, Default, Serialize, PartialEq, Eq)]
pub struct VerifyReport {
    pub session_id: String,
    pub sealed: bool,
    pub artifacts: u64,
    /// In the manifest, but expired: their bytes are not asked for.
    pub expired: u64,
    /// Bytes read and hashed; blobs shared by several artifacts count once.
    pub bytes: u64,
    /// Of the manifest, hex; none when not sealed.
    pub digest: Option<String>,
    pub faults: Vec<Fault>,
}

impl VerifyReport {
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, artifact: Option<&Artifact>, message: impl Into<String>) {
        self.faults.push(Fault {
            artifact_id: artifact.map(|a| a.id.to_string()),
            filename: artifact.map(|a| display_bytes(&a.filename)),
            message: message.into(),
        });
    }
}

impl Store {
    /// Reads past the cache: what is proven is what the store holds.
    ///
    /// # Errors
    /// `StoreUnavailable` and errors of the catalog; bad bytes are no error but a [`Fault`].
    pub async fn verify(&self, session: &Session, progress: &Progress) -> Result<VerifyReport> {
        let mut report = VerifyReport { session_id: session.name.to_string(), ..VerifyReport::default() };
        let artifacts = match self.catalog.manifest(session.id).await? {
            Some(made) => {
                self.verify_manifest(&made, &mut report).await?;
                made.artifacts
            }
            None => self.find_all(Query { session: Some(session.id), ..Query::all(self.tenant.id) }).await?,
        };
        report.artifacts = artifacts.len() as u64;
        let now = self.clock.now();
        let mut blobs: BTreeMap<BlobHash, Vec<Artifact>> = BTreeMap::new();
        for artifact in artifacts {
            match self.catalog.artifact(self.tenant.id, artifact.id, now).await? {
                None => {
                    report.expired += u64::from(artifact.expires.is_some());
                    if artifact.expires.is_none() {
                        report.fault(Some(&artifact), "the catalog does not know it any more");
                    }
                }
                Some(known) => {
                    if (known.hash, known.size) != (artifact.hash, artifact.size) {
                        report.fault(Some(&artifact), "the catalog and the manifest disagree about its bytes");
                    }
                    blobs.entry(artifact.hash).or_default().push(artifact);
                }
            }
        }
        self.verify_blobs(blobs, &mut report, progress).await?;
        Ok(report)
    }

    async fn verify_manifest(&self, made: &Manifest, report: &mut VerifyReport) -> Result<()> {
        report.sealed = true;
        report.digest = Some(made.digest.to_hex());
        if manifest::digest_of(&made.artifacts) != made.digest {
            report.fault(None, "the manifest's digest does not match what it lists");
        }
        let key = BlobKey::manifest(self.tenant_name.as_str(), made.session_id.as_str());
        let stored = match self.blobs.get(&key, None).await {
            Ok(bytes) => bytes,
            Err(e) if e.kind == Kind::NotFound => {
                report.fault(None, "the manifest is not beside the blobs: seal the session again, and it will be");
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        match manifest::parse(&stored) {
            Ok(parsed) if parsed.session_id != made.session_id.as_str() => {
                report.fault(None, "the stored manifest is of another session");
            }
            Ok(parsed) if parsed.digest != made.digest => {
                report.fault(None, "the stored manifest lists other artifacts than the catalog");
            }
            Ok(_) => {}
            Err(e) => report.fault(None, format!("the stored manifest: {e}")),
        }
        Ok(())
    }

    async fn verify_blobs(
        &self,
        blobs: BTreeMap<BlobHash, Vec<Artifact>>,
        report: &mut VerifyReport,
        progress: &Progress,
    ) -> Result<()> {
        let total = blobs.values().filter_map(|a| a.first()).map(|a| a.size).sum();
        let mut step = Step { total: Some(total), items_total: Some(blobs.len() as u64), ..Step::default() };
        let subject = self.subject(true);
        let mut proofs = stream::iter(blobs)
            .map(|(hash, artifacts)| {
                let subject = &subject;
                async move { (check::blob::prove_by_hash(subject, hash).await, artifacts) }
            })
            .buffer_unordered(WIDTH);
        while let Some((proof, artifacts)) = proofs.next().await {
            match proof {
                Ok(size) => report.bytes += size,
                Err(e) if matches!(e.kind, Kind::Corrupt | Kind::NotFound) => {
                    for artifact in &artifacts {
                        tracing::error!(artifact = %artifact.id, blob = %artifact.hash, error = %e, "a bad blob");
                        report.fault(Some(artifact), e.message.clone());
                    }
                }
                Err(e) => return Err(e),
            }
            step.items += 1;
            if let Some(artifact) = artifacts.first() {
                step.done += artifact.size;
                step.what = display_bytes(&artifact.filename);
            }
            progress.tell(&step);
        }
        Ok(())
    }

    /// The invariants of the whole store (see [`crate::check`]).
    ///
    /// # Errors
    /// As [`crate::check::run`].
    pub async fn check(&self, read_data: bool, progress: &Progress) -> Result<check::Report> {
        let heard = progress.clone();
        let tell = move |done, total| {
            heard.tell(&Step { items: done, items_total: Some(total), ..Step::default() });
        };
        check::run(&self.subject(read_data), &tell).await
    }

    fn subject(&self, read_data: bool) -> check::Subject {
        check::Subject {
            catalog: self.catalog.clone(),
            blobs: self.blobs.clone(),
            state: self.state.clone(),
            tenant: self.tenant.id,
            tenant_name: self.tenant_name.to_string(),
            now: self.clock.now(),
            read_data,
        }
    }
}
