//! Guessing a content type where nobody said one.

/// Types of files that agents make and the table of the `mime_guess` crate lacks or takes for something else (`.ts`
/// is a video there).
const OWN: [(&str, &str); 9] = [
    ("ipynb", "application/x-ipynb+json"),
    ("jsonl", "application/jsonl"),
    ("log", "text/plain"),
    ("ndjson", "application/x-ndjson"),
    ("parquet", "application/vnd.apache.parquet"),
    ("ts", "text/x-typescript"),
    ("tsx", "text/x-typescript"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
];

pub const BINARY: &str = "application/octet-stream";
pub const TEXT: &str = "text/plain";

/// Bytes of a file's beginning that [`guess`] wants to see (tar's mark lies at 257).
pub const HEAD: usize = 512;

/// The type of a file of this name that begins with `head`. A known ending of the name decides; else the marks
/// that formats begin with; else whether it is text.
#[must_use]
pub fn guess(name: &[u8], head: &[u8]) -> String {
    by_name(name)
        .or_else(|| infer::get(head).map(|kind| kind.mime_type()))
        .unwrap_or(if is_text(head) { TEXT } else { BINARY })
        .to_owned()
}

/// The type of a file that grew at its end: what it was before, unless its name says better.
#[must_use]
pub fn guess_grown(name: &[u8], before: &str) -> String {
    by_name(name).unwrap_or(before).to_owned()
}

fn by_name(name: &[u8]) -> Option<&'static str> {
    let name = name.rsplit(|&b| b == b'/').next()?;
    let dot = name.iter().rposition(|&b| b == b'.')?;
    // `.profile` is hidden, not of type profile.
    if dot == 0 {
        return None;
    }
    let ext = std::str::from_utf8(&name[dot + 1..]).ok()?.to_ascii_lowercase();
    let own = OWN.iter().find(|(e, _)| *e == ext).map(|(_, t)| *t);
    own.or_else(|| mime_guess::from_ext(&ext).first_raw())
}

/// UTF-8 without control characters other than those of text; the last character may be cut.
fn is_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(e) => e.error_len().is_none(),
    };
    // Terminal output has escapes (0x1b) and backspaces.
    valid && head.iter().all(|&b| b >= 0x20 || b"\t\n\r\x0c\x1b\x08".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_name_wins_when_it_is_known() {
        for (name, want) in [
            ("report.pdf", "application/pdf"),
            ("a/b.c/Q3.PNG", "image/png"),
            ("index.html", "text/html"),
            ("data.csv", "text/csv"),
            ("data.json", "application/json"),
            ("notes.md", "text/markdown"),
            ("main.ts", "text/x-typescript"),
            ("t.parquet", "application/vnd.apache.parquet"),
            ("x.tar.gz", "application/gzip"),
            ("app.log", "text/plain"),
            ("a.svg", "image/svg+xml"),
        ] {
            assert_eq!(guess(name.as_bytes(), b"\x89PNG\r\n\x1a\n"), want, "{name}");
        }
    }

    #[test]
    fn bytes_decide_where_the_name_says_nothing() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        for name in ["chart", "chart.", ".png", "chart.unheard-of", "dir.png/chart"] {
            assert_eq!(guess(name.as_bytes(), png), "image/png", "{name}");
        }
        assert_eq!(guess(b"doc", b"%PDF-1.7"), "application/pdf");
        assert_eq!(guess(b"README", "Grüße\n\x1b[1m".as_bytes()), TEXT);
        assert_eq!(guess(b"cut", &"Grü".as_bytes()[..3]), TEXT);
        assert_eq!(guess(b"empty", b""), TEXT);
        assert_eq!(guess(b"blob", b"abc\0def"), BINARY);
        assert_eq!(guess(b"latin1", b"Gr\xfc\xdfe"), BINARY);
        assert_eq!(guess(b"\xff.\xfe", b"x"), TEXT);
    }

    proptest! {
        #[test]
        fn never_panics_and_is_a_type(name in any::<Vec<u8>>(), head in any::<Vec<u8>>()) {
            prop_assert!(guess(&name, &head).contains('/'));
        }
    }
}
