//! Issuing, resolving and revoking links.

use outputfs::artifact::Kind;
use outputfs::artifact::record::LinkTarget;
use outputfs::artifact::time::Ttl;
use outputfs::engine::links::Resolved;

use super::*;

fn token(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn links_live_expire_and_are_revoked() {
    let world = World::new();
    let store = world.light().await;
    let artifact = push(&store, "run", "a", b"a").await;
    let target = store.link_target("run/a").await.unwrap();
    assert_eq!(target, LinkTarget::Artifact(artifact.id));
    let made = store.create_link(target, Some(Ttl::Seconds(60))).await.unwrap();
    assert!(made.url.starts_with("http://127.0.0.1:7780/lnk_"));
    let secret = token(&made.url).to_owned();
    let Resolved::Artifact(link, found) = store.resolve_link(&secret).await.unwrap() else { panic!("not live") };
    assert_eq!((link.id.as_str(), found.id), (made.link.id.as_str(), artifact.id));
    let mut wrong = secret.clone();
    wrong.replace_range(31.., if secret.ends_with('a') { "b" } else { "a" });
    for none in [wrong.as_str(), made.link.id.as_str(), "", "lnk_", "x"] {
        assert!(matches!(store.resolve_link(none).await.unwrap(), Resolved::Unknown), "{none}");
    }
    // The ID is not the secret, and neither the catalog nor the state directory holds the secret.
    for file in ["catalog.db", "catalog.db-wal"] {
        let bytes = std::fs::read(store.state.root().join(file)).unwrap_or_default();
        assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()), "{file}");
    }
    let session = store.link_target("run").await.unwrap();
    let other = store.create_link(session, None).await.unwrap();
    assert!(matches!(store.resolve_link(token(&other.url)).await.unwrap(), Resolved::Session(..)));
    assert_eq!(store.links(None).await.unwrap().len(), 2);
    assert_eq!(store.links(Some(target)).await.unwrap().len(), 1);

    store.revoke_link(&other.url).await.unwrap();
    assert!(matches!(store.resolve_link(token(&other.url)).await.unwrap(), Resolved::Revoked));
    store.clock.advance(Duration::from_secs(60));
    assert!(matches!(store.resolve_link(&secret).await.unwrap(), Resolved::Expired));
    assert_eq!(store.revoke_link("lnk_00000000").await.unwrap_err().kind, Kind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_never_outlives_its_artifact() {
    let world = World::new();
    let store = world.light().await;
    let artifact = push(&store, "run", "a", b"a").await;
    store.set_ttl("run/a", Ttl::Seconds(3600)).await.unwrap();
    let made = store.create_link(LinkTarget::Artifact(artifact.id), Some(Ttl::Never)).await.unwrap();
    assert_eq!(made.link.expires, store.artifact("run/a").await.unwrap().expires);
    store.rm("run/a").await.unwrap();
    assert!(
        matches!(store.resolve_link(token(&made.url)).await.unwrap(), Resolved::Gone(why) if why.kind == Kind::Deleted)
    );
    let gone = store.create_link(LinkTarget::Artifact(artifact.id), None).await;
    assert_eq!(gone.err().unwrap().kind, Kind::Deleted);
}
