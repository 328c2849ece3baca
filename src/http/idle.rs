//! A connection that gives up on a peer that has stopped reading.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::http::places::{Place, Why};

/// Fails a write with `TimedOut` when the peer has taken no byte for `limit`. Reads are limited by the server's own
/// timer for headers.
pub struct WriteDeadline<T> {
    inner: T,
    limit: Duration,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    place: Arc<Place>,
}

impl<T> WriteDeadline<T> {
    pub fn new(inner: T, limit: Duration, place: Arc<Place>) -> Self {
        Self { inner, limit, timer: Box::pin(tokio::time::sleep(limit)), waiting: false, place }
    }

    /// Passes a result on; while there is none, lets the timer run.
    fn watch<R>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            if std::mem::take(&mut self.waiting) {
                self.place.moves(Why::Reading);
            }
            return polled;
        }
        if !self.waiting {
            self.waiting = true;
            self.place.waits(Why::Reading, Duration::ZERO);
            self.timer.as_mut().reset(Instant::now() + self.limit);
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer stopped reading")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WriteDeadline<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WriteDeadline<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.watch(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.watch(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_peer_that_stops_reading_is_given_up() {
        let (near, mut far) = tokio::io::duplex(64);
        let place = crate::http::places::Places::new(1).take("a").await.unwrap();
        let mut near = WriteDeadline::new(near, Duration::from_millis(50), Arc::clone(&place));
        near.write_all(&[0; 64]).await.unwrap();
        let failed = near.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
        // A reader that is only slow is served.
        let (near, slow) = (WriteDeadline::new(near.inner, Duration::from_secs(5), place), &mut far);
        let mut near = near;
        let mut buffer = [0; 192];
        let (written, read) = tokio::join!(near.write_all(&[1; 128]), slow.read_exact(&mut buffer));
        assert!(written.is_ok() && read.is_ok());
    }
}
