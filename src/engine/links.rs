//! Links: public, expiring, revocable URLs (DESIGN §8).

use crate::artifact::Result;
use crate::artifact::record::{Artifact, Link, LinkTarget, Session};
use crate::artifact::time::Ttl;
use crate::engine::store::Store;

/// A fresh link: the only time its token is known.
#[derive(Clone, Debug)]
pub struct NewLink {
    pub link: Link,
    /// `PUBLIC_URL/lnk_…`: holds the secret; never logged.
    pub url: String,
}

/// What a token leads to, now.
#[derive(Clone, Debug)]
pub enum Resolved {
    Artifact(Link, Box<Artifact>),
    Session(Link, Session),
    /// Expired, or its artifact is expired or deleted.
    Expired,
    Revoked,
    Unknown,
}

impl Store {
    /// Issues a link. It lives for `ttl` (none: 7 days) but never longer than its artifact.
    ///
    /// # Errors
    /// `NotFound` when the target does not exist.
    pub async fn create_link(&self, target: LinkTarget, ttl: Option<Ttl>) -> Result<NewLink> {
        let _ = (target, ttl);
        todo!()
    }

    /// Links of a target, newest first; all of the tenant with `None`. Revoked and expired ones too.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn links(&self, target: Option<LinkTarget>) -> Result<Vec<Link>> {
        let _ = target;
        todo!()
    }

    /// Revokes a link named by its ID, token or URL.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn revoke_link(&self, text: &str) -> Result<Link> {
        let _ = text;
        todo!()
    }

    /// What `token` (`lnk_…`, all of it) leads to.
    ///
    /// # Errors
    /// Of the catalog; a token that is none is [`Resolved::Unknown`].
    pub async fn resolve_link(&self, token: &str) -> Result<Resolved> {
        let _ = token;
        todo!()
    }
}
