//! Work for whoever reads over HTTP without a key: pages, previews, archives, files under links.
//!
//! It has threads of its own, behind all others for the CPU, so that a stranger with a link takes none that mounts and commits need:
//! one for what waits, two for what blocks. With the one connection each of them may hold, a connection of the catalog is always
//! left to the others. How many answers are begun at a time is bounded, how many wait too, and what is on its way to slow readers
//! comes out of one budget of bytes. Whatever is under way for a reader ends when the reader goes.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{Method, Response as HttpResponse};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::artifact::{Error, Result};
use crate::blob::reader::ContentReader;
use crate::engine::turns::{Full, Rules, Turn, Turns};
use crate::http::App;
use crate::http::errors::Problem;
use crate::http::server::Peer;
use crate::http::spool::kib;
use crate::http::threads::{Threads, elsewhere};
use crate::preview::pool::Source;

/// Answers that are begun at a time: pages made, first pieces read.
const RULES: Rules = Rules { all: 4, each: 3, waiting: 256, patience: Duration::from_secs(10) };
/// Reads of content at a time: the first of a chunk verifies all of its 4 MiB.
const READS: usize = 4;
/// KiB of answers in memory, on their way to those who read.
const KIB: u32 = 64 << 10;
/// Of one answer, at most.
const KIB_OF_ONE: u32 = KIB / 4;
/// A page waits so long for its bytes to be let in; so do the pieces of what is larger, whose readers are given up then.
const ROOM: Rules = Rules { all: KIB, each: KIB / 4 * 3, waiting: 1024, patience: Duration::from_secs(30) };
/// Threads for what blocks.
const BLOCKING: usize = 2;

pub struct Readers {
    threads: Threads,
    /// Where requests to a remote store run: their connections are shared with uploads, and must not depend on threads that may
    /// be slow.
    network: Option<Handle>,
    turns: Turns<String>,
    reads: Semaphore,
    bytes: Turns<String>,
}

impl Readers {
    /// `network`: where requests to the store run, if it is on the network.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(network: Option<Handle>) -> Result<Self> {
        Ok(Self {
            threads: Threads::start("outputfs-readers", BLOCKING)?,
            network,
            turns: Turns::new(RULES),
            reads: Semaphore::new(READS),
            bytes: Turns::new(ROOM),
        })
    }

    /// Up to `len` bytes of a file, as [`ContentReader::read_at`].
    ///
    /// # Errors
    /// Of the store.
    pub async fn read(&self, reader: &ContentReader, offset: u64, len: usize) -> Result<Bytes> {
        let _one = self.reads.acquire().await.map_err(closed)?;
        let bytes = match &self.network {
            Some(network) => {
                let reader = reader.clone();
                elsewhere(network, async move { reader.read_at(offset, len).await }).await??
            }
            None => reader.read_at(offset, len).await?,
        };
        // A slice of a chunk would keep all of the chunk in memory until the slowest reader has it.
        Ok(Bytes::copy_from_slice(&bytes))
    }

    /// A body whose pieces are made on our threads, one at a time and only when the reader wants one.
    fn streamed(self: &Arc<Self>, body: Body, who: String) -> Body {
        let this = Arc::clone(self);
        let pieces = futures::stream::try_unfold(body, move |mut body| {
            let (this, who) = (Arc::clone(&this), who.clone());
            async move {
                let room = this.room(crate::http::body::PIECE, who).await;
                let room = room.map_err(|_| axum::Error::new(std::io::Error::from(std::io::ErrorKind::TimedOut)))?;
                let made = elsewhere(this.threads.handle(), async move {
                    loop {
                        let frame = body.frame().await;
                        match frame.map(|f| f.map(hyper::body::Frame::into_data)) {
                            None => return Ok(None),
                            Some(Ok(Ok(bytes))) => return Ok(Some((bytes, body))),
                            // Trailers: we make none.
                            Some(Ok(Err(_))) => {}
                            Some(Err(e)) => return Err(e),
                        }
                    }
                });
                let made = made.await.map_err(axum::Error::new)??;
                Ok::<_, axum::Error>(made.map(|(bytes, body)| (held(bytes, room), body)))
            }
        });
        Body::from_stream(pieces)
    }

    /// Waits until so many bytes may be in memory for `who`.
    async fn room(&self, bytes: usize, who: String) -> std::result::Result<Turn, Full> {
        self.bytes.take_many(who, kib(bytes).min(KIB_OF_ONE)).await
    }
}

/// A file, read through [`Readers::read`].
pub struct Through<'a>(pub &'a Readers, pub ContentReader);

