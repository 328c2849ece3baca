//! Text that others wrote, as it may stand on a page.

use std::fmt::Write;

/// Control characters and marks of direction as pictures or codes, so that a name can neither hide a part of itself nor
/// rearrange what stands around it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hide_nothing() {
        assert_eq!(visible("a\nb\u{202e}gpj.exe\u{200b}"), "a\u{240a}b[U+202E]gpj.exe[U+200B]");
        assert_eq!(visible("Größe שלום 日本"), "Größe שלום 日本");
    }
}
