//! One suite for every implementation of a trait.

mod blob;
mod catalog;
