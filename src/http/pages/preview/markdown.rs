//! Markdown. Raw HTML in it is shown as the text that it is; links lead to the web or to files of the session; pictures
//! are those of the session.

use maud::{Markup, PreEscaped};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use pulldown_cmark::{CowStr, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd, html};

use crate::http::pages::names::visible;

/// What a path segment may not hold as it is.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'%')
    .add(b'`')
    .add(b'\\')
    .add(b'{')
    .add(b'}')
    .add(b'\'')
    .add(b':')
    .add(b'/');
/// Nesting beyond this is shown flat: browsers and readers gain nothing from it.
const DEPTH: usize = 40;

/// Where a document is, so that its relative addresses lead to its neighbours.
pub struct Place {
    files: String,
    folder: Vec<Vec<u8>>,
}

impl Place {
    /// `files`: where the session's files are, seen from the page.
    #[must_use]
    pub fn new(files: &str, filename: &[u8]) -> Self {
        let mut folder: Vec<Vec<u8>> = filename.split(|b| *b == b'/').map(<[u8]>::to_vec).collect();
        folder.pop();
        Self { files: files.to_owned(), folder }
    }

    /// The address of a file of the session; `None` for what leads out of it, or is none.
    fn file(&self, address: &str) -> Option<String> {
        let path = address.split(['?', '#']).next().filter(|p| !p.is_empty())?;
        let mut at = if path.starts_with('/') { Vec::new() } else { self.folder.clone() };
        for segment in path.split('/') {
            match segment {
                "" | "." => {}
                ".." => {
                    at.pop()?;
                }
                name => at.push(percent_decode_str(name).collect()),
            }
        }
        // Dots as a name would be read as steps by the browser.
        if at.is_empty() || at.iter().any(|n| matches!(n.as_slice(), b"." | b"..") || n.contains(&b'/')) {
            return None;
        }
        let names: Vec<String> = at.iter().map(|n| percent_encode(n, SEGMENT).to_string()).collect();
        Some(format!("{}{}", self.files, names.join("/")))
    }

    /// What a link may lead to.
    fn link(&self, address: &str) -> Option<String> {
        let lower = address.trim_start().to_ascii_lowercase();
        if ["http://", "https://", "mailto:"].iter().any(|s| lower.starts_with(s)) {
            return Some(address.trim().to_owned());
        }
        // Any other scheme, and addresses of other hosts without one.
        let scheme = address.split(['/', '?', '#']).next().is_some_and(|s| s.contains(':'));
        if scheme || address.starts_with("//") || address.starts_with('\\') { None } else { self.file(address) }
    }
}

#[must_use]
pub fn render(text: &str, place: &Place) -> Markup {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut depth = 0;
    let events = Parser::new_ext(text, options).flat_map(|event| {
        match &event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth -= 1,
            _ => {}
        }
        // Both ends of an element are at the same depth: the start has counted itself, the end no longer.
        let deep = depth + usize::from(matches!(event, Event::End(_))) > DEPTH;
        if deep && matches!(event, Event::Start(_) | Event::End(_)) { Vec::new() } else { safe(event, place) }
    });
    let mut out = String::new();
    html::push_html(&mut out, events);
    maud::html! { div.prose { (PreEscaped(out)) } }
}

