//! outputfs: a folder that is an artifact store.
//!
//! # Layers
//! ```text
//! artifact, metrics  ←  staging, blob, catalog  ←  upload, check, preview  ←  engine  ←  fuse, http, cli  ←  daemon
//! ```
//! Arrows point from user to used, right to left; a test reads the `use crate::` lines and fails on a wrong one.
//! - [`artifact`] is pure: values and rules.
//! - [`metrics`] are the instruments that every layer above counts with.
//! - [`staging`], [`blob`], [`catalog`] are where bytes and records live.
//! - [`preview`] shows what files look like, each in a confined process of its own.
//! - [`engine`] holds the use cases: the only place that holds locks and awaits.
//! - `fuse`, `http` and `cli` translate between a protocol and the engine, and decide nothing.
//! - `daemon` puts the parts together.

pub mod artifact;
pub mod blob;
pub mod catalog;
pub mod check;
pub mod cli;
pub mod daemon;
pub mod engine;
pub mod fuse;
pub mod http;
pub mod mcp;
pub mod metrics;
pub mod preview;
pub mod staging;
