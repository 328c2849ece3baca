//! What the tests stand on: a catalog, a tenant, a session, a clock that steps by itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use outputfs::artifact::ids::{ArtifactId, BlobHash, Ino, MountId};
use outputfs::artifact::metadata::Provenance;
use outputfs::artifact::name::Name;
use outputfs::artifact::quota::Quota;
use outputfs::artifact::record::{Artifact, Chunks, Labels, Node, NodeKind, Session, Tenant};
use outputfs::artifact::time::Timestamp;
use outputfs::artifact::versions::Rules;
use outputfs::artifact::{Kind, Result};
use outputfs::catalog::Sessions as _;
use outputfs::catalog::postgres::Place;
use outputfs::catalog::quotas::Quotas;
use outputfs::catalog::sqlite::{SqliteCatalog, SqliteOptions};
use outputfs::catalog::{Birth, Catalog, Commit, CommitError, Committed, FileStat, NewNode, Origin, Payload};
use sha2::{Digest, Sha256};
use ulid::Ulid;

type Done = Pin<Box<dyn Future<Output = ()> + Send>>;

pub struct World {
    pub cat: Arc<dyn Catalog>,
    pub tenant: Tenant,
    pub session: Session,
    pub origin: Origin,
    clock: AtomicI64,
    numbers: AtomicU64,
    /// Another handle, as another process would have one.
    open: Box<dyn Fn() -> Arc<dyn Catalog> + Send + Sync>,
    quota: Box<dyn Fn(Quota) -> Done + Send + Sync>,
}

pub const START: i64 = 1_800_000_000_000_000_000;
pub const SECOND: i64 = 1_000_000_000;
pub const DAY: i64 = 86_400 * SECOND;

pub fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

pub fn hash(bytes: &[u8]) -> BlobHash {
    BlobHash(Sha256::digest(bytes).into())
}

pub fn artifact_id() -> ArtifactId {
    ArtifactId(Ulid::new())
}

/// The kind of an error that must have come.
#[track_caller]
pub fn kind<T: std::fmt::Debug>(result: Result<T>) -> Kind {
    result.unwrap_err().kind
}

#[track_caller]
pub fn commit_kind(result: Result<Committed, CommitError>) -> Kind {
    match result.unwrap_err() {
        CommitError::Failed(e) => e.kind,
        CommitError::BlobGone => panic!("the blob is gone"),
    }
}

impl World {
    pub async fn sqlite() -> Self {
        Self::sqlite_with(Rules::default()).await
    }

    /// Versions of one writer within 5 s are one, and a path keeps 3.
    pub async fn sqlite_thrifty() -> Self {
        Self::sqlite_with(Rules { window: Duration::from_secs(5), keep: Some(3), keys: None }).await
    }

    async fn sqlite_with(versions: Rules) -> Self {
        let options = SqliteOptions { versions, now: None };
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let path = dir.path().join("catalog.db");
        let cat = SqliteCatalog::open(&path, options.clone()).unwrap();
        let now = Timestamp(START);
        let tenant = cat.tenant(&"default".parse().unwrap(), now).await.unwrap();
        let (for_quota, id) = (Arc::clone(&cat), tenant.id);
        let quota = Box::new(move |quota| {
            let cat = Arc::clone(&for_quota);
            Box::pin(async move { cat.set_quota(id, quota).await.unwrap() }) as Done
        });
        // The closure owns the directory: it goes when the last handle can no longer be opened.
        let open = Box::new(move || {
            let _kept = &dir;
            SqliteCatalog::open(&path, options.clone()).unwrap() as Arc<dyn Catalog>
        });
        Self::with(cat, tenant, open, quota).await
    }

    pub async fn postgres() -> Self {
        Self::postgres_with(Rules::default()).await
    }

    /// As [`World::sqlite_thrifty`].
    pub async fn postgres_thrifty() -> Self {
        Self::postgres_with(Rules { window: Duration::from_secs(5), keep: Some(3), keys: None }).await
    }

    async fn postgres_with(versions: Rules) -> Self {
        let place = Place::parse(&crate::support::postgres::database()).unwrap();
        let cat = SqliteCatalog::open_postgres(place.clone(), versions).unwrap();
        let tenant = cat.tenant(&"default".parse().unwrap(), Timestamp(START)).await.unwrap();
        let (for_quota, id) = (Arc::clone(&cat), tenant.id);
        let quota = Box::new(move |quota| {
            let cat = Arc::clone(&for_quota);
            Box::pin(async move { cat.set_quota(id, quota).await.unwrap() }) as Done
        });
        let open = Box::new(move || SqliteCatalog::open_postgres(place.clone(), versions).unwrap() as Arc<dyn Catalog>);
        Self::with(cat, tenant, open, quota).await
    }

