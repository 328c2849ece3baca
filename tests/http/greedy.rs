//! Clients that want more than their share: of connections, of requests, of memory, of a store that takes its time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use outputfs::engine::turns::Turn;
use outputfs::http::places::SPARE;
use outputfs::http::{HttpConfig, Limits};

use super::limits::{connect, key, limited, post};
use super::server::{DEADLINE, Server, config, send};
use crate::support::proxy::{Fault, Proxy};
use crate::support::s3_env;
use crate::support::wait::wait_until;

/// For an answer that waits for nobody, on a loaded machine.
const SOON: Duration = Duration::from_secs(4);

/// The status of the answer that comes first.
fn status(stream: &mut TcpStream) -> u16 {
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    std::str::from_utf8(&first[9..]).unwrap().parse().unwrap()
}

fn soon<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = act();
    assert!(began.elapsed() < SOON, "{what} took {:?}", began.elapsed());
    done
}

#[test]
fn more_silent_clients_than_there_are_places_keep_nobody() {
    let server = limited(Limits { header_read: DEADLINE * 10, ..Limits::default() });
    let link = server.link_to(&server.push("run", b"a.txt", b"text"));
    let silent: Vec<_> = (0..Limits::default().connections + SPARE + 200).map(|_| connect(&server)).collect();
    assert_eq!(soon("health", || server.get("/health", &[])).status, 200);
    assert_eq!(soon("metrics", || server.get("/metrics", &[])).status, 200);
    assert_eq!(soon("a link", || server.get(&link, &[])).body, b"text");
    drop(silent);
}

#[test]
fn bodies_that_do_not_end_keep_no_slot() {
    let server = limited(Limits { connections: 8, ..Limits::default() });
    let (slow, other) = (key(&server), key(&server));
    let idle: Vec<_> = (0..24).map(|_| post(&server, &slow, "application/json", 1000, b"{")).collect();
    assert_eq!(soon("health", || server.get("/health/ready", &[])).status, 200);
    let whole = b"{\"filename\":\"a\",\"content\":\"\"}";
    // (While the first bytes of all of them are read there may be no slot for a moment.)
    let uploaded = || status(&mut post(&server, &other, "application/json", whole.len(), whole)) == 201;
    wait_until("an upload", SOON, uploaded);
    drop(idle);
}

#[test]
fn one_key_does_not_take_all_slots() {
    // Eight at least are one key's; the address may have twelve.
    let server = limited(Limits { connections: 16, ..Limits::default() });
    let (greedy, other) = (key(&server), key(&server));
    let mut idle: Vec<_> = (0..8).map(|_| post(&server, &greedy, "application/json", 1000, b"{")).collect();
    let asked = |key: &str| {
        let bearer = format!("Bearer {key}");
        send("POST", &server.url("/v1/artifacts"), &[("authorization", &bearer)], b"").status
    };
    // (Who asks takes a slot for a moment, and may take it from one of those that are to have them.)
    wait_until("its slots are taken", DEADLINE, || {
        let taken = asked(&greedy) == 503;
        if !taken {
            idle.push(post(&server, &greedy, "application/json", 1000, b"{"));
        }
        taken
    });
    assert_eq!(asked(&other), 400, "it is heard");
    // They come back when clients go.
    idle.clear();
    wait_until("a slot is free", DEADLINE, || asked(&greedy) == 400);
}

#[test]
fn content_of_a_slow_client_is_not_in_memory() {
    let server = limited(Limits::default());
    let head = b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
    let begun = [head.as_slice(), &vec![b'x'; 200 << 10]].concat();
    let form = post(&server, &key(&server), "multipart/form-data; boundary=b", 1 << 20, &begun);
    let staged = || {
        let found = std::fs::read_dir(server.store.staging().unwrap()).unwrap();
        found.flatten().filter(|e| e.file_name().to_string_lossy().starts_with("push-")).count()
    };
    wait_until("what has come is in a file", DEADLINE, || staged() == 1);
    drop(form);
}

