//! The one error type of the domain, mapped once to errno (CONTRACT §9), HTTP status and exit code.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in terms of the domain. The sentence in `message` is shown to people as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub kind: Kind,
    /// One sentence: what was wrong and, where it helps, what would be right.
    pub message: String,
}

/// The cases that callers tell apart. Exhaustive on purpose: a new case must choose its errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing is known of it.
    NotFound,
    /// It was there and was deleted, or replaced.
    Deleted,
    /// It was there and has expired.
    Expired,
    /// The name is taken, or an idempotency key was used for other content.
    Exists,
    NotADirectory,
    IsADirectory,
    NotEmpty,
    /// The session is sealed.
    Sealed,
    /// A reserved name, or a file in the tenant's root.
    Reserved,
    /// The caller may not do this.
    Forbidden,
    /// A bad name, key, value, TTL or command.
    Invalid,
    NameTooLong,
    MetadataTooLarge,
    FileTooLarge,
    OverQuota,
    /// Across sessions.
    CrossSession,
    TooManyLinks,
    NoSuchAttribute,
    /// A position past the end (`lseek`).
    NoSuchAddress,
    /// The attribute exists already (`XATTR_CREATE`).
    AttributeExists,
    NoSpace,
    /// The disk of the state directory takes no changes any more.
    ReadOnly,
    /// The store could not be reached in time: a network fault. Bytes are kept.
    StoreUnavailable,
    /// Bytes do not match their hash. Never served.
    Corrupt,
    /// A deadline passed.
    TimedOut,
    /// Someone else holds it (a lock, a mount).
    Busy,
    Unsupported,
    /// Nothing can be mounted here: no device, or no permission.
    NoMount,
    BadHandle,
    /// What was asked by number is gone; its name may lead to something else by now.
    Stale,
    /// Anything of the local machine: disk, catalog, a bug.
    Internal,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// The sentence every door says of a sealed session (CONTRACT §6).
    pub fn sealed(session: &str) -> Self {
        Self::new(Kind::Sealed, format!("Session '{session}' is sealed. No new artifacts can be added."))
    }

    /// A failed system call on `path`: no I/O error travels without the path it is about.
    pub fn io(path: impl AsRef<std::path::Path>, source: &std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let kind = match source.kind() {
            K::NotFound => Kind::NotFound,
            K::AlreadyExists => Kind::Exists,
            K::PermissionDenied => Kind::Forbidden,
            K::StorageFull | K::QuotaExceeded => Kind::NoSpace,
            K::FileTooLarge => Kind::FileTooLarge,
            K::NotADirectory => Kind::NotADirectory,
            K::IsADirectory => Kind::IsADirectory,
            K::DirectoryNotEmpty => Kind::NotEmpty,
            K::ReadOnlyFilesystem => Kind::ReadOnly,
            K::TimedOut => Kind::TimedOut,
            K::InvalidInput => Kind::Invalid,
            _ => Kind::Internal,
        };
        Self::new(kind, format!("{}: {source}", path.as_ref().display()))
    }

    /// The errno that a program on the mount sees (CONTRACT §9).
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self.kind {
            Kind::NotFound | Kind::Deleted | Kind::Expired => libc::ENOENT,
            Kind::Exists | Kind::AttributeExists => libc::EEXIST,
            Kind::NotADirectory => libc::ENOTDIR,
            Kind::IsADirectory => libc::EISDIR,
            Kind::NotEmpty => libc::ENOTEMPTY,
            Kind::Sealed | Kind::ReadOnly => libc::EROFS,
            Kind::Reserved => libc::EPERM,
            Kind::Forbidden => libc::EACCES,
            Kind::Invalid => libc::EINVAL,
            Kind::NameTooLong => libc::ENAMETOOLONG,
            Kind::MetadataTooLarge => libc::E2BIG,
            Kind::FileTooLarge => libc::EFBIG,
            Kind::OverQuota => libc::EDQUOT,
            Kind::CrossSession => libc::EXDEV,
            Kind::TooManyLinks => libc::EMLINK,
            Kind::NoSuchAttribute => libc::ENODATA,
            Kind::NoSuchAddress => libc::ENXIO,
            Kind::NoSpace => libc::ENOSPC,
            Kind::Busy => libc::EBUSY,
            Kind::Unsupported | Kind::NoMount => libc::EOPNOTSUPP,
            Kind::BadHandle => libc::EBADF,
            Kind::Stale => libc::ESTALE,
            // A timed-out store is EIO to programs too: few know ETIMEDOUT from a close().
            Kind::StoreUnavailable | Kind::Corrupt | Kind::TimedOut | Kind::Internal => libc::EIO,
        }
    }

    /// Exit code of a command: 1 the user's mistake, 2 our or the server's failure, 3 network.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::StoreUnavailable | Kind::TimedOut => 3,
            Kind::Corrupt | Kind::Internal | Kind::NoSpace | Kind::ReadOnly => 2,
            _ => 1,
        }
    }

    /// HTTP status (RFC 9110) of the REST API and of link pages.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self.kind {
            Kind::NotFound | Kind::NoSuchAttribute | Kind::Stale => 404,
            Kind::Deleted | Kind::Expired => 410,
            Kind::Exists | Kind::AttributeExists | Kind::Sealed | Kind::NotEmpty | Kind::Busy => 409,
            Kind::Forbidden | Kind::Reserved | Kind::OverQuota => 403,
            Kind::FileTooLarge | Kind::MetadataTooLarge => 413,
            Kind::Invalid
            | Kind::NameTooLong
            | Kind::NotADirectory
            | Kind::IsADirectory
            | Kind::CrossSession
            | Kind::TooManyLinks
            | Kind::Unsupported
            | Kind::NoMount
            | Kind::NoSuchAddress
            | Kind::BadHandle => 400,
            Kind::StoreUnavailable | Kind::TimedOut | Kind::ReadOnly => 503,
            Kind::NoSpace => 507,
            Kind::Corrupt | Kind::Internal => 500,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
