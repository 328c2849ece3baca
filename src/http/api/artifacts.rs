//! Artifacts: listed, read, deleted, kept longer.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;

use super::model::{ArtifactBody, ArtifactList, Deleted, DownloadUrl, ErrorBody, ExtendTtl};
use super::{in_seconds, input, invalid, problem, standing};
use crate::artifact::ids::ArtifactId;
use crate::artifact::metadata::check_key;
use crate::artifact::query::Query;
use crate::artifact::record::Life;
use crate::artifact::time::Timestamp;
use crate::http::App;
use crate::http::auth::{Reader, Writer};
use crate::http::content::{self, ContentRequest};
use crate::http::errors::Problem;
use crate::http::signed::{self, Purpose};

const LIST_DEFAULT: u32 = 50;
const LIST_MAX: u32 = 200;
/// Seconds for which a download URL is good.
const DOWNLOAD: u64 = 3600;

/// List artifacts: the newest version of each path, newest first.
#[utoipa::path(
    get, path = "/v1/artifacts", operation_id = "list_artifacts", tag = "artifacts", security(("key" = [])),
    params(
        ("session_id" = Option<String>, Query, description = "Of this session"),
        ("agent_id" = Option<String>, Query, description = "Made by this agent"),
        ("filename" = Option<String>, Query, description = "At this path, exactly"),
        ("content_type" = Option<String>, Query, description = "Of this type, or of a class: image/*"),
        ("created_after" = Option<String>, Query, description = "RFC 3339; at that moment or later", example = "2026-01-31T12:00:00Z"),
        ("created_before" = Option<String>, Query, description = "RFC 3339; before that moment", example = "2026-02-28T12:00:00Z"),
        ("metadata.KEY" = Option<String>, Query, description = "With this value under the metadata key KEY; any number of them, all must hold"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Artifacts in the answer; 50 unless said"),
        ("cursor" = Option<String>, Query, description = "next_cursor of the page before"),
    ),
    responses((status = 200, description = "A page", body = ArtifactList), (status = "4XX", description = "Refused", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody))
)]
pub async fn list(
    State(app): State<App>,
    _: Reader,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<ArtifactList>, Problem> {
    let mut wanted = Query { limit: LIST_DEFAULT, ..Query::all(app.store.tenant.id) };
    let mut session = None;
    for (name, value) in input::parameters(&query.unwrap_or_default())? {
        match name.as_str() {
            // Before anything that means "not said" when it is empty.
            "limit" => wanted.limit = input::limit(&value, LIST_MAX)?,
            "created_after" => wanted.since = Some(input::moment(&name, &value)?),
            "created_before" => wanted.until = Some(input::moment(&name, &value)?),
            "cursor" => {
                let (created, id) = input::parse_cursor::<16>(&value)?;
                wanted.after = Some((created, ArtifactId(ulid::Ulid::from_bytes(id))));
            }
            _ if value.is_empty() && !name.starts_with("metadata.") => {}
            "session_id" => session = Some(value),
            "agent_id" => wanted.agent = Some(value),
            "filename" => wanted.filename = Some(value.into_bytes()),
            "content_type" => wanted.content_type = Some(value),
            _ => {
                if let Some(key) = name.strip_prefix("metadata.") {
                    check_key(key).map_err(problem)?;
                    wanted.metadata.push((key.to_owned(), value));
                }
            }
        }
    }
    if let Some(name) = session {
        let found = app.store.catalog.session(app.store.tenant.id, &name.parse().map_err(problem)?).await?;
        let Some(found) = found else {
            return Ok(axum::Json(ArtifactList { artifacts: Vec::new(), has_more: false, next_cursor: None }));
        };
        wanted.session = Some(found.id);
    }
    let page = app.store.find(&wanted).await?;
    Ok(axum::Json(ArtifactList {
        artifacts: page.artifacts.iter().map(ArtifactBody::from).collect(),
        has_more: page.next.is_some(),
        next_cursor: page.next.map(|(created, id)| input::cursor(created, &id.0.to_bytes())),
    }))
}

/// One artifact.
#[utoipa::path(
    get, path = "/v1/artifacts/{artifact_id}", operation_id = "get_artifact", tag = "artifacts", security(("key" = [])),
    params(("artifact_id" = String, Path, description = "art_…")),
    responses((status = 200, description = "The artifact", body = ArtifactBody), (status = "4XX", description = "Unknown, or gone", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody))
)]
pub async fn get(
    State(app): State<App>,
    _: Reader,
    input::Id(id): input::Id,
) -> Result<axum::Json<ArtifactBody>, Problem> {
    Ok(axum::Json(ArtifactBody::from(&standing(&app, &id).await?)))
}

