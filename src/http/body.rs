//! A body that reads verified pieces as fast as the client takes them.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use crate::artifact::{Error, Kind, Result};
use crate::blob::reader::ContentReader;
use crate::http::readers::Readers;

/// Large enough that a piece costs little beside its bytes, small enough that hundreds of slow readers fit into the budget
/// that they share.
pub const PIECE: usize = 128 << 10;

/// The store has deadlines of its own, with retries; this one is for the case that they fail us.
const PIECE_DEADLINE: Duration = Duration::from_mins(2);

/// The same body, which keeps `held` until it has gone out or nobody wants it any more.
pub fn with<T: Send + Unpin + 'static>(body: Body, held: T) -> Body {
    Body::new(With { body, _held: held })
}

struct With<T> {
    body: Body,
    _held: T,
}

impl<T: Unpin> HttpBody for With<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// One stretch of a body.
#[derive(Clone, Debug)]
pub enum Segment {
    /// As it is: the head of a part.
    Literal(Bytes),
    /// Bytes of the content.
    Content(Range<u64>),
}

impl Segment {
    fn len(&self) -> u64 {
        match self {
            Segment::Literal(bytes) => bytes.len() as u64,
            Segment::Content(range) => range.end - range.start,
        }
    }
}

/// Length in bytes of all of it.
#[must_use]
pub fn length(segments: &[Segment]) -> u64 {
    segments.iter().map(Segment::len).sum()
}

/// A body of `segments`. Its first piece is read at once, so that content that cannot be read is an error and not a body
/// that breaks off. A later failure aborts the connection: the client sees that bytes are missing, never wrong ones.
/// `link` is the ID that the log may name.
///
/// # Errors
/// Of the first read.
pub async fn stream(
    readers: &Arc<Readers>,
    reader: ContentReader,
    segments: Vec<Segment>,
    link: String,
) -> Result<Body> {
    let mut source = Source { readers: Arc::clone(readers), reader, segments: segments.into(), link };
    let Some(first) = source.next().await? else { return Ok(Body::empty()) };
    let rest = futures::stream::try_unfold(source, |mut source| async move {
        match source.next().await {
            Ok(Some(piece)) => Ok(Some((piece, source))),
            Ok(None) => Ok(None),
            Err(e) => {
                tracing::error!(link = source.link, kind = ?e.kind, "a download was aborted: {e}");
                Err(e)
            }
        }
    });
    let first = futures::stream::once(async move { Ok::<_, Error>(first) });
    Ok(Body::from_stream(futures::StreamExt::chain(first, rest)))
}

struct Source {
    readers: Arc<Readers>,
    reader: ContentReader,
    segments: VecDeque<Segment>,
    link: String,
}

impl Source {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.segments.pop_front() {
                None => return Ok(None),
                Some(Segment::Literal(bytes)) => return Ok(Some(bytes)),
                Some(Segment::Content(range)) if range.is_empty() => {}
                Some(Segment::Content(range)) => {
                    let piece = self.read(&range).await?;
                    self.segments.push_front(Segment::Content(range.start + piece.len() as u64..range.end));
                    return Ok(Some(piece));
                }
            }
        }
    }

    /// From one byte to [`PIECE`] of them.
    async fn read(&self, range: &Range<u64>) -> Result<Bytes> {
        let len = usize::try_from(range.end - range.start).unwrap_or(PIECE).min(PIECE);
        let piece = tokio::time::timeout(PIECE_DEADLINE, self.readers.read(&self.reader, range.start, len))
            .await
            .map_err(|_| Error::new(Kind::TimedOut, "the store did not answer a read in time"))??;
        if piece.is_empty() || piece.len() > len {
            return Err(Error::new(
                Kind::Corrupt,
                format!("content has another length than its record at {}", range.start),
            ));
        }
        Ok(piece)
    }
}
