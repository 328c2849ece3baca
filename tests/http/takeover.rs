//! One listener for all processes of a state directory.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use outputfs::engine::store::Store;
use outputfs::http::{HttpConfig, Listening, serve_or_wait};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::server::{DEADLINE, config, open_store, request};

struct Waiter {
    state: watch::Receiver<Listening>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<outputfs::artifact::Result<()>>,
}

impl Waiter {
    fn start(runtime: &Runtime, store: Arc<Store>, listen: SocketAddr) -> Self {
        let (sender, state) = watch::channel(Listening::Starting);
        let shutdown = CancellationToken::new();
        let config = HttpConfig { listen, ..config() };
        let task = runtime.spawn(serve_or_wait(store, config, shutdown.clone(), sender));
        Self { state, shutdown, task }
    }

    async fn until(&mut self, wanted: Listening) {
        let seen = tokio::time::timeout(DEADLINE, self.state.wait_for(|s| *s == wanted)).await;
        seen.unwrap_or_else(|_| panic!("not {wanted:?} in time")).unwrap();
    }

    async fn end(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.unwrap().unwrap().unwrap();
    }
}

/// A port that was free a moment ago.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn healthy(addr: SocketAddr) -> bool {
    request("GET", &format!("http://{addr}/health"), &[]).status == 200
}

#[test]
fn the_next_process_takes_over_when_the_first_ends() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (open_store(&runtime, dir.path()), open_store(&runtime, dir.path()));
    let addr = free_address();
    let mut first = Waiter::start(&runtime, one, addr);
    runtime.block_on(first.until(Listening::Here(addr)));
    let mut second = Waiter::start(&runtime, two, addr);
    runtime.block_on(second.until(Listening::Elsewhere));
    assert!(healthy(addr));
    runtime.block_on(first.end());
    runtime.block_on(second.until(Listening::Here(addr)));
    assert!(healthy(addr));
    runtime.block_on(second.end());
    TcpListener::bind(addr).unwrap();
}

#[test]
fn a_foreign_holder_of_the_port_is_waited_for() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = foreign.local_addr().unwrap();
    let mut ours = Waiter::start(&runtime, open_store(&runtime, dir.path()), addr);
    runtime.block_on(ours.until(Listening::Blocked));
    drop(foreign);
    runtime.block_on(ours.until(Listening::Here(addr)));
    assert!(healthy(addr));
    runtime.block_on(ours.end());
}

#[test]
fn who_waits_can_be_ended() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ours = Waiter::start(&runtime, open_store(&runtime, dir.path()), foreign.local_addr().unwrap());
    runtime.block_on(ours.until(Listening::Blocked));
    runtime.block_on(ours.end());
}