#[test]
fn texts_of_a_form_are_bounded_together() {
    let server = limited(Limits::default());
    let field =
        |n: usize| format!("--b\r\nContent-Disposition: form-data; name=\"x{n}\"\r\n\r\n{}\r\n", "y".repeat(60 << 10));
    let form: String = (0..3).map(field).collect();
    let mut sent = post(&server, &key(&server), "multipart/form-data; boundary=b", 1 << 20, form.as_bytes());
    assert_eq!(status(&mut sent), 400);
}

/// A door whose answer begins before its work is done, as MCP's do: the request lives in `works` for as long.
fn slow_door(works: Arc<Mutex<Vec<axum::http::request::Parts>>>) -> axum::Router {
    let answer = move |request: Request| {
        let works = works.clone();
        async move {
            let (parts, body) = request.into_parts();
            drop(axum::body::to_bytes(body, usize::MAX).await);
            works.lock().unwrap().push(parts);
            Response::new(Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>()))
        }
    };
    axum::Router::new().route("/mcp", axum::routing::any(answer))
}

#[test]
fn a_turn_in_memory_lasts_as_long_as_its_request_and_not_as_its_answer() {
    let works = Arc::new(Mutex::new(Vec::new()));
    let server = Server::with(HttpConfig { doors: slow_door(works.clone()), ..config() });
    let large = vec![b' '; 10 << 20];
    let begin = || {
        let mut stream = connect(&server);
        let head = format!("POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", large.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&large).unwrap();
        stream
    };
    let mut first = begin();
    assert_eq!(status(&mut first), 200);
    // The answer has begun, the request is still taken apart: there is no room for another of this address.
    let mut second = begin();
    second.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(second.read_exact(&mut [0; 12]).is_err(), "it is in memory beside the first");
    let parts = works.lock().unwrap().pop().unwrap();
    parts.extensions.get::<Arc<Turn>>().unwrap().give_back();
    second.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(status(&mut second), 200, "though the first answer still goes on");
}

#[test]
fn a_store_that_takes_its_time_keeps_no_other_key() {
    let env = s3_env();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let proxy = runtime.block_on(Proxy::start(&env.endpoint));
    let server = Server::on(config(), |settings| {
        settings.store = Some(format!("s3://{}/greedy-{}", env.bucket, ulid::Ulid::new()));
        settings.endpoint = Some(proxy.url());
        settings.path_style = true;
        settings.region = Some(env.region.clone());
    });
    let upload = |key: &str, n: u8, size: usize| {
        let content = [n].repeat(size * 3);
        let content = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, content);
        let body = format!("{{\"filename\":\"{n}.bin\",\"content\":\"{content}\"}}");
        post(&server, key, "application/json", body.len(), body.as_bytes())
    };
    let (slow, other) = ([key(&server), key(&server)], key(&server));
    proxy.always(Fault::Hold);
    let held: Vec<_> = (0..4).map(|n| upload(&slow[usize::from(n % 2)], n, 3 << 20)).collect();
    let asked = std::cell::Cell::new(0);
    wait_until("the store is asked", DEADLINE, || {
        asked.set(asked.get() + proxy.take_requests().len());
        asked.get() > 0
    });
    // Nothing of what waits for the store is in the budget: another may be as large.
    let refused = b"{\"filename\":\"\",\"content\":\"";
    let refused = [refused.as_slice(), &vec![b'A'; 8 << 20], b"\"}"].concat();
    for _ in 0..6 {
        let mut another = post(&server, &other, "application/json", refused.len(), &refused);
        assert_eq!(soon("another's request", || status(&mut another)), 400);
    }
    proxy.always(Fault::Pass);
    proxy.release(1000);
    for mut stream in held {
        assert_eq!(status(&mut stream), 201);
    }
}
