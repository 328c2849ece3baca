//! outputfs: a folder that is an artifact store.
//!
//! What it promises is in `src/CONTRACT.md`, paragraph by paragraph, with the place of each rule in the code.
//!
//! # Layers
//! ```text
//! artifact, metrics  ←  staging, blob, catalog  ←  check, preview  ←  engine  ←  fuse, http, mcp, cli  ←  daemon
//! ```
//! Arrows point from user to used, right to left; modules of one row do not use one another. `tests/arrows` reads the sources and fails
//! on a wrong arrow.
//! - [`artifact`] is pure: values and rules.
//! - [`metrics`] are the instruments that every layer above counts with.
//! - [`staging`], [`blob`], [`catalog`] are where bytes and records live.
//! - [`check`] is the scrub, [`preview`] shows what files look like, each in a confined process of its own.
//! - [`engine`] holds the use cases: the only place that holds locks and awaits. `engine/volume` is what only a mount has.
//! - `fuse`, `http`, `mcp` and `cli` translate between a protocol and the engine, and decide nothing.
//! - `daemon` puts the parts together.
//!
//! # Lock order
//! Whoever holds one of these takes only those after it:
//! 1. An inode's save lock ([`Saving`](engine::volume::inode::Saving)), asynchronous and the only one that is held across an upload: it is one
//!    inode's own. Nobody holds two of them.
//! 2. The volume's table of open inodes, or the overlay of names that are not committed yet. Never both.
//! 3. An inode's state.
//! 4. The leaves: handles, caches, the store's `Inner`. No two of them at once.
//!
//! All but the first are short and never held across an await. (`Inner::settling`, asynchronous, lets one round of the settler run at a time; it
//! comes before all others.)
//!
//! # Invariants
//! - Bytes before record: a committed record's bytes are durable somewhere, and the record says where.
//! - What is hashed is what is sent: a source that changed in between fails with `Corrupt`, commits nothing, and is looked at again.
//! - `close()` is answered with success only when nothing unsaved is left that is to be kept, or its error was told.
//! - Seal, quota, idempotency and expiry are decided in the transaction that writes. A look before it only spares bytes.
//! - A blob that lives in a staging file is never a target of deduplication, and is stored before a writer changes that file.
//! - A staging file goes only when the store or the cache has its bytes, or nobody is to have them; the journal says so afterwards.
//! - What an inode is to the catalog is one [`Identity`](engine::volume::inode::Identity); only draft and cataloged ones are saved.
//! - Bytes enter the store by `engine/upload.rs` alone: in turn, with a deadline, their outcome noted.
//!
//! # Four flows
//! - **create** (`engine/volume/ops/open.rs`): is the parent scratch, or the name ignored → scratch makes it. Else a staging file, a record in the
//!   journal, an open inode that is a draft, its name in the overlay; then the mode of I/O, and a handle.
//! - **write** (`engine/volume/ops/io.rs`): handle → may it grow → `begin_write` counts the write, and makes an appended file whole that is written
//!   below its end → the staging file. With passthrough the kernel writes there itself, and the file's stamp tells of it.
//! - **flush** (`engine/volume/ops/close.rs`, `save/mod.rs`): the save lock → is anything unsaved (`artifact/openfile.rs`) → a snapshot: bytes in memory,
//!   a hash, the appended end, or a known copy → `Store::ingest`: is the blob known, else `engine/upload.rs` → `catalog.commit`.
//! - **after the commit** (`saved` in `save/mod.rs`): the draft becomes cataloged, what was saved is remembered with its stamp, the overlay lets the name
//!   go, the kernel's cached content is forgotten, the journal says committed. After the last release `part` gives the staging file to the
//!   settler or to the cache, or removes it; the settler moves what is committed on local disk into the store.

pub mod artifact;
pub mod blob;
pub mod catalog;
pub mod check;
pub mod cli;
pub mod daemon;
pub mod engine;
pub mod fuse;
pub mod http;
pub mod mcp;
pub mod metrics;
pub mod preview;
pub mod staging;
