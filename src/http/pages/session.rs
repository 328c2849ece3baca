//! A session's page: what it is, and its files, to look at and to download.

use std::collections::HashMap;
use std::fmt::Write;

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use crate::artifact::ids::ArtifactId;
use crate::artifact::link::LinkToken;
use crate::artifact::name::display_bytes;
use crate::artifact::query::{Page, Query};
use crate::artifact::record::{Artifact, Session};
use crate::artifact::time::Timestamp;
use crate::http::App;
use crate::http::errors::Problem;
use crate::http::media::{Media, Treatment};
use crate::http::pages::format::{count, moment, size};
use crate::http::pages::preview::{self, Preview};

/// Files on one page.
const PER_PAGE: u32 = 100;
/// Larger pictures are named, not shown: nobody wants to load them by the way.
const MAX_PICTURE: u64 = 32 << 20;

/// The page that begins after `after`, a mark that an earlier page gave.
///
/// # Errors
/// Of the catalog; a mark that is none of ours.
pub async fn respond(
    app: &App,
    session: &Session,
    token: &LinkToken,
    after: Option<&str>,
) -> Result<Response, Problem> {
    let start = after
        .map(|text| {
            read_mark(text)
                .ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "invalid_request", "That page does not exist."))
        })
        .transpose()?;
    let mut query = Query::all(app.store.tenant.id);
    query.session = Some(session.id);
    query.limit = PER_PAGE;
    query.after = start;
    let mut page = app.store.find(&query).await?;
    let whole = start.is_none() && page.next.is_none();
    if whole {
        // All on one page: in the order of a directory. More pages come as the catalog has them, newest first.
        page.artifacts.sort_by(|a, b| a.filename.cmp(&b.filename));
    }
    let previews = preview::of(app, &page.artifacts).await;
    let content = render(session, &page, &previews, token.reveal(), whole, start.is_some());
    Ok(super::page(StatusCode::OK, session.name.as_str(), &content))
}

fn render(
    session: &Session,
    page: &Page,
    previews: &HashMap<ArtifactId, Preview>,
    token: &str,
    whole: bool,
    later: bool,
) -> Markup {
    let bytes: u64 = page.artifacts.iter().map(|a| a.size).sum();
    let files = page.artifacts.len() as u64;
    html! {
        header {
            h1 { bdi { (session.name) } }
            p.facts {
                @if let Some(sealed) = session.sealed {
                    span.seal.sealed { "Sealed " (time(sealed)) }
                } @else {
                    span.seal { "Open, may still change" }
                }
                span { "Begun " (time(session.created)) }
                @if whole {
                    span { (count(files, "file", "files")) ", " (size(bytes)) }
                } @else {
                    span { (count(files, "file", "files")) " on this page, newest first" }
                }
            }
        }
        main {
            @if page.artifacts.is_empty() {
                p.empty { "There is no file here" @if later { " any more" } @else { " yet" } "." }
            }
            @for artifact in &page.artifacts {
                (file(artifact, previews.get(&artifact.id), token))
            }
        }
        @if later || page.next.is_some() {
            nav aria-label="Pages" {
                @if later { a href=(token) { "First page" } }
                @if let Some(mark) = page.next { a.next href={ (token) "?after=" (write_mark(mark)) } { "Next page" } }
            }
        }
    }
}

fn file(artifact: &Artifact, preview: Option<&Preview>, token: &str) -> Markup {
    let media = Media::of(&artifact.content_type);
    // By ID: right for any name, and still right when the path gets another version.
    let href = format!("{token}/f/{}", artifact.id);
    let shown = media.treatment == Treatment::Safe;
    let name = display_bytes(&artifact.filename);
    let name = visible(&name);
    html! {
        article {
            h2 {
                a href={ (href) @if !shown { "?download=1" } } { bdi { (name) } }
            }
            p.facts {
                span { (size(artifact.size)) }
                span { (media.essence) }
                @if let Some(agent) = &artifact.agent_id { span { "by " bdi { (visible(agent)) } } }
                span { (time(artifact.created)) }
                @if artifact.version > 1 { span { "version " (artifact.version) } }
                a.download href={ (href) "?download=1" } { "Download" }
            }
            @if media.is_picture() && artifact.size <= MAX_PICTURE {
                a.picture href=(href) { img src=(href) alt=(name) loading="lazy"; }
            } @else if media.treatment == Treatment::Safe && media.essence.starts_with("video/") {
                video src=(href) controls preload="none" {}
            } @else if media.treatment == Treatment::Safe && media.essence.starts_with("audio/") {
                audio src=(href) controls preload="none" {}
            } @else if let Some(preview) = preview {
                // A leading newline right after <pre> would be swallowed by the parser: one to swallow goes first.
                pre tabindex="0" { "\n" (preview.text) }
                @if preview.cut { p.more { a href={ (href) @if !shown { "?download=1" } } { "The whole file" } } }
            }
        }
    }
}

fn time(at: Timestamp) -> Markup {
    html! { time datetime=(at.to_rfc3339()) { (moment(at)) } }
}

/// Control characters and marks of direction as pictures or codes, so that a name can neither hide a part of itself nor
/// rearrange what stands around it.
fn visible(text: &str) -> String {
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
    fn names_hide_nothing() {
        assert_eq!(visible("a\nb\u{202e}gpj.exe\u{200b}"), "a\u{240a}b[U+202E]gpj.exe[U+200B]");
        assert_eq!(visible("Größe שלום 日本"), "Größe שלום 日本");
    }
}
