//! An artifact's bytes: whole, in ranges, or not at all because the client has them.

use std::fmt::Write;
use std::ops::Range;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use crate::artifact::record::{Artifact, StoreState};
use crate::blob::PresignHeaders;
use crate::http::body::{self, Segment};
use crate::http::conditional::{Precondition, Validators};
use crate::http::disposition::{Mode, content_disposition};
use crate::http::errors::Problem;
use crate::http::media::{Media, Treatment};
use crate::http::range::{self, Asked};
use crate::http::{App, LinkMode, charsets};

/// Enough for a client to follow a redirect, too short to be passed around.
const PRESIGNED: Duration = Duration::from_mins(1);

/// Nobody but the reader keeps it, and the reader asks again each time: a revoked link stops at once, and the tag makes asking
/// cheap.
const CACHE: &str = "private, no-cache";

/// No script, no form, no request, an origin of its own.
const SANDBOX: &str = "sandbox; default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The same for a page of ours to show in a frame: an origin of its own, no script, no network; its own styles and what
/// pictures it carries in itself.
const FRAME: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// One request for an artifact's bytes.
pub struct ContentRequest<'a> {
    pub artifact: &'a Artifact,
    /// GET or HEAD.
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    /// `?download=1`.
    pub download: bool,
    /// `?frame=1`: a document that can run script is shown, in a sandbox that lets it run none.
    pub frame: bool,
    /// ID of the link that led here, for the log.
    pub link: &'a str,
}

