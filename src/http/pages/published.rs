//! The public page of one artifact, as its maker published it.

use axum::http::StatusCode;
use axum::response::Response;
use maud::html;

use crate::artifact::link::LinkToken;
use crate::artifact::name::display_bytes;
use crate::artifact::record::Artifact;
use crate::artifact::visible::visible;
use crate::catalog::records::Publication;
use crate::http::App;
use crate::http::errors::Problem;
use crate::http::media::Media;
use crate::http::pages::card::css;
use crate::http::pages::format::size;
use crate::http::pages::preview::{self, Extent, Kind};
use crate::http::pages::{time, view};

/// The page stands at `/s/TOKEN`; the bytes at `/s/TOKEN/f/ID`.
///
/// # Errors
/// Of the catalog.
pub async fn respond(
    app: &App,
    artifact: &Artifact,
    page: &Publication,
    token: &LinkToken,
) -> Result<Response, Problem> {
    let beside = format!("{}/f/", token.reveal());
    // One file was published: its neighbours were not.
    let preview = preview::one(app, artifact, Extent::Whole, None).await;
    let kind = Kind::of(artifact);
    let framed = kind != Kind::Pdf || preview::is_passive(app, artifact).await;
    let name = display_bytes(&artifact.filename);
    let title = page.title.clone().filter(|t| !t.trim().is_empty()).unwrap_or_else(|| name.clone());
    let file = format!("{beside}{}", artifact.id);
    let content = html! {
        header {
            div.title {
                h1 { bdi { (visible(&title)) } }
                a.button href={ (file) "?download=1" } { "Download" span.size { (size(artifact.size)) } }
            }
            p.facts {
                @if title != name { span { bdi { (visible(&name)) } } }
                span { (Media::of(&artifact.content_type).essence) }
                @if let Some(agent) = &artifact.agent_id { span { "by " bdi { (visible(agent)) } } }
                span { (time(artifact.created)) }
                @if let Some(expires) = artifact.expires { span { "kept until " (time(expires)) } }
            }
        }
        main.view {
            section.{ "content " (css(kind)) } aria-label="Content" {
                (view::body(artifact, kind, preview.as_ref(), framed, &file))
                (view::rest(preview.as_ref(), &file))
            }
        }
    };
    Ok(super::page(StatusCode::OK, &visible(&title), &content))
}
