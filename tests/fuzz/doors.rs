//! Untrusted bytes through the server's own door: bodies in parts, and every kind of file that has a preview.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, rngs::StdRng};

use super::{Corpus, random, seconds};
use crate::support::{Sandbox, Store};

/// A preview has a budget of its own; beyond it something stands still.
const ANSWERED: Duration = Duration::from_secs(30);

struct Server {
    child: Child,
    address: String,
    key: String,
    _sandbox: Sandbox,
}

impl Server {
    fn start() -> Self {
        let sandbox = Sandbox::new(Store::Local);
        let made = sandbox.cli("key", &["create", "fuzz", "--scope", "admin", "--json"]);
        let made: serde_json::Value = serde_json::from_str(&made).unwrap();
        let key = made["key"].as_str().unwrap().to_owned();
        let mut child = sandbox
            .outputfs("serve")
            .args(["--http", "127.0.0.1:0", "--rate-limit", "100000/100000"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .find_map(|line| line.ok()?.split_once("links are served at http://").map(|(_, a)| a.trim().to_owned()))
            .expect("the server says where it listens");
        // What it says later is read too, or it would have nobody who reads.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, key, _sandbox: sandbox }
    }

    /// One request on a connection of its own; the status and the body.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).expect("the server is there");
        stream.set_read_timeout(Some(ANSWERED)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Bearer {}\r\n{headers}content-length: {}\r\n\r\n",
            self.address,
            self.key,
            body.len()
        );
        // A refusal may come before the body is read.
        let _refused = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let mut answer = Vec::new();
        let _cut = stream.read_to_end(&mut answer);
        let status = std::str::from_utf8(answer.get(9..12).unwrap_or_default()).ok().and_then(|s| s.parse().ok());
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        (status.unwrap_or(0), answer.split_off(end))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Files of kinds with a preview.
fn files() -> Vec<(&'static str, Corpus)> {
    let notebook = br##"{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[{"cell_type":"markdown","metadata":{},"source":["# t\n","x"]},{"cell_type":"code","metadata":{},"execution_count":1,"source":"1","outputs":[{"output_type":"stream","name":"stdout","text":["1\n"]},{"output_type":"display_data","metadata":{},"data":{"image/png":"iVBORw0KGgo=","text/html":"<b>x</b>"}}]}]}"##;
    let pdf = b"%PDF-1.4\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n2 0 obj\n<</Type/Pages/Kids[]/Count 0>>\nendobj\nxref\n0 3\ntrailer\n<</Size 3/Root 1 0 R>>\nstartxref\n9\n%%EOF\n";
    let html = b"<!doctype html><title>x</title><script>alert(1)</script><svg onload=alert(1)>";
    vec![
        (
            "a.md",
            Corpus::new(
                &[b"# A\n\n|a|b|\n|-|:-:|\n|1|2|\n\n- x\n  - y\n\n[l](j:a)[^1]\n\n[^1]: n\n```rs\nx\n```\n"],
                &["> ", "* ", "[", "](", "|", "```\n", "<b>"],
            ),
        ),
        ("a.csv", Corpus::new(&[b"a,b\n1,\"x,\"\"y\"\"\"\n", b"a;b\n1;2\n"], &[",", "\"", ";", "\n"])),
        (
            "a.json",
            Corpus::new(&[br#"{"a":[1,2,{"b":null}],"c":"\u00e4"}"#], &["[", "{", "\"a\":", "1e999", "\\ud800"]),
        ),
        ("a.ipynb", Corpus::new(&[notebook], &["[", "{", "\"source\":", "\"data\":", "\"cells\":", "null"])),
        ("a.pdf", Corpus::new(&[pdf], &["<<", ">>", "[", "obj", "stream", "/JS", "/OpenAction", "2 0 R"])),
        ("a.html", Corpus::new(&[html], &["<script>", "<svg>", "-->", "</title>"])),
        (
            "a.parquet",
            Corpus::new(&[PARQUET, b"PAR1\x15\x00\x04\x00\x00\x00PAR1"], &["PAR1", "\u{15}", "\u{19}", "\u{1c}"]),
        ),
        ("a.zip", Corpus::new(&[b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"], &["PK\u{1}\u{2}", "PK\u{3}\u{4}"])),
        (
            "a.png",
            Corpus::new(
                &[b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0"],
                &["IHDR", "IDAT", "IEND"],
            ),
        ),
    ]
}

/// The smallest file that says what its columns are: a footer with a schema of one column, and no rows.
const PARQUET: &[u8] =
    b"PAR1\x15\x02\x19\x2c\x48\x01r\x15\x02\x00\x15\x02\x25\x02\x18\x01a\x00\x16\x00\x19\x0c\x00\x1a\x00\x00\x00PAR1";

fn part(name: &str, filename: Option<&str>, bytes: &[u8]) -> Vec<u8> {
    let file = filename.map_or_else(String::new, |f| format!("; filename=\"{f}\""));
    let mut part = format!("--B\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n").into_bytes();
    part.extend_from_slice(bytes);
    part.extend_from_slice(b"\r\n");
    part
}

#[test]
fn bodies_in_parts() {
    let server = Server::start();
    let mut whole = part("file", Some("a.txt"), b"hello");
    whole.extend(part("session_id", None, b"s1"));
    whole.extend(part("metadata", None, br#"{"a":"b"}"#));
    whole.extend_from_slice(b"--B--\r\n");
    let corpus = Corpus::new(
        &[&whole, b"--B--\r\n", b"--B\r\n\r\n"],
        &[
            "--B",
            "--B\r\n",
            "--B--",
            "\r\n\r\n",
            "content-disposition: ",
            "form-data; ",
            "name=\"file\"",
            "filename*=utf-8''%ff",
        ],
    );
    let mut random = random();
    let end = Instant::now() + seconds();
    let mut stored = 0;
    while Instant::now() < end {
        let body = corpus.next(&mut random);
        let (status, answer) =
            server.ask("POST", "/v1/artifacts", "content-type: multipart/form-data; boundary=B\r\n", &body);
        assert!((200..500).contains(&status), "{status} for {}: {}", body.escape_ascii(), answer.escape_ascii());
        stored += u32::from(status < 300);
    }
    assert!(stored > 0, "no body was whole: the seeds are not what the door takes");
    assert_eq!(server.ask("GET", "/health", "", b"").0, 200);
}

#[test]
fn files_with_previews() {
    let server = Server::start();
    let (mut random, files) = (random(), files());
    let end = Instant::now() + seconds() * 2;
    let mut rounds = 0;
    while Instant::now() < end || rounds < files.len() {
        let (name, corpus) = &files[rounds % files.len()];
        // Each seed once as it is.
        let bytes = if rounds < files.len() { corpus.seeds[0].clone() } else { corpus.next(&mut random) };
        preview(&server, name, &bytes, &mut random);
        rounds += 1;
    }
    assert_eq!(server.ask("GET", "/health", "", b"").0, 200);
}

fn preview(server: &Server, name: &str, bytes: &[u8], random: &mut StdRng) {
    let said = || format!("{name}: {}", bytes.escape_ascii());
    let mut body = part("file", Some(name), bytes);
    body.extend(part("session_id", None, format!("s{}", random.random_range(0..1000)).as_bytes()));
    body.extend_from_slice(b"--B--\r\n");
    let (status, made) =
        server.ask("POST", "/v1/artifacts", "content-type: multipart/form-data; boundary=B\r\n", &body);
    assert!((200..300).contains(&status), "{status}: {}: {}", said(), made.escape_ascii());
    let made: serde_json::Value = serde_json::from_slice(&made).unwrap();
    let id = made["artifact_id"].as_str().unwrap();
    let json = "content-type: application/json\r\n";
    let (status, published) = server.ask("POST", &format!("/v1/artifacts/{id}/publish"), json, b"{}");
    assert!((200..300).contains(&status), "{status}: {}: {}", said(), published.escape_ascii());
    let published: serde_json::Value = serde_json::from_slice(&published).unwrap();
    let url = published["url"].as_str().unwrap();
    let path = url.splitn(4, '/').nth(3).unwrap();
    let (status, page) = server.ask("GET", &format!("/{path}"), "accept: text/html\r\n", b"");
    assert_eq!(status, 200, "/{path}: {}: {}", said(), page.escape_ascii());
}
