//! One connection, for one thread at a time: the calls are synchronous, as SQLite's are, and have a deadline.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use lru::LruCache;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls, Statement};

use super::value::Bound;
use super::{CONNECT, PAUSE, Place, STATEMENT, runtime};
use crate::catalog::sql::{self, Error, Result, Value, actor, dialect};

/// Prepared statements that are kept.
const PREPARED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(319);
/// What the server's own timeouts end is told by the server.
const SPARE: Duration = Duration::from_secs(5);

type Key = (String, Vec<u32>);
type Who = (Option<&'static str>, Option<String>, Option<&'static str>);

/// See the module.
pub struct Session {
    client: Arc<Client>,
    prepared: RefCell<LruCache<Key, Statement>>,
    /// What the triggers were told last; none: nothing in this transaction, or this one only reads.
    who: RefCell<Option<Who>>,
    writes: Cell<bool>,
    /// For one answer.
    patience: Duration,
    /// It was given up in the middle of something.
    lost: Cell<bool>,
}

impl Session {
    /// `patience`: for each answer, and for the connection if that is less than usual.
    ///
    /// # Errors
    /// Of the connection; at once, when it failed a moment ago.
    pub fn open(place: &Place, patience: Duration) -> crate::artifact::Result<Self> {
        let unreachable = |e: &dyn std::fmt::Display| {
            crate::artifact::Error::new(
                crate::artifact::Kind::StoreUnavailable,
                format!("the catalog {} cannot be reached: {e}", place.describe()),
            )
        };
        if place.refused.lock().is_some_and(|until| Instant::now() < until) {
            return Err(unreachable(&"it did not answer a moment ago"));
        }
        let config = Arc::clone(&place.config);
        let client = wait(patience.min(CONNECT + SPARE), async move {
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(async move {
                if let Err(e) = connection.await {
                    tracing::warn!(error = %e, "a connection to the catalog's PostgreSQL ended");
                }
            });
            let ms = STATEMENT.as_millis();
            let settings = format!(
                "SET search_path = outputfs, pg_catalog; SET client_min_messages = warning; SET statement_timeout = {ms}; \
                 SET lock_timeout = {ms}; SET idle_in_transaction_session_timeout = {ms}"
            );
            client.batch_execute(&settings).await?;
            Ok(client)
        })
        .map_err(|e| {
            let chance = ulid::Ulid::new().random() % u128::from(PAUSE.subsec_millis() / 2);
            let pause = PAUSE + Duration::from_millis(u64::try_from(chance).unwrap_or(0));
            *place.refused.lock() = Some(Instant::now() + pause);
            unreachable(&e)
        })?;
        Ok(Self {
            client: Arc::new(client),
            prepared: RefCell::new(LruCache::new(PREPARED)),
            who: RefCell::new(None),
            writes: Cell::new(false),
            patience,
            lost: Cell::new(false),
        })
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.lost.get() || self.client.is_closed()
    }

    /// Statements without parameters: `BEGIN`, `COMMIT`, a script.
    ///
    /// # Errors
    /// Of the server, of the connection, of time.
    pub fn run(&self, script: &str) -> Result<()> {
        let (client, script) = (Arc::clone(&self.client), script.to_owned());
        self.wait(async move { client.batch_execute(&script).await })
    }

    /// Begins a transaction that writes, on behalf of whoever [`actor`] names.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn begin(&self, script: &str) -> Result<()> {
        *self.who.borrow_mut() = None;
        self.run(script)?;
        self.writes.set(true);
        Ok(())
    }

    /// How many rows the statement changed.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn execute(&self, sql: &str, values: Vec<Value>) -> Result<usize> {
        self.tell_who()?;
        let statement = self.prepare(sql, &values)?;
        let client = Arc::clone(&self.client);
        let changed = self.wait(async move {
            let bound = Bound::all(values);
            client.execute(&statement, &refs(&bound)).await
        })?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    /// All rows.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn query(&self, sql: &str, values: Vec<Value>) -> Result<Vec<Vec<Value>>> {
        self.tell_who()?;
        let statement = self.prepare(sql, &values)?;
        let client = Arc::clone(&self.client);
        let rows = self.wait(async move {
            let bound = Bound::all(values);
            client.query(&statement, &refs(&bound)).await
        })?;
        rows.iter().map(super::value::row).collect()
    }

    /// The types are those of the values: the server need not guess them.
    fn prepare(&self, sql: &str, values: &[Value]) -> Result<Statement> {
        let types: Vec<Type> = values.iter().map(super::value::type_of).collect();
        let key = (sql.to_owned(), types.iter().map(Type::oid).collect());
        if let Some(known) = self.prepared.borrow_mut().get(&key) {
            return Ok(known.clone());
        }
        let (client, text) = (Arc::clone(&self.client), dialect::postgres(sql));
        let made = self.wait(async move { client.prepare_typed(&text, &types).await })?;
        self.prepared.borrow_mut().put(key, made.clone());
        Ok(made)
    }

    /// Before each statement of a transaction that writes: a job may change its verb in between.
    fn tell_who(&self) -> Result<()> {
        let now = (actor::door(), actor::who(), actor::verb());
        if !self.writes.get() || self.who.borrow().as_ref() == Some(&now) {
            return Ok(());
        }
        let text = |s: Option<&str>| format!("'{}'", s.unwrap_or_default().replace('\0', "").replace('\'', "''"));
        let script = format!(
            "SET LOCAL outputfs.door = {}; SET LOCAL outputfs.who = {}; SET LOCAL outputfs.verb = {}",
            text(now.0),
            text(now.1.as_deref()),
            text(now.2)
        );
        self.run(&script)?;
        *self.who.borrow_mut() = Some(now);
        Ok(())
    }

    /// An answer that did not come may still come: the connection is then of no use.
    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = std::result::Result<T, tokio_postgres::Error>> + Send + 'static,
    ) -> Result<T> {
        let answer = wait(self.patience + SPARE.min(self.patience / 5), work);
        if matches!(answer, Err(Error::Postgres { code: None, .. })) {
            self.lost.set(true);
        }
        answer
    }

    /// After a rollback to a savepoint, which takes settings back too.
    pub fn forget_who(&self) {
        *self.who.borrow_mut() = None;
    }
}

fn refs(bound: &[Bound]) -> Vec<&(dyn ToSql + Sync)> {
    bound.iter().map(|b| b as &(dyn ToSql + Sync)).collect()
}

/// Blocks this thread, which may be a runtime's: a read of the catalog is answered at the first poll.
fn wait<T: Send + 'static>(
    deadline: Duration,
    work: impl Future<Output = std::result::Result<T, tokio_postgres::Error>> + Send + 'static,
) -> Result<T> {
    let (done, answer) = channel();
    let runtime = runtime().map_err(|e| sql::Error::Postgres { code: None, text: e.message })?;
    let task = runtime.spawn(async move {
        // Nobody waits any more: then the answer is of no use.
        let _gone = done.send(work.await);
    });
    match answer.recv_timeout(deadline) {
        Ok(result) => result.map_err(Error::from),
        Err(e) => {
            task.abort();
            let text = match e {
                RecvTimeoutError::Timeout => format!("PostgreSQL did not answer within {} s", deadline.as_secs()),
                RecvTimeoutError::Disconnected => {
                    String::from("the connection to PostgreSQL broke down by a bug in outputfs")
                }
            };
            Err(Error::Postgres { code: None, text })
        }
    }
}
