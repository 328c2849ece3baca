use outputfs::artifact::Kind;
use outputfs::artifact::record::{Link, LinkTarget};

use super::world::{World, artifact_id, hash, kind};

pub async fn links_are_found_listed_and_revoked(w: &World) {
    let made = w.file(w.root(), "a", b"1").await;
    let link = |id: &str, target| Link {
        id: id.to_owned(),
        token_hash: hash(id.as_bytes()),
        tenant: w.tenant.id,
        target,
        created: w.now(),
        expires: Some(w.now()),
        revoked: None,
    };
    let one = link("lnk_00000001", LinkTarget::Artifact(made.artifact.id));
    let two = link("lnk_00000002", LinkTarget::Session(w.session.id));
    w.cat.add_link(one.clone()).await.unwrap();
    w.cat.add_link(two.clone()).await.unwrap();
    assert_eq!(kind(w.cat.add_link(one.clone()).await), Kind::Exists);
    let nowhere = link("lnk_00000003", LinkTarget::Artifact(artifact_id()));
    assert_eq!(kind(w.cat.add_link(nowhere).await), Kind::NotFound);
    assert_eq!(w.cat.link_by_token(one.token_hash).await.unwrap(), Some(one.clone()));
    assert_eq!(w.cat.link_by_token(hash(b"?")).await.unwrap(), None);
    assert_eq!(w.cat.links(w.tenant.id, None).await.unwrap(), [two.clone(), one.clone()]);
    assert_eq!(w.cat.links(w.tenant.id, Some(two.target)).await.unwrap(), [two]);
    let other = w.cat.tenant(&"other".parse().unwrap(), w.now()).await.unwrap();
    assert!(w.cat.links(other.id, None).await.unwrap().is_empty());
    assert_eq!(kind(w.cat.revoke(other.id, &one.id, w.now()).await), Kind::NotFound);
    let now = w.now();
    assert_eq!(w.cat.revoke(w.tenant.id, &one.id, now).await.unwrap().revoked, Some(now));
    assert_eq!(w.cat.revoke(w.tenant.id, &one.id, w.now()).await.unwrap().revoked, Some(now));
    assert_eq!(w.cat.link_by_token(one.token_hash).await.unwrap().unwrap().revoked, Some(now));
}
