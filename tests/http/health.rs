//! `/health`, `/health/ready`, `/metrics`.

use outputfs::artifact::key::Scope;
use outputfs::http::HttpConfig;

use super::server::{Server, config};
use crate::support::wait_until;

#[test]
fn live_is_not_ready() {
    let server = Server::start();
    let ready = server.get("/health/ready", &[]);
    assert_eq!((ready.status, ready.json()["status"].as_str()), (200, Some("ready")));
    // The store is gone.
    let blobs = server.dir.path().join("state/blobs");
    std::fs::remove_dir_all(&blobs).unwrap();
    std::fs::write(&blobs, "no directory").unwrap();
    // An answer is good for two seconds.
    let mut gone = server.get("/health/ready", &[]);
    wait_until("it is not ready", super::server::DEADLINE, || {
        gone = server.get("/health/ready", &[]);
        gone.status != 200
    });
    assert_eq!(gone.status, 503);
    let said = gone.json();
    assert_eq!((said["catalog"].as_str(), said["store"].as_str()), (Some("ok"), Some("failed")));
    assert!(!gone.text().contains("blobs"), "{}", gone.text());
    assert_eq!(server.get("/health", &[]).status, 200);
}

#[test]
fn what_happened_is_counted() {
    let server = Server::start();
    server.push("run", b"a.txt", b"counted once");
    server.push("run", b"b.txt", b"counted once");
    let artifact = server.push("run", b"c.txt", b"sent");
    server.get(&server.link_to(&artifact), &[]);
    let metrics = server.get("/metrics", &[]);
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    // Other tests of this process count too.
    let value = |name: &str| {
        let line = metrics.text().lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in\n{}", metrics.text())).parse::<f64>().unwrap()
    };
    assert!(value("outputfs_commits_total{outcome=\"new\"}") >= 3.0);
    assert!(value("outputfs_dedup_hits_total") >= 1.0 && value("outputfs_dedup_bytes_total") >= 12.0);
    assert!(value("outputfs_http_requests_total{method=\"GET\",status=\"200\"}") >= 1.0);
    assert!(value("outputfs_http_bytes_total{direction=\"out\"}") >= 4.0);
    assert!(value("outputfs_http_request_seconds_count") >= 1.0);
    assert!(value("outputfs_resident_memory_bytes") > 1e6);
    for name in
        ["pending_artifacts", "pending_bytes", "catalog_errors_total", "close_seconds_count", "upload_seconds_count"]
    {
        value(&format!("outputfs_{name}"));
    }
}

#[test]
fn strangers_need_a_key_for_the_figures() {
    let server = Server::with(HttpConfig { trust_proxy: true, ..config() });
    assert_eq!(server.get("/metrics", &[]).status, 401);
    let make = |scope| server.runtime.block_on(server.store.create_key("m", vec![scope], None)).unwrap().secret;
    let get = |scope| server.get("/metrics", &[("authorization", &format!("Bearer {}", make(scope).reveal()))]).status;
    assert_eq!((get(Scope::Read), get(Scope::Write)), (200, 403));
    assert_eq!(server.get("/health/ready", &[]).status, 200);
}
