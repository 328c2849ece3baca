//! One listener for all mounts of a state directory: the first opens it, another takes over when that one ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::artifact::{Error, Kind, Result};
use crate::engine::store::Store;
use crate::http::HttpConfig;
use crate::http::server::Bound;

/// How often those who wait look again: links are without a server for at most about this long.
const RETRY: Duration = Duration::from_millis(250);

/// Who serves the links, as one process sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// Not decided yet.
    Starting,
    /// Another process of this state directory does.
    Elsewhere,
    /// A program that is none of ours holds the address.
    Blocked,
    Here(SocketAddr),
    Ended,
}

/// Serves as [`crate::http::serve`] does once the address is free, and waits for it until `shutdown`. What it does at the moment is
/// told through `state`.
///
/// The lock `http-ADDRESS.lock` in the state directory decides who may bind: its holder listens or, if a foreign
/// program has the port, says so once and keeps trying; all others wait for the lock. It goes when its holder dies.
///
/// # Errors
/// When the lock file cannot be opened, or the address cannot ever be bound (not of this host, no permission).
pub async fn serve_or_wait(
    store: Arc<Store>,
    config: HttpConfig,
    shutdown: CancellationToken,
    state: watch::Sender<Listening>,
) -> Result<()> {
    let path = lock_path(store.state.root(), config.listen);
    let turn = tokio::select! {
        turn = take_turn(&path, &config, &state) => turn?,
        () = shutdown.cancelled() => {
            state.send_replace(Listening::Ended);
            return Ok(());
        }
    };
    let (bound, lock) = turn;
    state.send_replace(Listening::Here(bound.addr()));
    let served = bound.serve(store, &config, shutdown, lock).await;
    state.send_replace(Listening::Ended);
    served
}

/// One lock an address: mounts with different `--http` do not wait for one another. With port 0 nobody waits.
fn lock_path(root: &Path, addr: SocketAddr) -> PathBuf {
    root.join(format!("http-{addr}.lock"))
}

async fn take_turn(
    path: &Path,
    config: &HttpConfig,
    state: &watch::Sender<Listening>,
) -> Result<(Bound, Option<File>)> {
    let addr = config.listen;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| Error::io(path, &e))?;
    let own_port = addr.port() == 0;
    while !own_port && !try_lock(&file, path)? {
        state.send_replace(Listening::Elsewhere);
        tokio::time::sleep(RETRY).await;
    }
    let mut warned = false;
    loop {
        match Bound::bind(addr, config.tls.as_ref()).await {
            Ok(bound) => return Ok((bound, Some(file))),
            Err(e) if e.kind == Kind::Busy => {
                state.send_replace(Listening::Blocked);
                if !warned {
                    warned = true;
                    let holder = holder(addr).unwrap_or_else(|| String::from("another program"));
                    tracing::warn!(address = %addr, "links cannot be served yet: {holder} listens there; trying on");
                }
                tokio::time::sleep(RETRY).await;
            }
            Err(e) => return Err(e),
        }
    }
}

fn try_lock(file: &File, path: &Path) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(Error::io(path, &e)),
    }
}

/// Name and process of whoever listens on that port, as far as this user may see it.
fn holder(addr: SocketAddr) -> Option<String> {
    let port = format!(":{:04X}", addr.port());
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let table = std::fs::read_to_string(table).ok()?;
        table.lines().find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            // State 0A is LISTEN; the tenth field is the socket's inode.
            (fields.get(1)?.ends_with(&port) && *fields.get(3)? == "0A").then(|| format!("socket:[{}]", fields[9]))
        })
    })?;
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        std::fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|fds| {
            fds.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == inode.as_str()))
        })
    })
    .find_map(|pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some(format!("'{}' (process {pid})", name.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let name = holder(listener.local_addr().unwrap()).unwrap();
        assert!(name.contains(&format!("process {}", std::process::id())), "{name}");
    }
}
