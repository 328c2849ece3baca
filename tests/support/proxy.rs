//! A TCP proxy between a client and a real S3 server that fails on demand, and writes down what was asked.
//!
//! It forwards bytes as they are (the `Host` header too, so signatures hold) and understands just enough of HTTP/1.1 to
//! see where a message ends: `Content-Length` and, in answers, chunks.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Pass,
    /// The connection stays open and nothing comes.
    BlackHole,
    /// The connection is cut without an answer.
    Reset,
    /// 503, and the server never hears of it.
    Refuse,
    /// 404 `NoSuchBucket`, and the server never hears of it.
    NoBucket,
    /// The server does the work, the client hears 503.
    FailAfter,
    /// The server does the work, the client hears nothing: the connection is cut.
    ResetAfter,
    /// One bit of the answer's body is turned.
    Flip,
    /// Forwarded when `Proxy::release` is called.
    Hold,
}

#[derive(Default)]
struct State {
    next: VecDeque<Fault>,
    always: Option<Fault>,
    requests: Vec<String>,
    /// `UploadPartCopy` is answered 501.
    no_copies: bool,
    /// Bytes of the requests' bodies.
    received: u64,
}

/// Ends with its drop.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    upstream: String,
    state: Mutex<State>,
    arrived: Notify,
    released: tokio::sync::Semaphore,
}

impl Proxy {
    /// Listens on a port of its own before `upstream` (`http://host:port`).
    pub async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream: upstream.strip_prefix("http://").expect("a plain HTTP test server").to_owned(),
            state: Mutex::default(),
            arrived: Notify::new(),
            released: tokio::sync::Semaphore::new(0),
        });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let shared = serving.clone();
                connections.spawn(async move {
                    // A connection that breaks is the end of it: clients and faults do that.
                    drop(serve(client, &shared).await);
                });
            }
        });
        Self { address, shared, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The faults of the next requests, one each.
    pub fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.state.lock().unwrap().next.extend(faults);
    }

    /// What happens to the requests after those.
    pub fn always(&self, fault: Fault) {
        self.shared.state.lock().unwrap().always = Some(fault);
    }

    /// Method and path with query of each request so far; forgets them.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state.lock().unwrap().requests)
    }

    /// From now on a server that does not know `UploadPartCopy`.
    pub fn refuse_copies(&self) {
        self.shared.state.lock().unwrap().no_copies = true;
    }

    /// Bytes that were sent to the server so far, heads not counted; forgets them.
    pub fn take_received(&self) -> u64 {
        std::mem::take(&mut self.shared.state.lock().unwrap().received)
    }

    /// Waits until `n` requests have arrived since they were last taken.
    pub async fn arrived(&self, n: usize) {
        loop {
            let notified = self.shared.arrived.notified();
            if self.shared.state.lock().unwrap().requests.len() >= n {
                return;
            }
            tokio::time::timeout(std::time::Duration::from_secs(10), notified).await.expect("no request arrived");
        }
    }

    /// Lets `n` requests that are held go on.
    pub fn release(&self, n: usize) {
        self.shared.released.add_permits(n);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Message {
    head: Vec<u8>,
    body: Vec<u8>,
}

async fn serve(mut client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut server: Option<TcpStream> = None;
    let mut from_client = Vec::new();
    while let Some(request) = read_message(&mut client, &mut from_client, None).await? {
        let line = String::from_utf8_lossy(&request.head).lines().next().unwrap_or("").to_owned();
        let line = line.trim_end_matches(" HTTP/1.1").to_owned();
        let copies = String::from_utf8_lossy(&request.head).to_lowercase().contains("\nx-amz-copy-source:");
        let unknown;
        let fault = {
            let mut state = shared.state.lock().unwrap();
            state.requests.push(line.clone());
            state.received += request.body.len() as u64;
            unknown = copies && state.no_copies;
            state.next.pop_front().or(state.always).unwrap_or(Fault::Pass)
        };
        shared.arrived.notify_waiters();
        if unknown {
            answer(&mut client, "501 Not Implemented", "NotImplemented").await?;
            continue;
        }
        match fault {
            Fault::BlackHole => std::future::pending().await,
            Fault::Reset => return Ok(()),
            Fault::Refuse => {
                unavailable(&mut client).await?;
                continue;
            }
            Fault::NoBucket => {
                no_bucket(&mut client).await?;
                continue;
            }
            Fault::Hold => shared.released.acquire().await.expect("never closed").forget(),
            _ => {}
        }
        let upstream = match &mut server {
            Some(upstream) => upstream,
            None => server.insert(TcpStream::connect(&shared.upstream).await?),
        };
        upstream.write_all(&request.head).await?;
        upstream.write_all(&request.body).await?;
        let is_head = line.starts_with("HEAD ");
        let Some(mut answer) = read_message(upstream, &mut Vec::new(), Some(is_head)).await? else { return Ok(()) };
        match fault {
            Fault::ResetAfter => return Ok(()),
            Fault::FailAfter => {
                unavailable(&mut client).await?;
                continue;
            }
            Fault::Flip => {
                if let Some(last) = answer.body.last_mut() {
                    *last ^= 1;
                }
            }
            _ => {}
        }
        client.write_all(&answer.head).await?;
        client.write_all(&answer.body).await?;
    }
    Ok(())
}

async fn no_bucket(client: &mut TcpStream) -> std::io::Result<()> {
    answer(client, "404 Not Found", "NoSuchBucket").await
}

async fn unavailable(client: &mut TcpStream) -> std::io::Result<()> {
    answer(client, "503 Service Unavailable", "ServiceUnavailable").await
}

async fn answer(client: &mut TcpStream, status: &str, code: &str) -> std::io::Result<()> {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as told</Message></Error>");
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n", body.len());
    client.write_all(head.as_bytes()).await?;
    client.write_all(body.as_bytes()).await
}

/// Reads one message; `buffer` holds what was read beyond it. `answer`: whether to a HEAD, none for a request.
async fn read_message(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    answer: Option<bool>,
) -> std::io::Result<Option<Message>> {
    let (head, text) = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head: Vec<u8> = buffer.drain(..end + 4).collect();
            let text = String::from_utf8_lossy(&head).to_lowercase();
            // `100 Continue` precedes the answer.
            if answer.is_some() && text.starts_with("http/1.1 1") {
                continue;
            }
            break (head, text);
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let header = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':').map(str::trim));
    let bodiless =
        answer == Some(true) || (answer.is_some() && [" 204 ", " 304 "].iter().any(|s| text[..16].contains(s)));
    let mut body = Vec::new();
    if bodiless {
    } else if let Some(length) = header("content-length").and_then(|n| n.parse::<usize>().ok()) {
        while buffer.len() < length {
            if stream.read_buf(buffer).await? == 0 {
                return Ok(None);
            }
        }
        body = buffer.drain(..length).collect();
    } else if header("transfer-encoding") == Some("chunked") {
        while !buffer.ends_with(b"0\r\n\r\n") {
            if stream.read_buf(buffer).await? == 0 {
                return Ok(None);
            }
        }
        body = std::mem::take(buffer);
    }
    Ok(Some(Message { head, body }))
}
