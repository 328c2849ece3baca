//! Proving one blob, wherever its bytes are, past every cache.

use std::fs::File;

use super::Subject;
use crate::artifact::ids::BlobHash;
use crate::artifact::record::{Blob, BlobPlace, CHUNK};
use crate::artifact::{Error, Kind, Result};
use crate::blob::BlobKey;
use crate::staging::hash::{Digest, Hasher, hash_bytes, hash_file};

/// Reads the whole blob and compares SHA-256, size and chunk digests. Answers the bytes read.
///
/// # Errors
/// `Corrupt`, `NotFound`, `StoreUnavailable`.
pub async fn prove(subject: &Subject, blob: &Blob) -> Result<u64> {
    let found = match &blob.place {
        BlobPlace::Inline(bytes) => hash_bytes(bytes),
        BlobPlace::Provisional { mount, file } => {
            let path = subject.state.staging_path(*mount, file);
            let size = blob.size;
            let read = tokio::task::spawn_blocking(move || {
                let file = File::open(&path).map_err(|e| Error::io(&path, &e))?;
                hash_file(&file, &path, size)
            });
            match read.await.map_err(|e| Error::internal(format!("a task of the pool broke down: {e}")))? {
                Ok(digest) => digest,
                // Settled since the catalog was asked: then the store has it.
                Err(e) if e.kind == Kind::NotFound => read_stored(subject, blob).await?,
                Err(e) => return Err(e),
            }
        }
        BlobPlace::Stored => read_stored(subject, blob).await?,
    };
    if found.hash != blob.hash || found.size != blob.size || found.chunks != blob.chunks {
        let text = format!("its {} bytes do not match: they hash to {}", found.size, found.hash);
        return Err(Error::new(Kind::Corrupt, text));
    }
    Ok(found.size)
}

/// The same for a blob of which only the hash is known.
///
/// # Errors
/// As [`prove`]; `NotFound` when the catalog has no such blob.
pub async fn prove_by_hash(subject: &Subject, hash: BlobHash) -> Result<u64> {
    let blob = subject.catalog.blob(subject.tenant, hash).await?;
    let blob = blob.ok_or_else(|| Error::not_found(format!("the catalog does not know where blob {hash} is")))?;
    prove(subject, &blob).await
}

/// Asks only whether the bytes are there, in the right number.
///
/// # Errors
/// As [`prove`].
pub async fn exists(subject: &Subject, blob: &Blob) -> Result<()> {
    let size = match &blob.place {
        BlobPlace::Inline(bytes) => Some(bytes.len() as u64),
        BlobPlace::Provisional { mount, file } => {
            let path = subject.state.staging_path(*mount, file);
            // Longer is fine: what is committed is its beginning.
            let there = tokio::fs::metadata(&path).await.ok().map(|m| m.len().min(blob.size));
            match there {
                Some(size) => Some(size),
                None => subject.blobs.head(&key(subject, blob.hash)).await?,
            }
        }
        BlobPlace::Stored => subject.blobs.head(&key(subject, blob.hash)).await?,
    };
    match size {
        Some(size) if size == blob.size => Ok(()),
        Some(size) => Err(Error::new(Kind::Corrupt, format!("it has {size} bytes, not {}", blob.size))),
        None => Err(Error::not_found("its bytes are not in the store")),
    }
}

async fn read_stored(subject: &Subject, blob: &Blob) -> Result<Digest> {
    let key = key(subject, blob.hash);
    let mut hasher = Hasher::new();
    let mut at = 0;
    loop {
        let end = (at + CHUNK).min(blob.size);
        // Of an empty blob all, so that its existence is asked for.
        let range = (blob.size > 0).then_some(at..end);
        let bytes = subject.blobs.get(&key, range).await?;
        hasher.update(&bytes);
        at += bytes.len() as u64;
        if at >= blob.size || bytes.is_empty() {
            return Ok(hasher.finish());
        }
    }
}

fn key(subject: &Subject, hash: BlobHash) -> BlobKey {
    BlobKey::blob(&subject.tenant_name, hash)
}
