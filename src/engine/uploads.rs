//! Uploads that clients carry out themselves: announced, put somewhere aside, read again and only then committed.
//!
//! Bytes lie under `TENANT/uploads/art_…` of a remote store, or in `uploads/` of the state directory. Nobody can read them there,
//! and what their hash is only our own reading says. An upload that is not completed in time is swept.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio_util::io::StreamReader;
use ulid::Ulid;

use crate::artifact::ids::ArtifactId;
use crate::artifact::name::SessionName;
use crate::artifact::record::{Artifact, Labels};
use crate::artifact::{Error, Kind, Result};
use crate::blob::BlobKey;
use crate::catalog::records::Upload;
use crate::catalog::{Committed, Outcome};
use crate::engine::receive::{Received, checked_path};
use crate::engine::store::{Store, blocking};

/// How long an upload may take from its announcement to its completion.
pub const UPLOAD_TTL: Duration = Duration::from_hours(1);

/// One piece of a remote upload while it is read again.
const PIECE: u64 = 8 << 20;

/// Stale uploads looked at in one transaction.
const SWEEP_PAGE: u32 = 100;

/// What a client announces.
#[derive(Clone, Debug)]
pub struct Announcement {
    pub session: Option<SessionName>,
    pub filename: Vec<u8>,
    /// Bytes, exactly.
    pub size: u64,
    pub labels: Labels,
}

/// Where the client shall put its bytes.
#[derive(Clone, Debug)]
pub enum Destination {
    /// By a PUT to this URL of the store.
    Store(String),
    /// To us.
    Here,
}

impl Store {
    /// Takes an announcement down. The same idempotency key gives the same upload while it lasts.
    ///
    /// # Errors
    /// `Sealed`, `OverQuota`, `FileTooLarge`: what would fail at the end anyway; `Exists` for a key used for something else.
    pub async fn announce_upload(&self, what: Announcement) -> Result<(Upload, Destination)> {
        checked_path(&what.filename)?;
        what.labels.check()?;
        let now = self.clock.now();
        if let Some(key) = &what.labels.idempotency_key
            && let Some(known) = self.catalog.upload_by_key(self.tenant.id, key, now).await?
        {
            if (known.size, &known.filename, &known.session) != (what.size, &what.filename, &what.session) {
                return Err(Error::new(Kind::Exists, format!("idempotency key '{key}' was used for another upload")));
            }
            let to = self.destination(&known).await?;
            return Ok((known, to));
        }
        if let Some(name) = &what.session
            && let Some(session) = self.catalog.session(self.tenant.id, name).await?
            && session.sealed.is_some()
        {
            return Err(Error::sealed(name.as_str()));
        }
        self.check_size(what.size).await?;
        let nanos = i64::try_from(UPLOAD_TTL.as_nanos()).unwrap_or(i64::MAX);
        let upload = Upload {
            id: self.new_artifact_id(),
            tenant: self.tenant.id,
            session: what.session,
            filename: what.filename,
            size: what.size,
            labels: what.labels,
            created: now,
            expires: crate::artifact::time::Timestamp(now.0.saturating_add(nanos)),
            artifact: None,
        };
        self.catalog.add_upload(upload.clone()).await?;
        let to = self.destination(&upload).await?;
        Ok((upload, to))
    }

    /// What the commit would say of a file of so many bytes. (Whether there is room for it is decided where it is reserved.)
    async fn check_size(&self, size: u64) -> Result<()> {
        let tenant = self.catalog.tenant(&self.tenant_name, self.clock.now()).await?;
        if tenant.max_file_bytes.is_some_and(|max| size > max) {
            return Err(Error::new(Kind::FileTooLarge, format!("a file of {size} bytes is over the tenant's limit")));
        }
        Ok(())
    }

    async fn destination(&self, upload: &Upload) -> Result<Destination> {
        let url = self.blobs.presign_put(&self.upload_key(upload.id), UPLOAD_TTL, upload.size).await?;
        Ok(url.map_or(Destination::Here, Destination::Store))
    }

    fn upload_key(&self, id: ArtifactId) -> BlobKey {
        BlobKey::upload(self.tenant_name.as_str(), &id.to_string())
    }

    fn upload_path(&self, id: ArtifactId) -> PathBuf {
        self.state.root().join("uploads").join(id.to_string())
    }

