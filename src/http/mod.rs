//! HTTP: links and their pages (CONTRACT §8). Translates between requests and the engine, and decides nothing.
//!
//! [`server`] has connections and their limits ([`places`], [`traffic`]), on [`threads`] of their own, [`takeover`] one listener for many mounts, [`links`] the addresses under
//! `/lnk_…`, [`content`] an artifact's bytes with all that RFC 9110 knows of them, [`pages`] the HTML, [`operator`] the
//! signed-in view, [`errors`] what
//! went wrong. Tokens are secrets: no path and no address of a request is ever logged, only the link's ID.

pub mod api;
pub mod auth;
pub mod body;
pub mod charsets;
pub mod conditional;
pub mod content;
pub mod disposition;
pub mod errors;
pub mod health;
pub mod host;
pub mod idle;
pub mod links;
pub mod media;
pub mod operator;
pub mod pages;
pub mod places;
pub mod range;
pub mod readers;
pub mod server;
pub mod signed;
pub mod spool;
pub mod takeover;
pub mod threads;
pub mod tls;
pub mod traffic;
pub mod zip;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::runtime::Handle;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::artifact::Result;
use crate::artifact::key::Rate;
use crate::engine::store::Store;
use crate::http::api::Api;
use crate::preview::pool::{Budget, Previews};
use charsets::Charsets;
pub use errors::Problem;
use health::Probe;
use operator::signin::Operators;
use readers::Readers;
pub use server::{Bound, Peer, serve};
pub use takeover::{Listening, serve_or_wait};
pub use tls::TlsFiles;

/// How a link's bytes reach the reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkMode {
    /// Through this process, verified.
    #[default]
    Stream,
    /// From the store, by a URL that is good for a minute, where the store can make one and it is safe; else streamed.
    Redirect,
}

/// Bounds on what strangers can make us hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests at a time, whatever becomes of them; and connections, but for a few more. Where there are more, those go that have
    /// waited longest for their client.
    pub connections: usize,
    /// For a request's head, and between requests of one connection.
    pub header_read: Duration,
    /// Until an answer begins. Its body may take as long as it moves.
    pub answer: Duration,
    /// A client that sends no byte of its body for so long is given up.
    pub read_stall: Duration,
    /// A reader that takes no byte for so long is given up. Long, because a paused video player does just that; it asks
    /// for the rest again when it goes on.
    pub write_stall: Duration,
    /// For running requests at shutdown.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            header_read: Duration::from_secs(15),
            answer: Duration::from_mins(1),
            read_stall: Duration::from_mins(1),
            write_stall: Duration::from_mins(2),
            drain: Duration::from_secs(10),
        }
    }
}

#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// `--http`. Port 0: the system chooses one.
    pub listen: SocketAddr,
    /// `--link-mode`.
    pub link_mode: LinkMode,
    pub limits: Limits,
    /// Of keys without a rate of their own.
    pub rate: Rate,
    /// The longest life that may be asked for over the API; none: any.
    pub max_ttl: Option<Duration>,
    /// `X-Forwarded-*` are the word of a proxy before us.
    pub trust_proxy: bool,
    /// Origins of pages that may call the API from browsers; `*`: any.
    pub cors: Vec<String>,
    /// HTTPS instead of HTTP.
    pub tls: Option<TlsFiles>,
    /// Addresses of other doors (`/mcp`), behind [`auth::guard_door`].
    pub doors: Router,
    /// This program, which previews are made by.
    pub program: PathBuf,
}

impl Default for HttpConfig {
    /// Loopback, port 7780.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7780)),
            link_mode: LinkMode::default(),
            limits: Limits::default(),
            rate: Rate { sustained: 100, burst: 200 },
            max_ttl: None,
            trust_proxy: false,
            cors: Vec::new(),
            tls: None,
            doors: Router::new(),
            // Still right when its file was replaced by the next release.
            program: PathBuf::from("/proc/self/exe"),
        }
    }
}

/// What every handler has.
#[derive(Clone)]
pub struct App {
    pub store: Arc<Store>,
    pub link_mode: LinkMode,
    /// See [`Limits::answer`].
    pub answer: Duration,
    pub api: Arc<Api>,
    /// Only programs of this machine reach us, and no proxy speaks for others.
    pub private: bool,
    pub probe: Arc<Probe>,
    /// Who is signed in at `/`.
    pub operators: Operators,
    /// HTTPS is spoken here, without a proxy.
    pub tls: bool,
    /// Who looks at files.
    pub previews: Arc<Previews>,
    /// The threads of whoever serves us: what key holders do runs there, and requests to a remote store.
    pub home: Handle,
    /// Where work for readers is done.
    pub readers: Arc<Readers>,
    pub charsets: Arc<Charsets>,
}

