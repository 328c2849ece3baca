//! Links that lead nowhere, and addresses that are none.

use std::time::Duration;

use super::server::{Server, request};

const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

#[track_caller]
fn fails(server: &Server, path: &str, status: u16, code: &str) {
    let program = server.get(path, &[]);
    assert_eq!(program.status, status, "{path}");
    assert_eq!(program.header("content-type"), "application/json");
    let error = &program.json()["error"];
    assert_eq!((error["code"].as_str(), error["status"].as_u64()), (Some(code), Some(u64::from(status))));
    assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()));

    let person = server.get(path, &[BROWSER]);
    assert_eq!(person.status, status);
    assert_eq!(person.header("content-type"), "text/html; charset=utf-8");
    assert!(person.text().contains("<h1>") && person.text().contains(error["message"].as_str().unwrap()));
    assert!(person.header("content-security-policy").starts_with("default-src 'none'"));
    for answer in [&program, &person] {
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

#[test]
fn links_end() {
    let server = Server::start();
    let artifact = server.push("run", b"a.txt", b"hello");
    let (expired, revoked, session) =
        (server.link_to(&artifact), server.link_to(&artifact), server.link_to_session("run"));
    assert_eq!(server.get(&revoked, &[]).status, 200);
    server.runtime.block_on(server.store.revoke_link(&revoked)).unwrap();
    fails(&server, &revoked, 410, "link_revoked");
    assert_eq!(server.get(&session, &[]).status, 200);
    server.store.clock.advance(Duration::from_secs(3601));
    fails(&server, &expired, 410, "link_expired");
    fails(&server, &session, 410, "link_expired");
    fails(&server, &format!("{session}/f/a.txt"), 410, "link_expired");
}

#[test]
fn unknown_addresses() {
    let server = Server::start();
    let artifact = server.push("run", b"a.txt", b"hello");
    let link = server.link_to(&artifact);
    fails(&server, "/lnk_0123456789ABCDEFGHIJKLMNOPQR", 404, "link_not_found");
    // The ID alone is public, and opens nothing.
    fails(&server, &link[..13], 404, "link_not_found");
    fails(&server, &format!("{link}x"), 404, "link_not_found");
    fails(&server, &format!("{link}/f/a.txt"), 404, "not_found");
    fails(&server, "/other", 404, "not_found");
    fails(&server, "/a/b/c", 404, "not_found");
    for method in ["POST", "PUT", "DELETE"] {
        let answer = request(method, &server.url(&link), &[]);
        assert_eq!((answer.status, answer.header("allow")), (405, "GET,HEAD"), "{method}");
        assert_eq!(answer.json()["error"]["code"], "method_not_allowed");
    }
}

#[test]
fn health() {
    let server = Server::start();
    let answer = server.get("/health", &[]);
    assert_eq!((answer.status, answer.text()), (200, "{\"status\":\"ok\"}"));
}
