//! Bytes with their hashes.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use outputfs::artifact::ids::BlobHash;
use outputfs::artifact::record::{CHUNK, Chunks};
use outputfs::blob::{BlobKey, Body};
use rand::{RngCore, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};

/// Some bytes as a committer knows them.
#[derive(Clone)]
pub struct Blob {
    pub bytes: Bytes,
    pub hash: BlobHash,
    pub chunks: Chunks,
}

impl Blob {
    pub fn of(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let hash = BlobHash(Sha256::digest(&bytes).into());
        let chunk = usize::try_from(CHUNK).unwrap();
        let chunks = if bytes.len() > chunk {
            Chunks(bytes.chunks(chunk).map(|c| *blake3::hash(c).as_bytes()).collect())
        } else {
            Chunks::default()
        };
        Self { bytes, hash, chunks }
    }

    /// Incompressible bytes, the same for the same `seed`.
    pub fn random(size: usize, seed: u64) -> Self {
        let mut bytes = vec![0; size];
        StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
        Self::of(bytes)
    }

    pub fn key(&self) -> BlobKey {
        BlobKey::blob("default", self.hash)
    }

    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub fn body(&self) -> Body {
        Body::Bytes { bytes: self.bytes.clone(), hash: self.hash }
    }

    /// Written to a file in `dir`; returned with what was promised of it.
    pub fn file(&self, dir: &Path) -> (PathBuf, Body) {
        let path = dir.join(self.hash.to_hex());
        File::create(&path).unwrap().write_all(&self.bytes).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        let body =
            Body::File { file, path: path.clone(), size: self.size(), hash: self.hash, chunks: self.chunks.clone() };
        (path, body)
    }
}
