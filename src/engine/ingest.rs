//! Bytes → committed: the one way into the store, whatever door they come through.

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::artifact::content_type::{HEAD, by_bytes};
use crate::artifact::ids::{ArtifactId, BlobHash, Ino, SessionId};
use crate::artifact::name::display_bytes;
use crate::artifact::record::{BlobPlace, Labels, StoreState};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Kind, Result};
use crate::blob::Body;
use crate::catalog::{Birth, Commit, CommitError, Committed, FileStat, Outcome, Payload};
use crate::engine::failpoints::hit;
use crate::engine::options::Durability;
use crate::engine::store::{Store, blocking};
use crate::engine::upload::IN_MEMORY_MAX;
use crate::metrics;
use crate::metrics::moved;
use crate::staging::file::StagingFile;
use crate::staging::hash::{Digest, hash_bytes};

/// A commit that finds its blob gone stores the bytes and comes again. A garbage collector that deletes the same
/// blob five times in a row between two statements is a bug, not bad luck.
const ROUNDS: u32 = 5;

/// Up to this size a file's bytes are in memory after they were hashed.
const AT_ONCE: u64 = 128 << 10;

/// Bytes a second that a disk writes at least.
const SLOWEST_DISK: u64 = 4 << 20;

/// Bytes with their digest.
#[derive(Clone, Debug)]
pub enum Source {
    /// In memory; `Digest` is of these very bytes.
    Bytes(Bytes, Digest),
    /// A file in the staging directory of this store's mount. If it no longer matches `digest`, `ingest` fails with
    /// `Corrupt` and nothing is committed (the writer was faster: hash again, or a copy). Bytes that become provisional are not read
    /// again: the caller compares the file's stamp before hashing and after `ingest`.
    File { staging: StagingFile, digest: Digest },
    /// A blob of this tenant that is in the (remote) store, and what follows it; `digest` is of both. Where the store cannot put
    /// them together `ingest` fails with `Unsupported`: the caller comes again with all of the bytes.
    Grown { base: BlobHash, base_size: u64, tail: Bytes, digest: Digest },
}

impl Source {
    #[must_use]
    pub fn digest(&self) -> &Digest {
        match self {
            Source::Bytes(_, digest) | Source::File { digest, .. } | Source::Grown { digest, .. } => digest,
        }
    }
}

/// Where bytes may be made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// Where the settings allow.
    AsSet,
    /// In the store alone.
    Store,
}

/// Everything about a commit that is not its bytes.
#[derive(Clone, Debug)]
pub struct CommitMeta {
    pub session: SessionId,
    /// The file's inode: reserved and new with `birth`, else in the catalog.
    pub ino: Ino,
    pub birth: Option<Birth>,
    /// The ID to give if a new artifact comes of it: [`Store::new_artifact_id`].
    pub id: ArtifactId,
    /// See [`crate::catalog::Commit::collapse`].
    pub collapse: Option<ArtifactId>,
    /// The file's own name: the type is guessed from it and the first bytes.
    pub name: Vec<u8>,
    pub labels: Labels,
    pub mtime: Timestamp,
    pub stat: FileStat,
    /// See [`crate::catalog::Commit::durable`].
    pub durable: bool,
    /// What hashing took: for the log line.
    pub hashing: Duration,
}

/// A committed artifact, and where its bytes went.
#[derive(Clone, Debug)]
pub struct Ingested {
    pub committed: Committed,
    /// The blob was there already: nothing was uploaded or copied.
    pub dedup: bool,
    /// The catalog may say that the bytes live in the staging file (provisional): it must stay, unchanged up to
    /// `digest.size`, until the settler has taken it or `Catalog::forget_provisional` agreed.
    pub holds_staging: bool,
}

impl Store {
    /// Stores the bytes, then commits the record: one artifact, durable when this returns (unless `meta` does not ask for that).
    ///
    /// # Errors
    /// `Sealed`, `OverQuota`, `FileTooLarge`, `Exists` (idempotency key) from the transaction; `StoreUnavailable` when the store
    /// failed until `upload_timeout`; `Corrupt` when the source no longer matches its digest.
    pub async fn ingest(&self, source: Source, meta: CommitMeta) -> Result<Ingested> {
        self.ingest_at(source, meta, Where::AsSet).await
    }

