//! A server of its own for each test, and a client.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outputfs::artifact::record::{Artifact, Labels, LinkTarget};
use outputfs::artifact::time::Ttl;
use outputfs::engine::options::StoreConfig;
use outputfs::engine::progress::Progress;
use outputfs::engine::push::{PushRequest, PushSource};
use outputfs::engine::store::Store;
use outputfs::http::{Bound, HttpConfig};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Any wait of these tests.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Server {
    pub runtime: Runtime,
    pub store: Arc<Store>,
    pub addr: SocketAddr,
    pub shutdown: CancellationToken,
    pub serving: Option<tokio::task::JoinHandle<()>>,
    pub dir: tempfile::TempDir,
}

/// Loopback, any port.
pub fn config() -> HttpConfig {
    HttpConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        // Previews are made by the program, which this test is not.
        program: env!("CARGO_BIN_EXE_outputfs").into(),
        ..HttpConfig::default()
    }
}

pub fn open_store(runtime: &Runtime, dir: &Path) -> Arc<Store> {
    runtime.block_on(Store::open(&StoreConfig::new(dir.join("state")).unwrap())).unwrap()
}

impl Server {
    pub fn start() -> Self {
        Self::with(config())
    }

    pub fn with(config: HttpConfig) -> Self {
        Self::on(config, |_| {})
    }

    /// On a store whose settings `change` has changed.
    pub fn on(config: HttpConfig, change: impl FnOnce(&mut StoreConfig)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut settings = StoreConfig::new(dir.path().join("state")).unwrap();
        change(&mut settings);
        let store = runtime.block_on(Store::open(&settings)).unwrap();
        let shutdown = CancellationToken::new();
        let bound = runtime.block_on(Bound::bind(config.listen, None)).unwrap();
        let addr = bound.addr();
        let (to_serve, stop) = (Arc::clone(&store), shutdown.clone());
        let serving = Some(runtime.spawn(async move { bound.serve(to_serve, &config, stop, ()).await.unwrap() }));
        Self { runtime, store, addr, shutdown, serving, dir }
    }

    pub fn push(&self, session: &str, path: &[u8], bytes: &[u8]) -> Artifact {
        self.push_with(session, path, bytes, Labels::default())
    }

    pub fn push_typed(&self, session: &str, path: &[u8], bytes: &[u8], content_type: &str) -> Artifact {
        self.push_with(session, path, bytes, Labels { content_type: Some(content_type.into()), ..Labels::default() })
    }

    pub fn push_with(&self, session: &str, path: &[u8], bytes: &[u8], labels: Labels) -> Artifact {
        let request = PushRequest {
            session: session.parse().unwrap(),
            path: path.to_vec(),
            source: PushSource::Bytes(Bytes::copy_from_slice(bytes)),
            labels,
            mode: None,
            mtime: None,
            progress: Progress::none(),
        };
        self.runtime.block_on(self.store.push(request)).unwrap().committed.artifact
    }

    /// `/lnk_…`.
    pub fn link(&self, target: LinkTarget) -> String {
        let link = self.runtime.block_on(self.store.create_link(target, Some(Ttl::Seconds(3600)))).unwrap();
        link.url[link.url.find("/lnk_").unwrap()..].to_owned()
    }

    pub fn link_to(&self, artifact: &Artifact) -> String {
        self.link(LinkTarget::Artifact(artifact.id))
    }

    pub fn link_to_session(&self, name: &str) -> String {
        let session = self.runtime.block_on(self.store.session(name)).unwrap();
        self.link(LinkTarget::Session(session.id))
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        request("GET", &self.url(path), headers)
    }

    pub fn head(&self, path: &str) -> Answer {
        request("HEAD", &self.url(path), &[])
    }

    /// Ends it; the running requests have ended, too.
    pub fn stop(&mut self) {
        self.shutdown.cancel();
        if let Some(serving) = self.serving.take() {
            self.runtime.block_on(async { tokio::time::timeout(DEADLINE, serving).await.unwrap().unwrap() });
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// Empty without that header.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub fn request(method: &str, url: &str, headers: &[(&str, &str)]) -> Answer {
    try_request(method, url, headers).unwrap()
}

/// With a body.
pub fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    run(method, url, headers, body).unwrap()
}

/// Fails also when the body breaks off.
pub fn try_request(method: &str, url: &str, headers: &[(&str, &str)]) -> Result<Answer, ureq::Error> {
    run(method, url, headers, ())
}

fn run(method: &str, url: &str, headers: &[(&str, &str)], body: impl ureq::AsSendBody) -> Result<Answer, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(DEADLINE))
        .build()
        .into();
    let mut builder = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let mut response = agent.run(builder.body(body).unwrap())?;
    let body = response.body_mut().with_config().limit(1 << 30).read_to_vec()?;
    Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body })
}

/// Bytes that do not repeat with a short period.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}
