//! Bodies on their way: counted, and given up when they stop moving.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use prometheus::IntCounter;
use tokio::time::{Instant, Sleep};

use crate::engine::turns::Turn;
use crate::http::places::{Place, Why};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What comes in. A client that sends nothing for `limit` while its body is read is given up, and so is one that keeps it open by a
/// byte now and then.
pub struct Incoming<B> {
    inner: B,
    count: IntCounter,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when it is waited for.
    since: Option<Instant>,
    /// In all, and for how many bytes.
    waited: Duration,
    came: u64,
    place: Arc<Place>,
}

impl<B> Incoming<B> {
    pub fn new(inner: B, count: IntCounter, limit: Duration, place: Arc<Place>) -> Self {
        Self { inner, count, limit, timer: None, since: None, waited: Duration::ZERO, came: 0, place }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Incoming<B>
where
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            self.timer = None;
            if let Some(since) = self.since.take() {
                self.waited += since.elapsed();
                self.place.moves(Why::Body);
            }
            if let Some(Ok(frame)) = &frame {
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                self.count.inc_by(bytes);
                self.came += bytes;
            }
            return Poll::Ready(frame.map(|f| f.map_err(Into::into)));
        }
        let now = Instant::now();
        // A byte now and then is no progress: all waiting together has the limit, and a second more for each KiB.
        let granted = Duration::from_secs(self.came >> 10);
        if self.since.is_none() {
            self.since = Some(now);
            self.place.waits(Why::Body, self.waited.saturating_sub(granted));
        }
        let in_all = self.limit + granted;
        let until = now + self.limit.min(in_all.saturating_sub(self.waited));
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => {
                let e = io::Error::new(io::ErrorKind::TimedOut, "the client stopped sending");
                Poll::Ready(Some(Err(e.into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> Drop for Incoming<B> {
    fn drop(&mut self) {
        self.place.moves(Why::Body);
    }
}

/// What goes out. Its connection has work, and its request a slot, as long as this lives.
pub struct Outgoing<B> {
    inner: B,
    count: IntCounter,
    place: Arc<Place>,
    _slot: Option<Turn>,
}

impl<B> Outgoing<B> {
    pub fn new(inner: B, count: IntCounter, place: Arc<Place>, slot: Option<Turn>) -> Self {
        Self { inner, count, place, _slot: slot }
    }
}

impl<B: Body + Unpin> Body for Outgoing<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.count.inc_by(frame.data_ref().map_or(0, Buf::remaining) as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> Drop for Outgoing<B> {
    fn drop(&mut self) {
        self.place.works(None);
        self.place.waits(Why::Request, Duration::ZERO);
    }
}