    /// The same; recovery wants the bytes in the store, since the staging directory is going away.
    pub(crate) async fn ingest_at(&self, source: Source, meta: CommitMeta, place: Where) -> Result<Ingested> {
        let digest = source.digest().clone();
        let bytes_type = match &source {
            // It begins as the version before did.
            Source::Grown { .. } => None,
            _ => Some(by_bytes(&head(&source).await?).to_owned()),
        };
        if !self.stores_at_home() {
            // What follows waits for the network: it goes on where the connections are, in the runtime, whichever thread asked.
            tokio::task::yield_now().await;
        }
        let mut uploading = Duration::ZERO;
        let mut recording = Duration::ZERO;
        for round in 0..ROUNDS {
            let started = Instant::now();
            let begun = self.catalog.deletions().await?;
            // Not after the first round: the transaction has just said that the blob is gone.
            let beside = self.beside(&source, place, round == 0).await?;
            let bytes = match &beside {
                Some(bytes) => Payload::Inline(bytes.clone()),
                None => self.payload(&source, place, round == 0).await?,
            };
            uploading += started.elapsed();
            let dedup = matches!(bytes, Payload::Known);
            let holds_staging = matches!(bytes, Payload::Provisional { .. });
            let unsettled = beside.is_none() && matches!(bytes, Payload::Provisional { .. } | Payload::Inline(_));
            let commit = Commit {
                tenant: self.tenant.id,
                session: meta.session,
                ino: meta.ino,
                birth: meta.birth.clone(),
                id: meta.id,
                collapse: meta.collapse,
                hash: digest.hash,
                size: digest.size,
                chunks: digest.chunks.clone(),
                midstate: digest.midstate.clone().map(|m| m.0),
                bytes,
                begun,
                bytes_type: bytes_type.clone(),
                labels: meta.labels.clone(),
                attempt: self.attempt(),
                durable: meta.durable,
                mtime: meta.mtime,
                stat: meta.stat,
                kept: self.blobs.is_local(),
                now: self.clock.now(),
            };
            hit("ingest::before_commit")?;
            let started = Instant::now();
            let record = async {
                let answer = self.catalog.commit(self.origin, commit).await;
                (answer, started.elapsed())
            };
            // The record first: its transaction runs on another thread while this one signs the request.
            let travelling = beside.as_ref().map(|_| Travelling::start(self, digest.hash));
            let ((answer, took), put) = match travelling {
                Some(travelling) => tokio::join!(record, self.put_beside(&source, travelling)),
                None => (record.await, Ok(Duration::ZERO)),
            };
            recording += took;
            match answer {
                Ok(mut committed) => {
                    hit("ingest::after_commit")?;
                    if !meta.durable && !committed.freed.is_empty() {
                        // A power failure may not bring back the version whose bytes go now.
                        self.catalog.sync().await?;
                    }
                    uploading += put?;
                    if beside.is_some() && self.arrived(digest.hash).await {
                        committed.artifact.store = StoreState::Stored;
                    }
                    log_commit(&committed, dedup, [meta.hashing, uploading, recording]);
                    if unsettled && beside.is_none() {
                        self.inner.wake.notify_one();
                    }
                    return Ok(Ingested { committed, dedup, holds_staging });
                }
                Err(CommitError::BlobGone) => Box::pin(self.deletion_over(digest.hash)).await?,
                Err(CommitError::Failed(e)) => return Err(e),
            }
        }
        Err(Error::internal(format!("blob {} vanished {ROUNDS} times before it could be recorded", digest.hash)))
    }

    /// Small bytes that ride in the catalog row while they travel to a remote store, so that record and upload together take
    /// the time of the slower one. At a crash between the two the row has them, and the settler uploads them.
    async fn beside(&self, source: &Source, place: Where, may_be_known: bool) -> Result<Option<Bytes>> {
        match source {
            Source::Bytes(bytes, digest)
                if matches!(place, Where::AsSet)
                    && !self.stores_at_home()
                    && digest.size <= self.options.inline_max
                    && !(may_be_known && self.holds_blob(digest).await?) =>
            {
                Ok(Some(bytes.clone()))
            }
            _ => Ok(None),
        }
    }

