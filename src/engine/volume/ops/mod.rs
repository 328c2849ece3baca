//! What a mount is asked, one file a family: the methods of [`Volume`](super::Volume).

pub mod close;
pub mod copy;
pub mod getattr;
pub mod io;
pub mod open;
pub mod readdir;
pub mod rename;
pub mod setattr;
pub mod tmpfile;
pub mod tree;
pub mod upkeep;
pub mod xattr;
