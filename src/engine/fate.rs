//! What became of an artifact: programs that come over HTTP are told why it is not there.

use crate::artifact::Result;
use crate::artifact::ids::ArtifactId;
use crate::artifact::record::{Artifact, Life};
use crate::engine::store::Store;

/// What an ID leads to, now.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It can be had: the newest version of its path or an earlier one.
    Standing(Box<Artifact>),
    Deleted,
    Expired,
    Unknown,
}

impl Store {
    /// # Errors
    /// Of the catalog; an ID that is none is [`Fate::Unknown`].
    pub async fn fate(&self, id: &str) -> Result<Fate> {
        let Ok(id) = id.parse::<ArtifactId>() else { return Ok(Fate::Unknown) };
        let Some(artifact) = self.catalog.former(self.tenant.id, id).await? else { return Ok(Fate::Unknown) };
        let now = self.clock.now();
        Ok(if artifact.life == Life::Trashed {
            Fate::Deleted
        } else if artifact.expires.is_some_and(|t| t <= now) {
            Fate::Expired
        } else {
            Fate::Standing(Box::new(artifact))
        })
    }
}
