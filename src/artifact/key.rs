//! API keys: what a program shows at the door, and what it may do there.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{Error, Result};
use super::ids::{BlobHash, TenantId};
use super::link::letters;
use super::step::AttemptId;
use super::time::Timestamp;

const PREFIX: &str = "ak_live_";
/// Characters that name the key in lists; they are no secret.
const PUBLIC: usize = 8;
/// Public and secret characters: the 24 secret ones are 142 random bits.
const ALL: usize = 32;

/// A key: `ak_live_` and 32 letters and digits. Shown once, to whoever made it; never stored, and neither logged nor printed
/// by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySecret(String);

impl KeySecret {
    /// Random bytes of which [`KeySecret::from_random`] makes a key for certain, in practice.
    pub const RANDOM_BYTES: usize = 64;

    /// # Errors
    /// `Internal` when too few of `random` are usable.
    pub fn from_random(random: &[u8]) -> Result<Self> {
        let text: String = letters(random).take(ALL).collect();
        if text.len() == ALL {
            Ok(Self(format!("{PREFIX}{text}")))
        } else {
            Err(Error::internal("not enough random bytes for a key"))
        }
    }

    /// The whole key, to be shown to the one who asked for it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// `key_` and the public characters.
    #[must_use]
    pub fn id(&self) -> String {
        format!("key_{}", &self.0[PREFIX.len()..PREFIX.len() + PUBLIC])
    }

    #[must_use]
    pub fn last4(&self) -> &str {
        &self.0[self.0.len() - 4..]
    }

    /// What the catalog keeps: SHA-256 of the whole text.
    #[must_use]
    pub fn hash(&self) -> BlobHash {
        BlobHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySecret({}…)", self.id())
    }
}

impl FromStr for KeySecret {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let rest = s.strip_prefix(PREFIX).filter(|r| r.len() == ALL && r.bytes().all(|b| b.is_ascii_alphanumeric()));
        // The text may be a key with a slip of the pen: it is not repeated.
        rest.map(|_| Self(s.to_owned()))
            .ok_or_else(|| Error::invalid("not a key: it is 'ak_live_' and 32 letters and digits"))
    }
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    Read,
    /// Store, delete, seal, and make links, which are public.
    Write,
    /// Everything.
    Admin,
}

impl Scope {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Write => "write",
            Scope::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        match s {
            "read" => Ok(Scope::Read),
            "write" => Ok(Scope::Write),
            "admin" => Ok(Scope::Admin),
            _ => Err(Error::invalid(format!("'{s}' is not a scope: there are read, write and admin"))),
        }
    }
}

/// Requests a second in the long run, and at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub sustained: u32,
    pub burst: u32,
}

/// What is stored in its name belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOf {
    pub run: String,
    pub attempt: Option<AttemptId>,
}

/// A key as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// `key_` and eight characters.
    pub id: String,
    pub tenant: TenantId,
    /// What people call it.
    pub name: String,
    pub hash: BlobHash,
    /// The end of the key, by which people tell theirs from others.
    pub last4: String,
    pub scopes: Vec<Scope>,
    /// None: the server's.
    pub rate: Option<Rate>,
    pub created: Timestamp,
    pub revoked: Option<Timestamp>,
    /// To within some seconds.
    pub last_used: Option<Timestamp>,
    /// The run that it was made for, from the key that `name` is the ID of: it opens what that opens, for as long as both last.
    pub of: Option<RunOf>,
}

impl ApiKey {
    /// Whether it may do what needs `scope`.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_shows_its_id_and_its_end_alone() {
        let bytes: Vec<u8> = (0..=255).collect();
        let key = KeySecret::from_random(&bytes).unwrap();
        assert_eq!(key.reveal(), "ak_live_0123456789ABCDEFGHIJKLMNOPQRSTUV");
        assert_eq!((key.id().as_str(), key.last4()), ("key_01234567", "STUV"));
        assert_eq!(format!("{key:?}"), "KeySecret(key_01234567…)");
        assert_eq!(key.reveal().parse::<KeySecret>().unwrap(), key);
        for bad in
            ["", "ak_live_", "ak_test_0123456789ABCDEFGHIJKLMNOPQRSTUV", "ak_live_0123456789ABCDEFGHIJKLMNOPQRSTU-"]
        {
            assert!(bad.parse::<KeySecret>().is_err(), "{bad}");
        }
    }

    #[test]
    fn admin_may_everything_and_the_others_what_they_say() {
        let key = |scopes: &[Scope]| ApiKey {
            id: String::new(),
            tenant: TenantId(1),
            name: String::new(),
            hash: BlobHash([0; 32]),
            last4: String::new(),
            scopes: scopes.to_vec(),
            rate: None,
            created: Timestamp(0),
            revoked: None,
            last_used: None,
            of: None,
        };
        assert!(key(&[Scope::Admin]).may(Scope::Read) && key(&[Scope::Admin]).may(Scope::Write));
        assert!(key(&[Scope::Read]).may(Scope::Read) && !key(&[Scope::Read]).may(Scope::Write));
        assert!(!key(&[Scope::Write]).may(Scope::Admin) && !key(&[]).may(Scope::Read));
    }
}
