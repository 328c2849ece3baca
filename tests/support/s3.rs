//! The real S3 server that `scripts/test` started and named in the environment.

use std::time::Duration;

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
