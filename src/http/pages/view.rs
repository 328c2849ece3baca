//! A file's own page: all that can be shown of it, what is known of it, its versions.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use crate::artifact::Kind as ErrorKind;
use crate::artifact::link::LinkToken;
use crate::artifact::name::display_bytes;
use crate::artifact::record::{Artifact, Life, Session};
use crate::artifact::visible::visible;
use crate::http::App;
use crate::http::errors::Problem;
use crate::http::media::Media;
use crate::http::pages::card::css;
use crate::http::pages::format::size;
use crate::http::pages::preview::{self, Extent, Kind, Preview};
use crate::http::pages::time;

/// Versions named, the newest.
const VERSIONS: usize = 50;

/// # Errors
/// Of the catalog.
pub async fn respond(
    app: &App,
    session: &Session,
    artifact: &Artifact,
    token: &LinkToken,
) -> Result<Response, Problem> {
    let content = content(app, session, artifact, token.reveal()).await?;
    let title = format!("{} · {}", visible(&display_bytes(&artifact.filename)), session.name);
    Ok(super::page(StatusCode::OK, &title, &content))
}

/// What stands on it. `above` is the last name of its session's address.
///
/// # Errors
/// Of the catalog.
pub async fn content(app: &App, session: &Session, artifact: &Artifact, above: &str) -> Result<Markup, Problem> {
    let mut versions = match app.store.versions(session, &artifact.filename).await {
        Ok(versions) => versions,
        // An earlier version of a path that is gone stands for itself.
        Err(e) if matches!(e.kind, ErrorKind::NotFound | ErrorKind::NotADirectory) => Vec::new(),
        Err(e) => return Err(e.into()),
    };
    versions.retain(|v| v.life != Life::Trashed);
    versions.reverse();
    versions.truncate(VERSIONS);
    let preview = preview::one(app, artifact, Extent::Whole, Some("../f/")).await;
    let framed = Kind::of(artifact) != Kind::Pdf || preview::is_passive(app, artifact).await;
    Ok(render(session, artifact, preview.as_ref(), framed, &versions, above))
}

fn render(
    session: &Session,
    artifact: &Artifact,
    preview: Option<&Preview>,
    framed: bool,
    versions: &[Artifact],
    token: &str,
) -> Markup {
    let name = display_bytes(&artifact.filename);
    let file = format!("../f/{}", artifact.id);
    let media = Media::of(&artifact.content_type);
    let kind = Kind::of(artifact);
    html! {
        header {
            p.back { a href={ "../../" (token) } { "← " bdi { (session.name) } } }
            div.title {
                h1 { bdi { (visible(&name)) } }
                a.button href={ (file) "?download=1" } { "Download" span.size { (size(artifact.size)) } }
            }
            p.facts {
                span { (media.essence) }
                span { "version " (artifact.version) @if artifact.life == Life::Superseded { ", not the newest" } }
                @if let Some(agent) = &artifact.agent_id { span { "by " bdi { (visible(agent)) } } }
                span { (time(artifact.created)) }
                @if let Some(expires) = artifact.expires { span { "kept until " (time(expires)) } }
            }
        }
        main.view {
            section.{ "content " (css(kind)) } aria-label="Content" {
                (body(artifact, kind, preview, framed, &file))
                (rest(preview, &file))
            }
            section.known aria-labelledby="known" {
                h2 #known { "About this file" }
                dl {
                    @for (key, value) in &artifact.metadata.0 {
                        div { dt { bdi { (visible(key)) } } dd { bdi { (visible(value)) } } }
                    }
                    div { dt { "ID" } dd { code { (artifact.id) } } }
                    div { dt { "SHA-256" } dd { code { (artifact.hash) } } }
                }
                @if versions.len() > 1 {
                    h2 { "Versions" }
                    ol.versions {
                        @for version in versions {
                            li aria-current=[(version.id == artifact.id).then_some("true")] {
                                a href=(version.id) { "Version " (version.version) }
                                span { (size(version.size)) }
                                span { (time(version.created)) }
                                @if let Some(agent) = &version.agent_id { span { "by " bdi { (visible(agent)) } } }
                                a.download href={ "../f/" (version.id) "?download=1" } {
                                    "Download" span.hidden { " version " (version.version) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// That a preview is not all of the file.
pub(super) fn rest(preview: Option<&Preview>, file: &str) -> Markup {
    let says = preview.and_then(|p| match &p.note {
        Some(note) => Some(format!("{note}. ")),
        None => p.cut.then(|| String::from("This is its beginning. ")),
    });
    html! {
        @if let Some(says) = says { p.more { (says) a href={ (file) "?download=1" } { "Download all of it" } } }
    }
}

/// What can be shown of the content; `file`: the address of its bytes.
pub(super) fn body(artifact: &Artifact, kind: Kind, preview: Option<&Preview>, framed: bool, file: &str) -> Markup {
    let name = display_bytes(&artifact.filename);
    let name = visible(&name);
    if artifact.size == 0 {
        return html! { p.empty { "The file is empty." } };
    }
    match kind {
        Kind::Picture => html! { a href=(file) { img src=(file) alt=(name); } },
        Kind::Video => html! { video src=(file) controls preload="metadata" aria-label=(name) {} },
        Kind::Audio => html! { audio src=(file) controls preload="metadata" aria-label=(name) {} },
        Kind::Pdf if !framed => html! {
            p.empty { "This document is large, encrypted, or may hold scripts, so it is not shown here." }
        },
        Kind::Pdf => html! {
            iframe src=(file) title=(name) {}
            p.more { a href=(file) { "Open the document by itself" } }
        },
        Kind::Frame => html! {
            iframe src={ (file) "?frame=1" } sandbox="" title=(name) {}
            p.more { "Shown without scripts and without network." }
        },
        _ => match preview {
            Some(preview) => html! { div.scroll tabindex="0" role="region" aria-label=(name) { (preview.body) } },
            None => html! { p.empty { "There is no preview of this kind of file." } },
        },
    }
}