    /// Uploads what is being committed; answers the time it took. If it fails, the bytes stay in the row, pending, and the
    /// settler goes on trying.
    async fn put_beside(&self, source: &Source, travelling: Travelling<'_>) -> Result<Duration> {
        let started = Instant::now();
        let done = self.put_source(source).await;
        if done.is_ok() {
            travelling.arrived();
        } else {
            self.inner.wake.notify_one();
        }
        done.map(|()| started.elapsed())
    }

    /// Tells the catalog that the store has a small blob, so that its state is right when `close()` returns.
    async fn arrived(&self, hash: BlobHash) -> bool {
        match self.catalog.settled(self.tenant.id, hash).await {
            Ok(()) => {
                self.inner.beside.lock().remove(&hash);
                true
            }
            Err(e) => {
                // The bytes are where they belong; the settler says so later.
                tracing::warn!(blob = %hash, error = %e, "a stored blob counts as pending for now");
                self.inner.wake.notify_one();
                false
            }
        }
    }

    /// The bytes of a source made durable, or found to be so.
    pub(crate) async fn payload(&self, source: &Source, place: Where, may_be_known: bool) -> Result<Payload> {
        if may_be_known && self.holds_blob(source.digest()).await? {
            return Ok(Payload::Known);
        }
        match place {
            Where::AsSet => self.place_bytes(source).await,
            Where::Store => self.put_source(source).await.map(|()| Payload::Stored),
        }
    }

    /// True when the tenant has the blob where any artifact may use it. A provisional one may still change.
    async fn holds_blob(&self, digest: &Digest) -> Result<bool> {
        let blob = self.catalog.blob(self.tenant.id, digest.hash).await?;
        Ok(blob.is_some_and(|b| match b.place {
            BlobPlace::Stored => true,
            // In a row of the catalog: enough for `--durability local`, else still on its way to the store.
            BlobPlace::Inline(_) => self.stores_at_home(),
            BlobPlace::Provisional { .. } => false,
        }))
    }

    /// True when bytes are committed from local disk and move to the store later. A store on this host is as
    /// durable as the catalog beside it, and no faster.
    pub(crate) fn stores_at_home(&self) -> bool {
        self.blobs.is_local() || self.options.durability != Durability::Store
    }

    /// Makes the bytes durable: in the row, in staging or in the store, whatever the settings allow.
    async fn place_bytes(&self, source: &Source) -> Result<Payload> {
        let size = source.digest().size;
        let at_home = self.stores_at_home();
        if at_home && size <= self.options.inline_max {
            return self.in_memory(source).await.map(Payload::Inline);
        }
        match source {
            Source::File { staging, .. } if at_home => {
                let file = staging.name.clone();
                sync_staging(staging.clone()).await?;
                Ok(Payload::Provisional { file })
            }
            _ => self.put_source(source).await.map(|()| Payload::Stored),
        }
    }

    /// The blob into the store: see [`Store::upload`].
    async fn put_source(&self, source: &Source) -> Result<()> {
        let digest = source.digest();
        let body = async {
            let body = match source {
                Source::File { staging, digest } if digest.size > IN_MEMORY_MAX => Body::File {
                    file: staging.file.clone(),
                    path: staging.path.clone(),
                    size: digest.size,
                    hash: digest.hash,
                    chunks: digest.chunks.clone(),
                },
                Source::Grown { base, base_size, tail, digest, .. } => Body::Grown {
                    base: self.blob_key(*base),
                    base_size: *base_size,
                    tail: tail.clone(),
                    hash: digest.hash,
                    chunks: digest.chunks.clone(),
                },
                _ => Body::Bytes { bytes: self.in_memory(source).await?, hash: digest.hash },
            };
            hit("ingest::before_put")?;
            Ok(body)
        };
        self.upload(&self.blob_key(digest.hash), digest.size, body).await?;
        hit("ingest::after_put")
    }

