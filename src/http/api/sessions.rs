//! Sessions: listed, sealed, put into the trash and brought back.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};

use super::model::{ErrorBody, RestoreSession, Sealed, SessionBody, SessionDeleted, SessionList, SessionRestored};
use super::{input, problem};
use crate::artifact::Kind;
use crate::artifact::name::SessionName;
use crate::artifact::record::SessionSummary;
use crate::artifact::time::Timestamp;
use crate::engine::progress::Progress;
use crate::http::App;
use crate::http::auth::{Reader, Writer};
use crate::http::errors::Problem;

const LIST_DEFAULT: u32 = 50;
const LIST_MAX: u32 = 200;
/// For bytes that are still on their way to the store.
const SEAL: Duration = Duration::from_mins(2);

/// List the sessions that have artifacts, or are sealed.
#[utoipa::path(
    get, path = "/v1/sessions", operation_id = "list_sessions", tag = "sessions", security(("key" = [])),
    params(
        ("created_after" = Option<String>, Query, description = "RFC 3339; first artifact at that moment or later", example = "2026-01-31T12:00:00Z"),
        ("created_before" = Option<String>, Query, description = "RFC 3339; first artifact before that moment", example = "2026-02-28T12:00:00Z"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Sessions in the answer; 50 unless said"),
        ("after" = Option<String>, Query, description = "next_cursor of the page before"),
    ),
    responses((status = 200, description = "A page", body = SessionList), (status = "4XX", description = "Refused", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody))
)]
pub async fn list(
    State(app): State<App>,
    _: Reader,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<SessionList>, Problem> {
    let (mut since, mut until, mut after, mut limit) = (None, None, None, LIST_DEFAULT);
    for (name, value) in input::parameters(&query.unwrap_or_default())? {
        match name.as_str() {
            "created_after" => since = Some(input::moment(&name, &value)?),
            "created_before" => until = Some(input::moment(&name, &value)?),
            "limit" => limit = input::limit(&value, LIST_MAX)?,
            "after" => {
                let (created, id) = input::parse_cursor::<8>(&value)?;
                after = Some((created, i64::from_be_bytes(id)));
            }
            _ => {}
        }
    }
    let mut found = app.store.sessions().await?;
    found.retain(|s| {
        let first = s.first_artifact;
        (s.artifacts > 0 || s.session.sealed.is_some())
            && since.is_none_or(|t| first.is_some_and(|f| f >= t))
            && until.is_none_or(|t| first.is_some_and(|f| f < t))
            && after.is_none_or(|place| place_of(s) < place)
    });
    found.sort_by_key(|s| std::cmp::Reverse(place_of(s)));
    let has_more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let last = found.last().filter(|_| has_more);
    let next_cursor = last.map(|s| input::cursor(s.session.created, &s.session.id.0.to_be_bytes()));
    Ok(axum::Json(SessionList { sessions: found.iter().map(body).collect(), has_more, next_cursor }))
}

/// In the order of the list, which never changes for a session.
fn place_of(s: &SessionSummary) -> (Timestamp, i64) {
    (s.session.created, s.session.id.0)
}

fn body(s: &SessionSummary) -> SessionBody {
    SessionBody {
        session_id: s.session.name.to_string(),
        artifact_count: s.artifacts,
        is_sealed: s.session.sealed.is_some(),
        first_artifact_at: s.first_artifact.map(Timestamp::to_rfc3339),
        last_artifact_at: s.last_artifact.map(Timestamp::to_rfc3339),
    }
}

/// Seal a session: from then on nothing in it changes. For good.
#[utoipa::path(
    post, path = "/v1/sessions/{session_id}/seal", operation_id = "seal_session", tag = "sessions", security(("key" = [])),
    params(("session_id" = String, Path, description = "The session")),
    responses((status = 200, description = "Sealed, now or before", body = Sealed), (status = "4XX", description = "Unknown", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody))
)]
pub async fn seal(State(app): State<App>, _: Writer, input::Id(id): input::Id) -> Result<axum::Json<Sealed>, Problem> {
    let unknown = || {
        Problem::new(StatusCode::NOT_FOUND, "session_not_found", format!("There is no session '{id}' with artifacts."))
    };
    let Ok(name) = id.parse() else { return Err(unknown()) };
    let store = &app.store;
    let session = store.catalog.session(store.tenant.id, &name).await?.ok_or_else(unknown)?;
    if session.sealed.is_none() {
        let artifacts =
            store.sessions().await?.into_iter().find(|s| s.session.id == session.id).map_or(0, |s| s.artifacts);
        if artifacts == 0 {
            return Err(unknown());
        }
    }
    let manifest = store.seal(&session, SEAL, &Progress::none()).await.map_err(problem)?;
    Ok(axum::Json(Sealed {
        session_id: manifest.session_id.to_string(),
        status: String::from("sealed"),
        sealed_at: manifest.sealed_at.to_rfc3339(),
        artifact_count: manifest.artifacts.len() as u64,
    }))
}

