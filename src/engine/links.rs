//! Links: public, expiring, revocable URLs (CONTRACT §8).

use crate::artifact::ids::BlobHash;
use crate::artifact::link::{LinkRef, LinkToken};
use crate::artifact::record::{Artifact, Link, LinkTarget, Session};
use crate::artifact::standing::Asks;
use crate::artifact::time::{Timestamp, Ttl};
use crate::artifact::{Error, Kind, Result};
use crate::engine::sessions::session_removed;
use crate::engine::store::Store;

/// Of a link that was asked for without a duration: what S3 gives its presigned URLs at most.
pub const DEFAULT_TTL: Ttl = Ttl::Seconds(7 * 86_400);

/// A fresh link: the only time its token is known.
#[derive(Clone)]
pub struct NewLink {
    pub link: Link,
    /// `PUBLIC_URL/lnk_…`: holds the secret; never logged.
    pub url: String,
}

impl NewLink {
    /// What whoever passes the link on should know.
    #[must_use]
    pub fn note(&self) -> Option<&'static str> {
        is_loopback(&self.url).then_some(
            "only this machine can open this link: '--public-url URL' of whoever serves it (OUTPUTFS_PUBLIC_URL, public_url in \
             config.toml) is the address that others reach it at",
        )
    }
}

/// What a token leads to, now.
#[derive(Clone, Debug)]
pub enum Resolved {
    Artifact(Link, Box<Artifact>),
    Session(Link, Session),
    Expired,
    /// What it leads to is deleted or has expired; why.
    Gone(Error),
    Revoked,
    Unknown,
}

impl Store {
    /// Issues a link. It lives for `ttl` (none: [`DEFAULT_TTL`]) but never longer than its artifact.
    ///
    /// # Errors
    /// `NotFound` when the target does not exist.
    pub async fn create_link(&self, target: LinkTarget, ttl: Option<Ttl>) -> Result<NewLink> {
        let now = self.clock.now();
        let wanted = now.plus(ttl.unwrap_or(DEFAULT_TTL));
        let expires = match target {
            LinkTarget::Artifact(id) => earlier(wanted, self.standing(id, Asks::Standing).await?.expires),
            LinkTarget::Session(id) => {
                let session = self.catalog.session_by_id(id).await?;
                session
                    .filter(|s| s.tenant == self.tenant.id)
                    .ok_or_else(|| Error::not_found("the session does not exist"))?;
                wanted
            }
        };
        let token = LinkToken::from_random(&rand::random::<[u8; LinkToken::RANDOM_BYTES]>())?;
        let link = Link {
            id: token.id().to_owned(),
            token_hash: token.hash(),
            tenant: self.tenant.id,
            target,
            created: now,
            expires,
            revoked: None,
        };
        self.catalog.add_link(link.clone()).await?;
        let target = match link.target {
            LinkTarget::Artifact(id) => id.to_string(),
            LinkTarget::Session(id) => format!("session {}", id.0),
        };
        tracing::info!(link = link.id, target, "link issued");
        Ok(NewLink { link, url: token.url(&self.options.public_url) })
    }

    /// Links of a target, newest first; all of the tenant with `None`. Revoked and expired ones too.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn links(&self, target: Option<LinkTarget>) -> Result<Vec<Link>> {
        self.catalog.links(self.tenant.id, target).await
    }

    /// Revokes a link named by its ID, token or URL.
    ///
    /// # Errors
    /// `NotFound` when there is none; `Invalid` when `text` is none of these.
    pub async fn revoke_link(&self, text: &str) -> Result<Link> {
        let named: LinkRef = text.parse()?;
        let link = self.catalog.revoke(self.tenant.id, named.id(), self.clock.now()).await?;
        tracing::info!(link = link.id, "link revoked");
        Ok(link)
    }

    /// What `token` (`lnk_…`, all of it) leads to.
    ///
    /// # Errors
    /// Of the catalog; a token that is none is [`Resolved::Unknown`].
    pub async fn resolve_link(&self, token: &str) -> Result<Resolved> {
        let Ok(token) = token.parse::<LinkToken>() else { return Ok(Resolved::Unknown) };
        let hash: BlobHash = token.hash();
        let found = self.catalog.link_by_token(hash).await?;
        let Some(link) = found.filter(|l| l.tenant == self.tenant.id) else { return Ok(Resolved::Unknown) };
        let now = self.clock.now();
        if link.revoked.is_some() {
            return Ok(Resolved::Revoked);
        }
        if link.expires.is_some_and(|t| t <= now) {
            return Ok(Resolved::Expired);
        }
        Ok(match link.target {
            LinkTarget::Artifact(id) => match self.standing(id, Asks::Standing).await {
                Ok(artifact) => Resolved::Artifact(link, Box::new(artifact)),
                Err(e) if matches!(e.kind, Kind::Deleted | Kind::Expired | Kind::NotFound) => Resolved::Gone(e),
                Err(e) => return Err(e),
            },
            LinkTarget::Session(id) => match self.catalog.session_by_id(id).await? {
                Some(session) => match session.removed {
                    Some(at) => Resolved::Gone(session_removed(&session.name, at)),
                    None => Resolved::Session(link, session),
                },
                None => Resolved::Expired,
            },
        })
    }
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

/// Whether a URL leads to the very machine that it is opened on.
fn is_loopback(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|a| a.is_loopback() || a.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_address_is_known_in_each_form() {
        for url in [
            "http://127.0.0.1:7780",
            "https://localhost/x",
            "http://[::1]:80/lnk_x",
            "http://0.0.0.0:1",
            "http://127.9.9.9",
        ] {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "http://10.0.0.1:7780",
            "https://localhost.example.org",
            "http://[fe80::1]:80",
            "https://files.example.org",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
