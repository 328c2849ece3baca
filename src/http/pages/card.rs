//! A file on its session's page.

use maud::{Markup, html};

use crate::artifact::name::display_bytes;
use crate::artifact::record::Artifact;
use crate::artifact::visible::visible;
use crate::http::media::Media;
use crate::http::pages::format::size;
use crate::http::pages::preview::{Kind, Preview};
use crate::http::pages::time;

/// Larger pictures are named, not shown: nobody wants to load them by the way.
const MAX_PICTURE: u64 = 32 << 20;
/// Documents shown in a frame on a card.
const MAX_FRAME: u64 = 1 << 20;

/// `base`: where the session's files and views are, seen from the page: `lnk_…/`.
#[must_use]
pub fn card(artifact: &Artifact, preview: Option<&Preview>, base: &str) -> Markup {
    let media = Media::of(&artifact.content_type);
    // By ID: right for any name, and still right when the path gets another version.
    let file = format!("{base}f/{}", artifact.id);
    let view = format!("{base}v/{}", artifact.id);
    let kind = Kind::of(artifact);
    let full = display_bytes(&artifact.filename);
    let (folder, name) = full.rsplit_once('/').map_or(("", full.as_str()), |(f, n)| (f, n));
    html! {
        article {
            div.preview.{ (css(kind)) } { (inside(artifact, kind, preview, &file)) }
            div.about {
                h2 {
                    a.open href=(view) data-full=[shown_at_once(artifact, kind).then_some(&file)] { bdi { (visible(name)) } }
                }
                @if !folder.is_empty() { p.folder { bdi { (visible(folder)) "/" } } }
                p.facts {
                    span { (size(artifact.size)) }
                    span { (media.essence) }
                    @if artifact.version > 1 { span { "version " (artifact.version) } }
                    @if let Some(agent) = &artifact.agent_id { span { "by " bdi { (visible(agent)) } } }
                    span { (time(artifact.created)) }
                    @if let Some(note) = preview.and_then(|p| p.note.as_ref()) { span { (note) } }
                }
                a.download href={ (file) "?download=1" } {
                    "Download" span.hidden { " " (visible(&full)) }
                }
            }
        }
    }
}

/// Opened large in place by a script.
fn shown_at_once(artifact: &Artifact, kind: Kind) -> bool {
    kind == Kind::Picture && artifact.size <= MAX_PICTURE
}

fn inside(artifact: &Artifact, kind: Kind, preview: Option<&Preview>, file: &str) -> Markup {
    let name = display_bytes(&artifact.filename);
    match kind {
        Kind::Picture if artifact.size <= MAX_PICTURE => html! {
            img src=(file) alt=(visible(&name)) loading="lazy" decoding="async";
        },
        Kind::Video => html! { video src=(file) controls preload="none" aria-label=(visible(&name)) {} },
        Kind::Audio => html! { audio src=(file) controls preload="none" aria-label=(visible(&name)) {} },
        Kind::Frame if artifact.size <= MAX_FRAME => html! {
            iframe src={ (file) "?frame=1" } sandbox="" loading="lazy" tabindex="-1" title={ "Preview of " (visible(&name)) } {}
        },
        _ => match preview {
            Some(preview) => html! { div.clip aria-hidden="true" inert { (preview.body) } },
            None => html! { span.glyph aria-hidden="true" { (glyph(artifact, kind)) } },
        },
    }
}

/// What stands for a file of which nothing can be shown.
fn glyph(artifact: &Artifact, kind: Kind) -> String {
    let name = display_bytes(&artifact.filename);
    let ending = name.rsplit('/').next().and_then(|n| n.rsplit_once('.')).map(|(_, e)| e);
    match ending {
        Some(e) if (1..=8).contains(&e.len()) && e.bytes().all(|b| b.is_ascii_alphanumeric()) => e.to_ascii_uppercase(),
        _ if kind == Kind::Pdf => String::from("PDF"),
        _ => String::from("FILE"),
    }
}

pub(super) fn css(kind: Kind) -> &'static str {
    match kind {
        Kind::Picture => "picture",
        Kind::Audio => "audio",
        Kind::Video => "video",
        Kind::Frame => "frame",
        Kind::Table | Kind::Parquet => "table",
        Kind::Markdown | Kind::Notebook => "document",
        Kind::Json | Kind::Text => "text",
        Kind::Pdf | Kind::Other => "other",
    }
}
