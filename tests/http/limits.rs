//! Slow and silent clients, too many of them, and the end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use outputfs::artifact::key::Scope;
use outputfs::http::{HttpConfig, Limits};

use super::server::{DEADLINE, Server, config, noise};

fn limited(limits: Limits) -> Server {
    Server::with(HttpConfig { limits, ..config() })
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Reads to the end, however it comes.
fn drain(mut stream: TcpStream) -> Vec<u8> {
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
fn connections_above_the_limit_wait_their_turn() {
    let server = limited(Limits { connections: 1, header_read: Duration::from_millis(500), ..Limits::default() });
    let silent = connect(&server);
    let started = Instant::now();
    assert_eq!(server.get("/health", &[]).status, 200);
    assert!(started.elapsed() >= Duration::from_millis(300), "it did not wait for the silent one");
    drop(silent);
}

#[test]
fn shutdown_lets_downloads_end_and_cuts_off_who_does_not() {
    let mut server = limited(Limits { drain: Duration::from_secs(1), ..Limits::default() });
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
    let mut slow: Vec<TcpStream> = (0..16).map(|_| connect(&server)).collect();
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
}
