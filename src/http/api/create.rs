//! `POST /v1/artifacts`: bytes come in.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use bytes::Bytes;
use futures::Stream;
use tokio_util::io::StreamReader;

use super::model::{ArtifactBody, ErrorBody, JsonUpload, LabelsBody, UploadForm};
use super::{FILE_MAX, input, invalid, problem};
use crate::artifact::key::ApiKey;
use crate::artifact::{Error, Kind};
use crate::engine::receive::Received;
use crate::engine::turns::Turn;
use crate::http::App;
use crate::http::auth::Writer;
use crate::http::errors::Problem;
use crate::http::spool;

/// Longest JSON body: its content is held in memory.
const JSON_MAX: usize = 16 << 20;
/// Of all text fields of a form together.
const TEXTS_MAX: usize = 128 << 10;
/// Fields of a form at most.
const FIELDS_MAX: usize = 64;
/// Longest head of a part of a form.
const HEAD_MAX: usize = 16 << 10;
/// In place of a count: content is read, which has limits of its own.
const CONTENT: usize = usize::MAX;
/// A client that sends no byte for so long is given up.
const STALL: Duration = Duration::from_mins(1);

/// Store an artifact, as a form or as JSON with the content in base64.
///
/// The same path with the same bytes is the same artifact, to which labels that are said are applied; with other bytes it is a new
/// version with a new ID. `outcome` says which.
#[utoipa::path(
    post, path = "/v1/artifacts", operation_id = "create_artifact", tag = "artifacts", security(("key" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Names the operation for 24 h: repeated with the same content, it is done once.", min_length = 1, max_length = 1024)),
    request_body(content((UploadForm = "multipart/form-data"), (JsonUpload = "application/json"))),
    responses((status = 201, description = "Stored", body = ArtifactBody), (status = "4XX", description = "Refused", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody))
)]
pub async fn create(State(app): State<App>, Writer(key): Writer, request: Request) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let (received, filename, labels) = match input::media_type(&headers).as_str() {
        "multipart/form-data" => form(&app, &key, request).await?,
        "application/json" => {
            let whole = spool::whole(&app, request.into_body(), JSON_MAX).await?;
            let (bytes, turn) = whole.load(&app, &key.id, spool::JSON_TIMES).await?;
            let said = json(&app, bytes, &headers).await?;
            drop(turn);
            said
        }
        _ => return Err(invalid("Send multipart/form-data, or application/json with the content in base64.")),
    };
    let (session, labels) = input::labels(&app, labels, &headers)?;
    let id = app.store.new_artifact_id();
    let done = app.store.keep(received, session.as_ref(), filename.as_bytes(), &labels, id).await.map_err(problem)?;
    Ok((StatusCode::CREATED, axum::Json(ArtifactBody::of(&done.artifact, Some(done.outcome)))).into_response())
}

/// What is too large to stay in memory for as long as the store takes is in a staging file then.
async fn json(app: &App, bytes: Bytes, headers: &HeaderMap) -> Result<(Received, String, LabelsBody), Problem> {
    let upload: JsonUpload = input::parse(headers, &bytes)?;
    drop(bytes);
    let content = STANDARD
        .decode(&upload.content)
        .or_else(|_| STANDARD_NO_PAD.decode(&upload.content))
        .or_else(|_| URL_SAFE.decode(&upload.content))
        .map_err(|_| invalid("content is not base64."))?;
    if upload.filename.is_empty() {
        return Err(invalid("filename must not be empty."));
    }
    let received = app.store.receive(&mut std::io::Cursor::new(content)).await.map_err(problem)?;
    Ok((received, upload.filename, upload.labels))
}

/// Fields come in any order: the content is staged when it comes, and gets its place at the end.
async fn form(app: &App, key: &ApiKey, request: Request) -> Result<(Received, String, LabelsBody), Problem> {
    let ahead = Arc::new(AtomicUsize::new(0));
    let heads = Arc::clone(&ahead);
    let request =
        request.map(|body| Body::from_stream(Heads { body: body.into_data_stream(), ahead: heads, given: false }));
    let mut form = Multipart::from_request(request, app).await.map_err(|e| invalid(e.body_text()))?;
    let (mut received, mut named, mut filename, mut typed) = (None, None, None, None);
    let mut labels = LabelsBody::default();
    let mut texts = Texts { app, key, length: 0, turn: None };
    for _ in 0..=FIELDS_MAX {
        ahead.store(0, Ordering::Relaxed);
        let next = tokio::time::timeout(STALL, form.next_field()).await.map_err(|_| input::stalled())?;
        ahead.store(CONTENT, Ordering::Relaxed);
        let Some(field) = next.map_err(|e| broken(&e))? else {
            let received = received.ok_or_else(|| invalid("The form has no field 'file'."))?;
            let filename: Option<String> = filename.filter(|f: &String| !f.is_empty()).or(named);
            let filename = filename.ok_or_else(|| invalid("The file has no name: say filename."))?;
            labels.content_type = labels.content_type.filter(|t| !t.is_empty()).or(typed);
            return Ok((received, filename, labels));
        };
        match field.name().unwrap_or_default() {
            "file" => {
                if received.is_some() {
                    return Err(invalid("One file a request."));
                }
                named = field.file_name().filter(|n| !n.is_empty()).map(str::to_owned);
                typed = field.content_type().map(str::to_owned);
                received = Some(content(app, field).await?);
            }
            "filename" => filename = Some(texts.read(field).await?),
            "content_type" => labels.content_type = Some(texts.read(field).await?),
            "session_id" => labels.session_id = Some(texts.read(field).await?),
            "agent_id" => labels.agent_id = Some(texts.read(field).await?),
            "ttl" => labels.ttl = Some(texts.read(field).await?),
            "metadata" => {
                let text = texts.read(field).await?;
                labels.metadata = if text.is_empty() { None } else { Some(input::metadata_text(&text)?) };
            }
            // Read and forgotten: a later version may know it.
            _ => drop(texts.read(field).await?),
        }
    }
    Err(invalid(format!("A form has at most {FIELDS_MAX} fields.")))
}

