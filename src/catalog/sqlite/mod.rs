//! The catalog in one SQLite file, for any number of processes of one host; and the transactions of every engine (`catalog/postgres` has the
//! other).
//!
//! - Writes go to one thread per process ([`writer`]), which puts whatever waits into one transaction. The levels of
//!   durability are SQLite's: `synchronous=FULL` for a batch with a durable job, `NORMAL` otherwise. In WAL mode a
//!   FULL commit also makes every earlier one durable, of any process, for they share the WAL.
//! - A stream of removals shares a transaction beyond its answers ([`ahead`]).
//! - Reads go to a few connections ([`readers`]) and run where they are called; those of many rows run on the
//!   runtime's blocking threads.
//! - Every function below `sqlite/` that takes a `&Connection` runs within its caller's transaction.
//!
//! Locks: a reader's slot, `cursors`, the writer's connection ([`ahead`]); none is held while another is taken or across an await.

mod ahead;
mod artifacts;
mod attempts;
mod audit;
mod blobs;
mod borders;
mod changes;
mod check;
mod clear;
mod codec;
mod collect;
mod commit;
mod doors;
mod find;
mod guard;
mod labels;
mod links;
mod log_file;
mod make;
mod paths;
mod quotas;
mod readers;
mod recover;
mod remove;
mod rename;
mod reserve;
mod same;
mod schema;
mod seal;
mod sessions;
mod sweep;
mod tree;
mod upkeep;
mod uploads;
mod versions;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::readers::Readers;
use self::rename::End;
use self::writer::Writer;
pub use self::writer::{Answer, Commits, Job};
use super::postgres;
use super::{
    AttrChange, Catalog, Change, Commit, CommitError, Committed, LabelChange, NewDirs, NewNode, Origin, PendingCount,
    RecordCheck, Removed, RenameMode, Unsettled,
};
use crate::artifact::ids::{ArtifactId, BlobHash, Ino, MountId, SessionId, TenantId};
use crate::artifact::metadata::Defaults;
use crate::artifact::name::{Name, SessionName, TenantName};
use crate::artifact::query::{Page, Query, Usage};
use crate::artifact::record::{
    Artifact, Blob, DirEntry, Labels, Link, LinkTarget, Manifest, Node, Session, SessionSummary, StoreState, Tenant,
};
use crate::artifact::time::Timestamp;
use crate::artifact::versions::Rules;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::sql::Connection;

/// Rows up to which a listing is read on the caller's thread: some hundred microseconds.
const LIST_INLINE: u32 = 512;

/// How a catalog is opened.
#[derive(Clone, Default)]
pub struct SqliteOptions {
    /// What commits do with earlier versions; by default nothing.
    pub versions: Rules,
    /// The clock of the audit trail; none: the system's.
    pub now: Option<audit::Now>,
}

/// See the module.
pub struct SqliteCatalog {
    writer: Writer,
    readers: Arc<Readers>,
    cursors: changes::Cursors,
    versions: Rules,
}

impl SqliteCatalog {
    /// Opens the catalog, creating or migrating the file. Blocks for milliseconds, or for up to half a minute
    /// while another process migrates.
    ///
    /// # Errors
    /// `Unsupported` for a file of a newer outputfs or a file system without WAL, `Internal` for one that cannot be
    /// opened.
    pub fn open(path: &Path, options: SqliteOptions) -> Result<Arc<Self>> {
        if schema::is_read_only(path) {
            return Self::open_read_only(path, options);
        }
        let reserve = reserve::Reserve::open(path);
        if let Some(reserve) = &reserve {
            reserve.for_opening();
        }
        let conn = schema::open_writer(path)?;
        ahead::await_others(&conn).map_err(|e| codec::damaged(path, &e))?;
        audit::equip(&conn, options.now.unwrap_or_else(system_clock))?;
        let writer = Writer::start(conn, reserve)?;
        let readers = Readers::File(Box::new(readers::File::new(path.to_owned(), writer.ahead())));
        Ok(Arc::new(Self {
            writer,
            readers: Arc::new(readers),
            cursors: changes::Cursors::default(),
            versions: options.versions,
        }))
    }

    /// Opens the catalog in PostgreSQL, creating or migrating its tables: the same transactions on another engine.
    ///
    /// # Errors
    /// `StoreUnavailable` when it cannot be reached, `Unsupported` when its tables are a newer outputfs's.
    pub fn open_postgres(place: postgres::Place, versions: Rules) -> Result<Arc<Self>> {
        place.prepare()?;
        let at = place.clone();
        let writer = Writer::elsewhere(move |queue| postgres::serve(&at, queue))?;
        let readers = Arc::new(Readers::Postgres(Box::new(postgres::Pool::new(place))));
        Ok(Arc::new(Self { writer, readers, cursors: changes::Cursors::default(), versions }))
    }

