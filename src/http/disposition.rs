//! `Content-Disposition` for any file name (RFC 6266, RFC 8187).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::artifact::name::display_bytes;

/// RFC 8187 `attr-char`: everything else is percent-encoded.
const NOT_ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Characters: what a file system at the other end takes (255 bytes of UTF-8 at worst 4 each), and a header that no
/// proxy refuses for its length.
const MAX_NAME: usize = 200;
/// Kept from the end of a name that is cut: its extension.
const MAX_EXTENSION: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Inline,
    Attachment,
}

/// The header for the file at `path` inside its session: its last name, with what could break a header, a file system or a
/// reader's trust (control characters, marks that turn text around) replaced by `_`. Always ASCII.
#[must_use]
pub fn content_disposition(mode: Mode, path: &[u8]) -> String {
    let name = safe_name(path);
    let fallback: String =
        name.chars().map(|c| if c.is_ascii_graphic() && !"\"\\%".contains(c) || c == ' ' { c } else { '_' }).collect();
    let mode = match mode {
        Mode::Inline => "inline",
        Mode::Attachment => "attachment",
    };
    if fallback == name {
        format!("{mode}; filename=\"{fallback}\"")
    } else {
        format!("{mode}; filename=\"{fallback}\"; filename*=UTF-8''{}", utf8_percent_encode(&name, NOT_ATTR_CHAR))
    }
}

fn safe_name(path: &[u8]) -> String {
    let last = path.rsplit(|&b| b == b'/').next().unwrap_or_default();
    let name: String =
        display_bytes(last).chars().map(|c| if c.is_control() || turns_text(c) { '_' } else { c }).collect();
    if name.is_empty() {
        return String::from("download");
    }
    let length = name.chars().count();
    if length <= MAX_NAME {
        return name;
    }
    let extension = name.rsplit_once('.').map(|(_, e)| e).filter(|e| e.chars().count() <= MAX_EXTENSION);
    let tail = extension.map_or_else(String::new, |e| format!(".{e}"));
    let head: String = name.chars().take(MAX_NAME - tail.chars().count()).collect();
    head + &tail
}

/// Marks that change the direction of what follows: `gpj.exe` can be made to read as `exe.jpg`.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attachment(path: &str) -> String {
        content_disposition(Mode::Attachment, path.as_bytes())
    }

    #[test]
    fn plain_and_odd_names() {
        assert_eq!(attachment("a/b/report.pdf"), "attachment; filename=\"report.pdf\"");
        assert_eq!(content_disposition(Mode::Inline, b"q 3.png"), "inline; filename=\"q 3.png\"");
        assert_eq!(
            attachment("Größe €.txt"),
            "attachment; filename=\"Gr__e _.txt\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe%20%E2%82%AC.txt"
        );
        assert_eq!(attachment("a\"b\\c.txt"), "attachment; filename=\"a_b_c.txt\"; filename*=UTF-8''a%22b%5Cc.txt");
        assert_eq!(attachment("50%.txt"), "attachment; filename=\"50_.txt\"; filename*=UTF-8''50%25.txt");
        assert_eq!(attachment("a\r\nX-Evil: 1"), "attachment; filename=\"a__X-Evil: 1\"");
        assert_eq!(attachment("exe\u{202e}gpj.exe"), "attachment; filename=\"exe_gpj.exe\"");
        assert_eq!(
            content_disposition(Mode::Attachment, b"\xff.bin"),
            "attachment; filename=\"_FF.bin\"; filename*=UTF-8''%25FF.bin"
        );
        assert_eq!(attachment(""), "attachment; filename=\"download\"");
        let long = attachment(&format!("{}.parquet", "x".repeat(100_000)));
        assert!(long.len() < 300 && long.ends_with("x.parquet\""), "{long}");
    }

    proptest! {
        #[test]
        fn any_bytes_make_a_valid_header(path in prop::collection::vec(any::<u8>(), 0..400)) {
            let header = content_disposition(Mode::Inline, &path);
            prop_assert!(axum::http::HeaderValue::from_str(&header).is_ok());
            prop_assert!(header.is_ascii() && header.matches('"').count() == 2);
        }
    }
}
