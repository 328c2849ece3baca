//! Errors as programs (JSON) and people (a page) read them.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::artifact::{Error, Kind};
use crate::engine::turns::Full;
use crate::http::pages;

/// What a request failed with. As a response it is JSON: `{"error":{"code","message","status"}}`; [`for_people`] makes it a
/// page where one was asked for.
#[derive(Clone, Debug)]
pub struct Problem {
    pub status: StatusCode,
    /// For programs, stable: `link_expired`.
    pub code: &'static str,
    /// One sentence for people.
    pub message: String,
    /// Headers that belong to the answer: `Content-Range` of a 416.
    pub headers: Vec<(header::HeaderName, String)>,
    /// Seconds until the same request may succeed.
    pub retry_after: Option<u64>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new(), retry_after: None }
    }

    #[must_use]
    pub fn with(mut self, name: header::HeaderName, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this address.")
    }

    pub fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This address does not answer that method.")
    }

    /// Too many requests; come again after so many seconds.
    pub fn rate_limited(seconds: u64) -> Self {
        let message = format!("Too many requests with this key. Try again in {seconds} s.");
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message)
            .with(header::RETRY_AFTER, &seconds.to_string());
        problem.retry_after = Some(seconds);
        problem
    }
}

impl From<Error> for Problem {
    /// A fault of ours is told to the log, not to a stranger: its sentence may name paths and keys.
    fn from(error: Error) -> Self {
        let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = if status.is_server_error() {
            tracing::error!(kind = ?error.kind, "a request failed: {error}");
            match error.kind {
                Kind::StoreUnavailable | Kind::TimedOut => {
                    "The store cannot be reached at the moment. Try again later."
                }
                Kind::Corrupt => "The stored bytes are damaged, so they are not served.",
                _ => "Something went wrong on our side.",
            }
            .to_owned()
        } else {
            error.message
        };
        let problem = Self::new(status, code(error.kind), message);
        if status == StatusCode::SERVICE_UNAVAILABLE { problem.with(header::RETRY_AFTER, "10") } else { problem }
    }
}

impl From<Full> for Problem {
    fn from(_: Full) -> Self {
        let message = "Too many ask for this at the moment. Try again in a few seconds.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).with(header::RETRY_AFTER, "5")
    }
}

fn code(kind: Kind) -> &'static str {
    match kind {
        Kind::NotFound | Kind::NoSuchAttribute | Kind::Stale => "not_found",
        Kind::Deleted => "artifact_already_deleted",
        Kind::Expired => "artifact_expired",
        Kind::Exists | Kind::AttributeExists => "conflict",
        Kind::NotEmpty => "not_empty",
        Kind::Sealed => "session_sealed",
        Kind::Busy => "busy",
        Kind::Forbidden | Kind::Reserved => "forbidden",
        Kind::OverQuota => "quota_exceeded",
        Kind::FileTooLarge => "file_too_large",
        Kind::MetadataTooLarge => "metadata_too_large",
        Kind::Invalid
        | Kind::NameTooLong
        | Kind::NotADirectory
        | Kind::IsADirectory
        | Kind::CrossSession
        | Kind::TooManyLinks
        | Kind::NoSuchAddress
        | Kind::Unsupported
        | Kind::NoMount
        | Kind::BadHandle => "invalid_request",
        Kind::StoreUnavailable | Kind::TimedOut => "store_unavailable",
        Kind::NoSpace => "no_space",
        Kind::ReadOnly => "read_only",
        Kind::Corrupt => "corrupt",
        Kind::Internal => "internal",
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({"error": {"code": self.code, "message": self.message, "status": self.status.as_u16()}});
        if let Some(seconds) = self.retry_after {
            body["error"]["retry_after_seconds"] = json!(seconds);
        }
        let mut response = (self.status, axum::Json(body)).into_response();
        for (name, value) in &self.headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept"));
        response.extensions_mut().insert(self);
        response
    }
}

/// Replaces the JSON of a [`Problem`] by a page for whoever asked for HTML.
pub async fn for_people(request: Request, next: Next) -> Response {
    let html = wants_html(request.headers());
    let response = next.run(request).await;
    match response.extensions().get::<Problem>() {
        Some(problem) if html => {
            let mut page = pages::error::page(problem);
            for (name, value) in response.headers() {
                if !matches!(*name, header::CONTENT_TYPE | header::CONTENT_LENGTH) {
                    page.headers_mut().insert(name.clone(), value.clone());
                }
            }
            page
        }
        _ => response,
    }
}

/// Browsers name `text/html`; programs say `*/*`, JSON or nothing.
#[must_use]
pub fn wants_html(headers: &HeaderMap) -> bool {
    let quality = |wanted: &str| {
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok());
        let of = |item: &str| {
            let mut parts = item.split(';').map(str::trim);
            let named = parts.next().is_some_and(|t| t.eq_ignore_ascii_case(wanted));
            let q = parts.find_map(|p| p.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse::<f32>().ok());
            if named { q.unwrap_or(0.0) } else { 0.0 }
        };
        values.flat_map(|v| v.split(',')).map(of).fold(0.0, f32::max)
    };
    let html = quality("text/html");
    html > 0.0 && html >= quality("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_get_pages_and_programs_json() {
        let wants = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            wants_html(&headers)
        };
        assert!(wants("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"));
        assert!(!wants("*/*") && !wants("application/json") && !wants("application/json, text/html;q=0.5"));
        assert!(!wants("text/html;q=0"));
        assert!(!wants_html(&HeaderMap::new()));
    }

    #[test]
    fn faults_of_ours_do_not_show_their_sentence() {
        let problem = Problem::from(Error::internal("/var/lib/outputfs/catalog.db: disk I/O error"));
        assert_eq!((problem.status.as_u16(), problem.code), (500, "internal"));
        assert!(!problem.message.contains("/var"));
        assert_eq!(
            Problem::from(Error::sealed("run_42")).message,
            "Session 'run_42' is sealed. No new artifacts can be added."
        );
    }
}
