//! `--link-mode redirect` on a real S3 server.

use outputfs::http::{HttpConfig, LinkMode};

use super::server::{Server, config, noise, request};
use crate::support::s3_env;

#[test]
fn a_link_leads_to_the_store_where_that_is_safe() {
    let s3 = s3_env();
    let config = HttpConfig { link_mode: LinkMode::Redirect, ..config() };
    let server = Server::on(config, |settings| {
        settings.store = Some(format!("s3://{}/http-{}", s3.bucket, ulid::Ulid::new()));
        settings.endpoint = Some(s3.endpoint.clone());
        settings.path_style = true;
        settings.region = Some(s3.region.clone());
    });
    let bytes = noise(300_000);
    let artifact = server.push("run", "Größe.bin".as_bytes(), &bytes);
    let link = server.link_to(&artifact);

    let answer = server.get(&link, &[]);
    assert_eq!((answer.status, answer.body.len()), (302, 0));
    assert_eq!(answer.header("cache-control"), "private, no-store");
    let location = answer.header("location");
    assert!(location.starts_with(&s3.endpoint) && location.contains("X-Amz-Expires=60"), "{location}");
    let stored = request("GET", location, &[]);
    assert_eq!(stored.status, 200);
    assert!(stored.body == bytes);
    let part = request("GET", location, &[("range", "bytes=5-9")]);
    assert!(part.status == 206 && part.body == bytes[5..10]);

    // What a redirect cannot do is answered here.
    let head = server.head(&link);
    assert_eq!((head.status, head.header("content-length")), (200, "300000"));
    let tag = format!("\"{}\"", artifact.hash);
    assert_eq!(server.get(&link, &[("if-none-match", &tag)]).status, 304);
    let active = server.push("run", b"page.html", &[b"<p>".as_slice(), &bytes].concat());
    let answer = server.get(&server.link_to(&active), &[]);
    assert!(answer.status == 200 && answer.header("content-security-policy").starts_with("sandbox"));
    assert_eq!(answer.body.len(), 300_003);
}

#[test]
fn a_local_store_streams_in_redirect_mode_too() {
    let server = Server::with(HttpConfig { link_mode: LinkMode::Redirect, ..config() });
    let link = server.link_to(&server.push("run", b"a.txt", b"hello"));
    assert_eq!(server.get(&link, &[]).text(), "hello");
}
