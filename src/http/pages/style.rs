//! The one style sheet and the one script, and what a Content-Security-Policy names them by.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

pub const CSS: &str = include_str!("page.css");
pub const SCRIPT: &str = include_str!("page.js");

/// `sha256-…`.
pub fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_stay_in_their_elements_and_ask_for_nothing() {
        assert!(!CSS.contains('<') && !CSS.contains("url(") && !CSS.contains("@import"));
        assert!(!SCRIPT.contains("</") && !SCRIPT.contains("<!--"));
        for word in ["fetch", "XMLHttp", "innerHTML", "eval", "://", "WebSocket", "import"] {
            assert!(!SCRIPT.contains(word), "{word}");
        }
        assert_eq!(hash("").len(), 7 + 44);
    }
}
