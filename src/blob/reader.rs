//! Reading with proof: no byte leaves that does not match its hash.

use std::sync::Arc;

use bytes::Bytes;

use crate::artifact::Result;

/// Verified random access to one blob, wherever its bytes are. Cheap to clone; safe for many readers.
///
/// Verification: a blob up to one chunk is hashed whole (SHA-256) at its first read, a larger one chunk by chunk
/// (BLAKE3) as chunks are first touched; what has been verified in this process is not verified again. A mismatch is `Corrupt`, is
/// logged with artifact and key, and stays an error for that chunk.
#[derive(Clone)]
pub struct ContentReader(pub Arc<dyn ReadContent>);

/// Source of verified bytes.
#[async_trait::async_trait]
pub trait ReadContent: Send + Sync {
    fn size(&self) -> u64;
    /// Up to `len` bytes at `offset`, fewer only at the end. Remote blobs are fetched by chunk, with read-ahead when
    /// reads follow one another.
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes>;
    /// The whole blob as a local file (fetched into the cache first if need be), verified.
    async fn as_file(&self) -> Result<(Arc<std::fs::File>, std::path::PathBuf)>;
}
