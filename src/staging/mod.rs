//! Durable local staging: where bytes live between `open` and the store.
//!
//! ```text
//! STATE_DIR/                      0700
//!   catalog.db                    the SQLite catalog (unless another is configured)
//!   blobs/                        the local blob store (unless --store names another)
//!   cache/                        verified copies of remote blobs, evicted by size
//!   mounts/<ulid>/                one directory per living mount or command that stages bytes
//!     lock                        flock(2)ed exclusively while its owner lives
//!     mount.json                  pid, mount point, session: for `status` and `umount`
//!     journal                     append-only: what each staging file is, for recovery
//!     staging/<ino>-<n>           the bytes
//! ```
//! A mount directory whose lock can be taken has no living owner: whoever takes it recovers it (see
//! `engine::recover`) and removes it.

pub mod file;
pub mod flock;
pub mod follow;
pub mod hash;
pub mod journal;
pub mod own_mount;
pub mod state_dir;
pub mod sweep_lock;
