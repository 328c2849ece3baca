//! Extended attributes: which name means what (DESIGN §4).

use super::error::{Error, Kind, Result};
use super::metadata::check_key;

/// What an attribute's name asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attr {
    /// `user.<key>`.
    Metadata(String),
    /// `user.artifact.agent_id` and the like: read and written.
    Label(Label),
    /// `user.artifact.id` and the like: read only.
    Fact(Fact),
    /// `user.artifact`: all of it as one JSON object.
    Whole,
    /// `security.*`, `system.*`, `trusted.*` and what else is not ours: nobody has any.
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    AgentId,
    Ttl,
    ContentType,
    IdempotencyKey,
}

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

impl Attr {
    /// For reading.
    ///
    /// # Errors
    /// `NoSuchAttribute` for a name that no file can carry.
    pub fn parse(name: &[u8]) -> Result<Self> {
        let none = || Error::new(Kind::NoSuchAttribute, "no such attribute");
        let Some(rest) = name.strip_prefix(b"user.") else { return Ok(Self::Foreign) };
        let rest = std::str::from_utf8(rest).map_err(|_| none())?;
        let Some(special) = rest.strip_prefix("artifact.") else {
            return Ok(if rest == "artifact" { Self::Whole } else { Self::Metadata(rest.to_owned()) });
        };
        Ok(match special {
            "agent_id" => Self::Label(Label::AgentId),
            "ttl" => Self::Label(Label::Ttl),
            "content_type" => Self::Label(Label::ContentType),
            "idempotency_key" => Self::Label(Label::IdempotencyKey),
            "id" => Self::Fact(Fact::Id),
            "sha256" => Self::Fact(Fact::Sha256),
            "version" => Self::Fact(Fact::Version),
            "session" => Self::Fact(Fact::Session),
            "created_at" => Self::Fact(Fact::CreatedAt),
            "expires_at" => Self::Fact(Fact::ExpiresAt),
            "state" => Self::Fact(Fact::State),
            _ => return Err(none()),
        })
    }

    /// For writing and removing.
    ///
    /// # Errors
    /// `Invalid` for a bad key, `Reserved` for facts, `Unsupported` for namespaces that we do not keep.
    pub fn parse_for_write(name: &[u8]) -> Result<Self> {
        let attr = Self::parse(name).map_err(|_| {
            Error::invalid("writable are user.<key> and user.artifact.{agent_id,ttl,content_type,idempotency_key}")
        })?;
        match &attr {
            Self::Metadata(key) => check_key(key)?,
            Self::Label(_) => {}
            Self::Fact(_) | Self::Whole => {
                return Err(Error::new(Kind::Reserved, "this attribute is a fact and cannot be set"));
            }
            Self::Foreign => {
                return Err(Error::new(Kind::Unsupported, "only attributes that start with 'user.' are kept"));
            }
        }
        Ok(attr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_the_contract_says() {
        assert_eq!(Attr::parse(b"user.stage").unwrap(), Attr::Metadata("stage".into()));
        assert_eq!(Attr::parse(b"user.artifact").unwrap(), Attr::Whole);
        assert_eq!(Attr::parse(b"user.artifact.id").unwrap(), Attr::Fact(Fact::Id));
        assert_eq!(Attr::parse(b"user.artifact.nope").unwrap_err().kind, Kind::NoSuchAttribute);
        assert_eq!(Attr::parse(b"security.capability").unwrap(), Attr::Foreign);
        assert_eq!(Attr::parse_for_write(b"user.artifact.id").unwrap_err().kind, Kind::Reserved);
        assert_eq!(Attr::parse_for_write(b"user.1x").unwrap_err().kind, Kind::Invalid);
        assert_eq!(Attr::parse_for_write(b"user.artifact.nope").unwrap_err().kind, Kind::Invalid);
        assert_eq!(Attr::parse_for_write(b"system.posix_acl_access").unwrap_err().kind, Kind::Unsupported);
        assert!(Attr::parse_for_write(b"user.artifact.ttl").is_ok());
    }
}
