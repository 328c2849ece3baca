//! The REST API, wire-compatible with Artifacta's v1. Translates between requests and the engine.
//!
//! [`create`] takes bytes, [`artifacts`] lists, reads, deletes them, [`links`], [`sessions`], [`uploads`] (bytes that clients put
//! somewhere themselves), [`publish`], [`account`]; [`model`] is what goes over the wire, [`openapi`] its description, [`input`]
//! what comes in, checked.

pub mod account;
pub mod artifacts;
pub mod create;
pub mod input;
pub mod links;
pub mod model;
pub mod openapi;
pub mod publish;
pub mod reference;
pub mod sessions;
pub mod uploads;

use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, header};
use axum::middleware;
use axum::routing::{delete, get, post, put};

use crate::artifact::key::Rate;
use crate::artifact::record::Artifact;
use crate::artifact::standing::Asks;
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Kind};
use crate::engine::turns::{Rules, Turns};
use crate::http::auth::{self, Buckets};
use crate::http::errors::Problem;
use crate::http::{App, HttpConfig};

/// Largest file: what one PUT to S3 takes.
pub const FILE_MAX: u64 = 5 << 30;

/// What the handlers share beside the store.
pub struct Api {
    /// Of keys without a rate of their own.
    pub rate: Rate,
    /// The longest life that may be asked for; none: any.
    pub max_ttl: Option<Duration>,
    /// `X-Forwarded-*` are a proxy's word.
    pub trust_proxy: bool,
    pub buckets: Buckets,
    /// KiB of whole bodies in memory, by key or address: what is taken apart at the moment, at all doors together.
    pub bodies: Turns<String>,
    /// Requests of one key at a time, until their answers have gone out.
    pub requests: Turns<String>,
}

/// No turn of these is held while a client thinks or a store takes its time: what is to be kept is in a file by then.
const BODIES: Rules = Rules { all: 72 << 10, each: 48 << 10, waiting: 256, patience: Duration::from_secs(60) };
/// Requests of one key, as a part of all: others have the rest.
const OF_ONE_KEY: u32 = 4;
/// At least.
const LEAST: u32 = 8;

impl Api {
    #[must_use]
    pub fn new(config: &HttpConfig) -> Self {
        let all = u32::try_from(config.limits.connections).unwrap_or(u32::MAX);
        let each = (all / OF_ONE_KEY).max(LEAST);
        Self {
            rate: config.rate,
            max_ttl: config.max_ttl,
            trust_proxy: config.trust_proxy,
            buckets: Buckets::default(),
            bodies: Turns::new(BODIES),
            requests: Turns::new(Rules { all: all.max(each), each, waiting: 0, patience: Duration::ZERO }),
        }
    }
}

/// All addresses below `/v1`, `/openapi.json` and `/docs`.
pub fn routes(app: &App) -> Router<App> {
    let keyed = Router::new()
        .route("/v1/artifacts", get(artifacts::list).post(create::create))
        .route("/v1/artifacts/upload-url", post(uploads::announce))
        .route("/v1/artifacts/{artifact_id}", get(artifacts::get).delete(artifacts::delete))
        .route("/v1/artifacts/{artifact_id}/download-url", get(artifacts::download_url))
        .route("/v1/artifacts/{artifact_id}/extend-ttl", post(artifacts::extend_ttl))
        .route("/v1/artifacts/{artifact_id}/complete", post(uploads::complete))
        .route("/v1/artifacts/{artifact_id}/links", get(links::list).post(links::create))
        .route("/v1/artifacts/{artifact_id}/publish", post(publish::publish).delete(publish::unpublish))
        .route("/v1/artifacts/{artifact_id}/unpublish", post(publish::unpublish))
        .route("/v1/links/{link_id}", delete(links::revoke))
        .route("/v1/sessions", get(sessions::list))
        .route("/v1/sessions/{session_id}", delete(sessions::delete))
        .route("/v1/sessions/{session_id}/seal", post(sessions::seal))
        .route("/v1/sessions/{session_id}/restore", post(sessions::restore))
        .route("/v1/whoami", get(account::whoami))
        .route_layer(middleware::from_fn_with_state(app.clone(), auth::guard));
    let open = Router::new()
        .route("/v1/uploads/{artifact_id}", put(uploads::take))
        .route("/openapi.json", get(openapi::document))
        .route("/docs", get(reference::page));
    // Each reader of a body has its own limit.
    keyed.merge(open).layer(DefaultBodyLimit::disable())
}

/// What needs no key but a signed URL, and is work for readers.
pub fn reading() -> Router<App> {
    Router::new().route("/v1/artifacts/{artifact_id}/content", get(artifacts::content))
}

/// Requests that take as long as their bytes do: their parts have deadlines of their own.
#[must_use]
pub fn is_slow(method: &Method, path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/v1/") else { return false };
    match *method {
        Method::POST => {
            rest == "artifacts" || rest.ends_with("/complete") || rest.ends_with("/seal") || rest.ends_with("/restore")
        }
        Method::DELETE => rest.starts_with("sessions/"),
        Method::PUT => rest.starts_with("uploads/"),
        _ => false,
    }
}

/// An error of the engine in the API's words.
pub fn problem(error: Error) -> Problem {
    match error.kind {
        Kind::NotFound => Problem::new(StatusCode::NOT_FOUND, "artifact_not_found", error.message),
        Kind::MetadataTooLarge | Kind::Reserved | Kind::Forbidden => invalid(error.message),
        Kind::Busy => Problem::from(error).with(header::RETRY_AFTER, "5"),
        _ => Problem::from(error),
    }
}

pub fn invalid(message: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_request", message)
}

/// The artifact, or why it cannot be had.
///
/// # Errors
/// 404 and 410.
pub async fn standing(app: &App, id: &str) -> Result<Artifact, Problem> {
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "artifact_not_found", "There is no such artifact.");
    let id = id.parse().map_err(|_| unknown())?;
    app.store.standing(id, Asks::Standing).await.map_err(problem)
}

/// A moment so many seconds from now.
pub fn in_seconds(app: &App, seconds: u64) -> Timestamp {
    let now = app.store.clock.now();
    Timestamp::from_parts(now.parts().0.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX)), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_moves_bytes_may_take_long() {
        for (method, path) in [
            (Method::POST, "/v1/artifacts"),
            (Method::POST, "/v1/artifacts/art_1/complete"),
            (Method::POST, "/v1/sessions/s/seal"),
            (Method::POST, "/v1/sessions/s/restore"),
            (Method::DELETE, "/v1/sessions/s"),
            (Method::PUT, "/v1/uploads/art_1"),
        ] {
            assert!(is_slow(&method, path), "{path}");
        }
        for (method, path) in
            [(Method::GET, "/v1/artifacts"), (Method::POST, "/v1/artifacts/a/links"), (Method::PUT, "/x")]
        {
            assert!(!is_slow(&method, path), "{path}");
        }
    }
}
