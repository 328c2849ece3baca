//! Attempts of steps, from their beginning to their end. The rules are `artifact::step`'s, the transactions the catalog's.
//!
//! A store belongs to at most one attempt: everything that it commits is that attempt's. The attempt belongs to the store's staging
//! directory: when its owner dies, whoever recovers the directory ends the attempt as abandoned, after making up for the commits
//! that were on their way.

use std::future::Future;

use crate::artifact::ids::MountId;
use crate::artifact::key::RunOf;
use crate::artifact::record::Session;
use crate::artifact::step::{Attempt, AttemptId, StepName};
use crate::artifact::{Error, Result};
use crate::catalog::attempts::Ending;
use crate::engine::failpoints::hit;
use crate::engine::store::Store;

/// Longest command that is kept, in bytes.
const COMMAND_MAX: usize = 4096;

impl Store {
    /// Begins the next attempt of `step` in `session`: what this store commits from now on is its.
    ///
    /// # Errors
    /// `Sealed`; `Internal` when the store has no staging directory or an attempt already.
    pub async fn begin_attempt(&self, session: &Session, step: &StepName, command: &str) -> Result<Attempt> {
        let Some(dir) = &self.mount_dir else { return Err(Error::internal("an attempt needs a staging directory")) };
        let end = command.floor_char_boundary(COMMAND_MAX);
        let now = self.clock.now();
        let attempt = self.catalog.begin_attempt(dir.id, session.id, step, &command[..end], now).await?;
        hit("steps::after_begin")?;
        self.join_attempt(attempt.id)?;
        tracing::info!(session = %session.name, step = %step, attempt = attempt.number, "attempt begins");
        Ok(attempt)
    }

    /// What this store commits from now on is of that attempt, which somebody else ends.
    ///
    /// # Errors
    /// `Internal` when it is of another already.
    pub fn join_attempt(&self, id: AttemptId) -> Result<()> {
        self.inner.attempt.set(id).map_err(|_| Error::internal("this store is of an attempt already"))
    }

    /// Ends the attempt of this store. `succeeded`: the command ended with 0 and all it wrote is stored; then what only earlier
    /// attempts wrote goes to the trash, in the same transaction.
    ///
    /// # Errors
    /// Of the catalog; then the attempt is seen as abandoned, and nothing has moved.
    pub async fn end_attempt(&self, exit_code: i64, succeeded: bool) -> Result<Option<Attempt>> {
        let Some(id) = self.attempt() else { return Ok(None) };
        hit("steps::before_end")?;
        let ending = Ending { exit_code, succeeded: succeeded && exit_code == 0 };
        let attempt = self.catalog.end_attempt(self.origin, id, ending, self.clock.now()).await?;
        hit("steps::after_end")?;
        tracing::info!(
            step = attempt.step,
            attempt = attempt.number,
            state = attempt.state.as_str(),
            replaced = attempt.replaced,
            "attempt ends"
        );
        Ok(Some(attempt))
    }

    /// Of a session, by step and number.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn attempts(&self, session: &Session) -> Result<Vec<Attempt>> {
        self.catalog.attempts(session.id, self.clock.now()).await
    }

    /// Begins a run: what is committed from now on is of it.
    pub fn begin_run(&self) {
        self.join_run(run_of(self.origin.0));
    }

    /// What is committed from now on is of the run `run`. Once.
    pub fn join_run(&self, run: String) {
        self.inner.run.get_or_init(|| run);
    }

    /// The run that what is committed here is of.
    #[must_use]
    pub fn run(&self) -> Option<String> {
        OF.try_with(|of| of.as_ref().map(|of| of.run.clone())).ok().flatten().or_else(|| self.inner.run.get().cloned())
    }

    /// Ends what was given to the run alone.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn end_run(&self) -> Result<()> {
        match self.inner.run.get() {
            Some(run) => self.catalog.drop_keys_of(run).await,
            None => Ok(()),
        }
    }

    /// The attempt that what is committed here belongs to.
    pub(crate) fn attempt(&self) -> Option<AttemptId> {
        let asked = OF.try_with(|of| of.as_ref().and_then(|of| of.attempt)).ok().flatten();
        asked.or_else(|| self.inner.attempt.get().copied())
    }
}

tokio::task_local! {
    static OF: Option<RunOf>;
}

/// Runs `work`; what it commits is of that run and attempt.
pub fn scope<F: Future>(of: Option<RunOf>, work: F) -> impl Future<Output = F::Output> {
    OF.scope(of, work)
}

/// The run of a mount.
pub(crate) fn run_of(mount: MountId) -> String {
    format!("run_{}", mount.0)
}

/// This machine's name.
pub(crate) fn host() -> Option<String> {
    static HOST: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    HOST.get_or_init(|| rustix::system::uname().nodename().to_str().ok().map(str::to_owned)).clone()
}
