//! A mount from its making to its end: store, file system, links, mount point.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::artifact::amount::count;
use crate::artifact::name::{SessionName, display_bytes};
use crate::artifact::{Error, Kind, Result};
use crate::cli::args::{LinkModeArg, McpAccessArg, MountingArgs, ServerArgs};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::progress::Bar;
use crate::cli::settings::Settings;
use crate::cli::value::Http;
use crate::cli::{Context, busy};
use crate::daemon::guard::Guard;
use crate::daemon::mountpoint::Mountpoint;
use crate::daemon::signals::{Signals, name};
use crate::daemon::{dirty, mcp};
use crate::engine::adopt::Adopted;
use crate::engine::store::Store;
use crate::engine::supervise;
use crate::fuse::{self, MountSpec, Mounted};
use crate::http::{self, HttpConfig, LinkMode, Listening, TlsFiles};
use crate::staging::state_dir::MountInfo;

/// Two request loops are best (measured): a third only takes turns with them.
const FUSE_THREADS: usize = 2;
/// For processes that keep files open after their parent's end: most end within this.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);
/// A listener is bound or refused at once; a wait for its turn is no reason to hold up a mount.
const HTTP_START: Duration = Duration::from_secs(2);
/// For the listener to end its running requests, beyond its own limit.
const HTTP_END: Duration = Duration::from_secs(15);

/// A live mount with all that belongs to it.
pub struct Live {
    pub store: Arc<Store>,
    mounted: Mounted,
    guard: Option<Guard>,
    place: Mountpoint,
    http: Option<Links>,
    reporter: JoinHandle<()>,
    sweeper: JoinHandle<()>,
    recovery: JoinHandle<()>,
}

