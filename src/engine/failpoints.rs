//! Named points where tests crash or fail the engine (feature `failpoints`; nothing is left of them without it).
//!
//! # Catalogue
//! | name | between |
//! |---|---|
//! | `ingest::before_put` | the digest is known · the bytes go to the store |
//! | `ingest::after_put` | the bytes are in the store · nobody knows of them |
//! | `ingest::before_commit` | the bytes are durable · the record is not |
//! | `ingest::after_commit` | the record is durable · the caller does not know |
//! | `settle::before_adopt` | a blob is committed on local disk · moving it into the store |
//! | `settle::after_adopt` | it is in the store · the catalog still says local |
//! | `settle::after_mark` | the catalog says stored · the staging file is still there |
//! | `recover::after_take` | a dead owner's directory is locked · nothing is done |
//! | `recover::after_commit` | a leftover is committed or trashed · the journal does not say so |
//! | `recover::after_done` | the journal says done · the staging file is still there |
//! | `seal::before` | nothing is pending · the seal's transaction |
//! | `seal::after_commit` | the session is sealed · the manifest is not beside the blobs |
//! | `seal::after_manifest` | the manifest is there · the caller does not know |
//! | `steps::after_begin` | the attempt is on record · its command has not run |
//! | `steps::before_end` | all is stored · the attempt is not over |
//! | `steps::after_end` | the attempt is over and earlier files are in the trash · nobody knows |
//! | `gc::after_sweep` | artifacts have ended · their blobs are not condemned |
//! | `gc::after_condemn` | blobs are condemned · none is taken |
//! | `gc::after_take` | their deletion is on record · they are in the store |
//! | `gc::after_delete` | a blob has left the store · its row is there |
//! | `gc::after_forget` | the rows are gone · the sweep goes on |
//! | `changes::heard` | another process changed something · the kernel's caches do not know (`return(eio)`: they never will) |
//! | `list::after_catalog` | a directory's committed files are read · its uncommitted ones are not |
//! | `gc::after_claim` | an orphan's deletion is on record · it is in the store |
//!
//! `return` (or `return(kill)`) at a point kills the process there and then, as `kill -9` would; `return(eio)` fails
//! the operation with `StoreUnavailable`; the other actions of the `fail` crate (`sleep`, `pause`, …) work too.

use crate::artifact::Result;

/// Passes the point `name`.
///
/// # Errors
/// What a test asked for.
#[cfg(feature = "failpoints")]
pub(crate) fn hit(name: &'static str) -> Result<()> {
    use crate::artifact::{Error, Kind};
    fail::fail_point!(name, |action| {
        if action.as_deref() == Some("eio") {
            return Err(Error::new(Kind::StoreUnavailable, format!("failpoint {name}")));
        }
        // No destructor, no flush: what a crash leaves.
        let own = rustix::process::getpid();
        let _sent = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        std::process::abort();
    });
    Ok(())
}

/// Passes the point `name`.
#[cfg(not(feature = "failpoints"))]
#[inline]
#[allow(clippy::unnecessary_wraps, reason = "with the feature it can fail")]
pub(crate) fn hit(_name: &'static str) -> Result<()> {
    Ok(())
}
