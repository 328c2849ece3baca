//! The one style sheet.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

pub const CSS: &str = include_str!("page.css");

/// What a Content-Security-Policy names it by: `sha256-…`.
pub fn hash() -> &'static str {
    static HASH: LazyLock<String> = LazyLock::new(|| format!("sha256-{}", base64(&Sha256::digest(CSS.as_bytes()))));
    &HASH
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0usize, |word, b| word << 8 | usize::from(*b)) << (8 * (3 - group.len()));
        for i in 0..4 {
            let letter = char::from(ALPHABET[word >> (18 - 6 * i) & 63]);
            out.push(if i <= group.len() { letter } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_rfc() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(hash().len(), 7 + 44);
    }

    #[test]
    fn the_style_sheet_stays_in_its_element_and_asks_for_nothing() {
        assert!(!CSS.contains('<') && !CSS.contains("url(") && !CSS.contains("@import"));
    }
}
