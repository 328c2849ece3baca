//! What every implementation of a trait must pass.

mod blob;
mod catalog;
