//! What characters the bytes of a text are.
//!
//! UTF-8 is told by its form, UTF-16 by its mark or by its zeros; what is left is guessed by what occurs in the texts of the world, as
//! browsers do.

use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// Bytes of a text's beginning that are enough to know it by.
pub const SAMPLE: usize = 256 << 10;
/// Of these many bytes are seen whether UTF-16 without a mark is one.
const ZEROS: usize = 1024;

/// The encoding of a text that begins with `bytes`; `cut`: there is more of it. `said`: what the record calls it, which counts for text that
/// is not UTF-8. `None` when it is no text.
#[must_use]
pub fn of(bytes: &[u8], cut: bool, said: Option<&str>) -> Option<&'static Encoding> {
    if let Some((marked, _)) = Encoding::for_bom(bytes) {
        return Some(marked);
    }
    if let Some(wide) = wide(bytes) {
        return Some(wide);
    }
    if bytes.contains(&0) {
        return None;
    }
    match std::str::from_utf8(bytes) {
        Ok(_) => return Some(UTF_8),
        // The last character may be cut.
        Err(e) if cut && e.error_len().is_none() => return Some(UTF_8),
        Err(_) => {}
    }
    let said = said.and_then(|s| Encoding::for_label(s.as_bytes())).filter(|e| *e != UTF_8);
    if let Some(said) = said {
        return Some(said);
    }
    // Control characters other than those of text and of terminals are of no text.
    if bytes.iter().any(|b| *b < 0x20 && !b"\t\n\r\x0c\x1b\x08\x0b".contains(b)) {
        return None;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, !cut);
    Some(detector.guess(None, Utf8Detection::Deny))
}

/// UTF-16 without a mark: of Latin text every other byte is zero.
fn wide(bytes: &[u8]) -> Option<&'static Encoding> {
    let seen = &bytes[..bytes.len().min(ZEROS) & !1];
    let pairs = seen.len() / 2;
    let zeros = |first: usize| seen.iter().skip(first).step_by(2).filter(|b| **b == 0).count();
    let (high, low) = (zeros(0), zeros(1));
    match () {
        () if pairs < 2 => None,
        () if low * 4 >= pairs * 3 && high == 0 => Some(UTF_16LE),
        () if high * 4 >= pairs * 3 && low == 0 => Some(UTF_16BE),
        () => None,
    }
}

/// The characters of a text, without its mark; those that are cut at the end are left out. `None` when it is no text.
#[must_use]
pub fn text<'a>(bytes: &'a [u8], cut: bool, said: Option<&str>) -> Option<Cow<'a, str>> {
    let encoding = of(bytes, cut, said)?;
    let bytes = Encoding::for_bom(bytes).map_or(bytes, |(_, mark)| &bytes[mark..]);
    if encoding == UTF_8 {
        let valid = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) if cut && e.error_len().is_none() => std::str::from_utf8(&bytes[..e.valid_up_to()]).ok()?,
            // Marked as UTF-8, and then not.
            Err(_) => return Some(String::from_utf8_lossy(bytes)),
        };
        return Some(Cow::Borrowed(valid));
    }
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut out = String::with_capacity(decoder.max_utf8_buffer_length(bytes.len())?);
    // Not the last of it when it is cut: half a character at the end is kept back by the decoder.
    let _all_fits = decoder.decode_to_string(bytes, &mut out, !cut);
    Some(Cow::Owned(out))
}

