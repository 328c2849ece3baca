//! `outputfs serve`: links without a mount.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::artifact::{Error, Kind};
use crate::cli::Context;
use crate::cli::args::ServeArgs;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::settings::{DEFAULT_HTTP, Settings, url_of};
use crate::cli::value::Http;
use crate::daemon::mcp;
use crate::daemon::mounted::{certain_port, http_config};
use crate::daemon::signals::Signals;
use crate::engine::supervise;
use crate::http::{self, Listening};

pub async fn run(mut settings: Settings, args: &ServeArgs) -> Outcome {
    let signals = Signals::install()?;
    let listen = match settings.http(args.http.map(Http::On)) {
        Http::On(addr) => certain_port(addr)?,
        // Serving is what was asked for.
        Http::Off => DEFAULT_HTTP,
    };
    settings.serve_at(listen, args.server.tls_cert.is_some());
    let mut config = http_config(&settings, args.link_mode, &args.server, listen);
    let scheme = if args.server.tls_cert.is_some() { "https:" } else { "http:" };
    let context = Context::new(settings);
    // With a staging directory: MCP clients store bytes.
    let store = context.open().await?;
    let settler = store.spawn_settler();
    let stop = CancellationToken::new();
    config.doors = mcp::door(&store, args.mcp, listen, &stop)?;
    let (tell, mut state) = watch::channel(Listening::Starting);
    let _sweeper = AbortOnDrop(store.spawn_sweeper());
    let _recovery = AbortOnDrop(store.spawn_recovery());
    let (served, ends) = (store.clone(), stop.clone());
    let mut serving = supervise::spawn("the server", move || {
        http::serve_or_wait(served.clone(), config.clone(), ends.clone(), tell.clone())
    });
    let (mut open, mut said) = (true, None);
    loop {
        tokio::select! {
            ended = &mut serving => {
                let ended = ended.map_err(|e| Error::internal(format!("the link server broke down: {e}")))?;
                settler.stop().await;
                store.close().await?;
                return ended.map_err(Failure::from);
            }
            changed = state.changed(), if open => {
                open = changed.is_ok();
                let now = *state.borrow_and_update();
                if said.replace(now) == Some(now) {
                    continue;
                }
                match now {
                    Listening::Here(addr) => {
                        let url = url_of(addr).replacen("http:", scheme, 1);
                        context.output.note(&format!("links are served at {url}"));
                    }
                    Listening::Elsewhere => context.output.note(&format!(
                        "another outputfs of this state directory serves {listen}: waiting to take over"
                    )),
                    Listening::Blocked => {
                        serving.abort();
                        let e = Error::new(Kind::Busy, format!("{listen} is taken by another program"));
                        return Err(Failure::new(&e).hint("--http ADDR"));
                    }
                    Listening::Starting | Listening::Ended => {}
                }
            }
            _ = signals.next() => stop.cancel(),
        }
    }
}

/// A task that ends with whoever holds this.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
