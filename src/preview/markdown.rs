//! Markdown. Raw HTML in it is shown as the text that it is; links lead to the web or to files of the session; pictures
//! are those of the session.

use std::collections::HashMap;

use maud::{Markup, PreEscaped};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use pulldown_cmark::{Alignment, CowStr, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd, html};

use crate::artifact::visible::visible;

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
    /// None: the document stands alone, nothing of its neighbourhood can be reached.
    files: Option<String>,
    folder: Vec<Vec<u8>>,
}

impl Place {
    /// `files`: where the session's files are, seen from the page.
    #[must_use]
    pub fn new(files: Option<&str>, filename: &[u8]) -> Self {
        let mut folder: Vec<Vec<u8>> = filename.split(|b| *b == b'/').map(<[u8]>::to_vec).collect();
        folder.pop();
        Self { files: files.map(str::to_owned), folder }
    }

    /// The address of a file of the session; `None` for what leads out of it, or is none.
    fn file(&self, address: &str) -> Option<String> {
        let files = self.files.as_ref()?;
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
        Some(format!("{files}{}", names.join("/")))
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
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_GFM;
    let mut depth = 0;
    let mut columns = Columns::default();
    let mut removed = Vec::new();
    let mut notes = HashMap::new();
    let events = Parser::new_ext(text, options).flat_map(|event| {
        match &event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth -= 1,
            _ => {}
        }
        // Both ends of an element are at the same depth: the start has counted itself, the end no longer.
        let deep = depth + usize::from(matches!(event, Event::End(_))) > DEPTH;
        if deep && matches!(event, Event::Start(_) | Event::End(_)) {
            return Vec::new();
        }
        let event = match columns.aligned(event) {
            Ok(html) => return vec![html],
            Err(event) => event,
        };
        let event = match footnote(event, &mut notes) {
            Ok(html) => return vec![html],
            Err(event) => event,
        };
        safe(event, place, &mut removed)
    });
    let mut out = String::new();
    html::push_html(&mut out, events);
    maud::html! { div.prose { (PreEscaped(out)) } }
}

/// The cells of a table, with a class for what the library says by a style attribute, which the page's policy does not let
/// through.
#[derive(Default)]
struct Columns {
    of: Vec<Alignment>,
    head: bool,
    next: usize,
}

impl Columns {
    /// A cell's tag, or the event again when it is none.
    fn aligned<'a>(&mut self, event: Event<'a>) -> Result<Event<'a>, Event<'a>> {
        match event {
            Event::Start(Tag::Table(of)) => {
                self.of.clone_from(&of);
                // Told by our classes alone.
                return Err(Event::Start(Tag::Table(vec![Alignment::None; of.len()])));
            }
            Event::Start(Tag::TableHead) => (self.head, self.next) = (true, 0),
            Event::End(TagEnd::TableHead) => self.head = false,
            Event::Start(Tag::TableRow) => self.next = 0,
            Event::Start(Tag::TableCell) => {
                let class = match self.of.get(self.next) {
                    Some(Alignment::Left) => " class=\"left\"",
                    Some(Alignment::Center) => " class=\"center\"",
                    Some(Alignment::Right) => " class=\"right\"",
                    Some(Alignment::None) | None => "",
                };
                self.next += 1;
                let name = if self.head { "th" } else { "td" };
                return Ok(Event::Html(format!("<{name}{class}>").into()));
            }
            Event::End(TagEnd::TableCell) => {
                return Ok(Event::Html(if self.head { "</th>".into() } else { "</td>".into() }));
            }
            _ => {}
        }
        Err(event)
    }
}

/// Footnotes by number. The library's addresses are the document's own labels, which may be those of the page.
fn footnote<'a>(event: Event<'a>, numbers: &mut HashMap<String, usize>) -> Result<Event<'a>, Event<'a>> {
    let mut number = |label: &str| {
        let next = numbers.len() + 1;
        *numbers.entry(label.to_owned()).or_insert(next)
    };
    let html = match &event {
        Event::FootnoteReference(label) => {
            let n = number(label);
            format!("<sup class=\"note\"><a href=\"#note-{n}\">{n}</a></sup>")
        }
        Event::Start(Tag::FootnoteDefinition(label)) => {
            let n = number(label);
            format!("<div class=\"note\" id=\"note-{n}\"><sup>{n}</sup>")
        }
        Event::End(TagEnd::FootnoteDefinition) => String::from("</div>\n"),
        _ => return Err(event),
    };
    Ok(Event::Html(html.into()))
}

