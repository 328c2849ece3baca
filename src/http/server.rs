//! The listener and its connections: limits, deadlines, shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::IntoResponse;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::artifact::{Error, Kind, Result};
use crate::engine::store::Store;
use crate::engine::supervise;
use crate::http::idle::WriteDeadline;
use crate::http::places::{Place, Places, Why};
use crate::http::threads::Threads;
use crate::http::tls::{Tls, TlsFiles};
use crate::http::traffic::{Incoming, Outgoing};
use crate::http::{HttpConfig, Limits, Problem, client, router};
use crate::metrics;

/// After a failed accept for want of descriptors or memory: trying at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What those who watch over us ask for: there is a slot for it when there is no other.
const WATCHED: [&str; 4] = ["/health", "/health/live", "/health/ready", "/metrics"];
/// What a crash may lose of the counts of requests.
const COUNTED: Duration = Duration::from_secs(5);

/// A request's head, in bytes: above it the answer is 431. Also what is read ahead of a body.
const HEAD_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;
/// Threads for what blocks, beside the one that waits.
const BLOCKING: usize = 1;

/// A listener that is bound and not yet served. Connections queue in the kernel until it is.
pub struct Bound {
    listener: TcpListener,
    addr: SocketAddr,
    tls: Option<Tls>,
}

impl Bound {
    /// # Errors
    /// `Busy` when another listener has the address; else what the system says, with the address. `Invalid` for a certificate
    /// that is none.
    pub async fn bind(addr: SocketAddr, tls: Option<&TlsFiles>) -> Result<Self> {
        let tls = tls.map(|files| Tls::open(files.clone())).transpose()?;
        let failed = |e: &std::io::Error| {
            let kind = if e.kind() == std::io::ErrorKind::AddrInUse { Kind::Busy } else { Kind::Invalid };
            Error::new(kind, format!("cannot listen on {addr}: {e}"))
        };
        let listener = TcpListener::bind(addr).await.map_err(|e| failed(&e))?;
        let addr = listener.local_addr().map_err(|e| failed(&e))?;
        Ok(Self { listener, addr, tls })
    }

    /// Where it listens: with the port that the system chose, if it was asked to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `shutdown`, then takes no more connections, lets the running requests end within
    /// `config.limits.drain`, and cuts the rest off. `held` is dropped as soon as the address is free again.
    ///
    /// # Errors
    /// When it cannot begin.
    pub async fn serve<H>(
        self,
        store: Arc<Store>,
        config: &HttpConfig,
        shutdown: CancellationToken,
        held: H,
    ) -> Result<()>
    where
        H: Send + 'static,
    {
        let app = router(store.clone(), config, &Handle::current())?;
        let threads = Threads::start("outputfs-http", BLOCKING)?;
        tracing::info!(address = %self.addr, "links are served");
        let counted = AbortOnDropHandle::new(supervise::spawn("counting requests", {
            let store = store.clone();
            move || write_counts(store.clone())
        }));
        let work = threads.handle().spawn(self.connections(app, (config.limits, config.trust_proxy), shutdown, held));
        match AbortOnDropHandle::new(work).await {
            Ok(ended) => ended?,
            // To whoever keeps us going.
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Err(e) => return Err(Error::internal(format!("the link server broke down: {e}"))),
        }
        drop(counted);
        tell(store.write_meter().await);
        Ok(())
    }

