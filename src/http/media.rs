//! Which content types a browser may show on the link host, and as what they are sent.

use crate::artifact::charset;
use crate::artifact::content_type::BINARY;

/// How a browser may treat content of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Cannot run script in any browser: may be shown in place.
    Safe,
    /// Unknown to us: downloaded.
    Download,
    /// A document that can run script (HTML, SVG, XML): downloaded, in a sandbox, never redirected to another host.
    Active,
}

/// A content type, checked: what goes on the wire and how it is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Valid as a header.
    pub header: String,
    /// Type and subtype in lower case, without parameters.
    pub essence: String,
    pub treatment: Treatment,
    /// It says no charset.
    bare: bool,
}

impl Media {
    /// Reads a type as the record has it, which may be anything that a program wrote into an attribute. What is not a media type
    /// becomes `application/octet-stream`. Text without a charset is said to be UTF-8: without it browsers guess
    /// a code page of the last century.
    #[must_use]
    pub fn of(content_type: &str) -> Self {
        let Some(essence) = essence(content_type) else {
            return Self { header: BINARY.into(), essence: BINARY.into(), treatment: Treatment::Download, bare: true };
        };
        let treatment = treatment(&essence);
        let bare = charset::said(content_type).is_none();
        let header = if essence.starts_with("text/") && bare {
            format!("{essence}; charset=utf-8")
        } else {
            content_type.trim().to_owned()
        };
        Self { header, essence, treatment, bare }
    }

    /// With the charset that its bytes are in, where the type is of a text and says none.
    #[must_use]
    pub fn in_charset(mut self, charset: &str) -> Self {
        // (JSON and its kin are UTF-8 unless somebody says otherwise.)
        if self.guesses_charset() && (self.essence.starts_with("text/") || !charset.eq_ignore_ascii_case("utf-8")) {
            self.header = format!("{}; charset={}", self.essence, charset.to_ascii_lowercase());
            self.bare = false;
        }
        self
    }

    /// The charset is ours to say.
    #[must_use]
    pub fn guesses_charset(&self) -> bool {
        self.bare && (self.essence.starts_with("text/") || self.is_text())
    }

    /// A picture that a page may hold.
    #[must_use]
    pub fn is_picture(&self) -> bool {
        self.treatment == Treatment::Safe && self.essence.starts_with("image/")
    }

    /// Something to read as text. Sources of active documents are not: who wants them downloads them.
    #[must_use]
    pub fn is_text(&self) -> bool {
        const NAMED: [&str; 8] = [
            "application/json",
            "application/jsonl",
            "application/x-ndjson",
            "application/yaml",
            "application/toml",
            "application/javascript",
            "application/sql",
            "application/x-sh",
        ];
        self.treatment != Treatment::Active
            && (self.essence.starts_with("text/")
                || self.essence.ends_with("+json")
                || NAMED.contains(&self.essence.as_str()))
    }
}

/// `None` unless it is one media type: browsers split a header at commas and take the last type, so a comma anywhere is refused.
fn essence(content_type: &str) -> Option<String> {
    if content_type.len() > 256
        || content_type.contains(',')
        || content_type.bytes().any(|b| !(0x20..0x7f).contains(&b))
    {
        return None;
    }
    let essence = content_type.split(';').next()?.trim().to_ascii_lowercase();
    let (kind, sub) = essence.split_once('/')?;
    let token = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b));
    (token(kind) && token(sub)).then_some(essence)
}

fn treatment(essence: &str) -> Treatment {
    match essence {
        "text/html" | "text/xml" | "application/xml" | "application/xhtml+xml" | "multipart/related" => {
            Treatment::Active
        }
        e if e.ends_with("+xml") => Treatment::Active,
        "image/png"
        | "image/jpeg"
        | "image/gif"
        | "image/webp"
        | "image/avif"
        | "image/apng"
        | "image/bmp"
        | "image/x-icon"
        | "image/vnd.microsoft.icon"
        | "application/pdf"
        | "application/json"
        | "text/plain"
        | "text/csv"
        | "text/markdown"
        | "text/x-python"
        | "text/x-rust"
        | "text/x-typescript" => Treatment::Safe,
        e if e.starts_with("audio/") || e.starts_with("video/") => Treatment::Safe,
        _ => Treatment::Download,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_utf8_unless_its_bytes_are_not() {
        let json = || Media::of("application/json");
        assert_eq!(json().in_charset("windows-1252").header, "application/json; charset=windows-1252");
        assert_eq!(json().in_charset("UTF-8").header, "application/json");
        assert_eq!(Media::of("text/csv").in_charset("UTF-8").header, "text/csv; charset=utf-8");
        assert!(
            !Media::of("application/zip").guesses_charset() && !Media::of("text/html; charset=x").guesses_charset()
        );
    }

    #[test]
    fn what_can_run_script_is_never_safe() {
        for active in ["text/html", "TEXT/HTML; charset=utf-8", "image/svg+xml", "application/xhtml+xml", "text/xml"] {
            assert_eq!(Media::of(active).treatment, Treatment::Active, "{active}");
        }
        for safe in ["image/png", "application/pdf", "video/mp4", "audio/mpeg", "text/plain", "application/json"] {
            assert_eq!(Media::of(safe).treatment, Treatment::Safe, "{safe}");
        }
        for other in ["application/zip", "application/x-msdownload", "text/javascript", "font/woff2", "image/tiff"] {
            assert_eq!(Media::of(other).treatment, Treatment::Download, "{other}");
        }
    }

    #[test]
    fn what_is_no_media_type_is_binary() {
        for bad in ["", "text", "text/plain, text/html", "text/plain\r\nX: 1", "/", "a/b/c", "text/ht ml", "ä/b"] {
            let media = Media::of(bad);
            assert_eq!((media.header.as_str(), media.treatment), (BINARY, Treatment::Download), "{bad:?}");
        }
        assert_eq!(Media::of("text/plain").header, "text/plain; charset=utf-8");
        assert_eq!(Media::of("text/plain; charset=latin1").header, "text/plain; charset=latin1");
        assert_eq!(Media::of("application/json").header, "application/json");
    }
}
