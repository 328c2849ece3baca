//! One suite for every implementation of a trait.

mod blob;
mod blob_faults;
mod blob_reader;
mod catalog;
