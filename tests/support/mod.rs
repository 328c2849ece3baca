//! What tests on real mounts share: a sandbox, a mount in it, shells, waiting with a deadline.
#![allow(dead_code, unused_imports, reason = "each helper is for whichever tests need it")]

pub mod blobs;
pub mod disk;
pub mod failures;
pub mod mount;
pub mod postgres;
pub mod proxy;
pub mod s3;
pub mod sandbox;
pub mod sh;
pub mod wait;

pub use mount::{CtlError, MountOptions, TestMount};
pub use sandbox::{S3Env, Sandbox, Store, s3_env};
pub use sh::{bash, python, sh, sha256_of, sha256_of_all, try_sh};
pub use wait::{wait_until, with_deadline};

#[cfg(test)]
mod selftest;