/// `removed`: for each open link and picture, whether its tag was left out.
fn safe<'a>(event: Event<'a>, place: &Place, removed: &mut Vec<bool>) -> Vec<Event<'a>> {
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
        // No classes that the document names.
        Event::Start(Tag::BlockQuote(_)) => vec![Event::Start(Tag::BlockQuote(None))],
        Event::Start(Tag::Link { dest_url, title, .. }) => {
            let Some(address) = place.link(&dest_url) else {
                // An address that we do not follow is no link: its words stay.
                removed.push(true);
                return Vec::new();
            };
            removed.push(false);
            let (link_type, id) = (LinkType::Inline, CowStr::Borrowed(""));
            vec![Event::Start(Tag::Link { link_type, dest_url: address.into(), title, id })]
        }
        Event::Start(Tag::Image { dest_url, title, .. }) => {
            let scheme = dest_url.split(['/', '?', '#']).next().is_some_and(|s| s.contains(':'));
            let file = if scheme || dest_url.starts_with("//") { None } else { place.file(&dest_url) };
            let Some(file) = file else {
                // Pictures from elsewhere are not fetched, nor those that this page has no right to: what they show is said.
                removed.push(true);
                return vec![Event::Html("<span class=\"absent\">".into()), Event::Text("Picture: ".into())];
            };
            removed.push(false);
            let (link_type, id) = (LinkType::Inline, CowStr::Borrowed(""));
            vec![Event::Start(Tag::Image { link_type, dest_url: file.into(), title, id })]
        }
        Event::End(end @ (TagEnd::Link | TagEnd::Image)) => match (removed.pop(), end) {
            (Some(true), TagEnd::Image) => vec![Event::Html("</span>".into())],
            (Some(true), _) => Vec::new(),
            (_, end) => vec![Event::End(end)],
        },
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
        render(text, &Place::new(Some("lnk_x/f/"), b"docs/read me.md")).into_string()
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
            assert!(!out.contains("href") && !out.contains("src") && out.contains('x'), "{bad}: {out}");
        }
        let nested = html("[![a](https://evil.example/p.png) b](https://example.org/) [![c](d.png)](javascript:x)");
        assert_eq!(
            (nested.matches("<a ").count(), nested.matches("</a>").count(), nested.matches("<img").count()),
            (1, 1, 1),
            "{nested}"
        );
    }

    #[test]
    fn alone_a_document_names_what_it_cannot_show() {
        let text = "![A chart](charts/q3.png) and [more](b.md), [web](https://example.org)";
        let out = render(text, &Place::new(None, b"docs/a.md")).into_string();
        assert!(out.contains("<span class=\"absent\">Picture: A chart</span> and more,"), "{out}");
        assert!(out.contains("href=\"https://example.org\"") && !out.contains("<img"), "{out}");
    }

    #[test]
    fn columns_are_aligned_by_class_and_footnotes_numbered() {
        let out = html("| a | b | c | d |\n|:--|:-:|--:|---|\n| 1 | 2 | 3 | 4 |\n\n| e |\n|--:|\n| 5 |\n");
        for part in [
            "<th class=\"left\">a</th>",
            "<td class=\"center\">2</td>",
            "<td class=\"right\">3</td>",
            "<td>4</td>",
            "<td class=\"right\">5</td>",
        ] {
            assert!(out.contains(part), "{part}: {out}");
        }
        assert!(!out.contains("style"), "{out}");
        let out = html("One[^a] and two[^known].\n\n[^known]: Second *note*.\n[^a]: First <b>note</b>.\n");
        assert!(out.contains("<a href=\"#note-1\">1</a>") && out.contains("id=\"note-2\"><sup>2</sup>"), "{out}");
        assert!(out.contains("Second <em>note</em>") && out.contains("&lt;b&gt;") && !out.contains("[^"), "{out}");
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