/// A form's bytes on their way to its reader, which keeps the head of a part in memory until it has all of it.
struct Heads {
    body: axum::body::BodyDataStream,
    /// Bytes given since a head was asked for; [`CONTENT`]: it is not a head that is read.
    ahead: Arc<AtomicUsize>,
    /// The reader asks on as long as there is more, before it looks at what it has: after each piece it is made to look.
    given: bool,
}

impl Stream for Heads {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.given) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let ahead = self.ahead.load(Ordering::Relaxed);
        if ahead != CONTENT && ahead > HEAD_MAX {
            let message = format!("The head of a part of a form has at most {HEAD_MAX} bytes.");
            return Poll::Ready(Some(Err(axum::Error::new(std::io::Error::other(message)))));
        }
        let polled = Pin::new(&mut self.body).poll_next(cx);
        if let Poll::Ready(Some(Ok(bytes))) = &polled {
            self.given = true;
            if ahead != CONTENT {
                self.ahead.store(ahead.saturating_add(bytes.len()), Ordering::Relaxed);
            }
        }
        polled
    }
}

async fn content(app: &App, field: Field<'_>) -> Result<Received, Problem> {
    let chunks = futures::stream::try_unfold((field, 0), |(mut field, got)| async move {
        let chunk = tokio::time::timeout(STALL, field.chunk()).await;
        let chunk = chunk.map_err(|_| std::io::Error::new(std::io::ErrorKind::TimedOut, "stalled"))?;
        let chunk = chunk.map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, e.body_text()))?;
        let Some(chunk) = chunk else { return Ok(None) };
        let got = got + chunk.len() as u64;
        if got > FILE_MAX { Err(too_large()) } else { Ok(Some((chunk, (field, got)))) }
    });
    read(app, Box::pin(chunks)).await
}

/// Stages what a client sends.
async fn read<S>(app: &App, chunks: S) -> Result<Received, Problem>
where
    S: Stream<Item = std::io::Result<Bytes>> + Send + Unpin,
{
    app.store.receive(&mut StreamReader::new(chunks)).await.map_err(incoming)
}

pub fn too_large() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::FileTooLarge, format!("A file has at most {FILE_MAX} bytes."))
}

/// The body of a request, piece by piece, each within a time and all within a size.
pub fn chunks(body: Body) -> impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin {
    Box::pin(futures::stream::try_unfold((body.into_data_stream(), 0), |(mut body, got)| async move {
        let chunk = tokio::time::timeout(STALL, futures::StreamExt::next(&mut body)).await;
        let chunk = chunk.map_err(|_| std::io::Error::new(std::io::ErrorKind::TimedOut, "stalled"))?;
        let Some(chunk) = chunk else { return Ok(None) };
        let chunk = chunk.map_err(|_| std::io::Error::new(std::io::ErrorKind::InvalidData, "The body broke off."))?;
        let got = got + chunk.len() as u64;
        if got > FILE_MAX { Err(too_large()) } else { Ok(Some((chunk, (body, got)))) }
    }))
}

/// Of what a client sends, or fails to.
pub fn incoming(error: Error) -> Problem {
    match error.kind {
        Kind::TimedOut => input::stalled(),
        _ => problem(error),
    }
}

/// The texts of a form, which are in memory until all of it has come.
struct Texts<'a> {
    app: &'a App,
    key: &'a ApiKey,
    length: usize,
    /// For more than is free.
    turn: Option<Turn>,
}

impl Texts<'_> {
    async fn read(&mut self, mut field: Field<'_>) -> Result<String, Problem> {
        let mut held = Vec::new();
        loop {
            let chunk = tokio::time::timeout(STALL, field.chunk()).await.map_err(|_| input::stalled())?;
            let Some(chunk) = chunk.map_err(|e| broken(&e))? else { break };
            self.length += chunk.len();
            if self.length > TEXTS_MAX {
                return Err(invalid(format!("The text fields of a form have at most {TEXTS_MAX} bytes together.")));
            }
            if self.length > spool::FREE && self.turn.is_none() {
                // (Not waited for: the client would be kept from sending what it has begun.)
                let room = self.app.api.bodies.try_many(self.key.id.clone(), spool::kib(TEXTS_MAX))?;
                self.turn = Some(room);
            }
            held.extend_from_slice(&chunk);
        }
        String::from_utf8(held).map_err(|_| invalid("A field of the form is not UTF-8."))
    }
}

fn broken(e: &MultipartError) -> Problem {
    invalid(e.body_text())
}
