//! Metadata: what `user.<key>` attributes hold, their limits, and the order in which sources win.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::aside::Aside;
use super::error::{Error, Kind, Result};

/// Longest key in characters.
pub const KEY_MAX: usize = 64;
/// Longest value in bytes.
pub const VALUE_MAX: usize = 1024;
/// Keys and values together, in bytes, for one artifact.
pub const TOTAL_MAX: usize = 8192;

/// Key-value pairs in key order. Every instance that comes out of [`Metadata::set`] is within the limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metadata(pub BTreeMap<String, String>);

impl Metadata {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// # Errors
    /// `EINVAL` for a bad key or a value that is not UTF-8, `E2BIG` above a limit; then nothing changed.
    pub fn set(&mut self, key: &str, value: &[u8]) -> Result<()> {
        check_key(key)?;
        let value = std::str::from_utf8(value)
            .map_err(|_| Error::invalid(format!("the value of metadata key '{key}' is not UTF-8")))?;
        if value.len() > VALUE_MAX {
            return Err(Error::new(
                Kind::MetadataTooLarge,
                format!("the value of metadata key '{key}' has {} bytes: at most {VALUE_MAX}", value.len()),
            ));
        }
        let old = self.0.get(key).map_or(0, |v| key.len() + v.len());
        let total = self.size() - old + key.len() + value.len();
        if total > TOTAL_MAX {
            return Err(Error::new(
                Kind::MetadataTooLarge,
                format!("metadata would take {total} bytes: at most {TOTAL_MAX} in all"),
            ));
        }
        self.0.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.iter().map(|(k, v)| k.len() + v.len()).sum()
    }

    /// `self` over `below`: what is in both, `self` decides. Pairs of `below` that no longer fit within
    /// [`TOTAL_MAX`] are left out, so that a default never makes a file's own metadata fail.
    #[must_use]
    pub fn over(&self, below: &Metadata) -> Metadata {
        let mut out = self.clone();
        let mut size = out.size();
        for (k, v) in &below.0 {
            let more = k.len() + v.len();
            if !out.0.contains_key(k) && size + more <= TOTAL_MAX {
                out.0.insert(k.clone(), v.clone());
                size += more;
            }
        }
        out
    }
}

/// The limit of a label that is no metadata: agent, retry key.
///
/// # Errors
/// `E2BIG` when it is longer than a value of metadata may be.
pub fn check_label(name: &str, value: &str) -> Result<()> {
    if value.len() > VALUE_MAX {
        let text = format!("{name} has {} bytes: at most {VALUE_MAX}", value.len());
        return Err(Error::new(Kind::MetadataTooLarge, text));
    }
    Ok(())
}

/// A content type goes into headers and is compared by its parts.
///
/// # Errors
/// `E2BIG` as [`check_label`]; `EINVAL` when it is not of the form `class/kind`, in visible ASCII.
pub fn check_content_type(value: &str) -> Result<()> {
    check_label("content_type", value)?;
    let visible = value.bytes().all(|b| (0x20..0x7f).contains(&b));
    let typed = value.split_once('/').is_some_and(|(class, kind)| !class.trim().is_empty() && !kind.trim().is_empty());
    if visible && typed { Ok(()) } else { Err(Error::invalid("content_type must be of the form 'text/csv'")) }
}

/// # Errors
/// `EINVAL` unless `key` matches `^[a-zA-Z][a-zA-Z0-9._:-]{0,63}$`.
pub fn check_key(key: &str) -> Result<()> {
    let mut bytes = key.bytes();
    let ok = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && key.len() <= KEY_MAX
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b));
    if ok {
        Ok(())
    } else {
        Err(Error::invalid(format!(
            "'{key}' is not a metadata key: it starts with a letter and has at most {KEY_MAX} letters, digits, '.', '_', ':' or '-'"
        )))
    }
}

/// Defaults that a directory or session gives to what is created below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defaults {
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// As written: `7d`, `never`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// The directory's own attributes that are no metadata: nobody inherits them.
    #[serde(default, skip_serializing_if = "Aside::is_empty")]
    pub aside: Aside,
}

impl Defaults {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.metadata.is_empty() && self.agent_id.is_none() && self.ttl.is_none() && self.aside.is_empty()
    }

    /// `self` (nearer to the file) over `outer`.
    #[must_use]
    pub fn over(&self, outer: &Defaults) -> Defaults {
        Defaults {
            metadata: self.metadata.over(&outer.metadata),
            agent_id: self.agent_id.clone().or_else(|| outer.agent_id.clone()),
            ttl: self.ttl.clone().or_else(|| outer.ttl.clone()),
            aside: Aside::default(),
        }
    }
}

pub use super::provenance::Provenance;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_limits() {
        let mut m = Metadata::default();
        m.set("stage", b"final").unwrap();
        m.set("xdg.origin:url", b"").unwrap();
        m.0.remove("xdg.origin:url");
        for bad in ["", "1a", "-a", ".a", "a b", "a/b", "ä", &"a".repeat(65)] {
            assert_eq!(m.set(bad, b"x").unwrap_err().kind, Kind::Invalid, "{bad}");
        }
        assert_eq!(m.set("k", &[0xff]).unwrap_err().kind, Kind::Invalid);
        assert_eq!(m.set("k", &[b'x'; 1025]).unwrap_err().kind, Kind::MetadataTooLarge);
        for i in 0..7 {
            m.set(&format!("k{i}"), &[b'x'; 1024]).unwrap();
        }
        assert_eq!(m.set("k8", &[b'x'; 1024]).unwrap_err().kind, Kind::MetadataTooLarge);
        m.set("k0", &[b'y'; 1024]).unwrap();
        assert_eq!(m.0.len(), 8);
    }

    #[test]
    fn nearer_defaults_win() {
        let d = |k: &str, v: &str, ttl: Option<&str>| Defaults {
            metadata: Metadata(BTreeMap::from([(k.into(), v.into())])),
            agent_id: None,
            ttl: ttl.map(Into::into),
            aside: Aside::default(),
        };
        let merged = d("a", "near", None).over(&d("a", "far", Some("7d")));
        assert_eq!(merged.metadata.get("a"), Some("near"));
        assert_eq!(merged.ttl.as_deref(), Some("7d"));
    }
}
