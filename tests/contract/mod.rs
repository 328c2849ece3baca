//! What every implementation of a trait must pass.

mod blob;
mod blob_faults;
mod blob_reader;
mod catalog;
