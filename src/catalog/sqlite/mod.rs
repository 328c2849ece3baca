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
mod find;
mod guard;
mod labels;
mod links;
mod make;
mod paths;
mod quotas;
mod readers;
mod records;
mod recover;
mod remove;
mod rename;
mod reserve;
mod same;
mod schema;
mod seal;
mod sessions;
mod sweep;
mod traits;
mod tree;
mod uploads;
mod versions;
mod writer;

use std::path::Path;
use std::sync::Arc;

use self::readers::Readers;
use self::writer::Writer;
pub use self::writer::{Answer, Commits, Job};
use super::postgres;
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
