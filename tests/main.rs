//! All integration tests, in one binary.

// A test that unwraps fails where it should; clippy's own exception covers only `#[test]` functions.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod contract;
mod support;
