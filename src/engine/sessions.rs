//! A session into the trash and back, as a whole.

use std::time::Duration;

use crate::artifact::name::{Name, SessionName};
use crate::artifact::record::Session;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::Origin;
use crate::catalog::upkeep::Cleared;
use crate::engine::store::{Store, blocking};

/// Files brought back in one transaction.
const PAGE: usize = 200;
/// A session into which somebody keeps writing while it is removed is given up after so many rounds.
const ROUNDS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

impl Store {
    /// Puts a session into the trash, all of it.
    ///
    /// # Errors
    /// `NotFound`, `Sealed`; `Busy` while it is mounted by itself, as a disk says of a mount point.
    pub async fn rm_session(&self, session: &Session) -> Result<Cleared> {
        if session.sealed.is_some() {
            return Err(Error::sealed(session.name.as_str()));
        }
        self.must_not_be_mounted(session).await?;
        let name = Name::new(session.name.as_str().as_bytes())?;
        let mut total = Cleared::default();
        for round in 1.. {
            let gone = self.rm_tree(session, b"").await?;
            total.files += gone.files;
            total.directories += gone.directories;
            match self.catalog.rmdir(Origin::NOBODY, self.tenant.root, &name, self.clock.now()).await {
                Err(e) if e.kind == Kind::NotEmpty && round < ROUNDS => tokio::time::sleep(PAUSE).await,
                done => {
                    done?;
                    break;
                }
            }
        }
        self.catalog.sync().await?;
        Ok(total)
    }

    async fn must_not_be_mounted(&self, session: &Session) -> Result<()> {
        let state = self.state.clone();
        let mounts = blocking(move || state.mounts()).await?;
        let here = mounts.into_iter().filter(|m| m.alive).filter_map(|m| m.info).find_map(|info| {
            let same =
                info.session.as_deref() == Some(session.name.as_str()) && info.tenant == self.tenant_name.as_str();
            info.mountpoint.filter(|_| same)
        });
        here.map_or(Ok(()), |at| {
            let text = format!("session '{}' is mounted at {}: unmount it first", session.name, at.display());
            Err(Error::new(Kind::Busy, text))
        })
    }

    /// Brings a deleted session back with what was deleted with it, under its name or `name`. The session, and how many files.
    ///
    /// # Errors
    /// `NotFound` when none of that name is in the trash; `Exists` when the name is taken.
    pub async fn restore_session(&self, deleted: &str, name: Option<SessionName>) -> Result<(Session, u64)> {
        let wanted: SessionName = deleted.parse()?;
        let found = self.catalog.removed_sessions(self.tenant.id).await?.into_iter().find(|s| s.name == wanted);
        let found = found.ok_or_else(|| Error::not_found(format!("there is no session '{wanted}' in the trash")))?;
        let (mut files, mut since, mut name) = (0, None, name);
        loop {
            let ids = (0..PAGE).map(|_| self.new_artifact_id()).collect();
            let now = self.clock.now();
            let page = self.catalog.restore_session(Origin::NOBODY, found.id, name.take(), ids, since, now).await?;
            files += page.files;
            since = Some(page.since);
            if !page.more {
                return Ok((page.session, files));
            }
        }
    }

    /// The sessions of that name that something can be restored of: the one that is there, then those in the trash, the last removed
    /// first.
    ///
    /// # Errors
    /// `NotFound` when there is neither.
    pub async fn sessions_named(&self, name: &str) -> Result<Vec<Session>> {
        let wanted: SessionName = name.parse()?;
        let mut found: Vec<Session> = self.catalog.session(self.tenant.id, &wanted).await?.into_iter().collect();
        let removed = self.catalog.removed_sessions(self.tenant.id).await?;
        found.extend(removed.into_iter().filter(|s| s.name == wanted));
        if found.is_empty() { Err(Error::not_found(format!("there is no session '{wanted}'"))) } else { Ok(found) }
    }

    /// Why there is no session of that name.
    pub(crate) async fn no_session(&self, name: &SessionName) -> Result<Error> {
        let removed = self.catalog.removed_sessions(self.tenant.id).await?;
        Ok(match removed.into_iter().find(|s| s.name == *name).and_then(|s| s.removed) {
            Some(at) => session_removed(name, at),
            None => Error::not_found(format!("there is no session '{name}'")),
        })
    }
}

/// The sentence about a session in the trash.
pub(crate) fn session_removed(name: &SessionName, at: crate::artifact::time::Timestamp) -> Error {
    Error::new(
        Kind::Deleted,
        format!("session '{name}' was deleted at {at}: 'outputfs session restore {name}' brings it back"),
    )
}
