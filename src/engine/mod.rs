//! Use cases: the only place that holds locks and awaits. One file per operation family.
//!
//! [`store::Store`] is what every door shares (CLI, HTTP, mount): catalog, blobs, cache, clock.
//! [`volume`] adds what only a mount has: open files, staging, names that are not committed yet.

pub mod clock;
pub mod store;