/// Answers as RFC 9110 says.
///
/// # Errors
/// When the content cannot be read.
pub async fn respond(app: &App, request: ContentRequest<'_>) -> Result<Response, Problem> {
    let ContentRequest { artifact, method, headers, link, .. } = request;
    let media = charsets::media(app, artifact).await?;
    let framed = request.frame && !request.download && may_be_framed(&media);
    let inline = (media.treatment == Treatment::Safe && !request.download) || framed;
    let disposition = content_disposition(if inline { Mode::Inline } else { Mode::Attachment }, &artifact.filename);
    let validators = Validators::new(format!("\"{}\"", artifact.hash), artifact.created);

    let mut response = match validators.check(method, headers) {
        Precondition::NotModified => StatusCode::NOT_MODIFIED.into_response(),
        Precondition::Failed => {
            let message = "The file is not the one that the request is about.";
            return Err(Problem::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", message));
        }
        Precondition::Serve => {
            if let Some(url) = presigned(app, &request, &media, &disposition).await {
                return Ok(redirect(&url));
            }
            let range = validators.range(headers).filter(|_| method == Method::GET);
            let asked = range.map_or(Asked::Whole, |r| range::parse(r, artifact.size));
            let plan = plan(asked, artifact.size, &media)?;
            let body = if method == Method::HEAD {
                Body::empty()
            } else {
                let reader = app.store.stream(artifact).await?;
                body::stream(&app.readers, reader, plan.segments.clone(), link.to_owned()).await?
            };
            let mut response = Response::new(body);
            *response.status_mut() = plan.status;
            set(response.headers_mut(), header::CONTENT_LENGTH, &body::length(&plan.segments).to_string());
            set(response.headers_mut(), header::CONTENT_TYPE, &plan.content_type);
            set(response.headers_mut(), header::CONTENT_DISPOSITION, &disposition);
            if let Some(range) = plan.content_range {
                set(response.headers_mut(), header::CONTENT_RANGE, &range);
            }
            response
        }
    };
    let out = response.headers_mut();
    set(out, header::ETAG, &validators.etag);
    set(out, header::ACCEPT_RANGES, "bytes");
    set(out, header::CACHE_CONTROL, CACHE);
    if let Some(date) = validators.last_modified() {
        set(out, header::LAST_MODIFIED, &date);
    }
    // Browsers' own viewers of PDF and video do not start in a sandbox, and need none.
    if media.treatment != Treatment::Safe {
        set(out, header::CONTENT_SECURITY_POLICY, if framed { FRAME } else { SANDBOX });
        // Without it Chromium opens a connection for a frame in the frame before the policy forbids it.
        set(out, HeaderName::from_static("connection-allowlist"), "()");
    }
    Ok(response)
}

/// Other documents that can run script have nothing to look at.
fn may_be_framed(media: &Media) -> bool {
    matches!(media.essence.as_str(), "text/html" | "image/svg+xml" | "application/xhtml+xml")
}

/// Status, framing and stretches of the body.
struct Plan {
    status: StatusCode,
    content_type: String,
    content_range: Option<String>,
    segments: Vec<Segment>,
}

fn plan(asked: Asked, size: u64, media: &Media) -> Result<Plan, Problem> {
    let content_type = media.header.clone();
    match asked {
        Asked::Whole => Ok(Plan {
            status: StatusCode::OK,
            content_type,
            content_range: None,
            segments: vec![Segment::Content(0..size)],
        }),
        Asked::Unsatisfiable => {
            let message = format!("The file has {size} bytes: the range asked for is outside of it.");
            Err(Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", message)
                .with(header::CONTENT_RANGE, &format!("bytes */{size}"))
                .with(header::ACCEPT_RANGES, "bytes"))
        }
        Asked::Parts(parts) => match <[Range<u64>; 1]>::try_from(parts) {
            Ok([part]) => Ok(Plan {
                status: StatusCode::PARTIAL_CONTENT,
                content_type,
                content_range: Some(content_range(&part, size)),
                segments: vec![Segment::Content(part)],
            }),
            Err(parts) => Ok(multipart(&parts, size, media)),
        },
    }
}

fn content_range(part: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", part.start, part.end - 1)
}

/// RFC 9110, 14.6.
fn multipart(parts: &[Range<u64>], size: u64, media: &Media) -> Plan {
    // 128 random bits do not occur in the content by chance, and nobody can know them when writing it.
    let boundary = format!("{:032x}", rand::random::<u128>());
    let mut segments = Vec::with_capacity(parts.len() * 2 + 1);
    let mut before = String::new();
    for part in parts {
        // Writing to a String cannot fail.
        write!(
            before,
            "--{boundary}\r\nContent-Type: {}\r\nContent-Range: {}\r\n\r\n",
            media.header,
            content_range(part, size)
        )
        .unwrap_or_default();
        segments.push(Segment::Literal(Bytes::from(std::mem::replace(&mut before, String::from("\r\n")))));
        segments.push(Segment::Content(part.clone()));
    }
    segments.push(Segment::Literal(Bytes::from(format!("\r\n--{boundary}--\r\n"))));
    Plan {
        status: StatusCode::PARTIAL_CONTENT,
        content_type: format!("multipart/byteranges; boundary={boundary}"),
        content_range: None,
        segments,
    }
}

/// The store's own URL, where the mode asks for it and it is safe: bytes that are in a remote store, of a type that needs
/// no header that only we send. A HEAD is answered here, because the signature is for GET.
async fn presigned(app: &App, request: &ContentRequest<'_>, media: &Media, disposition: &str) -> Option<String> {
    let artifact = request.artifact;
    let fit = app.link_mode == LinkMode::Redirect
        && request.method == Method::GET
        && artifact.store == StoreState::Stored
        && media.treatment != Treatment::Active
        && !app.store.blobs.is_local();
    if !fit {
        return None;
    }
    let headers =
        PresignHeaders { content_type: Some(media.header.clone()), content_disposition: Some(disposition.to_owned()) };
    let key = app.store.blob_key(artifact.hash);
    app.store.blobs.presign_get(&key, PRESIGNED, headers).await.unwrap_or_else(|e| {
        tracing::warn!(link = request.link, "the store gave no URL, so the bytes are streamed: {e}");
        None
    })
}

fn redirect(url: &str) -> Response {
    let mut response = StatusCode::FOUND.into_response();
    set(response.headers_mut(), header::LOCATION, url);
    set(response.headers_mut(), header::CACHE_CONTROL, "private, no-store");
    response
}

/// Every value that comes here is made of visible ASCII; one that is not is left out.
fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
