//! Links to artifacts.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};

use super::model::{ErrorBody, LinkBody, LinkList, LinkRequest, LinkRevoked};
use super::{input, invalid, problem, standing};
use crate::artifact::Kind;
use crate::artifact::record::LinkTarget;
use crate::artifact::time::{Timestamp, Ttl};
use crate::http::App;
use crate::http::auth::{Reader, Writer};
use crate::http::errors::Problem;

/// A hundred years.
const LONGEST: u64 = 3_155_760_000;

/// Make a download link: whoever has it gets the file.
#[utoipa::path(
    post, path = "/v1/artifacts/{artifact_id}/links", operation_id = "create_link", tag = "links", security(("key" = [])),
    params(("artifact_id" = String, Path, description = "art_…")),
    request_body = Option<LinkRequest>,
    responses((status = 201, description = "The link", body = LinkBody), (status = "4XX", description = "Refused", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody))
)]
pub async fn create(
    State(app): State<App>,
    Writer(key): Writer,
    input::Id(id): input::Id,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, axum::Json<LinkBody>), Problem> {
    let asked: Option<LinkRequest> = input::optional_json(&app, &key, &headers, body).await?;
    let seconds = asked.and_then(|a| a.expires_in);
    if seconds.is_some_and(|s| !(1..=LONGEST).contains(&s)) {
        return Err(invalid(format!("expires_in must be from 1 to {LONGEST} seconds.")));
    }
    let artifact = standing(&app, &id).await?;
    let new =
        app.store.create_link(LinkTarget::Artifact(artifact.id), seconds.map(Ttl::Seconds)).await.map_err(problem)?;
    let url = app.told(&headers, &new.url);
    Ok((StatusCode::CREATED, axum::Json(LinkBody::new(&new.link, Some(url)))))
}

/// The links of an artifact, revoked and expired ones too.
#[utoipa::path(
    get, path = "/v1/artifacts/{artifact_id}/links", operation_id = "list_links", tag = "links", security(("key" = [])),
    params(("artifact_id" = String, Path, description = "art_…")),
    responses((status = 200, description = "The links", body = LinkList), (status = "4XX", description = "Unknown, or gone", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody))
)]
pub async fn list(
    State(app): State<App>,
    _: Reader,
    input::Id(id): input::Id,
) -> Result<axum::Json<LinkList>, Problem> {
    let artifact = standing(&app, &id).await?;
    let links = app.store.links(Some(LinkTarget::Artifact(artifact.id))).await?;
    Ok(axum::Json(LinkList { links: links.iter().map(|l| LinkBody::new(l, None)).collect() }))
}

/// Revoke a link.
#[utoipa::path(
    delete, path = "/v1/links/{link_id}", operation_id = "revoke_link", tag = "links", security(("key" = [])),
    params(("link_id" = String, Path, description = "lnk_… and eight characters")),
    responses((status = 200, description = "Revoked", body = LinkRevoked), (status = "4XX", description = "Unknown", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody))
)]
pub async fn revoke(
    State(app): State<App>,
    _: Writer,
    input::Id(id): input::Id,
) -> Result<axum::Json<LinkRevoked>, Problem> {
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "link_not_found", "There is no such link.");
    let link = app.store.revoke_link(&id).await.map_err(|e| match e.kind {
        Kind::NotFound | Kind::Invalid => unknown(),
        _ => problem(e),
    })?;
    let revoked_at = link.revoked.map(Timestamp::to_rfc3339);
    Ok(axum::Json(LinkRevoked { link_id: link.id, revoked: true, revoked_at }))
}
