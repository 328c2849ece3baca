//! Attributes of a file that are no metadata: whatever else a disk would keep under `user.`, kept as it is
//! (CONTRACT §4).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{Error, Kind, Result};
use super::metadata::{Metadata, VALUE_MAX, check_key};

/// Bytes of the values together that one file carries, and of the names: what one `getxattr` and one `listxattr` can
/// answer.
pub const ASIDE_MAX: usize = 64 << 10;

/// Name (without `user.`) and value, any bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aside(BTreeMap<Vec<u8>, Vec<u8>>);

/// Where an attribute was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put<'a> {
    /// It is metadata, under this key and with this value.
    Metadata(&'a str, &'a str),
    Aside,
}

impl Aside {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }

    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.keys().map(Vec::as_slice)
    }

    /// True when it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.0.remove(name).is_some()
    }

    /// # Errors
    /// `ENOSPC` above [`ASIDE_MAX`], as a disk says it; then nothing changed.
    fn set(&mut self, name: &[u8], value: &[u8]) -> Result<()> {
        let others = || self.0.iter().filter(|(n, _)| *n != name);
        let values = others().map(|(_, v)| v.len()).sum::<usize>() + value.len();
        let names = others().map(|(n, _)| n.len() + 1).sum::<usize>() + name.len() + 1;
        if values.max(names) > ASIDE_MAX {
            let text = format!("the attributes of a file would take {values} bytes: at most {ASIDE_MAX}");
            return Err(Error::new(Kind::NoSpace, text));
        }
        self.0.insert(name.to_vec(), value.to_vec());
        Ok(())
    }

    /// What the next version of a file keeps: `self` over `below`, but for what is metadata now.
    #[must_use]
    pub fn over(&self, below: &Aside, metadata: &Metadata) -> Aside {
        let is_metadata = |name: &[u8]| std::str::from_utf8(name).is_ok_and(|key| metadata.get(key).is_some());
        let mut out = self.clone();
        for (name, value) in below.0.iter().filter(|(n, _)| !is_metadata(n)) {
            if out.get(name).is_none() {
                // What no longer fits beside the new ones is the old one's loss.
                out.set(name, value).unwrap_or_default();
            }
        }
        out
    }
}

/// Sets `user.<name>`: metadata when name and value fit its rules and it has room, else aside. What it was before, it
/// is no more.
///
/// # Errors
/// `ENOSPC`; then nothing changed.
pub fn put<'a>(metadata: &mut Metadata, aside: &mut Aside, name: &'a [u8], value: &'a [u8]) -> Result<Put<'a>> {
    if let Some((key, text)) = as_metadata(name, value)
        && metadata.set(key, value).is_ok()
    {
        aside.remove(name);
        return Ok(Put::Metadata(key, text));
    }
    aside.set(name, value)?;
    if let Ok(key) = std::str::from_utf8(name) {
        metadata.0.remove(key);
    }
    Ok(Put::Aside)
}

/// Key and value, when that is what they can be. A value with NUL is no text to anybody who reads metadata.
fn as_metadata<'a>(name: &'a [u8], value: &'a [u8]) -> Option<(&'a str, &'a str)> {
    let key = std::str::from_utf8(name).ok().filter(|key| check_key(key).is_ok())?;
    let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= VALUE_MAX && !text.contains('\0'))?;
    Some((key, text))
}

impl Serialize for Aside {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.0.iter().map(|(name, value)| (BASE64.encode(name), BASE64.encode(value))))
    }
}

impl<'de> Deserialize<'de> for Aside {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let decode = |text: &str| BASE64.decode(text).map_err(serde::de::Error::custom);
        let pairs = BTreeMap::<String, String>::deserialize(d)?;
        pairs.iter().map(|(name, value)| Ok((decode(name)?, decode(value)?))).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_fits_is_metadata_and_the_rest_is_kept_beside_it() {
        let (mut m, mut a) = (Metadata::default(), Aside::default());
        let long = [b'x'; VALUE_MAX + 1];
        for (name, value, metadata) in [
            (&b"xdg.origin.url"[..], &b"https://example.com/"[..], true),
            (b"mime_type", b"text/csv", true),
            (b"DOSATTRIB", b"0x20", true),
            (b"DOSATTRIB", b"\0\0\x04\0", false),
            (b"k", b"\xff", false),
            (b"1k", b"v", false),
            (b"\xfe", b"v", false),
            (b"long", &long, false),
            (b"long", b"short", true),
        ] {
            let done = put(&mut m, &mut a, name, value).unwrap();
            assert_eq!(matches!(done, Put::Metadata(..)), metadata, "{}", String::from_utf8_lossy(name));
            let in_metadata = std::str::from_utf8(name).ok().and_then(|k| m.get(k)).map(str::as_bytes);
            assert_eq!((in_metadata, a.get(name)), if metadata { (Some(value), None) } else { (None, Some(value)) });
        }
    }

    #[test]
    fn there_is_an_end_to_it() {
        let (mut m, mut a) = (Metadata::default(), Aside::default());
        put(&mut m, &mut a, b"1", &vec![0; ASIDE_MAX]).unwrap();
        let before = a.clone();
        assert_eq!(put(&mut m, &mut a, b"2", b"\0").unwrap_err().errno(), libc::ENOSPC);
        assert_eq!(a, before);
        put(&mut m, &mut a, b"1", b"").unwrap();
        put(&mut m, &mut a, b"2", b"\0").unwrap();
        // Metadata that has no room left goes aside too.
        for i in 0..9 {
            put(&mut m, &mut a, format!("k{i}").as_bytes(), &[b'x'; 1000]).unwrap();
        }
        assert!(m.get("k7").is_some() && a.get(b"k8").is_some());
    }

    #[test]
    fn the_next_version_keeps_them() {
        let (mut m, mut old, mut new) = (Metadata::default(), Aside::default(), Aside::default());
        put(&mut m, &mut old, b"1a", b"old").unwrap();
        put(&mut m, &mut old, b"1b", b"old").unwrap();
        put(&mut m, &mut old, b"k", b"\xff").unwrap();
        put(&mut m, &mut new, b"1b", b"new").unwrap();
        m.set("k", b"text").unwrap();
        let next = new.over(&old, &m);
        assert_eq!([next.get(b"1a"), next.get(b"1b"), next.get(b"k")], [Some(&b"old"[..]), Some(b"new"), None]);
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(pairs in proptest::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..5)) {
            let mut a = Aside::default();
            for (name, value) in &pairs {
                a.set(name, value).unwrap();
            }
            let text = serde_json::to_string(&a).unwrap();
            prop_assert_eq!(serde_json::from_str::<Aside>(&text).unwrap(), a);
        }
    }
}
