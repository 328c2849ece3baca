//! Bytes made durable for a commit that goes into one transaction with others.

use std::sync::Arc;

use bytes::Bytes;

use crate::artifact::Result;
use crate::artifact::content_type::by_bytes;
use crate::catalog::Commit;
use crate::engine::ingest::{CommitMeta, Source, Where, head};
use crate::engine::store::{Store, blocking};
use crate::staging::file::StagingFile;
use crate::staging::hash::{hash_bytes, hash_file};

impl Store {
    /// The bytes of a file that nobody writes, as a source of [`Store::prepare`].
    ///
    /// # Errors
    /// Of the disk.
    pub(crate) async fn source_of(
        &self,
        path: std::path::PathBuf,
        file: Arc<std::fs::File>,
        size: u64,
    ) -> Result<Source> {
        let inline = size <= self.options.inline_max;
        let staging = StagingFile { name: String::new(), path, file };
        blocking(move || {
            if inline {
                let bytes = Bytes::from(staging.read_at(0, usize::try_from(size).unwrap_or(0))?);
                let digest = hash_bytes(&bytes);
                return Ok(Source::Bytes(bytes, digest));
            }
            let digest = hash_file(&staging.file, &staging.path, size)?;
            Ok(Source::File { staging, digest })
        })
        .await
    }

    /// Puts the bytes where no staging file is needed any more (the row itself or the store), and answers the record to
    /// commit. After `BlobGone` the caller comes again with `may_be_known: false`.
    ///
    /// # Errors
    /// As [`Store::ingest`], but for those of the transaction.
    pub(crate) async fn prepare(&self, source: &Source, meta: CommitMeta, may_be_known: bool) -> Result<Commit> {
        let digest = source.digest().clone();
        let begun = self.catalog.deletions().await?;
        let place = if digest.size <= self.options.inline_max { Where::AsSet } else { Where::Store };
        Ok(Commit {
            tenant: self.tenant.id,
            session: meta.session,
            ino: meta.ino,
            birth: meta.birth,
            id: meta.id,
            collapse: meta.collapse,
            kept: self.blobs.is_local(),
            hash: digest.hash,
            size: digest.size,
            chunks: digest.chunks,
            midstate: digest.midstate.map(|m| m.0),
            bytes: self.payload(source, place, may_be_known).await?,
            begun,
            bytes_type: Some(by_bytes(&head(source).await?).to_owned()),
            labels: meta.labels,
            attempt: self.attempt(),
            durable: true,
            mtime: meta.mtime,
            stat: meta.stat,
            now: self.clock.now(),
        })
    }

    /// Rows may hold bytes that are to move to the store.
    pub(crate) fn settle_soon(&self) {
        self.inner.wake.notify_one();
    }
}
