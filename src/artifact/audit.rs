//! The audit trail: who did what to which artifact, when, through which door.

use super::ids::ArtifactId;
use super::time::Timestamp;

/// One line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Grows; never used twice.
    pub seq: u64,
    pub at: Timestamp,
    /// `create`, `version`, `replace`, `metadata`, `ttl`, `rename`, `delete`, `restore`, `seal`, `link`, `revoke`, `expire`,
    /// `purge`, `prune`, `recover`.
    pub what: String,
    pub session: Option<String>,
    pub artifact: Option<ArtifactId>,
    /// Path inside the session as far as it is still known; of a directory that is gone, the last name.
    pub path: Option<Vec<u8>>,
    /// `mount`, `cli`, `push`, `http`, `mcp`, `recovery`, `daemon`.
    pub door: String,
    pub who: Option<String>,
    pub detail: Option<String>,
}
