//! How a file is opened.

/// `open(2)` flags, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct OpenMode {
    pub write: bool,
    /// Read and write: only such a descriptor can be mapped shared and writable.
    pub read: bool,
    pub truncate: bool,
    pub append: bool,
    pub exclusive: bool,
}

impl OpenMode {
    #[must_use]
    pub fn from_flags(flags: i32) -> Self {
        let access = flags & libc::O_ACCMODE;
        Self {
            write: access != libc::O_RDONLY,
            read: access != libc::O_WRONLY,
            truncate: flags & libc::O_TRUNC != 0,
            append: flags & libc::O_APPEND != 0,
            exclusive: flags & libc::O_EXCL != 0,
        }
    }
}
