//! Extended attributes: which name means what (DESIGN §4), and the errno of those that mean nothing.

use super::error::{Error, Kind, Result};
use super::metadata::{Metadata, check_key};
use super::record::Artifact;
use super::time::Timestamp;

const USER: &str = "user.";
/// Everything under it is read by name and never listed, so that copying tools do not try to copy an ID.
const ARTIFACT: &str = "artifact";

/// What an attribute stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attr {
    /// `user.<key>`: metadata; on a directory a default.
    Meta(String),
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
            Some(Attr::Meta(key)) if check_key(&key).is_err() => Err(missing()),
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
            Some(Attr::Meta(key)) => check_key(&key).map(|()| Attr::Meta(key)),
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

    /// `None`: inside `user.`, but nothing we know. Keys of metadata are not checked yet.
    fn parse(name: &[u8]) -> Result<Option<Self>> {
        let Some(rest) = name.strip_prefix(USER.as_bytes()) else {
            // What cp, tar and ls ask every file system for; they take this answer as "there are none here".
            let text = format!("attribute '{}' is not kept: only 'user.' ones are", String::from_utf8_lossy(name));
            return Err(Error::new(Kind::Unsupported, text));
        };
        let Ok(key) = std::str::from_utf8(rest) else { return Ok(None) };
        let Some(below) = key.strip_prefix(ARTIFACT) else { return Ok(Some(Attr::Meta(key.to_owned()))) };
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
            other if other.starts_with('.') => None,
            _ => Some(Attr::Meta(key.to_owned())),
        })
    }
}

/// The answer of `listxattr`: the names of the metadata, each ended by NUL, in key order.
#[must_use]
pub fn list(metadata: &Metadata) -> Vec<u8> {
    let mut out = Vec::new();
    for key in metadata.0.keys() {
        out.extend_from_slice(USER.as_bytes());
        out.extend_from_slice(key.as_bytes());
        out.push(0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_something() {
        let meta = |k: &str| Attr::Meta(k.to_owned());
        for (name, attr) in [
            ("user.stage", meta("stage")),
            ("user.artifacts", meta("artifacts")),
            ("user.artifact_x", meta("artifact_x")),
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
        for name in [
            &b"user."[..],
            b"user.a.b",
            b"user.1",
            b"user.artifact.",
            b"user.artifact.x",
            b"user.artifact.id.x",
            b"user.\xff",
        ] {
            let shown = String::from_utf8_lossy(name);
            assert_eq!(Attr::for_read(name).unwrap_err().errno(), libc::ENODATA, "{shown}");
            assert_eq!(Attr::for_write(name).unwrap_err().errno(), libc::EINVAL, "{shown}");
        }
        for name in [&b"system.posix_acl_access"[..], b"security.capability", b"trusted.x", b"user", b"", b"other.x"] {
            assert_eq!(Attr::for_read(name).unwrap_err().errno(), libc::EOPNOTSUPP);
            assert_eq!(Attr::for_write(name).unwrap_err().errno(), libc::EOPNOTSUPP);
        }
    }

    #[test]
    fn only_metadata_is_listed() {
        let mut m = Metadata::default();
        assert!(list(&m).is_empty());
        m.set("stage", b"final").unwrap();
        m.set("model", b"m1").unwrap();
        assert_eq!(list(&m), b"user.model\0user.stage\0");
    }
}
