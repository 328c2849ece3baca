//! Slow and silent clients, too many of them, and the end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use outputfs::artifact::key::Scope;
use outputfs::http::places::SPARE;
use outputfs::http::{HttpConfig, Limits};

use super::server::{DEADLINE, Server, config, noise};
use crate::support::wait::wait_until;

pub(super) fn limited(limits: Limits) -> Server {
    Server::with(HttpConfig { limits, ..config() })
}

pub(super) fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Reads to the end, however it comes.
pub(super) fn drain(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => {}
        Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset, "{e}"),
    }
    all
}

#[test]
fn who_sends_no_head_is_cut_off() {
    let server = limited(Limits { header_read: Duration::from_millis(300), ..Limits::default() });
    let mut half = connect(&server);
    half.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n").unwrap();
    drain(half);
    let mut idle = connect(&server);
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(String::from_utf8(drain(idle)).unwrap().ends_with("{\"status\":\"ok\"}"));
}

#[test]
fn who_stops_reading_is_cut_off() {
    let limits = Limits { write_stall: Duration::from_millis(300), drain: DEADLINE * 10, ..Limits::default() };
    let mut server = limited(limits);
    let bytes = noise(32 << 20);
    let link = server.link_to(&server.push("run", b"big.bin", &bytes));
    let mut stuck = connect(&server);
    stuck.write_all(format!("GET {link} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    let mut first = [0; 1000];
    stuck.read_exact(&mut first).unwrap();
    // The end of all connections, which shutdown waits for, comes long before it would cut them off.
    server.stop();
    assert!(drain(stuck).len() < bytes.len());
}

#[test]
fn shutdown_lets_downloads_end_and_cuts_off_who_does_not() {
    let mut server = limited(Limits { drain: Duration::from_secs(4), ..Limits::default() });
    let bytes = noise(32 << 20);
    let link = server.link_to(&server.push("run", b"big.bin", &bytes));
    let request = format!("GET {link} HTTP/1.1\r\nHost: x\r\n\r\n");
    let (mut reader, mut stuck, idle) = (connect(&server), connect(&server), connect(&server));
    reader.write_all(request.as_bytes()).unwrap();
    stuck.write_all(request.as_bytes()).unwrap();
    let mut first = [0; 1000];
    reader.read_exact(&mut first).unwrap();
    stuck.read_exact(&mut first).unwrap();
    server.shutdown.cancel();
    let rest = std::thread::spawn(move || drain(reader));
    server.stop();
    let rest = rest.join().unwrap();
    assert!(rest.ends_with(&bytes[bytes.len() - 1000..]) && rest.len() + 1000 > bytes.len());
    assert!(drain(stuck).len() < bytes.len());
    assert!(drain(idle).is_empty());
    assert!(TcpStream::connect(server.addr).is_err());
}

#[test]
fn clients_that_only_drip_take_no_place_from_others() {
    let limits =
        Limits { connections: 8, header_read: DEADLINE * 10, drain: Duration::from_secs(1), ..Limits::default() };
    let server = limited(limits);
    let mut slow: Vec<TcpStream> = (0..16 + SPARE).map(|_| connect(&server)).collect();
    for stream in &mut slow {
        stream.write_all(b"GET / HTTP/1.1\r\nX-A: ").unwrap();
    }
    let (stop, told) = std::sync::mpsc::channel::<()>();
    let dripping = std::thread::spawn(move || {
        // A byte now and then, until it is over.
        while told.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout) {
            for stream in &mut slow {
                // Cut off is what they should be.
                let _gone = stream.write_all(b"a");
            }
        }
    });
    for _ in 0..4 {
        assert_eq!(server.get("/health", &[]).status, 200);
    }
    let text = server.get("/metrics", &[]);
    drop(stop);
    dripping.join().unwrap();
    assert!(text.text().contains("outputfs_http_connections_cut_total{why=\"silent\"}"), "{}", text.text());
}

#[test]
fn a_head_without_end_is_refused() {
    let server = limited(Limits::default());
    let mut large = connect(&server);
    large.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Large: ").unwrap();
    let mut sent = 0;
    let piece = [b'a'; 16 << 10];
    while sent < (8 << 20) && large.write_all(&piece).is_ok() {
        sent += piece.len();
    }
    assert!(sent < (8 << 20), "all of it was taken");
    let many: String = (0..500).map(|n| format!("X-{n}: 1\r\n")).collect();
    let mut stream = connect(&server);
    stream.write_all(format!("GET /health HTTP/1.1\r\nHost: x\r\n{many}\r\n").as_bytes()).unwrap();
    let answer = String::from_utf8(drain(stream)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(server.get("/health", &[]).status, 200);
}

#[test]
fn who_stops_sending_its_body_is_cut_off() {
    let server = limited(Limits { read_stall: Duration::from_millis(300), ..Limits::default() });
    let key = server.runtime.block_on(server.store.create_key("t", vec![Scope::Write], None)).unwrap().secret;
    let mut stuck = connect(&server);
    let head = format!(
        "POST /v1/artifacts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{\"a",
        key.reveal()
    );
    stuck.write_all(head.as_bytes()).unwrap();
    let answer = String::from_utf8(drain(stuck)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    // A byte now and then keeps it no longer.
    let mut drip = connect(&server);
    drip.write_all(head.as_bytes()).unwrap();
    let began = Instant::now();
    while drip.write_all(b"x").is_ok() && began.elapsed() < DEADLINE {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert!(began.elapsed() < DEADLINE, "it went on");
}

pub(super) fn key(server: &Server) -> String {
    let made = server.runtime.block_on(server.store.create_key("t", vec![Scope::Write], None)).unwrap();
    made.secret.reveal().to_owned()
}

pub(super) fn post(server: &Server, key: &str, kind: &str, length: usize, begun: &[u8]) -> TcpStream {
    let mut stream = connect(server);
    let head = format!(
        "POST /v1/artifacts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(begun).unwrap();
    stream
}

#[test]
fn bodies_that_do_not_end_keep_no_other_key() {
    let server = limited(Limits::default());
    let (slow, other) = (key(&server), key(&server));
    let begun = [b"{\"filename\":\"a\",\"content\":\"".as_slice(), &vec![b'A'; 300 << 10]].concat();
    let idle: Vec<_> = (0..20).map(|_| post(&server, &slow, "application/json", 12 << 20, &begun)).collect();
    let began = Instant::now();
    let whole = [begun.as_slice(), b"\"}"].concat();
    let mut quick = post(&server, &other, "application/json", whole.len(), &whole);
    let mut first = [0; 12];
    quick.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 201");
    assert!(began.elapsed() < DEADLINE);
    drop(idle);
}

#[test]
fn a_part_without_an_end_to_its_head_is_refused() {
    let server = limited(Limits::default());
    let begun = b"--b\r\nContent-Disposition: form-data; name=\"";
    let mut endless = post(&server, &key(&server), "multipart/form-data; boundary=b", 64 << 20, begun);
    let mut sent = 0;
    while sent < (16 << 20) && endless.write_all(&[b'a'; 16 << 10]).is_ok() {
        sent += 16 << 10;
    }
    assert!(sent < (16 << 20), "all of it was taken");
}

#[test]
fn a_client_that_goes_leaves_no_bytes_behind() {
    let server = limited(Limits::default());
    let files = || {
        let mut found = Vec::new();
        let mut folders = vec![server.dir.path().join("state")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    Ok(_) if name.starts_with("push-") || name.contains(".new") => found.push(name),
                    _ => {}
                }
            }
        }
        found
    };
    let head = b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
    let begun = [head.as_slice(), &noise(4 << 20)].concat();
    let form = post(&server, &key(&server), "multipart/form-data; boundary=b", 64 << 20, &begun);
    wait_until("the form is staged", DEADLINE, || !files().is_empty());
    drop(form);
    wait_until("nothing of the form is left", DEADLINE, || files().is_empty());

    let bearer = format!("Bearer {}", key(&server));
    let asked = super::server::send(
        "POST",
        &server.url("/v1/artifacts/upload-url"),
        &[("authorization", &bearer), ("content-type", "application/json")],
        b"{\"filename\":\"u.bin\",\"size_bytes\":67108864}",
    );
    let url = asked.json()["upload_url"].as_str().unwrap().to_owned();
    let path = &url[url.find("/v1/").unwrap()..];
    let mut put = connect(&server);
    put.write_all(format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 67108864\r\n\r\n").as_bytes()).unwrap();
    put.write_all(&noise(4 << 20)).unwrap();
    wait_until("the upload is begun", DEADLINE, || !files().is_empty());
    drop(put);
    wait_until("nothing of the upload is left", DEADLINE, || files().is_empty());
}

#[test]
fn strangers_are_served_by_other_threads_than_mounts() {
    let server = limited(Limits::default());
    let link = server.link_to(&server.push("run", b"a.txt", b"text"));
    // Both threads of the runtime that the store is used from have other things to do.
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Arc::new(std::sync::Mutex::new(held));
    let (tell, busy) = std::sync::mpsc::channel();
    for _ in 0..2 {
        let (held, tell) = (held.clone(), tell.clone());
        server.runtime.spawn(async move {
            tell.send(()).unwrap();
            let _ended = held.lock().unwrap().recv_timeout(DEADLINE * 3);
        });
    }
    busy.recv_timeout(DEADLINE).unwrap();
    busy.recv_timeout(DEADLINE).unwrap();
    assert_eq!(server.get("/health", &[]).status, 200);
    assert_eq!(server.get(&link, &[]).body, b"text");
    drop(release);
}
