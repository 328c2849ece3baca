//! The integration tests, in one binary: linked once, run by `scripts/test` with a real S3 server.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod arrows;
mod cli;
mod contract;
mod fuzz;
mod history;
mod http;
mod mcp;
mod mount;
mod pages;
mod programs;
mod rest;
mod store;
mod support;