impl App {
    /// Base of our addresses as this client reaches us.
    pub fn base(&self, headers: &HeaderMap) -> String {
        let said = |name: &str| {
            let value = headers.get(name).and_then(|v| v.to_str().ok())?.split(',').next()?.trim();
            let fine = |b: u8| b.is_ascii_alphanumeric() || b".:-[]".contains(&b);
            (self.api.trust_proxy && !value.is_empty() && value.bytes().all(fine)).then(|| value.to_owned())
        };
        let proto = said("x-forwarded-proto");
        // A proxy that passes `Host` on as it came says only how it was reached.
        let host = said("x-forwarded-host").or_else(|| proto.as_ref().and_then(|_| said("host")));
        match host {
            Some(host) => {
                let scheme = proto.filter(|s| s == "http").unwrap_or_else(|| String::from("https"));
                format!("{scheme}://{host}")
            }
            None => self.store.options.public_url.clone(),
        }
    }

    /// Where a request came from, for the log and for shares of what there is little of.
    pub fn client(&self, headers: &HeaderMap, peer: Option<&Peer>) -> String {
        client(self.api.trust_proxy, headers, peer)
    }

    /// `url`, one of ours, as this client reaches us.
    pub fn told(&self, headers: &HeaderMap, url: &str) -> String {
        match url.strip_prefix(&self.store.options.public_url) {
            Some(rest) => format!("{}{rest}", self.base(headers)),
            None => url.to_owned(),
        }
    }
}

/// Where a request came from: what the proxy said last, if we trust one.
fn client(trust_proxy: bool, headers: &HeaderMap, peer: Option<&Peer>) -> String {
    let forwarded = || {
        let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
        last.rsplit(',').next()?.trim().parse::<std::net::IpAddr>().ok()
    };
    let said = if trust_proxy { forwarded() } else { None };
    said.or_else(|| peer.map(|p| p.0.ip())).map_or_else(|| String::from("unknown"), |ip| ip.to_string())
}

/// All addresses. Strangers' requests run where the router is called, and on the threads of [`readers`]; those of key holders at `home`.
///
/// # Errors
/// When no thread for readers can be started.
pub fn router(store: Arc<Store>, config: &HttpConfig, home: &Handle) -> Result<Router> {
    let network = (!store.blobs.is_local()).then(|| home.clone());
    let api = Arc::new(Api::new(config));
    let app = App {
        store,
        link_mode: config.link_mode,
        answer: config.limits.answer,
        api,
        private: config.listen.ip().is_loopback() && !config.trust_proxy,
        probe: Arc::default(),
        operators: Arc::default(),
        tls: config.tls.is_some(),
        home: home.clone(),
        previews: Arc::new(Previews::new(config.program.clone(), Budget::default())),
        readers: Arc::new(Readers::start(network)?),
        charsets: Arc::default(),
    };
    let guard = middleware::from_fn_with_state(app.clone(), auth::guard_door);
    let doors = if config.doors.has_routes() {
        config.doors.clone().layer(middleware::from_fn_with_state(app.clone(), spool::before)).layer(guard)
    } else {
        Router::new()
    };
    let reading = links::routes()
        .merge(operator::routes())
        .merge(api::reading())
        .layer(middleware::from_fn_with_state(app.clone(), readers::serve));
    let all = Router::new()
        .route("/health", get(health::live))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/favicon.ico", get(|| async { StatusCode::NO_CONTENT }))
        .route("/robots.txt", get(|| async { "User-agent: *\nDisallow: /\n" }))
        .merge(reading)
        .merge(api::routes(&app))
        .merge(doors.with_state(()))
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(middleware::from_fn_with_state(app.clone(), deadline))
        .layer(cors(&config.cors))
        .layer(middleware::from_fn(errors::for_people))
        .layer(middleware::from_fn(common_headers))
        .with_state(app);
    Ok(all)
}

/// What pages of other origins may do from a browser: with a key, never with cookies. None named: nothing.
fn cors(origins: &[String]) -> CorsLayer {
    if origins.is_empty() {
        return CorsLayer::new();
    }
    let allowed = if origins.iter().any(|o| o == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|o| HeaderValue::from_str(o).ok()))
    };
    let told = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"];
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, HeaderName::from_static("idempotency-key")])
        .expose_headers(told.map(HeaderName::from_static))
        .max_age(Duration::from_hours(1))
}

/// An answer that does not begin in time is a 503.
async fn deadline(State(app): State<App>, request: Request, next: Next) -> Response {
    if api::is_slow(request.method(), request.uri().path()) {
        return next.run(request).await;
    }
    match tokio::time::timeout(app.answer, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timed_out", "The answer took too long. Try again later.")
                .with(header::RETRY_AFTER, "10")
                .into_response()
        }
    }
}

/// What every answer says: types are meant as said, addresses (which hold the secret) are told to nobody, and no
/// search engine keeps anything.
async fn common_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex, nofollow, noarchive"));
    response
}