    /// A disk that takes no more bytes (as after a fault of its own): everything can be read, and whatever would change something
    /// says why it cannot.
    fn open_read_only(path: &Path, options: SqliteOptions) -> Result<Arc<Self>> {
        let text = format!("the disk of the catalog {} is read-only: nothing can be changed", path.display());
        let writer = Writer::refusing(Error::new(Kind::ReadOnly, text))?;
        let readers = Readers::File(Box::new(readers::File::read_only(path, writer.ahead())?));
        readers.read(schema::known)?;
        Ok(Arc::new(Self {
            writer,
            readers: Arc::new(readers),
            cursors: changes::Cursors::default(),
            versions: options.versions,
        }))
    }

    /// A namespace change: ordered at once, durable with the next durable one.
    async fn change<T: Send + 'static>(&self, f: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        self.writer.run(Commits::Ordered, f).await
    }

    /// A removal: as a change, but one of a stream is committed with those that follow.
    async fn removal<T: Send + 'static>(&self, f: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        self.writer.run(Commits::Streamed, f).await
    }

    async fn durable<T: Send + 'static>(&self, f: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        self.writer.run(Commits::Durable, f).await
    }

    /// A read of many rows, away from the caller's thread.
    async fn scan<T: Send + 'static>(&self, f: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        let readers = Arc::clone(&self.readers);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => runtime
                .spawn_blocking(move || readers.scan(f))
                .await
                .map_err(|e| Error::internal(format!("a read of the catalog ended early: {e}")))?,
            // Outside a runtime there is nowhere else to go.
            Err(_) => readers.scan(f),
        }
    }
}

fn system_clock() -> audit::Now {
    Arc::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    })
}