    /// All connections, on the threads that it is called on.
    async fn connections<H>(
        mut self,
        app: Router,
        (limits, trust_proxy): (Limits, bool),
        shutdown: CancellationToken,
        held: H,
    ) -> Result<()> {
        let addr = self.addr;
        let here = |e: std::io::Error| Error::internal(format!("cannot listen on {addr}: {e}"));
        self.listener = TcpListener::from_std(self.listener.into_std().map_err(here)?).map_err(here)?;
        let places = Arc::new(Places::new(limits.connections));
        let tasks = TaskTracker::new();
        let cut = CancellationToken::new();
        while let Some(socket) = self.accept(&places, &shutdown).await {
            let (socket, peer, place) = socket;
            let acceptor = self.tls.as_ref().map(Tls::acceptor);
            let (place_of, places) = (Arc::clone(&place), Arc::clone(&places));
            let service = Service { app: app.clone(), peer: Peer(peer), place: place_of, places, limits, trust_proxy };
            let connection = connection(socket, acceptor, service, shutdown.clone());
            let cut = cut.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = connection => {}
                    () = cut.cancelled() => {}
                    () = place.cut.cancelled() => tracing::debug!("a connection that waited for its client gave its place to another"),
                }
                drop(place);
            });
        }
        drop(self.listener);
        drop(held);
        tasks.close();
        if tokio::time::timeout(limits.drain, tasks.wait()).await.is_err() {
            tracing::warn!(connections = tasks.len(), "connections were cut off: they did not end in time");
            cut.cancel();
            tasks.wait().await;
        }
        Ok(())
    }

    /// The next connection and its place among the allowed number; `None`: shut down.
    async fn accept(
        &self,
        places: &Places,
        shutdown: &CancellationToken,
    ) -> Option<(TcpStream, SocketAddr, Arc<Place>)> {
        let next = async {
            loop {
                match self.listener.accept().await {
                    Ok((socket, peer)) => {
                        let place = places.take(&peer.ip().to_string()).await?;
                        return Some((socket, peer, place));
                    }
                    Err(e) => {
                        tracing::warn!("cannot accept a connection: {e}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            next = next => next,
            () = shutdown.cancelled() => None,
        }
    }
}

/// Writes down now and then how many requests came.
async fn write_counts(store: Arc<Store>) {
    loop {
        tokio::time::sleep(COUNTED).await;
        tell(store.write_meter().await);
    }
}

/// What was not written down is kept for the next time.
fn tell(written: Result<()>) {
    if let Err(e) = written {
        tracing::warn!(error = %e, "requests could not be counted yet");
    }
}

/// One connection, to its end. After `shutdown` it ends with the request in hand.
async fn connection(socket: TcpStream, tls: Option<TlsAcceptor>, service: Service, shutdown: CancellationToken) {
    let limits = service.limits;
    if let Err(e) = socket.set_nodelay(true) {
        tracing::debug!("TCP_NODELAY was refused, answers may be late: {e}");
    }
    let socket = WriteDeadline::new(socket, limits.write_stall, Arc::clone(&service.place));
    let Some(tls) = tls else { return requests(socket, service, shutdown).await };
    // Who does not shake hands in time is not waited for.
    match tokio::time::timeout(limits.header_read, tls.accept(socket)).await {
        Ok(Ok(socket)) => requests(socket, service, shutdown).await,
        Ok(Err(e)) => tracing::debug!("no TLS connection came of it: {e}"),
        Err(_) => {
            metrics::get().connections_cut.with_label_values(&["handshake"]).inc();
            tracing::debug!("a TLS handshake took too long");
        }
    }
}

async fn requests<S>(socket: S, service: Service, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = service.limits;
    let mut served = std::pin::pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_read)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_MAX)
            .serve_connection(TokioIo::new(socket), service)
    );
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    // Clients come and go: a reset is no news. Reasons for which we abort a body are logged where they arise.
    if let Err(e) = ended {
        if e.is_timeout() {
            metrics::get().connections_cut.with_label_values(&["head"]).inc();
        }
        tracing::debug!("a connection ended early: {e}");
    }
}

/// The address that a request came from: a client's, or its proxy's.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// All addresses, for one connection: its requests are counted, its bodies watched.
#[derive(Clone)]
struct Service {
    app: Router,
    peer: Peer,
    place: Arc<Place>,
    places: Arc<Places>,
    limits: Limits,
    trust_proxy: bool,
}

impl hyper::service::Service<hyper::Request<hyper::body::Incoming>> for Service {
    type Response = hyper::Response<Outgoing<axum::body::Body>>;
    type Error = std::convert::Infallible;
    type Future = futures::future::BoxFuture<'static, std::result::Result<Self::Response, Self::Error>>;

    fn call(&self, request: hyper::Request<hyper::body::Incoming>) -> Self::Future {
        self.place.moves(Why::Request);
        let all = metrics::get();
        let bytes = |direction| all.http_bytes.with_label_values(&[direction]);
        let method = known(request.method());
        let stall = self.limits.read_stall;
        let (place, places) = (Arc::clone(&self.place), Arc::clone(&self.places));
        let of = Arc::clone(&place);
        let mut request = request.map(|body| axum::body::Body::new(Incoming::new(body, bytes("in"), stall, of)));
        request.extensions_mut().insert(self.peer);
        let who = client(self.trust_proxy, request.headers(), Some(&self.peer));
        let watches = WATCHED.contains(&request.uri().path());
        let (app, out, started) = (self.app.clone(), bytes("out"), Instant::now());
        Box::pin(async move {
            let (response, slot) = match places.slot(&who, watches).await {
                Ok(slot) => {
                    place.works(Some(who));
                    (TowerToHyperService::new(app).call(request).await?, Some(slot))
                }
                Err(full) => (Problem::from(full).into_response(), None),
            };
            all.requests.with_label_values(&[method, response.status().as_str()]).inc();
            all.request_seconds.observe(started.elapsed().as_secs_f64());
            Ok(response.map(|body| Outgoing::new(body, out, place, slot)))
        })
    }
}

/// Methods are of a small fixed set, whatever clients make up.
fn known(method: &hyper::Method) -> &'static str {
    const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
    METHODS.into_iter().find(|m| *m == method.as_str()).unwrap_or("other")
}

/// Binds, tells `bound` the address, and serves until `shutdown` (see [`Bound::serve`]).
///
/// # Errors
/// As [`Bound::bind`].
pub async fn serve(
    store: Arc<Store>,
    config: HttpConfig,
    shutdown: CancellationToken,
    bound: tokio::sync::oneshot::Sender<SocketAddr>,
) -> Result<()> {
    let listener = Bound::bind(config.listen, config.tls.as_ref()).await?;
    // Whoever asked for the address may have gone: that is their choice.
    bound.send(listener.addr()).unwrap_or_default();
    listener.serve(store, &config, shutdown, ()).await
}