/// The listener that serves links beside what it is served for.
pub struct Links {
    /// The address, when another program has it: they are served once that ends.
    taken: Option<SocketAddr>,
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Live {
    /// # Errors
    /// Whatever keeps the mount from answering; then nothing is left behind.
    pub async fn start(
        context: &mut Context,
        args: &MountingArgs,
        session: Option<SessionName>,
        place: Mountpoint,
    ) -> Outcome<Self> {
        let http = links_at(context, args)?;
        let store = match context.open().await {
            Ok(store) => store,
            Err(e) => {
                place.release();
                return Err(e.into());
            }
        };
        match Self::on(context, args, session, &place, &store, http).await {
            Ok((mounted, http)) => {
                let reporter = spawn_reporter(store.clone(), mounted.volume.clone());
                let sweeper = store.spawn_sweeper();
                let recovery = store.spawn_recovery();
                let guard = Guard::start(place.path());
                Ok(Self { store, mounted, guard, place, http, reporter, sweeper, recovery })
            }
            Err(failure) => {
                if let Err(e) = store.close().await {
                    tracing::warn!(error = %e, "the staging directory stays");
                }
                place.release();
                Err(failure)
            }
        }
    }

    /// Says so when another program has the address where links would be served.
    pub fn note_taken_address(&self, context: &Context) {
        if let Some(links) = &self.http {
            links.note_taken_address(context);
        }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    async fn on(
        context: &Context,
        args: &MountingArgs,
        session: Option<SessionName>,
        place: &Mountpoint,
        store: &Arc<Store>,
        http: Option<SocketAddr>,
    ) -> Outcome<(Mounted, Option<Links>)> {
        if let Some(name) = &session {
            store.ensure_session(name).await?;
        }
        if args.adopt {
            adopt(context, store, session.as_ref(), place.path()).await?;
        }
        if let Some(dir) = &store.mount_dir {
            dir.write_info(&MountInfo {
                pid: std::process::id(),
                mountpoint: Some(place.path().to_owned()),
                session: session.as_ref().map(ToString::to_string),
                tenant: store.tenant_name.to_string(),
                store: store.blobs.describe(),
            })?;
        }
        let links = match http {
            Some(addr) => start_links(context, args, store, addr).await?,
            None => None,
        };
        let file = &context.settings.file;
        let spec = MountSpec {
            mountpoint: place.path().to_owned(),
            session,
            passthrough: !args.no_passthrough && file.passthrough.unwrap_or(true),
            allow_other: args.allow_other || file.allow_other.unwrap_or(false),
            threads: FUSE_THREADS,
        };
        match fuse::mount(store.clone(), spec).await {
            Ok(mounted) => Ok((mounted, links)),
            Err(e) => {
                if let Some(links) = links {
                    links.end().await;
                }
                Err(Failure::new(&e).hint("'outputfs doctor' examines what mounting needs"))
            }
        }
    }

    /// Resolves when somebody else unmounted it.
    pub async fn ended(&self) {
        self.mounted.ended().await;
    }

    /// Why, when it was a fault of ours.
    pub fn broken(&mut self) -> Option<Error> {
        self.mounted.broken()
    }

    /// Waits for uploads, unmounts, ends the listener, gives the mount point back. The store stays open: close it.
    ///
    /// # Errors
    /// What is not in the store yet, and why: it is kept, and the next command goes on. The mount is gone all the same.
    pub async fn finish(mut self, context: &Context, signals: &Signals) -> (Arc<Store>, Result<()>) {
        let mut stored = self.drain(context, signals).await;
        if let Some(e) = self.broken() {
            stored = stored.and(Err(e));
        }
        let patience = if stored.is_ok() { PATIENCE } else { Duration::ZERO };
        self.unmount(context, signals, patience).await;
        // What was closed between the drain and the unmounting; and after an unmounting in vain, what can be had of it.
        if stored.is_ok() {
            stored = self.drain(context, signals).await;
        }
        self.reporter.abort();
        self.sweeper.abort();
        if let Err(e) = stored {
            stored = Err(self.tell_left(e).await);
        }
        self.recovery.abort();
        if let Some(links) = self.http.take() {
            links.end().await;
        }
        let Self { store, mounted, guard, place, .. } = self;
        drop(mounted);
        drop(guard);
        place.release();
        (store, stored)
    }

    /// Says for whoever asks later what this mount could not store, and in the error for who waits for its end.
    async fn tell_left(&self, why: Error) -> Error {
        let mut report = self.mounted.volume.report();
        let left = match self.store.left(&report, &why.message).await {
            Ok(left) if left.files > 0 => left,
            Ok(_) => return why,
            Err(e) => {
                tracing::warn!(error = %e, "what is not stored cannot be listed");
                return why;
            }
        };
        let said = Error::new(why.kind, left.sentence());
        report.left = Some(left);
        if let Err(e) = self.store.report(&report) {
            tracing::warn!(error = %e, "the status could not be written");
        }
        said
    }

    /// As long as uploads get on; a second signal ends the wait, not the uploads of a later command.
    async fn drain(&self, context: &Context, signals: &Signals) -> Result<()> {
        let bar = Bar::items(&context.output);
        bar.message("storing what is left");
        let mut draining = std::pin::pin!(self.drain_while_it_moves());
        let mut asked = false;
        loop {
            let signal = tokio::select! {
                done = &mut draining => return done,
                signal = signals.next() => signal,
            };
            if asked {
                let text =
                    "interrupted: what is not stored yet is kept in staging, and the next outputfs command stores it";
                return Err(Error::new(Kind::TimedOut, text));
            }
            asked = true;
            context.output.note(&format!(
                "{}: files are still being stored; once more leaves that to the next outputfs command (nothing is lost)",
                name(signal.number)
            ));
        }
    }

    async fn drain_while_it_moves(&self) -> Result<()> {
        let step = self.store.options.upload_timeout;
        let mut left = u64::MAX;
        loop {
            match self.mounted.drain(step).await {
                Err(e) if e.kind == Kind::TimedOut => {
                    let pending = self.store.catalog.unmoved(None, Some(self.store.origin.0)).await?;
                    if pending.bytes >= left {
                        return Err(e);
                    }
                    left = pending.bytes;
                }
                other => return other,
            }
        }
    }

    /// Politely for a while, then from under those who still use it.
    async fn unmount(&mut self, context: &Context, signals: &Signals, patience: Duration) {
        let until = Instant::now() + patience;
        let mut told = false;
        // When nobody answers the kernel any more, a polite unmounting may never return.
        while self.broken().is_none() {
            match tokio::task::block_in_place(|| self.mounted.unmount(false)) {
                Ok(()) => return,
                Err(e) if e.kind == Kind::Busy => {}
                Err(e) => {
                    tracing::warn!(error = %e, "could not unmount");
                    break;
                }
            }
            if Instant::now() >= until {
                break;
            }
            if !told {
                told = true;
                let users = busy::sentence(&busy::users(self.place.path()));
                context.output.note(&format!("waiting for processes that use the mount: {users}"));
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = signals.next() => break,
            }
        }
        // What the kernel has collected of open files goes with the mount.
        if !self.mounted.volume.kernel.passthrough.load(Ordering::Relaxed) {
            dirty::write_back(self.place.path()).await;
        }
        let users = busy::sentence(&busy::users(self.place.path()));
        context.output.note(&format!(
            "unmounted under processes that still use it ({users}): what they have not closed is kept and goes to .trash"
        ));
        if let Err(e) = tokio::task::block_in_place(|| self.mounted.unmount(true)) {
            tracing::warn!(error = %e, "could not unmount");
        }
    }
}

impl Links {
    /// Says so when another program has the address where links would be served.
    pub fn note_taken_address(&self, context: &Context) {
        if let Some(taken) = self.taken {
            context.output.note(&format!(
                "{taken} is taken by another program: links lead nowhere until it ends; --http ADDR chooses another address"
            ));
        }
    }

    pub async fn end(self) {
        self.stop.cancel();
        match tokio::time::timeout(HTTP_END, self.task).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(e))) => tracing::warn!(error = %e, "the link server ended with an error"),
            Ok(Err(e)) => tracing::warn!(error = %e, "the link server broke down"),
            Err(_) => tracing::warn!("the link server did not end in time"),
        }
    }
}

