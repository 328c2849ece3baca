//! Questions: artifacts, sessions, versions, usage, by what people write.

use crate::artifact::Result;
use crate::artifact::ids::Ino;
use crate::artifact::name::Name;
use crate::artifact::query::{Page, Query, Usage};
use crate::artifact::record::{Artifact, LinkTarget, Node, Session, SessionSummary};
use crate::engine::store::Store;

/// A path inside a session, resolved.
#[derive(Clone, Debug)]
pub struct Found {
    pub parent: Ino,
    pub name: Name,
    pub node: Node,
}

impl Store {
    /// One page of answers.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn find(&self, query: &Query) -> Result<Page> {
        let _ = query;
        todo!()
    }

    /// Every answer, page by page (`query.limit` is the page's size).
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn find_all(&self, query: Query) -> Result<Vec<Artifact>> {
        let _ = query;
        todo!()
    }

    /// # Errors
    /// Of the catalog.
    pub async fn sessions(&self) -> Result<Vec<SessionSummary>> {
        todo!()
    }

    /// # Errors
    /// `NotFound` when there is none, `Invalid` for an impossible name.
    pub async fn session(&self, name: &str) -> Result<Session> {
        let _ = name;
        todo!()
    }

    /// The artifact that `what` names: `art_…` (live or not) or `session/path` (the live one; also `session:path`).
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when it has neither form; `IsADirectory`.
    pub async fn artifact(&self, what: &str) -> Result<Artifact> {
        let _ = what;
        todo!()
    }

    /// The same for links: also `session` alone.
    ///
    /// # Errors
    /// As [`Store::artifact`].
    pub async fn link_target(&self, what: &str) -> Result<LinkTarget> {
        let _ = what;
        todo!()
    }

    /// Walks `path` from the session's root.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`, `Invalid`.
    pub async fn lookup_path(&self, session: &Session, path: &[u8]) -> Result<Found> {
        let _ = (session, path);
        todo!()
    }

    /// The live artifact at `path`.
    ///
    /// # Errors
    /// As [`Store::lookup_path`]; `IsADirectory`.
    pub async fn artifact_at(&self, session: &Session, path: &[u8]) -> Result<Artifact> {
        let _ = (session, path);
        todo!()
    }

    /// Versions of a path, oldest first.
    ///
    /// # Errors
    /// As [`Store::lookup_path`], but a deleted file's versions are found too.
    pub async fn versions(&self, session: &Session, path: &[u8]) -> Result<Vec<Artifact>> {
        let _ = (session, path);
        todo!()
    }

    /// # Errors
    /// Of the catalog.
    pub async fn usage(&self) -> Result<Usage> {
        todo!()
    }
}
