//! Links over a real listener and a real store: SQLite and a local directory.

mod greedy;
mod health;
mod hostile;
mod limits;
mod pages;
mod ranges;
mod redirect;
mod server;
mod status;
mod takeover;
