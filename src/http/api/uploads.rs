//! Uploads that clients carry out themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode};
use tokio_util::io::StreamReader;

use super::model::{ArtifactBody, ErrorBody, UploadUrl, UploadUrlRequest};
use super::{FILE_MAX, create, input, invalid, problem};
use crate::artifact::Kind;
use crate::engine::uploads::{Announcement, Destination};
use crate::http::App;
use crate::http::auth::Writer;
use crate::http::errors::Problem;
use crate::http::signed::{self, Purpose};
use crate::http::threads::elsewhere;

/// Announce an upload: the answer says where the client puts the bytes itself. Then `complete`.
#[utoipa::path(
    post, path = "/v1/artifacts/upload-url", operation_id = "create_upload_url", tag = "uploads", security(("key" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeated, the same upload is answered.", min_length = 1, max_length = 1024)),
    request_body = UploadUrlRequest,
    responses((status = 201, description = "Where to put the bytes", body = UploadUrl), (status = "4XX", description = "Refused", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody))
)]
pub async fn announce(
    State(app): State<App>,
    Writer(key): Writer,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, axum::Json<UploadUrl>), Problem> {
    let asked: UploadUrlRequest = input::json(&app, &key, &headers, body).await?;
    if asked.filename.is_empty() {
        return Err(invalid("filename must not be empty."));
    }
    if asked.size_bytes > FILE_MAX {
        let message = format!("A file has at most {FILE_MAX} bytes.");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "file_too_large", message));
    }
    let (session, labels) = input::labels(&app, asked.labels, &headers)?;
    let content_type = labels.content_type.clone();
    let what = Announcement { session, filename: asked.filename.clone().into_bytes(), size: asked.size_bytes, labels };
    let (upload, to) = app.store.announce_upload(what).await.map_err(problem)?;
    let left = u64::try_from(upload.expires.parts().0 - app.store.clock.now().parts().0).unwrap_or(0);
    let id = upload.id.to_string();
    let upload_url = match to {
        Destination::Store(url) => url,
        Destination::Here => {
            let query = signed::query(&app.store, Purpose::Upload, &id, upload.expires.parts().0).await?;
            format!("{}/v1/uploads/{id}?{query}", app.base(&headers))
        }
    };
    let answer = UploadUrl {
        artifact_id: id,
        upload_url,
        upload_method: String::from("PUT"),
        upload_headers: BTreeMap::new(),
        expires_in: left,
        filename: asked.filename,
        content_type,
        size_bytes: asked.size_bytes,
    };
    Ok((StatusCode::CREATED, axum::Json(answer)))
}

/// The bytes of an announced upload, where the store takes none itself.
#[utoipa::path(
    put, path = "/v1/uploads/{artifact_id}", operation_id = "put_upload", tag = "uploads",
    params(
        ("artifact_id" = String, Path, description = "art_…"),
        ("expires" = i64, Query, description = "As in the URL"),
        ("signature" = String, Query, description = "As in the URL"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, description = "Taken"), (status = "4XX", description = "Not permitted, or not what was announced", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody))
)]
pub async fn take(
    State(app): State<App>,
    input::Id(id): input::Id,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<StatusCode, Problem> {
    if !signed::permits(&app.store, Purpose::Upload, &id, &query.unwrap_or_default()).await? {
        let message = "The URL has expired or was changed: ask upload-url for another.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "url_expired", message));
    }
    let mut reader = StreamReader::new(create::chunks(request.into_body()));
    let store = Arc::clone(&app.store);
    let taken = elsewhere(&app.home, async move { store.take_upload(&id, &mut reader).await }).await;
    taken.and_then(|taken| taken).map_err(create::incoming)?;
    Ok(StatusCode::OK)
}

/// Make an artifact of the bytes that were put. They are read and hashed first.
#[utoipa::path(
    post, path = "/v1/artifacts/{artifact_id}/complete", operation_id = "complete_upload", tag = "uploads", security(("key" = [])),
    params(("artifact_id" = String, Path, description = "art_…")),
    responses((status = 200, description = "Stored", body = ArtifactBody), (status = "4XX", description = "Unknown, or the bytes are not there", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody))
)]
pub async fn complete(
    State(app): State<App>,
    _: Writer,
    input::Id(id): input::Id,
) -> Result<axum::Json<ArtifactBody>, Problem> {
    let done = app.store.complete_upload(&id).await;
    match done {
        Ok(Some((artifact, outcome))) => Ok(axum::Json(ArtifactBody::of(&artifact, Some(outcome)))),
        Ok(None) => {
            let message = "The bytes are not there, or not as many as announced: put them to upload_url first.";
            Err(Problem::new(StatusCode::BAD_REQUEST, "upload_not_found", message))
        }
        // An artifact that came another way is complete.
        Err(e) if e.kind == Kind::NotFound => Ok(axum::Json(ArtifactBody::from(&super::standing(&app, &id).await?))),
        Err(e) => Err(problem(e)),
    }
}
