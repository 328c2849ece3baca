//! What every implementation of a trait must pass.

mod catalog;
