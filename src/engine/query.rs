//! Questions: artifacts, sessions, versions, usage, by what people write.

use crate::artifact::ids::{ArtifactId, Ino};
use crate::artifact::name::{Name, SessionName, display_bytes, split_path};
use crate::artifact::query::{Page, Query, Usage, check_conditions};
use crate::artifact::record::{Artifact, Life, LinkTarget, Node, NodeKind, Session, SessionSummary};
use crate::artifact::standing::Asks;
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Kind, Result};
use crate::engine::store::Store;

/// How often a path is looked up again whose version gave way to its successor meanwhile.
const OVERTAKEN: u32 = 16;

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
    /// `Invalid` with too many conditions; of the catalog.
    pub async fn find(&self, query: &Query) -> Result<Page> {
        check_conditions(query.metadata.len() + query.patterns.len())?;
        self.telling(|| self.catalog.find(query, self.clock.now())).await
    }

    /// Every answer, page by page (`query.limit` is the page's size).
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn find_all(&self, query: Query) -> Result<Vec<Artifact>> {
        self.find_all_at(query, self.clock.now()).await
    }

    async fn find_all_at(&self, mut query: Query, now: Timestamp) -> Result<Vec<Artifact>> {
        let mut all = Vec::new();
        loop {
            let page = self.telling(|| self.catalog.find(&query, now)).await?;
            all.extend(page.artifacts);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// # Errors
    /// Of the catalog.
    pub async fn sessions(&self) -> Result<Vec<SessionSummary>> {
        self.catalog.sessions(self.tenant.id, self.clock.now()).await
    }

    /// # Errors
    /// `NotFound` when there is none, `Deleted` when it is in the trash, `Invalid` for an impossible name.
    pub async fn session(&self, name: &str) -> Result<Session> {
        let name: SessionName = name.parse()?;
        match self.catalog.session(self.tenant.id, &name).await? {
            Some(session) => Ok(session),
            None => Err(self.no_session(&name).await?),
        }
    }

    /// The artifact that `what` names: `art_…` (also an earlier version) or `session/path` (the live one; also `session:path`).
    ///
    /// # Errors
    /// As [`Store::standing`]; `Invalid` when it has neither form; `IsADirectory`.
    pub async fn artifact(&self, what: &str) -> Result<Artifact> {
        if let Ok(id) = what.parse::<ArtifactId>() {
            return self.artifact_by_id(id).await;
        }
        let (session, path) = split_address(what)?;
        let session = self.session(session).await?;
        self.artifact_at(&session, path.as_bytes()).await
    }

    pub(crate) async fn artifact_by_id(&self, id: ArtifactId) -> Result<Artifact> {
        self.standing(id, Asks::Standing).await
    }

    /// The same for links: also `session` alone (with or without `/` or `:` at its end).
    ///
    /// # Errors
    /// As [`Store::artifact`].
    pub async fn link_target(&self, what: &str) -> Result<LinkTarget> {
        let alone = what.trim_end_matches(['/', ':']);
        if what.parse::<ArtifactId>().is_err() && !alone.contains(['/', ':']) {
            return Ok(LinkTarget::Session(self.session(alone).await?.id));
        }
        Ok(LinkTarget::Artifact(self.artifact(what).await?.id))
    }

    /// Walks `path` from the session's root.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`, `Invalid`.
    pub async fn lookup_path(&self, session: &Session, path: &[u8]) -> Result<Found> {
        let names = split_path(path)?;
        let now = self.clock.now();
        let mut parent = session.root;
        let mut found: Option<Found> = None;
        for name in names {
            if let Some(above) = found.take() {
                if above.node.kind != NodeKind::Dir {
                    return Err(Error::new(Kind::NotADirectory, format!("'{}' is not a directory", above.name)));
                }
                parent = above.node.ino;
            }
            let node = self.catalog.lookup(parent, &name, now).await?.ok_or_else(|| missing(session, path))?;
            found = Some(Found { parent, name, node });
        }
        found.ok_or_else(|| missing(session, path))
    }

    /// The live artifact at `path`.
    ///
    /// # Errors
    /// As [`Store::lookup_path`]; `Deleted` or `Expired` for a file that was there; `IsADirectory`.
    pub async fn artifact_at(&self, session: &Session, path: &[u8]) -> Result<Artifact> {
        let mut again = 0;
        loop {
            let found = match self.lookup_path(session, path).await {
                Err(e) if e.kind == Kind::NotFound => return Err(self.absence(session, path).await?),
                found => found?,
            };
            match (found.node.kind, found.node.content) {
                (NodeKind::File, Some((id, _))) => match self.artifact_by_id(id).await {
                    // Its successor has taken its place in between: that is what stands there.
                    Err(e) if e.kind == Kind::Deleted && again < OVERTAKEN => again += 1,
                    done => return done,
                },
                (NodeKind::Dir, _) => {
                    let text = format!("'{}' is a directory", display_bytes(path));
                    return Err(Error::new(Kind::IsADirectory, text));
                }
                (NodeKind::File, None) => return Err(missing(session, path)),
                _ => return Err(Error::invalid(format!("'{}' is not a regular file", display_bytes(path)))),
            }
        }
    }

    /// Versions of a path, oldest first.
    ///
    /// # Errors
    /// As [`Store::lookup_path`], but a deleted file's earlier versions are found too.
    pub async fn versions(&self, session: &Session, path: &[u8]) -> Result<Vec<Artifact>> {
        let mut names = split_path(path)?;
        let Some(last) = names.pop() else { return Err(missing(session, path)) };
        let now = self.clock.now();
        let mut parent = session.root;
        for name in names {
            let node = self.catalog.lookup(parent, &name, now).await?.ok_or_else(|| missing(session, path))?;
            if node.kind != NodeKind::Dir {
                return Err(Error::new(Kind::NotADirectory, format!("'{name}' is not a directory")));
            }
            parent = node.ino;
        }
        let versions = self.telling(|| self.catalog.versions(parent, &last, now)).await?;
        if versions.is_empty() { Err(missing(session, path)) } else { Ok(versions) }
    }

    /// Everything of one life at one path, newest first, as of `now`: also what stands in the trash.
    pub(crate) async fn at_path(
        &self,
        session: &Session,
        path: &[u8],
        life: Life,
        now: Timestamp,
    ) -> Result<Vec<Artifact>> {
        let filename = split_path(path)?.iter().map(Name::as_bytes).collect::<Vec<_>>().join(&b'/');
        let query = Query { session: Some(session.id), filename: Some(filename), life, ..Query::all(self.tenant.id) };
        self.find_all_at(query, now).await
    }

    /// # Errors
    /// Of the catalog.
    pub async fn usage(&self) -> Result<Usage> {
        self.catalog.usage(self.tenant.id, self.clock.now()).await
    }
}

/// `session/path` or `session:path`; the earlier of the two marks divides.
pub(crate) fn split_address(what: &str) -> Result<(&str, &str)> {
    what.split_once(['/', ':'])
        .filter(|(_, path)| !path.is_empty())
        .ok_or_else(|| Error::invalid(format!("'{what}' names no artifact: write its ID (art_…) or SESSION/PATH")))
}

pub(crate) fn missing(session: &Session, path: &[u8]) -> Error {
    Error::not_found(format!("there is no '{}' in session '{}'", display_bytes(path), session.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(split_address("run/a/b.txt").unwrap(), ("run", "a/b.txt"));
        assert_eq!(split_address("run:a/b:c").unwrap(), ("run", "a/b:c"));
        assert_eq!(split_address("run/a:b").unwrap(), ("run", "a:b"));
        for bad in ["run", "run/", "run:", ""] {
            assert_eq!(split_address(bad).unwrap_err().kind, Kind::Invalid, "{bad}");
        }
    }
}
