//! Examining a store step by step: what an operator runs when artifacts do not arrive.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ulid::Ulid;

use super::{BlobKey, BlobStore, Body, PresignHeaders, verify};
use crate::artifact::{Error, Kind, Result};

/// One step of an examination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    pub ok: bool,
    /// What was found, or what is wrong and what would help, in a sentence.
    pub detail: String,
    pub took: Duration,
}

/// Writes, reads, lists and deletes an object of a name of its own under `doctor/`. After a write that failed the other
/// steps would only fail as well and are left out.
pub async fn examine(store: &dyn BlobStore) -> Vec<Check> {
    let bytes = Bytes::from(format!("outputfs doctor {} {}", Ulid::new(), "x".repeat(4000)));
    let key = BlobKey(format!("doctor/{}", Ulid::new()));
    let mut checks = Vec::new();

    let started = Instant::now();
    let hash = verify::sha256(&bytes);
    let written = store.put(&key, Body::Bytes { bytes: bytes.clone(), hash }).await;
    let reached = written.is_ok();
    checks.push(check("write", started, written.map(|()| format!("{} bytes to {}", bytes.len(), store.describe()))));
    if !reached {
        return checks;
    }

    let started = Instant::now();
    let part = store.get(&key, Some(10..100)).await;
    checks.push(check("read a range", started, part.and_then(|got| same(&got, &bytes[10..100]))));
    let started = Instant::now();
    let whole = store.get(&key, None).await;
    checks.push(check("read all", started, whole.and_then(|got| same(&got, &bytes))));
    let started = Instant::now();
    let signed = store.presign_get(&key, Duration::from_mins(1), PresignHeaders::default()).await;
    let told = signed.map(|url| String::from(if url.is_some() { "a URL was signed" } else { "this store has none" }));
    checks.push(check("sign a URL", started, told));
    let started = Instant::now();
    let listed = store.list(&key.0, None).await.and_then(|found| match found.as_slice() {
        [one] if one.key == key && one.size == bytes.len() as u64 => Ok(String::from("the object is there")),
        _ => Err(Error::internal("a listing right after the write does not show the object")),
    });
    checks.push(check("list", started, listed));
    let started = Instant::now();
    let deleted = store.delete(&key).await.map(|()| String::from("the object was deleted"));
    checks.push(check("delete", started, deleted));
    let started = Instant::now();
    let gone = match store.get(&key, None).await {
        Err(e) if e.kind == Kind::NotFound => Ok(String::from("a deleted object is reported as missing")),
        Err(e) => Err(e),
        Ok(_) => Err(Error::internal("the object is still there after it was deleted")),
    };
    checks.push(check("read a missing key", started, gone));
    checks
}

fn same(got: &[u8], want: &[u8]) -> Result<String> {
    if got == want {
        return Ok(format!("{} bytes, as written", got.len()));
    }
    Err(Error::new(Kind::Corrupt, "other bytes came back than were written"))
}

fn check(name: &'static str, started: Instant, outcome: Result<String>) -> Check {
    let took = started.elapsed();
    match outcome {
        Ok(detail) => Check { name, ok: true, detail, took },
        Err(error) => Check { name, ok: false, detail: explained(&error), took },
    }
}

/// The error, and what usually helps.
fn explained(error: &Error) -> String {
    let hint = match error.kind {
        Kind::StoreUnavailable | Kind::TimedOut => "check the endpoint's address and that the server runs",
        Kind::NotFound => "create the bucket, or correct its name",
        Kind::Forbidden => "check the access key, the bucket's policy, the region and this machine's clock",
        Kind::NoSpace => "free space on the store",
        Kind::Corrupt => "do not use this store: it does not keep what it is given",
        _ => return error.message.clone(),
    };
    format!("{} ({hint})", error.message)
}
