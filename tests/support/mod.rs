//! What tests share: real servers and what stands between them and us.

pub mod blobs;
pub mod proxy;
pub mod s3;