/// A part of a text, and how many of its bytes that is: a character that `more` would complete is left to the next part. `first`: it is
/// the beginning, which may have a mark. `None` when there is no whole character.
#[must_use]
pub fn part(encoding: &'static Encoding, bytes: &[u8], first: bool, more: bool) -> Option<(String, u64)> {
    let mark = if first { Encoding::for_bom(bytes).map_or(0, |(_, mark)| mark) } else { 0 };
    let decode = |bytes: &[u8]| {
        let mut decoder = encoding.new_decoder_without_bom_handling();
        let mut out = String::with_capacity(decoder.max_utf8_buffer_length(bytes.len())?);
        let _all_fits = decoder.decode_to_string(bytes, &mut out, true);
        Some(out)
    };
    // Characters have at most four bytes: with one too few the last of them is a replacement, with a whole one it is not.
    for spare in 0..4.min(bytes.len() - mark) {
        let whole = &bytes[mark..bytes.len() - spare];
        let text = decode(whole)?;
        if !more || spare == 3 || !text.ends_with('\u{fffd}') {
            return (!text.is_empty()).then_some((text, (mark + whole.len()) as u64));
        }
    }
    None
}

/// The charset of a content type: `text/plain; charset=latin1` says `latin1`.
#[must_use]
pub fn said(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide_bytes(text: &str, big: bool) -> Vec<u8> {
        text.encode_utf16().flat_map(|u| if big { u.to_be_bytes() } else { u.to_le_bytes() }).collect()
    }

    #[test]
    fn what_is_utf8_is_utf8_and_only_its_last_character_may_be_cut() {
        let text = |bytes, cut| super::text(bytes, cut, None).map(Cow::into_owned);
        assert_eq!(text("añ".as_bytes(), false).as_deref(), Some("añ"));
        assert_eq!(text(&"añ".as_bytes()[..2], true).as_deref(), Some("a"));
        assert_eq!(text(b"\xef\xbb\xbfa", false).as_deref(), Some("a"));
        assert_eq!(text(b"a\0b\x01", false), None);
        assert_eq!(of(b"", false, None), Some(UTF_8));
        assert_eq!(of("añ".as_bytes(), false, Some("latin1")), Some(UTF_8), "bytes say more than labels");
    }

    #[test]
    fn other_encodings_are_known() {
        let german = "Die Größe der Übung änderte sich für alle schönen Straßen";
        let latin: Vec<u8> = german.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        assert_eq!(of(&latin, false, None).unwrap().name(), "windows-1252");
        assert_eq!(text(&latin, false, None).unwrap(), german);
        for (bytes, name) in [
            (wide_bytes(german, false), "UTF-16LE"),
            (wide_bytes(german, true), "UTF-16BE"),
            (wide_bytes(&format!("\u{feff}{german}"), false), "UTF-16LE"),
            (wide_bytes(&format!("\u{feff}{german}"), true), "UTF-16BE"),
        ] {
            assert_eq!(of(&bytes, false, None).unwrap().name(), name);
            assert_eq!(text(&bytes, false, None).unwrap(), german);
            assert!(text(&bytes[..bytes.len() - 1], true, None).unwrap().ends_with("Straße"));
        }
        let japanese = "日本語の文書です。これは試験のための文章であり、文字の符号化を調べるためのものです。";
        let (bytes, _, _) = encoding_rs::SHIFT_JIS.encode(japanese);
        assert_eq!(text(&bytes, false, None).unwrap(), japanese);
        // A part that ends within a character leaves it to the next.
        let (begun, used) = part(encoding_rs::SHIFT_JIS, &bytes[..7], true, true).unwrap();
        assert_eq!((begun.as_str(), used), ("日本語", 6));
        let wide = wide_bytes("\u{feff}añ𝄞", false);
        assert_eq!(part(UTF_16LE, &wide[..8], true, true), Some((String::from("añ"), 6)));
        assert_eq!(part(UTF_16LE, &wide[6..], false, false), Some((String::from("𝄞"), 4)));
        let (cyrillic, _, _) = encoding_rs::KOI8_R.encode("привет");
        assert_eq!(text(&cyrillic, false, Some("koi8-r")).unwrap(), "привет");
    }

    #[test]
    fn a_type_says_its_charset() {
        assert_eq!(said("text/plain; charset=\"latin1\""), Some("latin1"));
        assert_eq!(said("text/plain; format=flowed; Charset = utf-8"), Some("utf-8"));
        assert_eq!(said("text/plain"), None);
    }
}
