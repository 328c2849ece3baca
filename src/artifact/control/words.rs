//! Splitting a line into words as a shell does: double quotes, single quotes, backslash.

use crate::artifact::error::{Error, Result};

/// One word of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    pub text: Vec<u8>,
    /// Some of it was quoted or escaped: it is meant as it is.
    pub quoted: bool,
    /// The blanks in front of it.
    pub blanks: Vec<u8>,
}

/// # Errors
/// `Invalid` for a quote that is never closed and a backslash at the end.
pub fn words(line: &[u8]) -> Result<Vec<Word>> {
    let mut out = Vec::new();
    let mut blanks = Vec::new();
    let mut bytes = line.iter().copied().peekable();
    while let Some(&next) = bytes.peek() {
        if next.is_ascii_whitespace() {
            blanks.push(next);
            bytes.next();
            continue;
        }
        let mut word = Word { blanks: std::mem::take(&mut blanks), ..Word::default() };
        while let Some(byte) = bytes.next_if(|b| !b.is_ascii_whitespace()) {
            match byte {
                b'\\' => {
                    word.quoted = true;
                    let escaped = bytes.next().ok_or_else(|| Error::invalid("nothing follows the last backslash"))?;
                    word.text.push(escaped);
                }
                b'"' | b'\'' => {
                    word.quoted = true;
                    quoted(byte, &mut bytes, &mut word.text)?;
                }
                _ => word.text.push(byte),
            }
        }
        out.push(word);
    }
    Ok(out)
}

fn quoted(quote: u8, bytes: &mut std::iter::Peekable<impl Iterator<Item = u8>>, text: &mut Vec<u8>) -> Result<()> {
    let unclosed = || {
        let quote = char::from(quote);
        Error::invalid(format!("a {quote} is never closed: write \\{quote} if it is part of a name"))
    };
    loop {
        let byte = bytes.next().ok_or_else(unclosed)?;
        if byte == quote {
            return Ok(());
        }
        // Between double quotes a backslash escapes only what would end them, and itself.
        if quote == b'"'
            && byte == b'\\'
            && let Some(escaped) = bytes.next_if(|b| b"\"\\".contains(b))
        {
            text.push(escaped);
        } else {
            text.push(byte);
        }
    }
}