/// A transaction that writes nothing syncs nothing, so one that must sync writes this.
fn write_something(c: &Connection) -> Result<()> {
    c.prepare_cached("UPDATE counters SET value = value + 1 WHERE name = 'sync'")?.execute([])?;
    Ok(())
}

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn tenant(&self, name: &TenantName, now: Timestamp) -> Result<Tenant> {
        if let Some(found) = self.readers.read(|c| make::find_tenant(c, name))? {
            return Ok(found);
        }
        let name = name.clone();
        self.change(move |c| make::tenant(c, &name, now)).await
    }

    async fn session(&self, tenant: TenantId, name: &SessionName) -> Result<Option<Session>> {
        self.readers.read(|c| make::session(c, tenant, name))
    }

    async fn session_by_id(&self, id: SessionId) -> Result<Option<Session>> {
        self.readers.read(|c| make::session_by_id(c, id))
    }

    async fn lookup(&self, parent: Ino, name: &Name, now: Timestamp) -> Result<Option<Node>> {
        self.readers.read(|c| Ok(tree::entry(c, parent, name, now)?.filter(|e| !e.expired).map(|e| e.node)))
    }

    async fn node(&self, ino: Ino, now: Timestamp) -> Result<Option<Node>> {
        self.readers.read(|c| tree::node(c, ino, now))
    }

    async fn place(&self, ino: Ino) -> Result<Option<(Ino, Name)>> {
        self.readers.read(|c| paths::place(c, ino))
    }

    async fn places(&self, ino: Ino) -> Result<Vec<(Ino, Name)>> {
        self.readers.read(|c| paths::places(c, ino))
    }

    async fn path(&self, ino: Ino) -> Result<Vec<u8>> {
        self.readers.snapshot(|c| paths::path(c, ino))
    }

    async fn artifact(&self, tenant: TenantId, id: ArtifactId, now: Timestamp) -> Result<Option<Artifact>> {
        let found = self.readers.snapshot(|c| artifacts::by_id(c, id))?;
        Ok(found.filter(|a| a.tenant == tenant && a.expires.is_none_or(|t| t > now)))
    }

    async fn blob(&self, tenant: TenantId, hash: BlobHash) -> Result<Option<Blob>> {
        self.readers.read(|c| blobs::blob(c, tenant, hash))
    }

    async fn midstate(&self, tenant: TenantId, hash: BlobHash) -> Result<Option<Vec<u8>>> {
        self.readers.read(|c| blobs::midstate(c, tenant, hash))
    }

    async fn labels(&self, ino: Ino) -> Result<Labels> {
        self.readers.snapshot(|c| labels::labels(c, ino))
    }

    async fn defaults(&self, ino: Ino) -> Result<Defaults> {
        self.readers.read(|c| labels::defaults(c, ino))
    }

    async fn list(&self, dir: Ino, after: u64, limit: u32, now: Timestamp) -> Result<Vec<DirEntry>> {
        if limit <= LIST_INLINE {
            return self.readers.read(|c| find::list(c, dir, after, limit, now));
        }
        self.scan(move |c| find::list(c, dir, after, limit, now)).await
    }

    async fn versions(&self, parent: Ino, name: &Name, now: Timestamp) -> Result<Vec<Artifact>> {
        let name = name.clone();
        self.scan(move |c| artifacts::versions(c, parent, &name, now)).await
    }

    async fn find(&self, query: &Query, now: Timestamp) -> Result<Page> {
        let query = query.clone();
        self.scan(move |c| find::find(c, &query, now)).await
    }

    async fn sessions(&self, tenant: TenantId, now: Timestamp) -> Result<Vec<SessionSummary>> {
        self.scan(move |c| find::sessions(c, tenant, now)).await
    }

    async fn usage(&self, tenant: TenantId, now: Timestamp) -> Result<Usage> {
        self.scan(move |c| find::usage(c, tenant, now)).await
    }

    async fn last_change(&self) -> Result<u64> {
        self.readers.read(changes::last)
    }

    async fn changes(&self, seq: u64, origin: Origin, wait: Duration) -> Result<Vec<Change>> {
        changes::wait_after(self, seq, origin, wait).await
    }

    async fn manifest(&self, session: SessionId) -> Result<Option<Manifest>> {
        self.scan(move |c| seal::manifest(c, session)).await
    }

    async fn reserve(&self, count: u64) -> Result<u64> {
        // Durable: a journal of a mount may name a number that the catalog, after a power failure, would give again.
        self.durable(move |c| codec::draw(c, count)).await
    }

    async fn make(&self, origin: Origin, node: NewNode) -> Result<Node> {
        self.change(move |c| make::make(c, origin, &node)).await
    }

    async fn make_dirs(&self, origin: Origin, dirs: NewDirs, now: Timestamp) -> Result<(Ino, Vec<(Ino, Name)>)> {
        self.change(move |c| make::make_dirs(c, origin, &dirs, now)).await
    }

    async fn ensure_session(
        &self,
        origin: Origin,
        tenant: TenantId,
        name: &SessionName,
        uid: u32,
        gid: u32,
        now: Timestamp,
    ) -> Result<Session> {
        if let Some(found) = self.readers.read(|c| make::session(c, tenant, name))? {
            return Ok(found);
        }
        let name = name.clone();
        self.change(move |c| make::ensure_session(c, origin, tenant, &name, (uid, gid), now)).await
    }

    async fn link(
        &self,
        origin: Origin,
        ino: Ino,
        parent: Ino,
        name: Name,
        cookie: u64,
        now: Timestamp,
    ) -> Result<Node> {
        self.change(move |c| make::link(c, origin, ino, parent, &name, cookie, now)).await
    }

    async fn unlink(&self, origin: Origin, parent: Ino, name: &Name, now: Timestamp) -> Result<Removed> {
        let name = name.clone();
        self.removal(move |c| remove::unlink(c, origin, parent, &name, now)).await
    }

    async fn rmdir(&self, origin: Origin, parent: Ino, name: &Name, now: Timestamp) -> Result<Removed> {
        let name = name.clone();
        self.removal(move |c| remove::rmdir(c, origin, parent, &name, now)).await
    }

    async fn rename(
        &self,
        origin: Origin,
        from: (Ino, &Name),
        to: (Ino, &Name),
        mode: RenameMode,
        cookies: (u64, u64),
        now: Timestamp,
    ) -> Result<Option<Removed>> {
        let (from, to) = ((from.0, from.1.clone()), (to.0, to.1.clone()));
        let rules = self.versions;
        self.change(move |c| {
            let from = End { parent: from.0, name: &from.1, cookie: cookies.1 };
            let to = End { parent: to.0, name: &to.1, cookie: cookies.0 };
            let removed = rename::rename(c, origin, &from, &to, mode, now)?;
            commit::prune(c, rules, (to.parent, to.name), now)?;
            Ok(removed)
        })
        .await
    }

    async fn set_attributes(&self, origin: Origin, ino: Ino, change: AttrChange) -> Result<Node> {
        self.change(move |c| make::set_attributes(c, origin, ino, &change)).await
    }

    async fn sync(&self) -> Result<()> {
        self.durable(write_something).await?;
        self.writer.ahead().lost().map_or(Ok(()), Err)
    }

    async fn commit(&self, origin: Origin, commit: Commit) -> Result<Committed, CommitError> {
        let rules = self.versions;
        let commits = if commit.durable { Commits::Durable } else { Commits::Ordered };
        self.writer.run(commits, move |c| commit::commit(c, origin, rules, &commit)).await
    }

    async fn trash_recovered(&self, origin: Origin, commit: Commit) -> Result<Option<Artifact>> {
        self.durable(move |c| recover::trash_recovered(c, origin, &commit)).await
    }

    async fn set_labels(&self, origin: Origin, ino: Ino, change: LabelChange, now: Timestamp) -> Result<()> {
        self.change(move |c| labels::set_labels(c, origin, ino, &change, now)).await
    }

    async fn set_expiry(&self, origin: Origin, id: ArtifactId, expires: Option<Timestamp>) -> Result<Artifact> {
        self.durable(move |c| labels::set_expiry(c, origin, id, expires)).await
    }

    async fn unsettled(&self, mount: Option<MountId>, limit: u32) -> Result<Vec<Unsettled>> {
        self.scan(move |c| blobs::unsettled(c, mount, limit)).await
    }

    async fn settled(&self, tenant: TenantId, hash: BlobHash) -> Result<()> {
        self.change(move |c| blobs::settle(c, tenant, hash)).await
    }

    async fn forget_provisional(&self, tenant: TenantId, hash: BlobHash, mount: MountId, file: &str) -> Result<()> {
        let file = file.to_owned();
        // Durable, as is every settling before it: the caller removes the file next.
        self.durable(move |c| {
            write_something(c)?;
            blobs::forget_provisional(c, tenant, hash, mount, &file)
        })
        .await
    }

    async fn pending(&self, session: Option<SessionId>, mount: Option<MountId>) -> Result<PendingCount> {
        self.scan(move |c| blobs::pending(c, session, mount)).await
    }

    async fn unmoved(&self, session: Option<SessionId>, mount: Option<MountId>) -> Result<PendingCount> {
        self.scan(move |c| blobs::unmoved(c, session, mount)).await
    }

    async fn pin(&self, ids: Vec<ArtifactId>) -> Result<Vec<ArtifactId>> {
        self.change(move |c| versions::pin(c, &ids)).await
    }

    async fn waiting(&self, mount: MountId, limit: u32) -> Result<Vec<Artifact>> {
        self.scan(move |c| artifacts::waiting(c, mount, limit)).await
    }

    async fn store_state(&self, id: ArtifactId) -> Result<Option<StoreState>> {
        self.readers.read(|c| blobs::store_state(c, id))
    }

    async fn seal(&self, origin: Origin, session: SessionId, now: Timestamp) -> Result<Manifest> {
        self.durable(move |c| seal::seal(c, origin, session, now)).await
    }

    async fn add_link(&self, link: Link) -> Result<()> {
        self.durable(move |c| links::add(c, &link)).await
    }

    async fn link_by_token(&self, token_hash: BlobHash) -> Result<Option<Link>> {
        self.readers.read(|c| links::by_token(c, token_hash))
    }

    async fn links(&self, tenant: TenantId, target: Option<LinkTarget>) -> Result<Vec<Link>> {
        self.scan(move |c| links::list(c, tenant, target)).await
    }

    async fn revoke(&self, tenant: TenantId, link_id: &str, now: Timestamp) -> Result<Link> {
        let id = link_id.to_owned();
        self.durable(move |c| links::revoke(c, tenant, &id, now)).await
    }

    async fn restore(
        &self,
        origin: Origin,
        artifact: ArtifactId,
        id: ArtifactId,
        fresh: (Ino, u64),
        now: Timestamp,
    ) -> Result<Artifact> {
        let rules = self.versions;
        self.durable(move |c| audit::called("restore", || recover::restore(c, origin, rules, artifact, id, fresh, now)))
            .await
    }

    async fn check_records(&self, tenant: TenantId) -> Result<RecordCheck> {
        self.scan(move |c| check::records(c, tenant)).await
    }

    async fn needed_blobs(&self, tenant: TenantId, after: Option<BlobHash>, limit: u32) -> Result<Vec<Blob>> {
        self.scan(move |c| check::needed_blobs(c, tenant, after, limit)).await
    }
}