/// Takes in what the mount will hide. Where all sessions are mounted, each folder is one.
async fn adopt(context: &Context, store: &Store, session: Option<&SessionName>, dir: &Path) -> Outcome {
    let mut folders = Vec::new();
    match session {
        Some(name) => folders.push((name.clone(), dir.to_owned())),
        None => {
            for entry in std::fs::read_dir(dir).map_err(|e| Error::io(dir, &e))? {
                let path = entry.map_err(|e| Error::io(dir, &e))?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if !path.is_dir() {
                    let text = format!(
                        "{}: lies outside every session: --session NAME takes all of the folder into one",
                        path.display()
                    );
                    return Err(Error::invalid(text).into());
                }
                folders.push((name.parse()?, path));
            }
        }
    }
    let labels = crate::cli::push::own_labels();
    let mut all = Adopted::default();
    for (name, folder) in folders {
        let adopted = store.adopt(&name, &folder, &labels).await?;
        all.files += adopted.files;
        all.known += adopted.known;
        all.left_out.extend(adopted.left_out);
    }
    if all != Adopted::default() {
        context.output.note(&format!(
            "{}: {} taken in, {} in the session already{}; all stays in place underneath",
            dir.display(),
            count(all.files, "file"),
            all.known,
            left_out(&all.left_out)
        ));
    }
    Ok(())
}

fn left_out(all: &[(Vec<u8>, &str)]) -> String {
    const NAMED: usize = 10;
    if all.is_empty() {
        return String::new();
    }
    let named: Vec<_> =
        all.iter().take(NAMED).map(|(path, why)| format!("'{}' ({why})", display_bytes(path))).collect();
    let more = all.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(", left out: {}{more}", named.join(", "))
}

/// Where links are to be served, which the settings know from here on.
///
/// # Errors
/// `Invalid` when the address is not of this host.
pub fn links_at(context: &mut Context, args: &MountingArgs) -> Result<Option<SocketAddr>> {
    let Http::On(addr) = context.settings.http(args.http.http) else { return Ok(None) };
    let addr = certain_port(addr)?;
    context.settings.serve_at(addr, args.http.server.tls_cert.is_some());
    Ok(Some(addr))
}

