//! Questions to the catalog and their answers.

use serde::Serialize;

use super::error::{Error, Result};
use super::ids::{ArtifactId, SessionId, TenantId};
use super::metadata::check_key;
use super::record::{Artifact, Life};
use super::time::Timestamp;

/// Which artifacts; every `Some` narrows. Answers come newest first: `created` descending, then ID descending.
#[derive(Clone, Debug)]
pub struct Query {
    pub tenant: TenantId,
    pub session: Option<SessionId>,
    pub agent: Option<String>,
    /// All must hold.
    pub metadata: Vec<(String, String)>,
    /// Keys and patterns of their values: `*` any text, `?` one character, `[a-z]` one of them. All must hold.
    pub patterns: Vec<(String, String)>,
    /// Bytes, at least and at most.
    pub sizes: (Option<u64>, Option<u64>),
    /// Exact path inside the session.
    pub filename: Option<Vec<u8>>,
    /// Exact, or `image/*`.
    pub content_type: Option<String>,
    /// Created at or after.
    pub since: Option<Timestamp>,
    /// Created before.
    pub until: Option<Timestamp>,
    /// Written last by this `outputfs run`.
    pub run: Option<String>,
    pub life: Life,
    /// Only those after this one in the order of answers.
    pub after: Option<(Timestamp, ArtifactId)>,
    /// At most this many in a page.
    pub limit: u32,
}

impl Query {
    /// Every live artifact of a tenant, 1,000 a page.
    #[must_use]
    pub fn all(tenant: TenantId) -> Self {
        Self {
            tenant,
            session: None,
            agent: None,
            metadata: Vec::new(),
            patterns: Vec::new(),
            sizes: (None, None),
            filename: None,
            content_type: None,
            since: None,
            until: None,
            run: None,
            life: Life::Live,
            after: None,
            limit: 1000,
        }
    }
}

/// One page of answers.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub artifacts: Vec<Artifact>,
    /// Put it into [`Query::after`] for the next page; none: this was the last.
    pub next: Option<(Timestamp, ArtifactId)>,
}

/// How use is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Session,
    Agent,
    /// Of creation, UTC.
    Day,
}

/// A part of what lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// The session, agent or day; none: without one.
    pub key: Option<String>,
    pub artifacts: u64,
    pub logical_bytes: u64,
    /// Of those, bytes that no older artifact has: what deduplication left to store.
    pub new_bytes: u64,
}

/// What a tenant holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    pub sessions: u64,
    /// Live artifacts.
    pub artifacts: u64,
    /// Sum of their sizes, in bytes.
    pub logical_bytes: u64,
    /// Bytes of all blobs, each once.
    pub stored_bytes: u64,
    pub max_bytes: Option<u64>,
    pub max_artifacts: Option<u64>,
}

/// Conditions of one question at most: each costs a look at every answer.
pub const CONDITIONS_MAX: usize = 16;

/// # Errors
/// `EINVAL` above [`CONDITIONS_MAX`].
pub fn check_conditions(count: usize) -> Result<()> {
    if count > CONDITIONS_MAX {
        return Err(Error::invalid(format!("{count} conditions: at most {CONDITIONS_MAX} are possible")));
    }
    Ok(())
}

/// Parses `key=value` as in `--where` and `.where/key=value/`.
///
/// # Errors
/// `EINVAL` without `=` or with an impossible key.
pub fn parse_condition(text: &str) -> Result<(String, String)> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| Error::invalid(format!("'{text}' is not a condition: write key=value")))?;
    check_key(key)?;
    Ok((key.to_owned(), value.to_owned()))
}
