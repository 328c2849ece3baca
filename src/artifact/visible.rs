//! Text that others wrote, as it may stand among ours: on a page, in a table, in a line of a log, in an answer.

use std::fmt::Write;

/// Control characters and marks of direction as pictures or codes, so that a name can neither hide a part of itself nor
/// rearrange what stands around it, neither begin a line of its own nor command a terminal.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0'..='\x1f' => out.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')),
            '\x7f' => out.push('\u{2421}'),
            '\u{80}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}' => {
                // Writing to a String cannot fail.
                write!(out, "[U+{:04X}]", u32::from(c)).unwrap_or_default();
            }
            c => out.push(c),
        }
    }
    out
}

/// The same for a line of JSON, which escapes the rest by itself: it says the same still.
#[must_use]
pub fn visible_json(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        if c >= '\x7f' && visible(c.encode_utf8(&mut [0; 4])) != c.to_string() {
            // All of them have four digits.
            write!(out, "\\u{:04x}", u32::from(c)).unwrap_or_default();
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hide_nothing() {
        assert_eq!(visible("a\nb\u{202e}gpj.exe\u{200b}"), "a\u{240a}b[U+202E]gpj.exe[U+200B]");
        assert_eq!(visible("Größe שלום 日本"), "Größe שלום 日本");
    }

    #[test]
    fn json_says_the_same() {
        let text = "a\u{202e}b\u{9b}c\u{7f}";
        let line = visible_json(&serde_json::to_string(text).unwrap());
        assert!(line.is_ascii() && serde_json::from_str::<String>(&line).unwrap() == text, "{line}");
    }
}
