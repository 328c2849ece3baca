//! (to be written)
pub struct BlobCache {}
