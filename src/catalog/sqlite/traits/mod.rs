//! What the catalog offers, trait by trait: which transaction runs where, and how durable it is. The SQL is in the files above.

mod artifacts;
mod blobs;
mod changes;
mod links;
mod sessions;
mod tree;
mod upkeep;
