//! Extended attributes: which name means what (CONTRACT §4), and the errno of those that mean nothing.

use super::aside::Aside;
use super::error::{Error, Kind, Result};
use super::metadata::{Metadata, check_content_type, check_label};
use super::record::Artifact;
use super::time::Timestamp;

const USER: &str = "user.";
/// Everything under it is read by name and never listed, so that copying tools do not try to copy an ID.
const ARTIFACT: &str = "artifact";

/// What an attribute stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attr {
    /// `user.<name>`, the name without `user.`: metadata where name and value fit its rules (on a directory a default), else carried
    /// aside ([`super::aside`]).
    User(Vec<u8>),
    /// `user.artifact`: the whole record as one JSON object.
    Record,
    AgentId,
    Ttl,
    ContentType,
    IdempotencyKey,
    Fact(Fact),
}

/// The ones that can only be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    Id,
    Sha256,
    Version,
    Session,
    CreatedAt,
    ExpiresAt,
    State,
}

impl Fact {
    /// Its text for a committed artifact; `None` where it has none (no expiry). (While a file has unsaved bytes its
    /// state is `writing`: the caller knows.)
    #[must_use]
    pub fn of(self, artifact: &Artifact) -> Option<String> {
        match self {
            Fact::Id => Some(artifact.id.to_string()),
            Fact::Sha256 => Some(artifact.hash.to_hex()),
            Fact::Version => Some(artifact.version.to_string()),
            Fact::Session => artifact.session_name.as_ref().map(ToString::to_string),
            Fact::CreatedAt => Some(artifact.created.to_rfc3339()),
            Fact::ExpiresAt => artifact.expires.map(Timestamp::to_rfc3339),
            Fact::State => Some(artifact.store.as_str().to_owned()),
        }
    }
}

impl Attr {
    /// What `getxattr` asks for.
    ///
    /// # Errors
    /// `NoSuchAttribute` for names that cannot exist, `Unsupported` outside `user.`.
    pub fn for_read(name: &[u8]) -> Result<Self> {
        let missing = || Error::new(Kind::NoSuchAttribute, format!("no attribute '{}'", String::from_utf8_lossy(name)));
        match Self::parse(name)? {
            Some(attr) => Ok(attr),
            None => Err(missing()),
        }
    }

    /// What `setxattr` and `removexattr` are to change.
    ///
    /// # Errors
    /// `Invalid` for a bad key, `Reserved` for what can only be read, `Unsupported` outside `user.`.
    pub fn for_write(name: &[u8]) -> Result<Self> {
        let shown = || String::from_utf8_lossy(name);
        match Self::parse(name)? {
            Some(Attr::User(name)) if name.is_empty() => Err(Error::invalid("'user.' alone is no attribute's name")),
            Some(Attr::Record | Attr::Fact(_)) => {
                Err(Error::new(Kind::Reserved, format!("attribute '{}' can only be read", shown())))
            }
            Some(attr) => Ok(attr),
            None => Err(Error::invalid(format!(
                "'{}' is no attribute that can be set: below user.artifact there are agent_id, ttl, content_type and idempotency_key",
                shown()
            ))),
        }
    }

    /// The limits of a value that is to be set.
    ///
    /// # Errors
    /// `E2BIG`, `EINVAL`.
    pub fn check(&self, value: &str) -> Result<()> {
        match self {
            Attr::AgentId => check_label("agent_id", value),
            Attr::IdempotencyKey => check_label("idempotency key", value),
            Attr::ContentType => check_content_type(value),
            Attr::User(_) | Attr::Ttl | Attr::Fact(_) | Attr::Record => Ok(()),
        }
    }

    /// `None`: below `user.artifact.`, but nothing we know.
    fn parse(name: &[u8]) -> Result<Option<Self>> {
        let Some(rest) = name.strip_prefix(USER.as_bytes()) else {
            // What cp, tar and ls ask every file system for; they take this answer as "there are none here".
            let text = format!("attribute '{}' is not kept: only 'user.' ones are", String::from_utf8_lossy(name));
            return Err(Error::new(Kind::Unsupported, text));
        };
        let theirs = || Ok(Some(Attr::User(rest.to_vec())));
        let Some(below) = rest.strip_prefix(ARTIFACT.as_bytes()) else { return theirs() };
        let below = match below.first() {
            None => "",
            // Of ours none has other bytes than those of text.
            Some(b'.') => std::str::from_utf8(below).unwrap_or("."),
            Some(_) => return theirs(),
        };
        Ok(match below {
            "" => Some(Attr::Record),
            ".agent_id" => Some(Attr::AgentId),
            ".ttl" => Some(Attr::Ttl),
            ".content_type" => Some(Attr::ContentType),
            ".idempotency_key" => Some(Attr::IdempotencyKey),
            ".id" => Some(Attr::Fact(Fact::Id)),
            ".sha256" => Some(Attr::Fact(Fact::Sha256)),
            ".version" => Some(Attr::Fact(Fact::Version)),
            ".session" => Some(Attr::Fact(Fact::Session)),
            ".created_at" => Some(Attr::Fact(Fact::CreatedAt)),
            ".expires_at" => Some(Attr::Fact(Fact::ExpiresAt)),
            ".state" => Some(Attr::Fact(Fact::State)),
            _ => None,
        })
    }
}

