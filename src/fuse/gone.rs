//! Inodes that the kernel asks about by number and that are gone.

use crate::artifact::ids::Ino;
use crate::artifact::{Error, Kind, Result};
use crate::engine::volume::Volume;

/// The outcome of what was asked of an inode, not of a name. One that is gone is `ESTALE`: the kernel then looks the name up again
/// (path_lookup's `LOOKUP_REVAL`), so that a file that is being replaced by rename(2) is always there, the old one or the new.
pub async fn of_inode<T>(v: &Volume, ino: Ino, done: Result<T>) -> Result<T> {
    let Err(Error { kind: Kind::NotFound, message }) = done else { return done };
    let nameless = match v.getattr(ino).await {
        Ok(attr) => attr.nlink == 0,
        Err(e) => e.kind == Kind::NotFound,
    };
    Err(Error::new(if nameless { Kind::Stale } else { Kind::NotFound }, message))
}

/// The future of a call about an inode, with [`of_inode`]'s outcome.
macro_rules! asked_of_inode {
    ($v:ident, $ino:ident, $call:expr) => {
        async move { $crate::fuse::gone::of_inode(&$v, $ino, $call.await).await }
    };
}
pub(super) use asked_of_inode;
