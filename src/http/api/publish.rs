//! Artifacts as public pages.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;

use super::model::{ErrorBody, PublishRequest, Published};
use super::{input, invalid, problem, standing};
use crate::engine::publish::PageWish;
use crate::http::App;
use crate::http::auth::Writer;
use crate::http::errors::Problem;

/// Longest word for visibility and access.
const WORD_MAX: usize = 32;

/// Publish an artifact as a page. Done again, the page stays where it is.
#[utoipa::path(
    post, path = "/v1/artifacts/{artifact_id}/publish", operation_id = "publish_artifact", tag = "pages", security(("key" = [])),
    params(("artifact_id" = String, Path, description = "art_…")),
    request_body = Option<PublishRequest>,
    responses((status = 200, description = "The page", body = Published), (status = "4XX", description = "Refused", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody))
)]
pub async fn publish(
    State(app): State<App>,
    Writer(key): Writer,
    input::Id(id): input::Id,
    headers: HeaderMap,
    body: Body,
) -> Result<axum::Json<Published>, Problem> {
    let asked: Option<PublishRequest> = input::optional_json(&app, &key, &headers, body).await?;
    let PublishRequest { title, visibility, access } = asked.unwrap_or_default();
    let wish = PageWish {
        title: title.map(|t| input::text("title", t)).transpose()?,
        visibility: visibility.map(|v| word("visibility", v)).transpose()?,
        access: access.map(|a| word("access", a)).transpose()?,
    };
    let artifact = standing(&app, &id).await?;
    let (page, url) = app.store.publish(artifact.id, wish).await.map_err(problem)?;
    Ok(axum::Json(Published {
        artifact_id: id,
        published: true,
        url: Some(app.told(&headers, &url)),
        link_id: Some(page.link),
        title: page.title,
        visibility: Some(page.visibility),
        access: Some(page.access),
        published_at: Some(page.created.to_rfc3339()),
    }))
}

/// Withdraw the page of an artifact. Its address leads nowhere from then on, also when it is published again.
#[utoipa::path(
    delete, path = "/v1/artifacts/{artifact_id}/publish", operation_id = "unpublish_artifact", tag = "pages", security(("key" = [])),
    params(("artifact_id" = String, Path, description = "art_…")),
    responses((status = 200, description = "Not published any more", body = Published), (status = "4XX", description = "Unknown", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody))
)]
pub async fn unpublish(
    State(app): State<App>,
    _: Writer,
    input::Id(id): input::Id,
) -> Result<axum::Json<Published>, Problem> {
    let artifact = standing(&app, &id).await?;
    app.store.unpublish(artifact.id).await.map_err(problem)?;
    Ok(axum::Json(Published {
        artifact_id: id,
        published: false,
        url: None,
        link_id: None,
        title: None,
        visibility: None,
        access: None,
        published_at: None,
    }))
}

fn word(name: &str, value: String) -> Result<String, Problem> {
    let fine = !value.is_empty()
        && value.len() <= WORD_MAX
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if fine { Ok(value) } else { Err(invalid(format!("{name} must be a word of at most {WORD_MAX} letters."))) }
}
