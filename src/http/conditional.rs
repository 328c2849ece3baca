//! Conditional requests (RFC 9110, 13): is what the client has still right, and does its range still fit?

use axum::http::{HeaderMap, Method, header};
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};

use crate::artifact::time::Timestamp;

/// What identifies the bytes to be served.
#[derive(Clone, Debug)]
pub struct Validators {
    /// A strong one, with its quotes.
    pub etag: String,
    /// To the second, as HTTP dates are.
    pub modified: jiff::Timestamp,
}

/// What the preconditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    Serve,
    NotModified,
    Failed,
}

impl Validators {
    #[must_use]
    pub fn new(etag: String, modified: Timestamp) -> Self {
        let modified = jiff::Timestamp::from_second(modified.parts().0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Self { etag, modified }
    }

    /// `Last-Modified`; `None` for a year that HTTP dates cannot write.
    #[must_use]
    pub fn last_modified(&self) -> Option<String> {
        DateTimePrinter::new().timestamp_to_rfc9110_string(&self.modified).ok()
    }

    /// In the order of RFC 9110 13.2.2. A header that cannot be read does not count.
    #[must_use]
    pub fn check(&self, method: &Method, headers: &HeaderMap) -> Precondition {
        let get = |name: header::HeaderName| headers.contains_key(&name).then(|| join(headers, &name));
        if let Some(tags) = get(header::IF_MATCH) {
            if !any_tag(&tags, |tag| tag == self.etag) {
                return Precondition::Failed;
            }
        } else if get(header::IF_UNMODIFIED_SINCE).and_then(|d| date(&d)).is_some_and(|d| self.modified > d) {
            return Precondition::Failed;
        }
        let unchanged = match get(header::IF_NONE_MATCH) {
            // Weak comparison: a proxy may have weakened the tag.
            Some(tags) => any_tag(&tags, |tag| tag.strip_prefix("W/").unwrap_or(tag) == self.etag),
            None => get(header::IF_MODIFIED_SINCE).and_then(|d| date(&d)).is_some_and(|d| self.modified <= d),
        };
        match (unchanged, method == Method::GET || method == Method::HEAD) {
            (false, _) => Precondition::Serve,
            (true, true) => Precondition::NotModified,
            (true, false) => Precondition::Failed,
        }
    }

    /// The `Range` header that counts: none with an `If-Range` that names other bytes. Only a strong tag or the exact
    /// date will do (13.1.5).
    #[must_use]
    pub fn range<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let range = headers.get(header::RANGE)?.to_str().ok()?;
        let Some(condition) = headers.get(header::IF_RANGE) else { return Some(range) };
        let condition = condition.to_str().ok()?.trim();
        let same =
            if condition.contains('"') { condition == self.etag } else { date(condition) == Some(self.modified) };
        same.then_some(range)
    }
}

/// The values of a header that may come in several lines.
fn join(headers: &HeaderMap, name: &header::HeaderName) -> String {
    headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>().join(",")
}

/// Our tags hold no comma, so a split at commas finds them.
fn any_tag(list: &str, matches: impl Fn(&str) -> bool) -> bool {
    list.split(',').map(str::trim).any(|tag| tag == "*" || matches(tag))
}

fn date(text: &str) -> Option<jiff::Timestamp> {
    DateTimeParser::new().parse_timestamp(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(header::HeaderName, &str)]) -> Precondition {
        validators().check(&Method::GET, &map(pairs))
    }

    fn validators() -> Validators {
        Validators::new("\"abc\"".into(), Timestamp::from_parts(1_700_000_000, 5))
    }

    fn map(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.clone(), v.parse().unwrap())).collect()
    }

    const THEN: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
    const BEFORE: &str = "Tue, 14 Nov 2023 22:13:19 GMT";

    #[test]
    fn preconditions_in_their_order() {
        use header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
        assert_eq!(validators().last_modified().unwrap(), THEN);
        assert_eq!(check(&[]), Precondition::Serve);
        for hit in ["\"abc\"", "W/\"abc\"", "*", "\"x\", \"abc\""] {
            assert_eq!(check(&[(IF_NONE_MATCH, hit)]), Precondition::NotModified, "{hit}");
        }
        assert_eq!(check(&[(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, THEN)]), Precondition::Serve);
        assert_eq!(check(&[(IF_MODIFIED_SINCE, THEN)]), Precondition::NotModified);
        assert_eq!(check(&[(IF_MODIFIED_SINCE, BEFORE)]), Precondition::Serve);
        assert_eq!(check(&[(IF_MODIFIED_SINCE, "yesterday")]), Precondition::Serve);
        assert_eq!(check(&[(IF_MATCH, "\"abc\""), (IF_UNMODIFIED_SINCE, BEFORE)]), Precondition::Serve);
        assert_eq!(check(&[(IF_MATCH, "W/\"abc\"")]), Precondition::Failed);
        assert_eq!(check(&[(IF_UNMODIFIED_SINCE, BEFORE)]), Precondition::Failed);
    }

    #[test]
    fn a_range_counts_only_for_the_same_bytes() {
        use header::{IF_RANGE, RANGE};
        let range = |condition: Option<&str>| {
            let mut headers = map(&[(RANGE, "bytes=1-")]);
            if let Some(c) = condition {
                headers.insert(IF_RANGE, c.parse().unwrap());
            }
            validators().range(&headers).is_some()
        };
        assert!(range(None) && range(Some("\"abc\"")) && range(Some(THEN)));
        assert!(!range(Some("W/\"abc\"")) && !range(Some("\"x\"")) && !range(Some(BEFORE)) && !range(Some("x")));
    }
}
