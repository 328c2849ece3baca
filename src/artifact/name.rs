//! Names: of sessions, of files, and the ones that outputfs keeps for itself.

use std::fmt;
use std::str::FromStr;

use super::error::{Error, Kind, Result};

/// Longest path inside a session in bytes, and its levels: `PATH_MAX` of Linux, and what every tool gets down.
pub const PATH_MAX: usize = 4096;
pub const DEPTH_MAX: usize = 255;

/// Longest name of one directory entry in bytes: `NAME_MAX` of Linux (limits.h).
pub const NAME_MAX: usize = 255;

/// Names that resolve in a session's root or the tenant's root but are never listed, after the `.zfs` custom.
/// No user file may take one.
pub const RESERVED: [&str; 6] = [".ctl", ".by-id", ".where", ".versions", ".trash", ".manifest.json"];

/// A session's name: `^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionName(String);

impl SessionName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of the session that holds what was stored without one. Nobody can write it.
    #[must_use]
    pub fn loose() -> Self {
        Self(String::new())
    }

    #[must_use]
    pub fn is_loose(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for SessionName {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let mut bytes = s.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
        if first && s.len() <= 128 && bytes.all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            Ok(Self(s.to_owned()))
        } else {
            Err(Error::invalid(format!(
                "'{s}' is not a session name: it starts with a letter or digit and has at most 128 letters, digits, '.', '_' or '-'"
            )))
        }
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tenant's name: the same form as a session's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TenantName(String);

impl TenantName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantName {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        s.parse::<SessionName>()
            .map(|n| Self(n.0))
            .map_err(|_| Error::invalid(format!("'{s}' is not a tenant name: it starts with a letter or digit and has at most 128 letters, digits, '.', '_' or '-'")))
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of one directory entry: 1 to 255 bytes, any byte but `/` and NUL, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Vec<u8>);

impl Name {
    /// # Errors
    /// `ENAMETOOLONG` above 255 bytes, `EINVAL` for an impossible name.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > NAME_MAX {
            return Err(Error::new(Kind::NameTooLong, "a file name has at most 255 bytes"));
        }
        if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.iter().any(|&b| b == 0 || b == b'/') {
            return Err(Error::invalid(format!("'{}' is not a file name", display_bytes(bytes))));
        }
        Ok(Self(bytes.to_vec()))
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// True for the names that outputfs keeps for itself at the top of a session or a tenant.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        RESERVED.iter().any(|r| r.as_bytes() == self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&display_bytes(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", display_bytes(&self.0))
    }
}

/// Bytes as text for JSON and messages: UTF-8 as it is; of anything else, each byte that is not part of valid
/// UTF-8, and every `%`, percent-encoded, so that the text still names the file without doubt.
#[must_use]
pub fn display_bytes(bytes: &[u8]) -> String {
    use fmt::Write;
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        out.push_str(&chunk.valid().replace('%', "%25"));
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            write!(out, "%{byte:02X}").unwrap_or_default();
        }
    }
    out
}

/// Splits a path inside a session into names. Leading, trailing and doubled slashes and `.` are ignored.
///
/// # Errors
/// `EINVAL` for an empty path, `..` or an impossible name; `ENAMETOOLONG` above [`PATH_MAX`] bytes or [`DEPTH_MAX`] levels.
pub fn split_path(path: &[u8]) -> Result<Vec<Name>> {
    if path.len() > PATH_MAX {
        let text = format!("the path has {} bytes: at most {PATH_MAX} are possible", path.len());
        return Err(Error::new(Kind::NameTooLong, text));
    }
    let names = path
        .split(|&b| b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(Name::new)
        .collect::<Result<Vec<_>>>()?;
    if names.len() > DEPTH_MAX {
        let text = format!("the path has {} levels: at most {DEPTH_MAX} are possible", names.len());
        return Err(Error::new(Kind::NameTooLong, text));
    }
    if names.is_empty() {
        return Err(Error::invalid(format!("'{}' names no file inside the session", display_bytes(path))));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_names() {
        for good in ["a", "run_42", "0.x-y", &"a".repeat(128)] {
            assert!(good.parse::<SessionName>().is_ok(), "{good}");
        }
        for bad in ["", ".a", "_a", "-a", "a b", "a/b", "ä", "a\n", &"a".repeat(129)] {
            assert!(bad.parse::<SessionName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn file_names_take_any_byte_but_slash_and_nul() {
        assert!(Name::new(&[0xff, 0xfe, b'\n']).is_ok());
        assert!(Name::new(&[b'x'; 255]).is_ok());
        assert_eq!(Name::new(&[b'x'; 256]).unwrap_err().kind, Kind::NameTooLong);
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
            assert!(Name::new(bad).is_err());
        }
        assert_eq!(display_bytes(b"a%\xff"), "a%25%FF");
        assert_eq!(display_bytes("100 % ä".as_bytes()), "100 % ä");
    }

    #[test]
    fn paths_split_into_names() {
        let names: Vec<_> = split_path(b"/a//b/./c/").unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(split_path("a/".repeat(255).as_bytes()).unwrap().len(), 255);
        for long in ["a/".repeat(256), format!("{}/a", "b/".repeat(2048)), "c".repeat(4097)] {
            assert_eq!(split_path(long.as_bytes()).unwrap_err().kind, Kind::NameTooLong);
        }
        assert!(split_path(b"a/../b").is_err());
        assert!(split_path(b"/").is_err());
    }
}
