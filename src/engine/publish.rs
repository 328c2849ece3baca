//! Publishing an artifact as a page, and its undo. Both idempotent: a page keeps its address while it is published.

use crate::artifact::ids::ArtifactId;
use crate::artifact::link::LinkToken;
use crate::artifact::record::{Link, LinkTarget};
use crate::artifact::{Kind, Result};
use crate::catalog::records::Publication;
use crate::engine::store::Store;

/// What is said about a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageWish {
    pub title: Option<String>,
    pub visibility: Option<String>,
    pub access: Option<String>,
}

impl Store {
    /// Publishes an artifact; what `wish` leaves out stays, or is `unlisted` and `link`. Answers the page's record and its address,
    /// which nobody can guess.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn publish(&self, id: ArtifactId, wish: PageWish) -> Result<(Publication, String)> {
        let artifact = self.artifact_by_id(id).await?;
        let now = self.clock.now();
        let known = self.catalog.publication(self.tenant.id, id).await?;
        let generation = known.as_ref().map_or(0, |k| k.generation + u64::from(k.withdrawn.is_some()));
        let token = self.page_token(id, generation).await?;
        let before = known.clone().filter(|k| k.withdrawn.is_none());
        let publication = Publication {
            artifact: id,
            tenant: self.tenant.id,
            title: wish.title.or_else(|| before.as_ref().and_then(|b| b.title.clone())),
            visibility: said(wish.visibility, before.as_ref().map(|b| &b.visibility), "unlisted"),
            access: said(wish.access, before.as_ref().map(|b| &b.access), "link"),
            link: token.id().to_owned(),
            generation,
            created: before.as_ref().map_or(now, |b| b.created),
            withdrawn: None,
        };
        let link = Link {
            id: token.id().to_owned(),
            token_hash: token.hash(),
            tenant: self.tenant.id,
            target: LinkTarget::Artifact(id),
            created: now,
            expires: artifact.expires,
            revoked: None,
        };
        match self.catalog.add_link(link).await {
            // Published before, or at the same time.
            Err(e) if e.kind == Kind::Exists => {}
            other => other?,
        }
        if Some(&publication) != known.as_ref() {
            self.catalog.put_publication(publication.clone()).await?;
            tracing::info!(artifact = %id, link = publication.link, "published");
        }
        Ok((publication, format!("{}/s/{}", self.options.public_url, token.reveal())))
    }

    /// Withdraws the page of an artifact; its address leads nowhere from then on. `false`: it was not published.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn unpublish(&self, id: ArtifactId) -> Result<bool> {
        let known = self.catalog.publication(self.tenant.id, id).await?.filter(|k| k.withdrawn.is_none());
        let Some(known) = known else { return Ok(false) };
        let now = self.clock.now();
        // First the link: should the second step fail, the page is gone and the undo can be repeated.
        self.catalog.revoke(self.tenant.id, &known.link, now).await?;
        self.catalog.put_publication(Publication { withdrawn: Some(now), ..known }).await?;
        tracing::info!(artifact = %id, "withdrawn");
        Ok(true)
    }

    /// The token of a page: made of the server's secret, so that it need not be kept.
    async fn page_token(&self, id: ArtifactId, generation: u64) -> Result<LinkToken> {
        let secret = self.secret("pages").await?;
        let mut random = [0; LinkToken::RANDOM_BYTES];
        let mut keyed = blake3::Hasher::new_keyed(&secret);
        keyed.update(&id.0.to_bytes()).update(&generation.to_le_bytes()).finalize_xof().fill(&mut random);
        LinkToken::from_random(&random)
    }
}

fn said(wish: Option<String>, before: Option<&String>, default: &str) -> String {
    wish.or_else(|| before.cloned()).unwrap_or_else(|| default.to_owned())
}
