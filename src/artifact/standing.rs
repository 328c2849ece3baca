//! Where an artifact stands for whoever asks for it by its ID or its path: one decision for every door.
//!
//! Deleted is gone at every door alike. Its bytes come back by a restore, out of `.trash`, or to whoever may write and asks for what
//! is deleted ([`Asks::Deleted`]). Expired is gone for good at its second, swept or not.

use super::audit::AuditEntry;
use super::error::{Error, Kind};
use super::ids::ArtifactId;
use super::record::{Artifact, Life};
use super::step;
use super::time::Timestamp;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// What exists: the newest version of a path, or an earlier one.
    Standing,
    /// Also what lies in the trash. Only for doors that checked the right to write.
    Deleted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    There,
    /// In the trash since.
    Deleted(Timestamp),
    /// Since.
    Expired(Timestamp),
}

/// Expiry comes first: what has expired cannot be restored.
#[must_use]
pub fn of(artifact: &Artifact, now: Timestamp) -> Standing {
    match artifact.expires {
        Some(at) if at <= now => Standing::Expired(at),
        _ if artifact.life == Life::Trashed => Standing::Deleted(artifact.deleted.unwrap_or(artifact.created)),
        _ => Standing::There,
    }
}

/// `None`: it can be had. Else why not, since when, and what brings it back. `sealed`: its session is, so that nothing does.
#[must_use]
pub fn refusal(artifact: &Artifact, asks: Asks, sealed: bool, now: Timestamp) -> Option<Error> {
    let id = artifact.id;
    match of(artifact, now) {
        Standing::There => None,
        Standing::Deleted(_) if asks == Asks::Deleted => None,
        Standing::Deleted(at) => {
            let by = artifact.deleted_by.as_deref().filter(|by| step::is_replacement(by));
            let what = by.map_or_else(|| format!("deleted at {at}"), |by| format!("replaced at {at} by {by}"));
            let back = if sealed {
                String::from("its session is sealed, so it cannot come back")
            } else {
                format!("'outputfs restore {id}' brings it back")
            };
            Some(Error::new(Kind::Deleted, format!("{id} was {what}: {back}")))
        }
        Standing::Expired(at) => Some(expired(id, at)),
    }
}

/// Why an ID leads nowhere that has led somewhere: `entry` is the trail's last word on it.
#[must_use]
pub fn ended(id: ArtifactId, entry: &AuditEntry) -> Error {
    let at = entry.at;
    let message = match entry.what.as_str() {
        "expire" => return expired(id, at),
        "purge" => format!("{id} was deleted for good at {at}: it cannot come back"),
        "prune" => {
            format!("{id} was an earlier version that was given up at {at}, because of its age or for newer ones")
        }
        _ => format!("{id} was replaced at {at} by a later version of the same file"),
    };
    Error::new(Kind::Deleted, message)
}

fn expired(id: ArtifactId, at: Timestamp) -> Error {
    Error::new(Kind::Expired, format!("{id} expired at {at}: what has expired cannot come back"))
}
