//! Who acts, for the audit trail, and the trail itself.
//!
//! Who acts is known at the doors and wanted in the transaction. It travels with the task: whatever the catalog is asked within
//! [`scope`] is done in that actor's name. Work that a daemon does by itself has none.

use std::future::Future;

use async_trait::async_trait;

use crate::artifact::Result;
use crate::artifact::audit::AuditEntry;
use crate::artifact::ids::{ArtifactId, SessionId, TenantId};
use crate::artifact::time::Timestamp;

/// Who acts, through which door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    pub door: &'static str,
    pub who: Who,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    Named(String),
    /// A process of this host: its name is looked up when something is written of it.
    Process {
        pid: u32,
        uid: u32,
    },
}

impl Who {
    /// As the trail says it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Who::Named(name) => name.clone(),
            Who::Process { pid, uid } => {
                // A process that has ended has lost its name: its user remains.
                let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                match name.trim_end() {
                    "" => format!("uid {uid}"),
                    name => format!("{name}, uid {uid}"),
                }
            }
        }
    }
}

tokio::task_local! {
    static ACTOR: Actor;
}

/// Runs `work` in the name of `actor`.
pub fn scope<F: Future>(actor: Actor, work: F) -> impl Future<Output = F::Output> {
    ACTOR.scope(actor, work)
}

/// In whose name the present task acts.
#[must_use]
pub fn current() -> Option<Actor> {
    ACTOR.try_with(Clone::clone).ok()
}

/// Which lines; every `Some` narrows.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    pub session: Option<SessionId>,
    pub since: Option<Timestamp>,
    /// Lines with a smaller number.
    pub before: Option<u64>,
    /// At most, the newest.
    pub limit: u32,
}

#[async_trait]
pub trait Audit: Send + Sync + 'static {
    /// The newest first.
    async fn audit(&self, tenant: TenantId, query: AuditQuery) -> Result<Vec<AuditEntry>>;
    /// How an artifact ended that is no more.
    async fn ended(&self, tenant: TenantId, artifact: ArtifactId) -> Result<Option<AuditEntry>>;
}