impl Source for Through<'_> {
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        self.0.read(&self.1, offset, len).await
    }
}

fn closed(e: tokio::sync::AcquireError) -> Error {
    Error::internal(format!("the budget of readers has ended: {e}"))
}

/// `bytes`, which give their room back when they have gone out.
fn held(bytes: Bytes, room: Turn) -> Bytes {
    struct Held {
        bytes: Bytes,
        _room: Turn,
    }
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }
    Bytes::from_owner(Held { bytes, _room: room })
}

/// Around what readers ask for. Forms are small, and bring their own protection.
pub async fn serve(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return next.run(request).await;
    }
    let who = app.client(request.headers(), request.extensions().get::<Peer>());
    let turn = match app.readers.turns.take(who.clone()).await {
        Ok(turn) => turn,
        Err(full) => return Problem::from(full).into_response(),
    };
    // Aborted when this is dropped: hyper does so when the connection ends.
    let done = match elsewhere(app.readers.threads.handle(), async move { next.run(request).await }).await {
        Ok(response) => bounded(&app.readers, response, who).await,
        Err(e) => Err(e.into()),
    };
    // Only now: a page that waits for room is in memory.
    drop(turn);
    done.unwrap_or_else(IntoResponse::into_response)
}

/// The same answer, out of the budget.
async fn bounded(readers: &Arc<Readers>, response: Response, who: String) -> std::result::Result<Response, Problem> {
    let (head, body) = response.into_parts();
    let body = match body.size_hint().exact() {
        Some(0) => body,
        // In memory already.
        Some(size) => {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            let room = readers.room(size, who).await?;
            let bytes = body.collect().await.map_err(|e| Error::internal(format!("a page: {e}")))?.to_bytes();
            Body::from(held(bytes, room))
        }
        None => readers.streamed(body, who),
    };
    Ok(HttpResponse::from_parts(head, body))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    fn readers() -> Arc<Readers> {
        Arc::new(Readers::start(None).unwrap())
    }

    #[tokio::test]
    async fn what_is_on_its_way_is_bounded_and_comes_back() {
        let readers = readers();
        let page = |kib: usize| Response::new(Body::from(vec![7; kib << 10]));
        let mut kept = Vec::new();
        for who in ["a", "a", "a", "b"] {
            // Larger than one may be: it takes a quarter.
            let more = bounded(&readers, page(1), String::from("b"));
            assert!(more.await.is_ok(), "one reader does not take all");
            kept.push(bounded(&readers, page(usize::try_from(KIB / 2).unwrap()), who.into()).await.unwrap());
        }
        assert_eq!(readers.bytes.free(), 0);
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        let more = bounded(&readers, page(1), String::from("c")).await;
        assert_eq!(more.unwrap_err().status, 503);
        assert_eq!(began.elapsed().as_secs(), ROOM.patience.as_secs(), "it waits for others, but not for ever");
        let sent = kept.pop().unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(readers.bytes.free(), 0, "as long as the bytes are there");
        drop(sent);
        assert_eq!(readers.bytes.free(), KIB_OF_ONE as usize);
    }

    #[tokio::test]
    async fn pieces_are_made_when_wanted_on_other_threads_and_never_for_who_has_gone() {
        let readers = readers();
        let made = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let pieces = futures::stream::unfold(0, move |n| {
            let thread = std::thread::current().name().unwrap_or_default().to_owned();
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            async move { (n < 3).then(|| (Ok::<_, std::io::Error>(Bytes::from(thread)), n + 1)) }
        });
        let mut body = readers.streamed(Body::from_stream(pieces), String::from("a")).into_data_stream();
        let first = body.next().await.unwrap().unwrap();
        assert_eq!(first, "outputfs-readers");
        assert_eq!(made.load(std::sync::atomic::Ordering::SeqCst), 1, "none ahead");
        drop((first, body));
        // One that never ends is dropped with its reader.
        let (alive, mut gone) = tokio::sync::mpsc::channel::<()>(1);
        let stuck = futures::stream::once(async move {
            let _alive = alive;
            std::future::pending::<std::result::Result<Bytes, std::io::Error>>().await
        });
        let mut body = readers.streamed(Body::from_stream(stuck), String::from("a")).into_data_stream();
        assert!(tokio::time::timeout(Duration::from_millis(50), body.next()).await.is_err());
        drop(body);
        assert!(tokio::time::timeout(Duration::from_secs(10), gone.recv()).await.unwrap().is_none());
        assert_eq!(readers.bytes.free(), KIB as usize);
    }
}