    async fn with(
        cat: Arc<dyn Catalog>,
        tenant: Tenant,
        open: Box<dyn Fn() -> Arc<dyn Catalog> + Send + Sync>,
        quota: Box<dyn Fn(Quota) -> Done + Send + Sync>,
    ) -> Self {
        let origin = Origin(MountId(Ulid::new()));
        let run = "run".parse().unwrap();
        let session = cat.ensure_session(origin, tenant.id, &run, 1000, 1000, Timestamp(START)).await.unwrap();
        let numbers = AtomicU64::new(cat.reserve(100_000).await.unwrap());
        Self { cat, tenant, session, origin, clock: AtomicI64::new(START), numbers, open, quota }
    }

    pub fn another(&self) -> Arc<dyn Catalog> {
        (self.open)()
    }

    /// Whatever a test did, the records agree with one another.
    pub async fn check(&self) {
        assert_eq!(self.cat.check_records(self.tenant.id).await.unwrap().faults, Vec::<String>::new());
    }

    pub async fn quota(&self, quota: Quota) {
        (self.quota)(quota).await;
    }

    /// Later by a second at each call.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.clock.fetch_add(SECOND, Ordering::SeqCst) + SECOND)
    }

    pub fn advance(&self, nanos: i64) {
        self.clock.fetch_add(nanos, Ordering::SeqCst);
    }

    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::SeqCst)
    }

    pub fn root(&self) -> Ino {
        self.session.root
    }

    pub fn node(&self, parent: Ino, text: &str, kind: NodeKind) -> NewNode {
        NewNode {
            ino: Ino(self.number()),
            cookie: self.number(),
            parent,
            name: name(text),
            kind,
            mode: 0o755,
            uid: 1000,
            gid: 1000,
            rdev: 0,
            target: (kind == NodeKind::Symlink).then(|| b"target".to_vec()),
            now: self.now(),
        }
    }

    pub async fn mkdir(&self, parent: Ino, text: &str) -> Ino {
        self.cat.make(self.origin, self.node(parent, text, NodeKind::Dir)).await.unwrap().ino
    }

    pub async fn session(&self, text: &str) -> Session {
        let now = self.now();
        self.cat.ensure_session(self.origin, self.tenant.id, &text.parse().unwrap(), 1000, 1000, now).await.unwrap()
    }

    fn draft(&self, ino: Ino, birth: Option<Birth>, content: &[u8]) -> Commit {
        let now = self.now();
        Commit {
            tenant: self.tenant.id,
            session: self.session.id,
            ino,
            birth,
            id: artifact_id(),
            collapse: None,
            hash: hash(content),
            size: content.len() as u64,
            chunks: Chunks::default(),
            midstate: None,
            bytes: Payload::Stored,
            // Nothing is deleted after that.
            begun: i64::MAX.unsigned_abs(),
            bytes_type: Some(String::from("text/plain")),
            // Through a mount, by nobody knows whom.
            labels: Labels {
                provenance: Provenance { door: String::from("mount"), ..Provenance::default() },
                ..Labels::default()
            },
            attempt: None,
            durable: true,
            mtime: Timestamp(now.0 - 1),
            stat: FileStat::default(),
            kept: false,
            now,
        }
    }

    /// A commit of a new file.
    pub fn birth(&self, parent: Ino, text: &str, content: &[u8]) -> Commit {
        let (ino, cookie) = (Ino(self.number()), self.number());
        let birth = Birth { parent, name: name(text), cookie, mode: 0o644, uid: 1000, gid: 1000, replaces: false };
        self.draft(ino, Some(birth), content)
    }

    /// A commit of further bytes to a file.
    pub fn rewrite(&self, ino: Ino, content: &[u8]) -> Commit {
        self.draft(ino, None, content)
    }

    pub async fn commit(&self, commit: Commit) -> Committed {
        self.cat.commit(self.origin, commit).await.unwrap()
    }

    pub async fn try_commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        self.cat.commit(self.origin, commit).await
    }

    pub async fn file(&self, parent: Ino, text: &str, content: &[u8]) -> Committed {
        self.commit(self.birth(parent, text, content)).await
    }

    pub async fn lookup(&self, parent: Ino, text: &str) -> Option<Node> {
        self.cat.lookup(parent, &name(text), self.now()).await.unwrap()
    }

    pub async fn stat(&self, ino: Ino) -> Node {
        self.cat.node(ino, self.now()).await.unwrap().unwrap()
    }

    pub async fn artifact(&self, id: ArtifactId) -> Artifact {
        self.cat.artifact(self.tenant.id, id, self.now()).await.unwrap().unwrap()
    }

    pub async fn versions(&self, parent: Ino, text: &str) -> Vec<(u64, ArtifactId)> {
        let all = self.cat.versions(parent, &name(text), self.now()).await.unwrap();
        all.into_iter().map(|a| (a.version, a.id)).collect()
    }

    pub async fn names(&self, dir: Ino) -> Vec<String> {
        let entries = self.cat.list(dir, 0, 100_000, self.now()).await.unwrap();
        entries.into_iter().map(|e| e.name.to_string()).collect()
    }
}