    /// The source's bytes in one buffer, proven against the digest in that very buffer.
    async fn in_memory(&self, source: &Source) -> Result<Bytes> {
        match source {
            Source::Bytes(bytes, _) => Ok(bytes.clone()),
            Source::Grown { .. } => Err(Error::new(Kind::Unsupported, "only the end of these bytes is at hand")),
            Source::File { staging, digest } => {
                let (staging, digest) = (staging.clone(), digest.clone());
                blocking(move || {
                    let len = usize::try_from(digest.size).map_err(|_| Error::internal("a file beyond memory"))?;
                    let bytes = staging.read_at(0, len)?;
                    if hash_bytes(&bytes).hash != digest.hash {
                        let text = format!("{}: changed while it was being stored", staging.path.display());
                        return Err(Error::new(Kind::Corrupt, text));
                    }
                    Ok(Bytes::from(bytes))
                })
                .await
            }
        }
    }
}

/// A blob on its way to the store beside its commit: the settler leaves it alone until it has arrived, and takes it up when it has
/// not and nobody sends it any more.
struct Travelling<'a> {
    store: &'a Store,
    hash: BlobHash,
}

impl<'a> Travelling<'a> {
    fn start(store: &'a Store, hash: BlobHash) -> Self {
        store.inner.beside.lock().insert(hash, false);
        Self { store, hash }
    }

    fn arrived(self) {
        self.store.inner.beside.lock().insert(self.hash, true);
    }
}

impl Drop for Travelling<'_> {
    fn drop(&mut self) {
        let mut beside = self.store.inner.beside.lock();
        if beside.get(&self.hash) == Some(&false) {
            beside.remove(&self.hash);
        }
    }
}

/// The first bytes, for guessing the type.
pub(super) async fn head(source: &Source) -> Result<Vec<u8>> {
    match source {
        Source::Bytes(bytes, _) => Ok(bytes[..bytes.len().min(HEAD)].to_vec()),
        // Its beginning is elsewhere.
        Source::Grown { .. } => Ok(Vec::new()),
        Source::File { staging, digest } => {
            let (staging, size) = (staging.clone(), digest.size);
            let read = move || {
                let mut head = vec![0; HEAD.min(usize::try_from(size).unwrap_or(HEAD))];
                let got = staging.file.read_at(&mut head, 0).map_err(|e| Error::io(&staging.path, &e))?;
                head.truncate(got);
                Ok(head)
            };
            // Of a small file all was read just now.
            if size <= AT_ONCE { read() } else { blocking(read).await }
        }
    }
}

/// The file and its name are on stable storage after this.
async fn sync_staging(staging: StagingFile) -> Result<()> {
    blocking(move || {
        // One call, which tells of no progress.
        moved::expect(Duration::from_secs(staging.stamp()?.size / SLOWEST_DISK));
        staging.sync()?;
        let Some(dir) = staging.path.parent() else { return Ok(()) };
        std::fs::File::open(dir).and_then(|d| d.sync_all()).map_err(|e| Error::io(dir, &e))
    })
    .await
}

fn log_commit(committed: &Committed, dedup: bool, [hashing, uploading, recording]: [Duration; 3]) {
    let a = &committed.artifact;
    let outcome = match committed.outcome {
        Outcome::New => "new",
        Outcome::Same => "same",
        Outcome::Updated => "updated",
        Outcome::Collapsed => "collapsed",
        Outcome::Idempotent => "idempotent",
    };
    metrics::get().committed(
        outcome,
        a.size,
        dedup || matches!(committed.outcome, Outcome::Same | Outcome::Updated | Outcome::Idempotent),
    );
    metrics::get().record_seconds.observe(recording.as_secs_f64());
    let millis = |d: Duration| d.as_secs_f64() * 1000.0;
    tracing::info!(
        artifact = %a.id,
        session = a.session_name.as_ref().map(tracing::field::display),
        path = %display_bytes(&a.filename),
        bytes = a.size,
        dedup,
        outcome,
        hash_ms = millis(hashing),
        upload_ms = millis(uploading),
        catalog_ms = millis(recording),
        "commit"
    );
}
