//! The real S3 server that `scripts/test` started and named in the environment.

use std::time::Duration;

use futures::{StreamExt, stream};
use outputfs::blob::BlobStore;
use outputfs::blob::retry::Policy;
use outputfs::blob::s3::{S3Config, S3Store};
use ulid::Ulid;

/// A variable that `scripts/test` sets.
///
/// # Panics
/// When it is missing: a test that needs a server and has none fails, it does not skip.
fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: this test needs a real S3 server (OUTPUTFS_TEST_S3_ENDPOINT, OUTPUTFS_TEST_S3_BUCKET, \
             AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION); run it by scripts/test"
        )
    })
}

/// `http://host:port` of the server.
pub fn endpoint() -> String {
    setting("OUTPUTFS_TEST_S3_ENDPOINT")
}

/// A prefix of the test bucket that nothing else uses.
pub fn config() -> S3Config {
    super::failures::are_said_at_once();
    // Without them the SDK would ask an instance's metadata server, and wait.
    setting("AWS_ACCESS_KEY_ID");
    setting("AWS_SECRET_ACCESS_KEY");
    let url = format!("s3://{}/test-{}", setting("OUTPUTFS_TEST_S3_BUCKET"), Ulid::new());
    S3Config {
        endpoint: Some(endpoint()),
        retry: Policy { deadline: Duration::from_secs(20) },
        ..S3Config::parse(&url).unwrap()
    }
}

/// A store on that prefix.
pub async fn store() -> S3Store {
    S3Store::open(config()).await
}

/// Removes the objects below `s3://bucket/prefix`: what hundreds of tests leave fills a disk.
///
/// # Errors
/// In words, of the first listing or deletion that fails.
pub fn remove_all(url: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let config = S3Config { endpoint: Some(endpoint()), ..S3Config::parse(url).map_err(|e| e.to_string())? };
    runtime.block_on(async {
        let store = S3Store::open(config).await;
        let mut after = None;
        loop {
            let page = store.list("", after.as_ref()).await.map_err(|e| e.to_string())?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.key.clone());
            let mut deletions = stream::iter(&page).map(|o| store.delete(&o.key)).buffer_unordered(8);
            while let Some(done) = deletions.next().await {
                done.map_err(|e| e.to_string())?;
            }
        }
    })
}
