//! Bodies that must be whole before anything can be done with them: JSON, MCP.
//!
//! While one comes in it takes neither memory nor anybody's turn: beyond the first piece it lies in a file without a name. Only when all of it
//! is there it waits for its turn to be in memory, of which each key has a share, so that clients that think keep nobody. Nor does a store that
//! takes its time: content lies in a staging file before it is sent there, and the turn has been given back.

use std::io::{Read, Seek, Write};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;

use crate::artifact::Error;
use crate::engine::store::blocking;
use crate::engine::turns::Turn;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::errors::Problem;
use crate::http::server::Peer;

/// Bytes that a request may have in memory without asking: of a body while it comes in, of a form's texts. A thousand of them are 16 MiB.
pub const FREE: usize = 16 << 10;
/// One request of MCP, in bytes: content in base64, and what stands around it.
const MCP_MAX: usize = 16 << 20;
/// How often a body is in memory while it is taken apart: as it came, and as what it says.
pub const JSON_TIMES: usize = 2;
/// The protocol's machinery has it once more.
const MCP_TIMES: usize = 3;

/// A whole body.
pub enum Whole {
    Small(Bytes),
    Large(std::fs::File, usize),
}

impl Whole {
    /// Into memory, where it will be so many times, when it is its turn: `who` shares with others.
    ///
    /// # Errors
    /// 503 when too many wait.
    pub async fn load(self, app: &App, who: &str, times: usize) -> Result<(Bytes, Option<Turn>), Problem> {
        match self {
            Whole::Small(bytes) => Ok((bytes, None)),
            Whole::Large(mut file, length) => {
                let turn = app.api.bodies.take_many(who.to_owned(), kib(length * times)).await?;
                let read = move || {
                    let mut bytes = Vec::with_capacity(length);
                    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(|e| unnamed(&e))?;
                    Ok(Bytes::from(bytes))
                };
                Ok((blocking(read).await?, Some(turn)))
            }
        }
    }
}

/// In the unit of the budget.
pub fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX)
}

fn unnamed(e: &std::io::Error) -> Error {
    Error::internal(format!("the file of a body that comes in: {e}"))
}

/// A body of at most `max` bytes.
///
/// # Errors
/// 413; 400 when it breaks off.
pub async fn whole(app: &App, mut body: Body, max: usize) -> Result<Whole, Problem> {
    let (mut held, mut file, mut length) = (Vec::new(), None, 0);
    while let Some(frame) = body.frame().await {
        // What it breaks off with (the client went, or was too slow) is told by the answer that nobody may read.
        let frame =
            frame.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "invalid_request", "The body broke off."))?;
        let Ok(bytes) = frame.into_data() else { continue };
        length += bytes.len();
        if length > max {
            let message = format!("The body has more than {max} bytes. Send larger files as multipart/form-data.");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "file_too_large", message));
        }
        held.extend_from_slice(&bytes);
        if held.len() > FREE {
            file = Some(append(app, file, std::mem::take(&mut held)).await?);
        }
    }
    match file {
        None => Ok(Whole::Small(held.into())),
        Some(file) => Ok(Whole::Large(append(app, Some(file), held).await?, length)),
    }
}

async fn append(app: &App, file: Option<std::fs::File>, bytes: Vec<u8>) -> Result<std::fs::File, Problem> {
    let mut file = match file {
        Some(file) => file,
        None => app.store.nameless_file().await?,
    };
    let write = move || file.write_all(&bytes).map(|()| file).map_err(|e| unnamed(&e));
    Ok(blocking(write).await?)
}

/// Before a door that reads bodies by itself: they come to it whole.
pub async fn before(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let who = match request.extensions().get::<Caller>() {
        Some(Caller(key)) => key.id.clone(),
        None => app.client(request.headers(), request.extensions().get::<Peer>()),
    };
    let (mut head, body) = request.into_parts();
    let loaded = match whole(&app, body, MCP_MAX).await {
        Ok(whole) => whole.load(&app, &who, MCP_TIMES).await,
        Err(problem) => Err(problem),
    };
    match loaded {
        Ok((bytes, turn)) => {
            head.headers.remove(header::TRANSFER_ENCODING);
            // The answer begins before the work is done: the turn goes with the request, and whoever has taken it apart gives it back.
            if let Some(turn) = turn {
                head.extensions.insert(Arc::new(turn));
            }
            next.run(Request::from_parts(head, Body::from(bytes))).await
        }
        Err(problem) => problem.into_response(),
    }
}
