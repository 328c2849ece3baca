//! Whether a PDF may be shown in a frame: browsers' viewers run scripts that a document holds, so one that may hold any
//! is only offered for download.
//!
//! An action is known by names (`/JavaScript`, `/Launch`, …), which stand in plain sight or in an object stream. All of
//! the file is searched for them, object streams unpacked; where that cannot be done, the answer is no.

use std::io::Read;

use flate2::read::ZlibDecoder;
use memchr::memmem;

use super::Bytes;

/// Larger documents are not searched.
const SIZE_MAX: u64 = 64 << 20;
/// All that is unpacked of one document.
const UNPACKED_MAX: usize = 128 << 20;
/// Before the word `stream` stands its dictionary.
const DICTIONARY: usize = 1024;
/// Names of what runs, sends or opens something.
const ACTIVE: [&[u8]; 9] = [
    b"/JavaScript",
    b"/JS",
    b"/Launch",
    b"/SubmitForm",
    b"/ImportData",
    b"/RichMedia",
    b"/XFA",
    b"/GoToR",
    b"/Encrypt",
];

/// Nothing in it runs, as far as all of it could be read.
///
/// # Errors
/// When its bytes cannot be had.
pub fn passive(mut file: impl Bytes, size: u64) -> std::io::Result<bool> {
    let Some(length) = usize::try_from(size).ok().filter(|_| size <= SIZE_MAX) else { return Ok(false) };
    let bytes = file.read_at(0, length)?;
    Ok(bytes.len() == length && is_passive(&bytes))
}

fn is_passive(bytes: &[u8]) -> bool {
    if names_action(bytes) {
        return false;
    }
    let mut budget = UNPACKED_MAX;
    let begins = |at: &usize| !bytes[..*at].ends_with(b"end");
    let streams: Vec<usize> = memmem::find_iter(bytes, b"stream").filter(begins).collect();
    for &at in &streams {
        let head = plain(&bytes[at.saturating_sub(DICTIONARY)..at]);
        // The dictionary of this stream alone: what stands before it belongs to others.
        let from = head.windows(4).rposition(|w| w == b" obj").unwrap_or(0);
        let head = &head[from..];
        let holds = |word: &[u8]| contains(head, word);
        if !holds(b"/ObjStm") {
            continue;
        }
        let simple = holds(b"/FlateDecode")
            && ![b"/ASCII".as_slice(), b"/LZW", b"/RunLength", b"/Crypt", b"/DecodeParms", b"/DP", b"/FFilter"]
                .iter()
                .any(|w| holds(w));
        let body = &bytes[at + 6..];
        let body = body.strip_prefix(b"\r\n").or_else(|| body.strip_prefix(b"\n")).unwrap_or(body);
        let Some(objects) = simple.then(|| unpack(body, budget)).flatten() else { return false };
        budget -= objects.len();
        if names_action(&objects) {
            return false;
        }
    }
    // An object stream whose dictionary was not where it is looked for.
    let near = |at: &&usize| contains(&plain(&bytes[at.saturating_sub(DICTIONARY)..**at]), b"/ObjStm");
    streams.iter().filter(near).count() >= count(&plain(bytes), b"/ObjStm")
}

/// `None` when it is damaged or too large.
fn unpack(bytes: &[u8], budget: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let read = ZlibDecoder::new(bytes).take(budget as u64 + 1).read_to_end(&mut out);
    (read.is_ok() && out.len() <= budget).then_some(out)
}

fn names_action(bytes: &[u8]) -> bool {
    let plain = plain(bytes);
    ACTIVE.iter().any(|name| contains(&plain, name))
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    memmem::find(bytes, word).is_some()
}

fn count(bytes: &[u8], word: &[u8]) -> usize {
    memmem::find_iter(bytes, word).count()
}

/// With `#4a` in names read as `J`.
fn plain(bytes: &[u8]) -> Vec<u8> {
    let digit = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'#', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'#'));
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(head: &str, objects: &[u8]) -> Vec<u8> {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(objects).unwrap();
        let mut out = format!("%PDF-1.5\n7 0 obj << /Type /ObjStm {head} >>\nstream\r\n").into_bytes();
        out.extend(zlib.finish().unwrap());
        out.extend(b"\nendstream endobj");
        out
    }

    #[test]
    fn documents_that_hold_actions_are_known() {
        for bad in [
            b"1 0 obj << /OpenAction << /S /JavaScript /JS (app.alert) >> >>".as_slice(),
            b"<< /S /J#61vaScript >>",
            b"<< /S /Launch >>",
            b"<< /AcroForm << /XFA 3 0 R >> >>",
            b"trailer << /Encrypt 3 0 R >>",
        ] {
            assert!(!is_passive(bad), "{}", String::from_utf8_lossy(bad));
        }
        assert!(is_passive(b"%PDF-1.4\n1 0 obj << /Type /Catalog >> endobj\nstream\nxx\nendstream"));
    }

    #[test]
    fn object_streams_are_looked_into() {
        assert!(is_passive(&packed("/Filter /FlateDecode", b"1 0 << /Type /Page >>")));
        assert!(!is_passive(&packed("/Filter /FlateDecode", b"1 0 << /S /JavaScript >>")));
        assert!(!is_passive(&packed("/Filter /FlateDecode", b"1 0 << /S /J#53 >>")));
        assert!(!is_passive(&packed("/Filter [/ASCIIHexDecode /FlateDecode]", b"1 0 << >>")), "cannot be read");
        assert!(!is_passive(&packed("/Filter /LZWDecode", b"1 0 << >>")));
        let far = " ".repeat(2 * DICTIONARY);
        assert!(
            !is_passive(&packed(&format!("/Filter /FlateDecode {far}"), b"1 0 << /S /JavaScript >>")),
            "out of sight"
        );
        assert!(!is_passive(&packed("/Filter /FlateDecode", &vec![b' '; UNPACKED_MAX + 1])), "a bomb");
    }
}
