//! The catalog in PostgreSQL: for any number of processes on any number of machines.
//!
//! The transactions are those of SQLite, word for word (`catalog/sql`): this module connects, translates, and runs them.
//! - **What serialises.** Every transaction that writes takes one advisory lock of the database first ([`writer`]), so they run one after the
//!   other, on all machines, each on the state that the one before committed: seals, quotas and idempotency keys are as exact as on one host, no
//!   transaction is ever repeated, and change numbers are drawn in the order of commits. Jobs that wait in one process share a transaction, as
//!   they do on SQLite.
//! - **Reads** go to a few connections a process ([`pool`]); those of several statements see one snapshot (`REPEATABLE READ`).
//! - **Durability.** A transaction with a durable job is committed synchronously; another one is not waited for, but is seen by all at once, and
//!   is safe with the next durable one, for the log is flushed in order.
//! - **Outages.** A connection that is lost is opened again with the next job; the job that lost it says so. Whoever lost a `COMMIT` commits
//!   again under the same ID: the transaction knows it. Waits are bounded: a read on the caller's thread takes [`READ`] and no longer, changes
//!   wait for a server that is away up to [`WRITERS_WAIT`], on the writer's thread. While it is away one attempt in [`PAUSE`] is made.
//! - **Changes are heard** by polling the log. Its numbers are drawn under the writers' lock and committed before the lock is free, so no number is
//!   seen before a smaller one, and a reader that goes by the last number it saw skips none.
//!
//! What is not there yet: TLS; fewer round trips (each statement is one); several writers of one tenant at once; wake-ups (changes
//! are polled, as on SQLite); `jsonb`; the moment of what happens is the caller's clock, but for the audit trail's.

mod password;
mod pool;
mod schema;
mod session;
mod value;
mod writer;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use self::pool::Pool;
pub use self::session::Session;
pub use self::writer::serve;
use crate::artifact::{Error, Kind, Result};

/// For a connection to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// For one statement, locks that it waits for included.
const STATEMENT: Duration = Duration::from_secs(30);
/// For a connection, and for each statement, of a read on the caller's thread, which may be the one that serves a mount.
const READ: Duration = Duration::from_secs(5);
/// Between two attempts of a process to reach a server that does not answer, and half as much again by chance.
const PAUSE: Duration = Duration::from_millis(200);
/// How long changes wait for a server that does not answer, before their callers are told.
const WRITERS_WAIT: Duration = Duration::from_secs(20);
/// Where PostgreSQL listens unless told otherwise.
const PORT: u16 = 5432;

/// Where the catalog is.
#[derive(Clone)]
pub struct Place {
    config: Arc<tokio_postgres::Config>,
    /// As it was said.
    text: Arc<str>,
    /// When it could not be reached last: nobody knocks again before [`PAUSE`] is over.
    refused: Arc<Mutex<Option<Instant>>>,
}

/// Without a password.
impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe())
    }
}

impl Place {
    /// Of `postgres://user@host/database`, or of `key=value` pairs as libpq takes them.
    ///
    /// # Errors
    /// `Invalid` for what is neither, `Unsupported` when it asks for TLS.
    pub fn parse(url: &str) -> Result<Self> {
        // (The parser's own words would not show a password, but the URL would.)
        let mut config: tokio_postgres::Config =
            url.parse().map_err(|e| Error::invalid(format!("the catalog's address is no PostgreSQL URL: {e}")))?;
        if config.get_ssl_mode() == tokio_postgres::config::SslMode::Require {
            return Err(Error::new(Kind::Unsupported, "TLS to PostgreSQL is not supported yet: leave 'sslmode' out"));
        }
        config.connect_timeout(CONNECT).application_name("outputfs");
        Ok(Self { config: Arc::new(config), text: url.into(), refused: Arc::default() })
    }

    /// As it was said, when there is no password in it: for command lines and environments.
    #[must_use]
    pub fn plain(&self) -> Option<&str> {
        self.config.get_password().is_none().then_some(&*self.text)
    }

    /// With the password of `PGPASSWORD`, else of the file `PGPASSFILE`, else of `~/.pgpass`, unless it has one.
    ///
    /// # Errors
    /// When the file that is named cannot be read or is open to others.
    pub fn with_password(self) -> Result<Self> {
        if self.config.get_password().is_some() {
            return Ok(self);
        }
        let Some(password) = password::find(&self.config)? else { return Ok(self) };
        let mut config = tokio_postgres::Config::clone(&self.config);
        config.password(password);
        Ok(Self { config: Arc::new(config), ..self })
    }

    /// Without a password.
    #[must_use]
    pub fn describe(&self) -> String {
        let ports = self.config.get_ports();
        let hosts: Vec<String> = self
            .config
            .get_hosts()
            .iter()
            .enumerate()
            .map(|(n, host)| {
                let name = match host {
                    tokio_postgres::config::Host::Tcp(name) => name.clone(),
                    tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
                };
                match ports.get(n).or(ports.first()) {
                    Some(port) if *port != PORT => format!("{name}:{port}"),
                    _ => name,
                }
            })
            .collect();
        format!("postgres://{}/{}", hosts.join(","), self.config.get_dbname().unwrap_or_default())
    }

    /// Creates or migrates the tables.
    ///
    /// # Errors
    /// `Unsupported` when they are a newer outputfs's; of the connection.
    pub fn prepare(&self) -> Result<()> {
        schema::migrate(&Session::open(self, STATEMENT)?, self)
    }
}

/// What the connections run on: the callers' threads wait for it, whether or not a runtime runs there.
fn runtime() -> Result<&'static tokio::runtime::Runtime> {
    static RUNTIME: OnceLock<std::io::Result<tokio::runtime::Runtime>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("catalog-postgres")
            .enable_all()
            .build()
    });
    made.as_ref().map_err(|e| Error::internal(format!("cannot start the threads for PostgreSQL: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_described_without_its_password() {
        let place = Place::parse("postgres://me:secret@db.example/artifacts").unwrap();
        assert_eq!(place.describe(), "postgres://db.example/artifacts");
        for wrong in ["postgres://me:secret@h:port/x", "nonsense"] {
            let e = Place::parse(wrong).err().unwrap();
            assert!(!e.message.contains("secret"), "{e}");
        }
        assert_eq!(Place::parse("postgres://h/d?sslmode=require").err().unwrap().kind, Kind::Unsupported);
    }
}