    /// An upload that is still awaited.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn awaited_upload(&self, id: &str) -> Result<Upload> {
        let unknown = || Error::not_found("There is no such upload: it may have expired.");
        let id: ArtifactId = id.parse().map_err(|_| unknown())?;
        let found = self.catalog.upload(self.tenant.id, id).await?;
        found.filter(|u| u.artifact.is_some() || u.expires > self.clock.now()).ok_or_else(unknown)
    }

    /// Takes the bytes of an upload to this host. Whole or not at all; a repetition replaces them.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when they are not as many as announced; what the reader says.
    pub async fn take_upload(&self, id: &str, reader: &mut (dyn AsyncRead + Send + Unpin)) -> Result<()> {
        let upload = self.awaited_upload(id).await?;
        if upload.artifact.is_some() {
            return Ok(());
        }
        let path = self.upload_path(upload.id);
        let part = Part(path.with_extension(format!("{}.new", Ulid::new())));
        write_whole(&part.0, reader, upload.size).await?;
        tokio::fs::rename(&part.0, &path).await.map_err(|e| Error::io(&path, &e))
    }

    /// Reads the bytes of an upload and makes them an artifact. Done again, it answers the same.
    ///
    /// # Errors
    /// `NotFound` for an unknown upload, `None` in its place when the bytes are not there or not as many as announced.
    pub async fn complete_upload(&self, id: &str) -> Result<Option<(Artifact, Outcome)>> {
        let upload = self.awaited_upload(id).await?;
        if let Some(artifact) = upload.artifact {
            return Ok(Some((self.artifact_by_id(artifact).await?, Outcome::Same)));
        }
        let Some(received) = self.uploaded(&upload).await? else { return Ok(None) };
        if received.size() != upload.size {
            return Ok(None);
        }
        let Committed { artifact, outcome, .. } =
            self.keep(received, upload.session.as_ref(), &upload.filename, &upload.labels, upload.id).await?;
        self.catalog.finish_upload(self.tenant.id, upload.id, artifact.id).await?;
        self.remove_uploaded(upload.id).await;
        Ok(Some((artifact, outcome)))
    }

    /// The bytes, staged and hashed; `None`: not there, or of another size.
    async fn uploaded(&self, upload: &Upload) -> Result<Option<Received>> {
        if self.blobs.is_local() {
            let path = self.upload_path(upload.id);
            return match tokio::fs::File::open(&path).await {
                Ok(mut file) => self.receive_as(&mut file, Some(upload.id)).await.map(Some),
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
                Err(e) => Err(Error::io(&path, &e)),
            };
        }
        let key = self.upload_key(upload.id);
        let size = self.blobs.head(&key).await;
        self.note_store(&size);
        if size? != Some(upload.size) {
            return Ok(None);
        }
        let pieces = futures::stream::try_unfold(0, |at| {
            let (key, end) = (&key, (at + PIECE).min(upload.size));
            async move {
                if at == end {
                    return Ok(None);
                }
                let piece: Bytes = self.blobs.get(key, Some(at..end)).await?;
                Ok::<_, Error>(Some((piece, end)))
            }
        });
        let mut failed = None;
        let pieces = pieces.map_err(|e| {
            failed = Some(e);
            std::io::Error::other("the store cannot be read")
        });
        let mut reader = StreamReader::new(Box::pin(pieces));
        let received = self.receive_as(&mut reader, Some(upload.id)).await;
        drop(reader);
        match (received, failed) {
            // Taken away meanwhile.
            (Err(_), Some(e)) if e.kind == Kind::NotFound => Ok(None),
            (Err(_), Some(e)) => Err(e),
            (received, _) => received.map(Some),
        }
    }

    async fn remove_uploaded(&self, id: ArtifactId) {
        let removed = if self.blobs.is_local() {
            let path = self.upload_path(id);
            match tokio::fs::remove_file(&path).await {
                Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io(&path, &e)),
                _ => Ok(()),
            }
        } else {
            self.blobs.delete(&self.upload_key(id)).await
        };
        if let Err(e) = removed {
            tracing::warn!(upload = %id, error = %e, "the bytes of an upload stay until they are swept");
        }
    }

    /// Removes uploads whose time is over, with their bytes. How many.
    ///
    /// # Errors
    /// Of the catalog or the store; the next time goes on.
    pub async fn sweep_uploads(&self) -> Result<u64> {
        let mut swept = 0;
        loop {
            let stale = self.catalog.stale_uploads(self.tenant.id, self.clock.now(), SWEEP_PAGE).await?;
            if stale.is_empty() {
                break;
            }
            for upload in stale {
                if !self.blobs.is_local() {
                    self.blobs.delete(&self.upload_key(upload.id)).await?;
                }
                self.remove_uploaded(upload.id).await;
                self.catalog.drop_upload(self.tenant.id, upload.id).await?;
                swept += 1;
            }
        }
        let dir = self.state.root().join("uploads");
        blocking(move || sweep_parts(&dir)).await?;
        Ok(swept)
    }
}

/// A file until it has its name: removed when it is dropped before, by an error or by a client that goes.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        match std::fs::remove_file(&self.0) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                tracing::warn!(file = %self.0.display(), error = %e, "a part of an upload stays until it is swept");
            }
            _ => {}
        }
    }
}

/// `size` bytes and no more, on stable storage.
async fn write_whole(path: &std::path::Path, reader: &mut (dyn AsyncRead + Send + Unpin), size: u64) -> Result<()> {
    if let Some(dir) = path.parent() {
        tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).await.map_err(|e| Error::io(dir, &e))?;
    }
    let mut file = tokio::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .await
        .map_err(|e| Error::io(path, &e))?;
    let mut buffer = vec![0; 1 << 20];
    let mut written = 0;
    loop {
        let got = reader.read(&mut buffer).await.map_err(|e| match e.kind() {
            ErrorKind::TimedOut => Error::new(Kind::TimedOut, e.to_string()),
            _ => Error::invalid(e.to_string()),
        })?;
        if got == 0 {
            break;
        }
        written += got as u64;
        if written > size {
            break;
        }
        file.write_all(&buffer[..got]).await.map_err(|e| Error::io(path, &e))?;
    }
    if written != size {
        return Err(Error::invalid(format!("The upload was announced with {size} bytes, and other ones came.")));
    }
    // Not `sync_all` alone: it waits for the last write and does not tell whether that failed.
    file.flush().await.map_err(|e| Error::io(path, &e))?;
    file.sync_all().await.map_err(|e| Error::io(path, &e))
}

/// Parts of uploads that broke off with their process.
fn sweep_parts(dir: &std::path::Path) -> Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io(dir, &e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(dir, &e))?;
        let old = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
        if entry.file_name().to_string_lossy().ends_with(".new") && old.is_some_and(|age| age > UPLOAD_TTL) {
            match std::fs::remove_file(entry.path()) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io(entry.path(), &e)),
                _ => {}
            }
        }
    }
    Ok(())
}
