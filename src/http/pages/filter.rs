//! What of a session is shown: words, type, agent, metadata, and from where on. All of it stands in the address.

use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::artifact::ids::{ArtifactId, SessionId, TenantId};
use crate::artifact::query::{Query, parse_condition};
use crate::artifact::time::Timestamp;
use crate::artifact::visible::visible;
use crate::engine::browse::Facets;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub words: String,
    /// Exact, or `image/*`.
    pub content_type: Option<String>,
    pub agent: Option<String>,
    /// `key=value`.
    pub metadata: Option<String>,
    pub after: Option<(Timestamp, ArtifactId)>,
}

/// Classes of types that are worth a choice of their own.
const CLASSES: [(&str, &str); 4] =
    [("image/*", "Pictures"), ("text/*", "Texts"), ("audio/*", "Audio"), ("video/*", "Video")];

impl Filter {
    /// Of a query string. `None` for a page mark or a condition that is none.
    #[must_use]
    pub fn read(query: &str) -> Option<Self> {
        let mut filter = Filter::default();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned();
            let said = (!value.is_empty()).then(|| value.clone());
            match key {
                "q" => filter.words = value,
                "type" => filter.content_type = said,
                "agent" => filter.agent = said,
                "meta" => {
                    if let Some(condition) = &said {
                        parse_condition(condition).ok()?;
                    }
                    filter.metadata = said;
                }
                "after" => filter.after = Some(read_mark(&value)?),
                // Others' additions to addresses (trackers, previews) are nothing to us.
                _ => {}
            }
        }
        Some(filter)
    }

    #[must_use]
    pub fn narrows(&self) -> bool {
        !self.words.trim().is_empty() || self.content_type.is_some() || self.agent.is_some() || self.metadata.is_some()
    }

    #[must_use]
    pub fn query(&self, tenant: TenantId, session: SessionId, limit: u32) -> Query {
        Query {
            session: Some(session),
            agent: self.agent.clone(),
            metadata: self.metadata.as_deref().and_then(|m| parse_condition(m).ok()).into_iter().collect(),
            content_type: self.content_type.clone(),
            after: self.after,
            limit,
            ..Query::all(tenant)
        }
    }

    /// `?q=…`, from `after` on.
    #[must_use]
    pub fn address(&self, after: Option<(Timestamp, ArtifactId)>) -> String {
        let mut pairs = Vec::new();
        let mut add = |key: &str, value: &str| {
            if !value.is_empty() {
                pairs.push(format!("{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
            }
        };
        add("q", &self.words);
        add("type", self.content_type.as_deref().unwrap_or_default());
        add("agent", self.agent.as_deref().unwrap_or_default());
        add("meta", self.metadata.as_deref().unwrap_or_default());
        if let Some(mark) = after {
            pairs.push(format!("after={}", write_mark(mark)));
        }
        if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
    }

    /// The form. It works by itself; a script only sends it sooner.
    #[must_use]
    pub fn form(&self, action: &str, facets: &Facets) -> Markup {
        let classes: Vec<(&str, &str)> = CLASSES
            .into_iter()
            .filter(|(class, _)| {
                let prefix = class.trim_end_matches('*');
                facets.types.iter().filter(|(t, _)| t.starts_with(prefix)).count() > 1
            })
            .collect();
        html! {
            form.filter role="search" action=(action) method="get" {
                label.search {
                    span.hidden { "Search files" }
                    input type="search" name="q" value=(self.words) placeholder="Search files" autocomplete="off";
                }
                (select("type", "Type", "All types", self.content_type.as_deref(), &classes, &facets.types))
                (select("agent", "Agent", "All agents", self.agent.as_deref(), &[], &facets.agents))
                (select("meta", "Metadata", "All metadata", self.metadata.as_deref(), &[], &facets.metadata))
                button type="submit" { "Filter" }
                @if self.narrows() { a.clear href=(action) { "Clear" } }
            }
        }
    }
}

/// Nothing when there is nothing to choose.
fn select(
    name: &str,
    label: &str,
    all: &str,
    chosen: Option<&str>,
    classes: &[(&str, &str)],
    values: &[(String, u64)],
) -> Markup {
    let known = |c: &str| classes.iter().any(|(v, _)| *v == c) || values.iter().any(|(v, _)| v == c);
    html! {
        @if values.len() > 1 || chosen.is_some() || (values.len() == 1 && name == "meta") {
            label {
                span.hidden { (label) }
                select name=(name) {
                    option value="" { (all) }
                    @if let Some(unknown) = chosen.filter(|c| !known(c)) {
                        option value=(unknown) selected { (visible(unknown)) }
                    }
                    @for (value, text) in classes { option value=(value) selected[chosen == Some(*value)] { (text) } }
                    @for (value, count) in values {
                        option value=(value) selected[chosen == Some(value.as_str())] {
                            (visible(value)) " (" (count) ")"
                        }
                    }
                }
            }
        }
    }
}

/// `1700000000000000000-01ARZ3NDEKTSV4RRFFQ69G5FAV`.
fn write_mark((created, id): (Timestamp, ArtifactId)) -> String {
    format!("{}-{}", created.0, id.0)
}

fn read_mark(text: &str) -> Option<(Timestamp, ArtifactId)> {
    let (nanos, id) = text.rsplit_once('-')?;
    Some((Timestamp(nanos.parse().ok()?), format!("art_{id}").parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_round_trip() {
        for nanos in [0, -5, i64::MAX] {
            let mark = (Timestamp(nanos), ArtifactId(ulid::Ulid::from_parts(7, 9)));
            assert_eq!(read_mark(&write_mark(mark)), Some(mark));
        }
        for bad in ["", "-", "1", "x-01ARZ3NDEKTSV4RRFFQ69G5FAV", "1-x"] {
            assert!(read_mark(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn addresses_round_trip() {
        let filter = Filter {
            words: "a&b \"<ä>".into(),
            content_type: Some("image/*".into()),
            agent: Some("w+1".into()),
            metadata: Some("stage=final=1".into()),
            after: None,
        };
        let address = filter.address(None);
        assert!(address.starts_with("?q=a%26b"), "{address}");
        assert_eq!(Filter::read(&address[1..]).unwrap(), filter);
        assert_eq!(Filter::read("q=a+b&utm_source=x&type=").unwrap().words, "a b");
        assert_eq!(Filter::read("after=x"), None);
        assert_eq!(Filter::read("meta=x"), None);
        assert!(!Filter::read("").unwrap().narrows());
    }

    #[test]
    fn values_of_others_are_text() {
        let facets = Facets { agents: vec![("<script>\"'".into(), 2), ("b\u{202e}".into(), 1)], ..Facets::default() };
        let form = Filter::default().form("lnk_x", &facets).into_string();
        assert!(
            form.contains("&lt;script&gt;&quot;") && form.contains("b[U+202E]") && !form.contains("<script"),
            "{form}"
        );
    }
}