/// Delete a session, all of it. It stays in the trash as a whole for a while, and its name is free at once.
#[utoipa::path(
    delete, path = "/v1/sessions/{session_id}", operation_id = "delete_session", tag = "sessions", security(("key" = [])),
    params(("session_id" = String, Path, description = "The session")),
    responses((status = 200, description = "Deleted", body = SessionDeleted), (status = "4XX", description = "Unknown, deleted before, sealed, or mounted by itself", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody))
)]
pub async fn delete(
    State(app): State<App>,
    _: Writer,
    input::Id(id): input::Id,
) -> Result<axum::Json<SessionDeleted>, Problem> {
    let session = app.store.session(named(&id)?.as_str()).await.map_err(|e| no_session(&id, e))?;
    let gone = app.store.rm_session(&session).await.map_err(problem)?;
    Ok(axum::Json(SessionDeleted { session_id: id, deleted: true, files: gone.files, directories: gone.directories }))
}

/// Bring a deleted session back with what was deleted with it, under its name or another.
#[utoipa::path(
    post, path = "/v1/sessions/{session_id}/restore", operation_id = "restore_session", tag = "sessions", security(("key" = [])),
    params(("session_id" = String, Path, description = "The name that it had")),
    request_body = Option<RestoreSession>,
    responses((status = 200, description = "It is back", body = SessionRestored), (status = "4XX", description = "None of that name is in the trash, or the name is taken", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody))
)]
pub async fn restore(
    State(app): State<App>,
    Writer(key): Writer,
    input::Id(id): input::Id,
    headers: HeaderMap,
    body: Body,
) -> Result<axum::Json<SessionRestored>, Problem> {
    named(&id)?;
    let asked: Option<RestoreSession> = input::optional_json(&app, &key, &headers, body).await?;
    let name = asked.and_then(|a| a.new_session_id);
    let name: Option<SessionName> = name.map(|n| n.parse()).transpose().map_err(problem)?;
    let (session, files) = app.store.restore_session(&id, name).await.map_err(|e| no_session(&id, e))?;
    Ok(axum::Json(SessionRestored { session_id: session.name.to_string(), files }))
}

/// What no session can be called is no session.
fn named(id: &str) -> Result<SessionName, Problem> {
    id.parse().map_err(|_| unknown(format!("There is no session '{id}'.")))
}

fn unknown(message: impl Into<String>) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "session_not_found", message)
}

/// The engine's error about a session, in the API's words.
fn no_session(id: &str, error: crate::artifact::Error) -> Problem {
    match error.kind {
        Kind::NotFound => unknown(error.message),
        Kind::Deleted => Problem::new(StatusCode::GONE, "session_already_deleted", error.message),
        Kind::Exists => {
            let text = format!(
                "The name is taken by another session by now: say new_session_id to bring '{id}' back under another name."
            );
            Problem::new(StatusCode::CONFLICT, "conflict", text)
        }
        _ => problem(error),
    }
}
