//! Rules of life and death: what time takes away, and how a blob goes that nothing needs any more.
//!
//! # The life of a blob
//! ```text
//!             put                  condemn                take                forget
//!   (none) ─────────▶ pending ─▶ stored ─────────▶ condemned ─────────▶ deleting ─────────▶ (none)
//!                                   ▲     nothing      │     after the      the bytes leave
//!                                   └──────────────────┘     grace period   the store
//!                                     rescued by a commit
//! ```
//! Each arrow is one transaction of the catalog. What makes it safe:
//! - *condemn* and *take* look, in the transaction itself, whether any artifact needs the blob;
//! - a commit that meets a condemned blob rescues it in the very transaction that makes its artifact ([`meet`]);
//! - a commit that meets no row, but whose upload began before the blob was last deleted, uploads again, for the same reason;
//! - a commit that meets a blob being deleted is refused, whatever it brings, waits until the row is gone, and uploads again: an
//!   upload that went before could be the very object that the deletion removes.

use super::time::Timestamp;

/// Where a blob stands in its life, as its row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlobState {
    /// In the row.
    Inline,
    /// In a staging file, which may still change: nobody else may count on it.
    Provisional,
    /// In the store.
    Stored,
    /// In the store, needed by nothing.
    Condemned,
    /// On its way out of the store.
    Deleting,
}

/// What a commit brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Offer {
    /// It saw the blob in the catalog earlier.
    Known,
    Inline,
    Stored,
    Provisional,
}

/// What becomes of the row of a blob that a commit is about to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meeting {
    /// The row as it is holds the bytes.
    Keep,
    /// There is no row: make one in the place that is offered.
    Add,
    /// The place that is offered is better than the row's.
    Better,
    /// A further staging file holds the bytes.
    AnotherPlace,
    /// Condemned in error, as it turns out: stored again.
    Rescue,
    /// The commit must store the bytes (again) and come back.
    Gone,
}

/// What a commit that brings `offer` does with a blob that is in `state` (`None`: it has no row). `outdated`: the blob left the
/// store after the commit began to put it there.
#[must_use]
pub fn meet(state: Option<BlobState>, offer: Offer, outdated: bool) -> Meeting {
    match (offer, state) {
        (_, None) if outdated => Meeting::Gone,
        (_, Some(BlobState::Deleting)) | (Offer::Known, None | Some(BlobState::Provisional)) => Meeting::Gone,
        (_, Some(BlobState::Condemned)) => Meeting::Rescue,
        (_, None) => Meeting::Add,
        // What is stored needs nothing more, and only the store is better than inline.
        (_, Some(BlobState::Stored)) | (Offer::Known | Offer::Inline | Offer::Provisional, Some(BlobState::Inline)) => {
            Meeting::Keep
        }
        (Offer::Stored, Some(BlobState::Inline | BlobState::Provisional))
        | (Offer::Inline, Some(BlobState::Provisional)) => Meeting::Better,
        (Offer::Provisional, Some(BlobState::Provisional)) => Meeting::AnotherPlace,
    }
}

/// When things go. Each moment is a bound: what is at or before it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Expiries.
    pub now: Timestamp,
    /// Deletions: what has been in the trash since.
    pub trashed: Timestamp,
    /// Creations of earlier versions; none: age takes none.
    pub versions: Option<Timestamp>,
}

/// Why an artifact goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    Expired,
    Purged,
    Pruned,
}

/// What decides about an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub life: super::record::Life,
    pub created: Timestamp,
    pub expires: Option<Timestamp>,
    pub deleted: Option<Timestamp>,
    /// A link that is neither revoked nor expired leads to it.
    pub linked: bool,
    /// Its session is sealed.
    pub sealed: bool,
}

impl Bounds {
    /// Whether the artifact goes, and why. Expiry comes first: it is a promise to the second. Age alone never takes what a link
    /// or a seal refers to, nor the newest version of a path.
    #[must_use]
    pub fn end_of(&self, a: &Facts) -> Option<End> {
        use super::record::Life;
        if a.expires.is_some_and(|t| t <= self.now) {
            return Some(End::Expired);
        }
        match a.life {
            Life::Trashed => a.deleted.is_some_and(|t| t <= self.trashed).then_some(End::Purged),
            Life::Superseded if !a.linked && !a.sealed => {
                self.versions.is_some_and(|t| a.created <= t).then_some(End::Pruned)
            }
            Life::Superseded | Life::Live => None,
        }
    }
}

#[cfg(test)]
mod tests;
