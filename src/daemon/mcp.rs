//! `outputfs mcp`: one client on standard input and output; and `/mcp` of `outputfs serve`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::any;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;

use crate::artifact::key::{ApiKey, Scope};
use crate::artifact::{Error, Result};
use crate::cli::Context;
use crate::cli::args::{McpAccessArg, McpArgs};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::settings::Settings;
use crate::daemon::signals::Signals;
use crate::engine::store::Store;
use crate::http::Problem;
use crate::http::auth::Caller;
use crate::mcp::owners::Owners;
use crate::mcp::{self, Access, Door, Roots};

/// The protocol's name for its sessions.
const SESSION: &str = "mcp-session-id";

/// `/mcp` on the listener at `listen`, until `stop`. Whoever shows a key may do what its scopes say; without a key, on an address
/// of this machine and as long as no key was made, what `said` says.
///
/// # Errors
/// `Invalid` when everybody who reaches the address could do what needs a key.
pub fn door(
    store: &Arc<Store>,
    said: McpAccessArg,
    listen: SocketAddr,
    stop: &CancellationToken,
) -> Result<axum::Router> {
    let access = match said {
        McpAccessArg::None => None,
        McpAccessArg::Read => Some(Access::Read),
        McpAccessArg::Write => Some(Access::Write),
        McpAccessArg::Admin => Some(Access::Admin),
    };
    if access.is_some() && !listen.ip().is_loopback() {
        return Err(Error::invalid(format!(
            "--mcp without a key is for an address of this machine alone, such as 127.0.0.1, and {listen} is none"
        )));
    }
    let door = Door::new(Arc::clone(store), Roots::default(), None, access);
    let hosts = host(&store.options.public_url).into_iter().chain([listen.ip().to_string()]).collect();
    let route = |hosts| Router::new().route_service("/mcp", mcp::http(Arc::clone(&door), hosts, stop.clone()));
    let (open, keyed) = (TowerToHyperService::new(route(Some(hosts))), TowerToHyperService::new(route(None)));
    let owners = Arc::new(Owners::default());
    let choose = move |mut request: Request| {
        let key = request.extensions().get::<Caller>().map(|Caller(key)| Arc::clone(key));
        let service = if key.is_some() { keyed.clone() } else { open.clone() };
        let owners = Arc::clone(&owners);
        async move {
            let Some(key) = key else { return service.call(request).await.into_response() };
            let session = |headers: &HeaderMap| headers.get(SESSION).and_then(|v| v.to_str().ok()).map(str::to_owned);
            // To another key the session does not exist: the protocol's answer to that is to begin one.
            if session(request.headers()).is_some_and(|session| !owners.owns(&session, &key.id)) {
                return Problem::not_found().into_response();
            }
            request.extensions_mut().insert(access_of(&key));
            let response = service.call(request).await.into_response();
            if let Some(session) = session(response.headers()) {
                owners.begin(&session, &key.id);
            }
            response
        }
    };
    Ok(Router::new().route("/mcp", any(choose)))
}

/// Tools that read need `read`, all others `write`: sealing too, as over the REST API.
fn access_of(key: &ApiKey) -> Access {
    if key.may(Scope::Write) {
        Access::Admin
    } else if key.may(Scope::Read) {
        Access::Read
    } else {
        Access::None
    }
}

/// `https://files.example.org:8443/x` → `files.example.org:8443`.
fn host(url: &str) -> Option<String> {
    let rest = url.split_once("://")?.1;
    rest.split('/').next().filter(|h| !h.is_empty()).map(str::to_owned)
}

pub async fn run(settings: Settings, args: McpArgs) -> Outcome {
    let signals = Signals::install()?;
    let roots = Roots::open(&args.roots)?;
    let access = match (args.read_only, args.no_seal) {
        (true, _) => Access::Read,
        (false, true) => Access::Write,
        (false, false) => Access::Admin,
    };
    let context = Context::new(settings);
    let store = context.open().await?;
    crate::cli::push::join_run(&store)?;
    let settler = store.spawn_settler();
    let recovery = store.spawn_recovery();
    let stop = CancellationToken::new();
    let door = Door::new(store.clone(), roots, args.session.session, Some(access));
    let mut serving = tokio::spawn(mcp::stdio(door, stop.clone()));
    let ended = loop {
        tokio::select! {
            ended = &mut serving => break ended,
            _ = signals.next() => stop.cancel(),
        }
    };
    recovery.abort();
    // What the client stored is settled even when its connection broke.
    settler.stop().await;
    store.close().await?;
    ended.map_err(|e| Error::internal(format!("the server broke down: {e}")))?.map_err(Failure::from)
}