fn safe<'a>(event: Event<'a>, place: &Place) -> Vec<Event<'a>> {
    match event {
        Event::Html(text) | Event::InlineHtml(text) => vec![Event::Text(text)],
        Event::Start(Tag::HtmlBlock) => vec![Event::Start(Tag::Paragraph)],
        Event::End(TagEnd::HtmlBlock) => vec![Event::End(TagEnd::Paragraph)],
        Event::Text(text) => vec![Event::Text(CowStr::from(shown(&text)))],
        Event::Code(text) => vec![Event::Code(CowStr::from(shown(&text)))],
        // Below the page's own headings.
        Event::Start(Tag::Heading { level, .. }) => {
            vec![Event::Start(Tag::Heading { level: lower(level), id: None, classes: vec![], attrs: vec![] })]
        }
        Event::End(TagEnd::Heading(level)) => vec![Event::End(TagEnd::Heading(lower(level)))],
        Event::Start(Tag::Link { dest_url, title, .. }) => {
            // An address that we do not follow becomes a link to the page itself, which is harmless and visibly so.
            let dest_url = place.link(&dest_url).unwrap_or_else(|| String::from("#")).into();
            vec![Event::Start(Tag::Link { link_type: LinkType::Inline, dest_url, title, id: CowStr::Borrowed("") })]
        }
        Event::Start(Tag::Image { dest_url, title, .. }) => {
            let address = dest_url.split(['/', '?', '#']).next().is_some_and(|s| s.contains(':'));
            let file = if address || dest_url.starts_with("//") { None } else { place.file(&dest_url) };
            // Pictures from elsewhere are not fetched.
            let dest_url = file.unwrap_or_else(|| String::from("data:,")).into();
            vec![Event::Start(Tag::Image { link_type: LinkType::Inline, dest_url, title, id: CowStr::Borrowed("") })]
        }
        other => vec![other],
    }
}

/// Newlines stay what they are.
fn shown(text: &str) -> String {
    text.split_inclusive(['\n', '\t'])
        .map(|part| {
            let end = part.len() - usize::from(part.ends_with(['\n', '\t']));
            format!("{}{}", visible(&part[..end]), &part[end..])
        })
        .collect()
}

fn lower(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H2,
        HeadingLevel::H2 => HeadingLevel::H3,
        HeadingLevel::H3 => HeadingLevel::H4,
        HeadingLevel::H4 => HeadingLevel::H5,
        _ => HeadingLevel::H6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(text: &str) -> String {
        render(text, &Place::new("lnk_x/f/", b"docs/read me.md")).into_string()
    }

    #[test]
    fn markdown_is_rendered() {
        let out = html("# Title\n\n| a | b |\n|---|---|\n| 1 | *2* |\n\n- [x] done\n\n```rust\nfn f() {}\n```\n");
        for part in ["<h2>Title</h2>", "<table>", "<em>2</em>", "type=\"checkbox\"", "fn f() {}"] {
            assert!(out.contains(part), "{part}: {out}");
        }
    }

    #[test]
    fn neighbours_are_reached_and_nothing_else() {
        let out = html("![c](../charts/q 3.png) ![c](<../charts/q 3.png>) [n](b.md#x) [w](https://example.org/a?b=c)");
        assert!(
            out.contains("src=\"lnk_x/f/charts/q%203.png\"") && out.contains("href=\"lnk_x/f/docs/b.md\""),
            "{out}"
        );
        assert!(out.contains("href=\"https://example.org/a?b=c\""), "{out}");
        for bad in [
            "[x](javascript:alert(1))",
            "[x](JaVaScRiPt:alert(1))",
            "[x](data:text/html,<script>)",
            "[x](//evil.example/)",
            "[x](../../../secret)",
            "[x](%2e%2e/%2e%2e/secret)",
            "![x](https://evil.example/pixel.png)",
            "![x](//evil.example/pixel.png)",
            "![x](javascript:alert(1))",
            "[x](vbscript:x)",
            "[x](\\\\evil.example)",
        ] {
            let out = html(bad);
            let address = out.split("=\"").nth(2).unwrap_or_default();
            assert!(address.starts_with('#') || address.starts_with("data:,\""), "{bad}: {out}");
        }
    }

    #[test]
    fn raw_html_is_text() {
        for bad in ["<script>alert(1)</script>", "a <img src=x onerror=alert(1)> b", "<iframe src=//e></iframe>\n\nx"] {
            let out = html(bad);
            assert!(
                out.contains("&lt;") && !out.contains("<script") && !out.contains("<img") && !out.contains("<iframe"),
                "{out}"
            );
        }
        let out = html("[a\"onmouseover=\"x](b\"onclick=\"y 't\"onfocus=\"z')");
        assert!(!out.contains("\"onclick") && !out.contains("\"onfocus"), "{out}");
    }

    #[test]
    fn depth_is_bounded() {
        let out = html(&">".repeat(20_000));
        assert!(out.matches("<blockquote>").count() <= DEPTH, "{}", out.len());
        assert_eq!(out.matches("<blockquote>").count(), out.matches("</blockquote>").count());
    }
}
