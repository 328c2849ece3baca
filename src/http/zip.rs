//! All of a session as one ZIP archive, made while it is sent: constant memory but for the directory at its end, any
//! size (ZIP64), no file of ours.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use parking_lot::Mutex;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::artifact::query::Query;
use crate::artifact::record::{Artifact, Session};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Result};
use crate::blob::reader::ContentReader;
use crate::http::App;
use crate::http::body::PIECE;
use crate::http::disposition::{Mode, content_disposition};
use crate::http::errors::Problem;

/// Artifacts in one question to the catalog.
const BATCH: u32 = 500;
/// Longest name that an entry may have, in bytes.
const NAME_MAX: usize = 65_000;

/// # Errors
/// Of the catalog, as long as nothing was sent; later ones cut the answer off.
pub async fn respond(app: &App, session: &Session, method: &Method, link: &str) -> Result<Response, Problem> {
    let mut maker = Maker::new(app.clone(), session.clone(), link.to_owned());
    // The first question shows whether there is anything to ask.
    maker.more().await?;
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        Body::from_stream(futures::stream::try_unfold(maker, |mut maker| async move {
            match maker.next().await {
                Ok(Some(bytes)) => Ok(Some((bytes, maker))),
                Ok(None) => Ok(None),
                Err(e) => {
                    tracing::error!(link = maker.link, "an archive was cut off: {e}");
                    Err(e)
                }
            }
        }))
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    let name = format!("{}.zip", session.name);
    if let Ok(value) = HeaderValue::from_str(&content_disposition(Mode::Attachment, name.as_bytes())) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// What the writer has written and nobody has taken yet.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Maker {
    app: App,
    session: Session,
    link: String,
    sink: Sink,
    /// None: the archive is finished.
    writer: Option<ZipWriter<StreamWriter<Sink>>>,
    waiting: VecDeque<Artifact>,
    /// Where the next question begins; none: all was asked.
    query: Option<Query>,
    open: Option<(ContentReader, u64)>,
}

impl Maker {
    fn new(app: App, session: Session, link: String) -> Self {
        let sink = Sink::default();
        let writer = Some(ZipWriter::new_stream(sink.clone()));
        let query = Query { session: Some(session.id), limit: BATCH, ..Query::all(app.store.tenant.id) };
        Self { app, session, link, sink, writer, waiting: VecDeque::new(), query: Some(query), open: None }
    }

    async fn more(&mut self) -> Result<()> {
        let Some(query) = self.query.take() else { return Ok(()) };
        let page = self.app.store.find(&query).await?;
        self.waiting.extend(page.artifacts);
        self.query = page.next.map(|next| Query { after: Some(next), ..query });
        Ok(())
    }

    /// The next bytes of the archive; none: that was all.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let made = std::mem::take(&mut *self.sink.0.lock());
            if !made.is_empty() {
                return Ok(Some(Bytes::from(made)));
            }
            if self.writer.is_none() {
                return Ok(None);
            }
            self.step().await?;
        }
    }

    async fn step(&mut self) -> Result<()> {
        if let Some((reader, at)) = self.open.take() {
            let bytes = self.app.readers.read(&reader, at, PIECE).await?;
            if bytes.is_empty() {
                return Ok(());
            }
            if let Some(writer) = &mut self.writer {
                writer.write_all(&bytes).map_err(|e| failed(&e))?;
            }
            self.open = Some((reader, at + bytes.len() as u64));
            return Ok(());
        }
        if self.waiting.is_empty() {
            self.more().await?;
        }
        match self.waiting.pop_front() {
            Some(artifact) => {
                let reader = self.app.store.stream(&artifact).await?;
                if let Some(writer) = &mut self.writer {
                    let name = format!("{}/{}", self.session.name, entry_name(&artifact));
                    writer.start_file(name, options(&artifact)).map_err(|e| failed(&e))?;
                }
                self.open = Some((reader, 0));
            }
            // An empty page in the middle is followed by another.
            None if self.query.is_some() => {}
            None => {
                if let Some(writer) = self.writer.take() {
                    writer.finish().map_err(|e| failed(&e))?;
                }
            }
        }
        Ok(())
    }
}

fn failed(e: &dyn std::fmt::Display) -> Error {
    Error::internal(format!("the archive could not be made: {e}"))
}

fn options(artifact: &Artifact) -> SimpleFileOptions {
    // Deflate for all: a stored entry whose length comes after it is not readable as a stream. At the fastest level,
    // also because most of what is large does not shrink.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(1))
        .large_file(true)
        .unix_permissions(0o644);
    match moment(artifact.created) {
        Some(time) => options.last_modified_time(time),
        None => options,
    }
}

/// UTC: the format knows no zone.
fn moment(time: Timestamp) -> Option<DateTime> {
    let at = jiff::Timestamp::from_second(time.parts().0).ok()?.to_zoned(jiff::tz::TimeZone::UTC);
    let small = |n: i8| u8::try_from(n).unwrap_or(0);
    DateTime::from_date_and_time(
        u16::try_from(at.year()).ok()?,
        small(at.month()),
        small(at.day()),
        small(at.hour()),
        small(at.minute()),
        small(at.second()),
    )
    .ok()
}

/// The path, readable and unable to leave the folder that it is unpacked in. What no archive can name goes by its ID.
fn entry_name(artifact: &Artifact) -> String {
    let name = String::from_utf8_lossy(&artifact.filename);
    // Other systems take these for separators, drives and streams.
    let name: String = name.chars().map(|c| if c.is_control() || "\\:*?\"<>|".contains(c) { '_' } else { c }).collect();
    let changed = name.as_bytes() != artifact.filename;
    let safe = name.len() <= NAME_MAX && name.split('/').all(|n| !n.is_empty() && n != "." && n != "..");
    match (safe, changed) {
        (true, false) => name,
        // Two names that differ only in what was replaced must not become one.
        (true, true) => match name.rsplit_once('.').filter(|(_, e)| !e.contains('/')) {
            Some((stem, ending)) => format!("{stem}.{}.{ending}", artifact.id),
            None => format!("{name}.{}", artifact.id),
        },
        (false, _) => artifact.id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_format_are_utc() {
        let at = moment(Timestamp::from_parts(1_700_000_000, 0)).unwrap();
        assert_eq!((at.year(), at.month(), at.day(), at.hour(), at.minute()), (2023, 11, 14, 22, 13));
        assert!(moment(Timestamp(0)).is_none(), "the format begins in 1980");
    }
}
