//! The pure domain: what an artifact store is, with no thread, file, clock, database or kernel in it.
//!
//! Everything here is a value or a function of values, so that all of it is tested without a mount.
//! `libc` is used for the numbers of errno alone.

pub mod amount;
pub mod aside;
pub mod audit;
pub mod charset;
pub mod content_type;
pub mod control;
pub mod environment;
pub mod error;
pub mod ids;
pub mod ignore;
pub mod key;
pub mod life;
pub mod link;
pub mod manifest;
pub mod metadata;
pub mod name;
pub mod openfile;
pub mod permission;
pub mod provenance;
pub mod query;
pub mod quota;
pub mod record;
pub mod relabel;
pub mod standing;
pub mod step;
pub mod time;
pub mod versions;
pub mod visible;
pub mod xattr;

pub use error::{Error, Kind, Result};
