//! What a catalog knows of steps and their attempts.

use async_trait::async_trait;

use super::Origin;
use crate::artifact::Result;
use crate::artifact::ids::{MountId, SessionId};
use crate::artifact::step::{Attempt, AttemptId, StepName};
use crate::artifact::time::Timestamp;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    pub exit_code: i64,
    /// It ended with 0 and all it wrote is stored.
    pub succeeded: bool,
}

#[async_trait]
pub trait Attempts: Send + Sync + 'static {
    /// The next attempt of `step`, owned by `mount`. `Sealed`.
    async fn begin_attempt(
        &self,
        mount: MountId,
        session: SessionId,
        step: &StepName,
        command: &str,
        now: Timestamp,
    ) -> Result<Attempt>;
    /// Ends it, and if it succeeded sends to the trash, in the same transaction, every file that stands in the session, was
    /// written last by an earlier attempt of the step, and not by this one. In a session sealed meanwhile nothing moves. Ending
    /// twice changes nothing. Answers the attempt.
    async fn end_attempt(&self, origin: Origin, id: AttemptId, ending: Ending, now: Timestamp) -> Result<Attempt>;
    /// The running attempt of a mount, if it has one.
    async fn running_attempt(&self, mount: MountId) -> Result<Option<AttemptId>>;
    /// Attempts of a dead mount have ended, nobody knows how. How many.
    async fn abandon_attempts(&self, mount: MountId, now: Timestamp) -> Result<u64>;
    /// Of a session, by step and number.
    async fn attempts(&self, session: SessionId, now: Timestamp) -> Result<Vec<Attempt>>;
}
