//! The listener and its connections: limits, deadlines, shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::artifact::{Error, Kind, Result};
use crate::engine::store::Store;
use crate::http::idle::WriteDeadline;
use crate::http::tls::{Tls, TlsFiles};
use crate::http::{HttpConfig, Limits, router};

/// After a failed accept for want of descriptors or memory: trying at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a crash may lose of the counts of requests.
const COUNTED: Duration = Duration::from_secs(5);

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
    pub async fn serve<H>(self, store: Arc<Store>, config: &HttpConfig, shutdown: CancellationToken, held: H) {
        tracing::info!(address = %self.addr, "links are served");
        let app = router(store.clone(), config);
        let places = Arc::new(Semaphore::new(config.limits.connections));
        let counted = AbortOnDropHandle::new(tokio::spawn(write_counts(store.clone())));
        let tasks = TaskTracker::new();
        let cut = CancellationToken::new();
        while let Some(socket) = self.accept(&places, &shutdown).await {
            let (socket, place) = socket;
            let acceptor = self.tls.as_ref().map(Tls::acceptor);
            let connection = connection(socket, acceptor, app.clone(), config.limits, shutdown.clone());
            let cut = cut.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = connection => {}
                    () = cut.cancelled() => {}
                }
                drop(place);
            });
        }
        drop(self.listener);
        drop(held);
        tasks.close();
        if tokio::time::timeout(config.limits.drain, tasks.wait()).await.is_err() {
            tracing::warn!(connections = tasks.len(), "connections were cut off: they did not end in time");
            cut.cancel();
            tasks.wait().await;
        }
        drop(counted);
        tell(store.write_meter().await);
    }

    /// The next connection and its place among the allowed number; `None`: shut down.
    async fn accept(
        &self,
        places: &Arc<Semaphore>,
        shutdown: &CancellationToken,
    ) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
        let next = async {
            // Never closed, so this fails never; then no connection is taken, which is what None means.
            let place = Arc::clone(places).acquire_owned().await.ok()?;
            loop {
                match self.listener.accept().await {
                    Ok((socket, _)) => return Some((socket, place)),
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
async fn connection(
    socket: TcpStream,
    tls: Option<TlsAcceptor>,
    app: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    if let Err(e) = socket.set_nodelay(true) {
        tracing::debug!("TCP_NODELAY was refused, answers may be late: {e}");
    }
    let socket = WriteDeadline::new(socket, limits.write_stall);
    let Some(tls) = tls else { return requests(socket, app, limits, shutdown).await };
    // Who does not shake hands in time is not waited for.
    match tokio::time::timeout(limits.header_read, tls.accept(socket)).await {
        Ok(Ok(socket)) => requests(socket, app, limits, shutdown).await,
        Ok(Err(e)) => tracing::debug!("no TLS connection came of it: {e}"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn requests<S>(socket: S, app: Router, limits: Limits, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut served = std::pin::pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_read)
            .max_headers(100)
            .serve_connection(TokioIo::new(socket), TowerToHyperService::new(app))
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
        tracing::debug!("a connection ended early: {e}");
    }
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
    listener.serve(store, &config, shutdown, ()).await;
    Ok(())
}