/// An address that can never be bound is an error if it was asked for, else a remark.
///
/// # Errors
/// Of the listener, and of a certificate that cannot be used.
pub async fn start_links(
    context: &Context,
    args: &MountingArgs,
    store: &Arc<Store>,
    listen: SocketAddr,
) -> Outcome<Option<Links>> {
    let mut config = http_config(&context.settings, args.http.link_mode, &args.http.server, listen);
    let stop = CancellationToken::new();
    // With a key alone: whoever mounts has not asked for open doors.
    config.doors = mcp::door(store, McpAccessArg::None, listen, &stop)?;
    let (tell, mut state) = watch::channel(Listening::Starting);
    let (served, ends) = (store.clone(), stop.clone());
    let mut task = supervise::spawn("the link server", move || {
        http::serve_or_wait(served.clone(), config.clone(), ends.clone(), tell.clone())
    });
    let early = tokio::select! {
        ended = &mut task => Some(ended),
        _ = tokio::time::timeout(HTTP_START, state.wait_for(|s| *s != Listening::Starting)) => None,
    };
    let taken = (*state.borrow() == Listening::Blocked).then_some(listen);
    match early {
        None | Some(Ok(Ok(()))) => Ok(Some(Links { taken, stop, task })),
        Some(Ok(Err(e))) if args.http.http.is_some() => Err(Failure::new(&e).hint("--http ADDR, or --http off")),
        Some(Ok(Err(e))) => {
            tracing::warn!(error = %e, "links are not served");
            Ok(None)
        }
        Some(Err(e)) => Err(Error::internal(format!("the link server broke down: {e}")).into()),
    }
}

/// `--link-mode` as said, else as in the settings file.
pub fn http_config(
    settings: &Settings,
    said: Option<LinkModeArg>,
    server: &ServerArgs,
    listen: SocketAddr,
) -> HttpConfig {
    let link_mode = match said.or(settings.file.link_mode) {
        Some(LinkModeArg::Redirect) => LinkMode::Redirect,
        Some(LinkModeArg::Stream) | None => LinkMode::Stream,
    };
    let default = HttpConfig::default();
    let tls = server.tls_cert.clone().zip(server.tls_key.clone()).map(|(chain, key)| TlsFiles { chain, key });
    HttpConfig {
        listen,
        link_mode,
        rate: server.rate_limit.unwrap_or(default.rate),
        max_ttl: server.max_ttl,
        trust_proxy: server.trust_proxy,
        cors: server.cors_origin.clone(),
        tls,
        ..default
    }
}

/// Links carry the port: where the system shall choose it, it is asked before the first link is made.
///
/// # Errors
/// `Invalid` when the address is not of this host.
pub fn certain_port(addr: SocketAddr) -> Result<SocketAddr> {
    if addr.port() != 0 {
        return Ok(addr);
    }
    let chosen = std::net::TcpListener::bind(addr).and_then(|l| l.local_addr());
    chosen.map_err(|e| Error::invalid(format!("cannot listen on {addr}: {e}")))
}

/// Once a second, `status.json` of this mount, when it has changed.
fn spawn_reporter(store: Arc<Store>, volume: Arc<crate::engine::volume::Volume>) -> JoinHandle<()> {
    supervise::spawn("reporting the status", move || report(store.clone(), volume.clone()))
}

async fn report(store: Arc<Store>, volume: Arc<crate::engine::volume::Volume>) {
    let mut turn = tokio::time::interval(Duration::from_secs(1));
    let mut last = None;
    loop {
        turn.tick().await;
        let report = volume.report();
        if last.as_ref() == Some(&report) {
            continue;
        }
        let (writer, text) = (store.clone(), report.clone());
        match tokio::task::spawn_blocking(move || writer.report(&text)).await {
            Ok(Ok(())) => last = Some(report),
            // The next turn tries again; nothing but `status` depends on it.
            Ok(Err(e)) => tracing::debug!(error = %e, "the status could not be written"),
            Err(e) => tracing::debug!(error = %e, "the status could not be written"),
        }
    }
}