/// A URL that gives the bytes for an hour, without a key.
#[utoipa::path(
    get, path = "/v1/artifacts/{artifact_id}/download-url", operation_id = "get_download_url", tag = "artifacts", security(("key" = [])),
    params(("artifact_id" = String, Path, description = "art_…")),
    responses((status = 200, description = "The URL", body = DownloadUrl), (status = "4XX", description = "Unknown, or gone", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody))
)]
pub async fn download_url(
    State(app): State<App>,
    _: Reader,
    input::Id(id): input::Id,
    headers: HeaderMap,
) -> Result<axum::Json<DownloadUrl>, Problem> {
    let artifact = standing(&app, &id).await?;
    let until = in_seconds(&app, DOWNLOAD);
    let query = signed::query(&app.store, Purpose::Download, &id, until.parts().0).await?;
    let body = ArtifactBody::from(&artifact);
    Ok(axum::Json(DownloadUrl {
        download_url: format!("{}/v1/artifacts/{id}/content?{query}", app.base(&headers)),
        artifact_id: body.artifact_id,
        filename: body.filename,
        content_type: body.content_type,
        size_bytes: body.size_bytes,
        expires_in: DOWNLOAD,
        expires_at: until.to_rfc3339(),
    }))
}

/// The bytes, by a URL that `download-url` made. With ranges and conditions.
#[utoipa::path(
    get, path = "/v1/artifacts/{artifact_id}/content", operation_id = "get_artifact_content", tag = "artifacts",
    params(
        ("artifact_id" = String, Path, description = "art_…"),
        ("expires" = i64, Query, description = "As in the URL"),
        ("signature" = String, Query, description = "As in the URL"),
    ),
    responses(
        (status = 200, description = "All of them", content_type = "*/*"), (status = 206, description = "A part", content_type = "*/*"), (status = 302, description = "From the store"), (status = 304, description = "Those that you have"),
        (status = "4XX", description = "Not permitted, or gone", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody)
    )
)]
pub async fn content(
    State(app): State<App>,
    input::Id(id): input::Id,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !signed::permits(&app.store, Purpose::Download, &id, &query.unwrap_or_default()).await? {
        let message = "The URL has expired or was changed: ask download-url for another.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "url_expired", message));
    }
    let artifact = standing(&app, &id).await?;
    let request = ContentRequest {
        artifact: &artifact,
        method: &method,
        headers: &headers,
        download: true,
        frame: false,
        link: "download-url",
    };
    content::respond(&app, request).await
}

/// Delete an artifact. It stays in the trash for a while, from where its owner can restore it.
#[utoipa::path(
    delete, path = "/v1/artifacts/{artifact_id}", operation_id = "delete_artifact", tag = "artifacts", security(("key" = [])),
    params(("artifact_id" = String, Path, description = "art_…")),
    responses((status = 200, description = "Deleted", body = Deleted), (status = "4XX", description = "Unknown, gone or sealed", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody))
)]
pub async fn delete(
    State(app): State<App>,
    _: Writer,
    input::Id(id): input::Id,
) -> Result<axum::Json<Deleted>, Problem> {
    let artifact = standing(&app, &id).await?;
    if artifact.life == Life::Superseded {
        app.store.rm_version(artifact.id).await.map_err(problem)?;
    } else {
        app.store.rm(&artifact.id.to_string()).await.map_err(problem)?;
    }
    let now = app.store.catalog.former(app.store.tenant.id, artifact.id).await?;
    let deleted_at = now.and_then(|a| a.deleted).map(Timestamp::to_rfc3339);
    Ok(axum::Json(Deleted { artifact_id: artifact.id.to_string(), deleted: true, deleted_at }))
}

/// Keep an artifact longer. A life is never shortened by this.
#[utoipa::path(
    post, path = "/v1/artifacts/{artifact_id}/extend-ttl", operation_id = "extend_ttl", tag = "artifacts", security(("key" = [])),
    params(("artifact_id" = String, Path, description = "art_…")),
    request_body = ExtendTtl,
    responses((status = 200, description = "The artifact with its new end", body = ArtifactBody), (status = "4XX", description = "Refused", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody))
)]
pub async fn extend_ttl(
    State(app): State<App>,
    Writer(key): Writer,
    input::Id(id): input::Id,
    headers: HeaderMap,
    body: Body,
) -> Result<axum::Json<ArtifactBody>, Problem> {
    let asked: ExtendTtl = input::json(&app, &key, &headers, body).await?;
    let ttl = input::ttl(&app, &asked.ttl)?;
    let artifact = standing(&app, &id).await?;
    let end = app.store.clock.now().plus(ttl);
    if end.is_some_and(|end| end <= app.store.clock.now()) {
        return Err(invalid("That moment is over."));
    }
    let longer = match (artifact.expires, end) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(now), Some(then)) => then > now,
    };
    let artifact =
        if longer { app.store.set_ttl(&artifact.id.to_string(), ttl).await.map_err(problem)? } else { artifact };
    Ok(axum::Json(ArtifactBody::from(&artifact)))
}