/// The answer of `listxattr`: the names of the metadata and of what is carried aside, each ended by NUL, in their order.
#[must_use]
pub fn list(metadata: &Metadata, aside: &Aside) -> Vec<u8> {
    let mut names: Vec<&[u8]> = metadata.0.keys().map(String::as_bytes).chain(aside.names()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().flat_map(|name| [USER.as_bytes(), name, b"\0"].concat()).collect()
}

/// The value of `user.<name>`.
#[must_use]
pub fn value<'a>(metadata: &'a Metadata, aside: &'a Aside, name: &[u8]) -> Option<&'a [u8]> {
    let key = std::str::from_utf8(name).ok();
    key.and_then(|key| metadata.get(key)).map(str::as_bytes).or_else(|| aside.get(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_something() {
        let meta = |k: &str| Attr::User(k.as_bytes().to_vec());
        for (name, attr) in [
            ("user.stage", meta("stage")),
            ("user.artifacts", meta("artifacts")),
            ("user.artifact_x", meta("artifact_x")),
            ("user.xdg.origin.url", meta("xdg.origin.url")),
            ("user.1", meta("1")),
            ("user.artifact.agent_id", Attr::AgentId),
            ("user.artifact.ttl", Attr::Ttl),
            ("user.artifact.content_type", Attr::ContentType),
            ("user.artifact.idempotency_key", Attr::IdempotencyKey),
        ] {
            assert_eq!(Attr::for_read(name.as_bytes()).unwrap(), attr, "{name}");
            assert_eq!(Attr::for_write(name.as_bytes()).unwrap(), attr, "{name}");
        }
        for (name, fact) in [
            ("id", Fact::Id),
            ("sha256", Fact::Sha256),
            ("version", Fact::Version),
            ("session", Fact::Session),
            ("created_at", Fact::CreatedAt),
            ("expires_at", Fact::ExpiresAt),
            ("state", Fact::State),
        ] {
            let name = format!("user.artifact.{name}");
            assert_eq!(Attr::for_read(name.as_bytes()).unwrap(), Attr::Fact(fact));
            let err = Attr::for_write(name.as_bytes()).unwrap_err();
            assert_eq!((err.kind, err.errno()), (Kind::Reserved, libc::EPERM), "{name}");
        }
        assert_eq!(Attr::for_read(b"user.artifact").unwrap(), Attr::Record);
        assert_eq!(Attr::for_write(b"user.artifact").unwrap_err().errno(), libc::EPERM);
    }

    #[test]
    fn names_that_mean_nothing() {
        for name in [&b"user.artifact."[..], b"user.artifact.x", b"user.artifact.id.x", b"user.artifact.\xff"] {
            let shown = String::from_utf8_lossy(name);
            assert_eq!(Attr::for_read(name).unwrap_err().errno(), libc::ENODATA, "{shown}");
            assert_eq!(Attr::for_write(name).unwrap_err().errno(), libc::EINVAL, "{shown}");
        }
        assert_eq!(Attr::for_write(b"user.").unwrap_err().errno(), libc::EINVAL);
        for name in [&b"system.posix_acl_access"[..], b"security.capability", b"trusted.x", b"user", b"", b"other.x"] {
            assert_eq!(Attr::for_read(name).unwrap_err().errno(), libc::EOPNOTSUPP);
            assert_eq!(Attr::for_write(name).unwrap_err().errno(), libc::EOPNOTSUPP);
        }
    }

    #[test]
    fn what_a_file_carries_is_listed_and_nothing_of_ours() {
        let (mut m, mut aside) = (Metadata::default(), Aside::default());
        assert!(list(&m, &aside).is_empty());
        m.set("stage", b"final").unwrap();
        m.set("model", b"m1").unwrap();
        crate::artifact::aside::put(&mut m, &mut aside, b"n\xff", b"\0").unwrap();
        assert_eq!(list(&m, &aside), b"user.model\0user.n\xff\0user.stage\0");
        assert_eq!(value(&m, &aside, b"n\xff"), Some(&b"\0"[..]));
        assert_eq!((value(&m, &aside, b"stage"), value(&m, &aside, b"x")), (Some(&b"final"[..]), None));
    }
}
