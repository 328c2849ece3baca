//! Use cases: the only place that holds locks and awaits. One file per operation family.
//!
//! [`store::Store`] is what every door shares (CLI, HTTP, mount): catalog, blobs, cache, clock.
//! What only a mount has comes on top of it: open files, staging, names that are not committed yet.

pub mod adopt;
mod behind;
pub mod browse;
pub(crate) mod claims;
pub mod clock;
pub mod failpoints;
pub mod folder;
pub mod gc;
pub mod heard;
pub mod ingest;
pub mod keys;
pub(crate) mod limits;
pub mod links;
pub mod open;
pub mod options;
mod parts;
mod place;
mod prepare;
pub mod progress;
pub mod publish;
pub mod pull;
pub mod push;
pub mod query;
pub mod read;
pub mod ready;
pub mod receive;
pub mod recover;
pub mod remove;
pub mod scratch;
pub mod seal;
pub mod sessions;
pub mod settle;
pub(crate) mod stale_mount;
pub mod standing;
pub mod status;
pub mod steps;
pub mod store;
pub mod store_state;
pub mod supervise;
pub(crate) mod telling;
pub(crate) mod transit;
pub mod turns;
pub(crate) mod upload;
pub mod uploads;
pub mod verify;
pub mod volume;
pub mod watch;
