//! Link tokens: what a download URL ends in, and how people name a link.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::error::{Error, Result};
use super::ids::BlobHash;

const PREFIX: &str = "lnk_";
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters that name the link in lists; they are no secret.
const PUBLIC: usize = 8;
/// Public and secret characters: the 20 secret ones are 119 random bits.
const ALL: usize = 28;
/// The largest multiple of 62 that a byte can be below: bytes from here on would favour the first letters.
const FAIR: u8 = 248;

/// Letters and digits, each as likely as any other if the bytes are random; some bytes give none.
pub(super) fn letters(random: &[u8]) -> impl Iterator<Item = char> {
    random.iter().filter(|&&b| b < FAIR).map(|&b| char::from(ALPHABET[usize::from(b) % 62]))
}

/// The secret of a link: `lnk_` + 8 public + 20 secret characters. Shown once, to whoever made it; never stored,
/// and neither logged nor printed by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkToken(String);

impl LinkToken {
    /// Random bytes of which [`LinkToken::from_random`] makes a token for certain, in practice (all but 1 in 10^40).
    pub const RANDOM_BYTES: usize = 64;

    /// Every token is equally likely if the bytes are random.
    ///
    /// # Errors
    /// `Internal` when too few of `random` are usable: give [`LinkToken::RANDOM_BYTES`].
    pub fn from_random(random: &[u8]) -> Result<Self> {
        let mut text = String::with_capacity(PREFIX.len() + ALL);
        text.push_str(PREFIX);
        text.extend(letters(random).take(ALL));
        if text.len() == PREFIX.len() + ALL {
            Ok(Self(text))
        } else {
            Err(Error::internal("not enough random bytes for a link token"))
        }
    }

    /// The whole token, to be shown to the one who asked for the link.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// `lnk_` and the public characters: the link's ID.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0[..PREFIX.len() + PUBLIC]
    }

    /// What the catalog keeps: SHA-256 of the whole text.
    #[must_use]
    pub fn hash(&self) -> BlobHash {
        BlobHash(Sha256::digest(self.0.as_bytes()).into())
    }

    /// The public URL, `base` without a trailing slash.
    #[must_use]
    pub fn url(&self, base: &str) -> String {
        format!("{base}/{}", self.0)
    }
}

impl fmt::Debug for LinkToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkToken({}…)", self.id())
    }
}

impl FromStr for LinkToken {
    type Err = Error;
    /// A token, or a URL one of whose segments is one.
    fn from_str(s: &str) -> Result<Self> {
        match s.parse()? {
            LinkRef::Token(token) => Ok(token),
            LinkRef::Id(_) => Err(Error::invalid("that is the ID of a link, not the link itself")),
        }
    }
}

/// How people name a link to revoke it: by its token, its URL or its ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkRef {
    Token(LinkToken),
    Id(String),
}

impl LinkRef {
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            LinkRef::Token(token) => token.id(),
            LinkRef::Id(id) => id,
        }
    }
}

impl FromStr for LinkRef {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        // The text may be a secret with a slip of the pen: it is not repeated.
        let bad =
            || Error::invalid("not a link: it is 'lnk_' and 8 or 28 letters and digits, or a URL with that in it");
        let path = s.trim().split(['?', '#']).next().unwrap_or_default();
        let word = path.split('/').find(|segment| segment.starts_with(PREFIX)).ok_or_else(bad)?;
        let rest = &word[PREFIX.len()..];
        if !rest.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(bad());
        }
        match rest.len() {
            PUBLIC => Ok(LinkRef::Id(word.to_owned())),
            ALL => Ok(LinkRef::Token(LinkToken(word.to_owned()))),
            _ => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "lnk_0123456789ABCDEFGHIJKLMNOPQR";

    #[test]
    fn bytes_become_letters_without_favour() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(LinkToken::from_random(&bytes).unwrap().reveal(), TEXT);
        // Bytes that would favour the first letters are passed over.
        let mut skewed = vec![248, 255];
        skewed.extend(0..28);
        assert_eq!(LinkToken::from_random(&skewed).unwrap().reveal(), TEXT);
        assert!(LinkToken::from_random(&[255; 64]).is_err());
        assert!(LinkToken::from_random(&[0; 27]).is_err());
        let mut counts = [0; 62];
        for b in 0..FAIR {
            counts[usize::from(b) % 62] += 1;
        }
        assert_eq!(counts, [4; 62]);
    }

    #[test]
    fn a_token_shows_its_id_alone() {
        let token: LinkToken = TEXT.parse().unwrap();
        assert_eq!(token.id(), "lnk_01234567");
        assert_eq!(format!("{token:?}"), "LinkToken(lnk_01234567…)");
        assert_eq!(token.hash().0, <[u8; 32]>::from(Sha256::digest(TEXT)));
        assert_eq!(token.url("https://x.test"), format!("https://x.test/{TEXT}"));
        let err = "lnk_0123456789secret!".parse::<LinkToken>().unwrap_err();
        assert!(!err.message.contains("secret"));
    }

    #[test]
    fn links_are_named_by_token_url_or_id() {
        for text in [
            TEXT,
            &format!(" {TEXT}\n"),
            &format!("https://x.test/{TEXT}"),
            &format!("https://x.test/a/{TEXT}/"),
            &format!("http://x.test:7780/{TEXT}/charts/q3.png?download=1#top"),
        ] {
            let link: LinkRef = text.parse().unwrap();
            assert_eq!(link, LinkRef::Token(TEXT.parse().unwrap()), "{text}");
            assert_eq!(link.id(), "lnk_01234567");
        }
        assert_eq!("lnk_01234567".parse::<LinkRef>().unwrap(), LinkRef::Id("lnk_01234567".into()));
        assert!("lnk_01234567".parse::<LinkToken>().is_err());
        for bad in ["", "lnk_", "art_01234567", "lnk_0123456", "lnk_0123456-", &format!("{TEXT}x"), "lnk_0123456é"] {
            assert!(bad.parse::<LinkRef>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_random_bytes_make_a_token_that_parses(bytes in proptest::collection::vec(any::<u8>(), 64)) {
            if let Ok(token) = LinkToken::from_random(&bytes) {
                prop_assert_eq!(token.reveal().parse::<LinkToken>().unwrap(), token);
            }
        }

        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            drop(text.parse::<LinkRef>());
        }
    }
}
