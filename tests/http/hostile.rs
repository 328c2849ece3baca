//! Files made to break whoever looks at them, on the pages of a real daemon: there is no preview, and that is all.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use super::server::{Answer, request, send};
use crate::support::{MountOptions, Store, TestMount};

/// A page with files that take their whole budget each, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Parquet file of some 100 KB whose schema nests `levels` deep: its reader recurses as deep.
fn deep_parquet(levels: usize) -> Vec<u8> {
    let varint = |mut n: usize| {
        let mut out = Vec::new();
        while n > 0x7f {
            out.push(u8::try_from(n & 0x7f).unwrap() | 0x80);
            n >>= 7;
        }
        out.push(u8::try_from(n).unwrap());
        out
    };
    // Thrift's compact form: the version, then the list of the schema's elements.
    let mut footer = vec![0x15, 0x02, 0x19, 0xfc];
    footer.extend(varint(levels + 1));
    footer.extend([0x48, 1, b'r', 0x15, 2, 0]);
    for _ in 1..levels {
        footer.extend([0x35, 0, 0x18, 1, b'a', 0x15, 2, 0]);
    }
    footer.extend([0x15, 2, 0x25, 0, 0x18, 1, b'a', 0]);
    // No rows, no row groups.
    footer.extend([0x16, 0, 0x19, 0x0c, 0]);
    let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
    [b"PAR1".as_slice(), &footer, &length, b"PAR1"].concat()
}

/// A document whose object stream unpacks to 200 MiB.
fn bomb_pdf() -> Vec<u8> {
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    let blank = vec![b' '; 1 << 20];
    for _ in 0..200 {
        zlib.write_all(&blank).unwrap();
    }
    let mut out = b"%PDF-1.5\n7 0 obj << /Type /ObjStm /Filter /FlateDecode >>\nstream\r\n".to_vec();
    out.extend(zlib.finish().unwrap());
    out.extend(b"\nendstream endobj");
    out
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let nested = |text: &str, end: &str| format!("{}{}", text.repeat(100_000), end.repeat(100_000)).into_bytes();
    let mut notebook = String::from("{\"cells\":[");
    write!(notebook, "{{\"cell_type\":\"markdown\",\"source\":\"{}\"}},", "> ".repeat(50_000)).unwrap();
    notebook.push_str("{\"cell_type\":\"code\",\"source\":");
    notebook.push_str(&"[".repeat(100_000));
    notebook.push_str(&"]".repeat(100_000));
    notebook.push_str("}]}");
    vec![
        ("deep.parquet", deep_parquet(20_000)),
        ("deep.json", nested("[", "]")),
        ("deep.ipynb", notebook.into_bytes()),
        ("wide.ipynb", format!("{{\"cells\":[{}0]}}", "[],".repeat(1_000_000)).into_bytes()),
        ("quotes.md", ">".repeat(100_000).into_bytes()),
        ("links.md", "[a](<b".repeat(10_000).into_bytes()),
        ("stars.md", "*a **b _c ".repeat(8_000).into_bytes()),
        ("notes.md", (0..4_000).map(|n| format!("[^{n}]: [^{}]\n", n + 1)).collect::<String>().into_bytes()),
        ("quoted.csv", format!("\"{}", "a,\"\"".repeat(20_000)).into_bytes()),
        ("bomb.pdf", bomb_pdf()),
        ("bomb.zip", zip_bomb()),
    ]
}

fn zip_bomb() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("zeros", zip::write::SimpleFileOptions::default()).unwrap();
    for _ in 0..100 {
        zip.write_all(&vec![0; 1 << 20]).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// What signing in with this key gives: a cookie.
fn sign_in(base: &str, key: &str) -> String {
    let origin = [("origin", base), ("content-type", "application/x-www-form-urlencoded")];
    let answer = send("POST", &format!("{base}/signin"), &origin, format!("key={key}").as_bytes());
    assert_eq!(answer.status, 303, "{}", answer.text());
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

fn page(url: &str, headers: &[(&str, &str)]) -> Answer {
    let began = Instant::now();
    let answer = request("GET", url, headers);
    assert_eq!(answer.status, 200, "{url}");
    assert!(began.elapsed() < PATIENCE, "{url} took {:?}", began.elapsed());
    answer
}

#[test]
fn no_file_stops_the_daemon_on_any_page() {
    let mount = TestMount::with(Store::Local, MountOptions::new().args(&["--http", "127.0.0.1:0"]));
    let run = mount.path().join("run");
    std::fs::create_dir(&run).unwrap();
    std::fs::write(run.join("good.md"), "# Good\n\n| a |\n|--:|\n| 1 |\n").unwrap();
    for (name, bytes) in files() {
        std::fs::write(run.join(name), bytes).unwrap();
    }
    let sandbox = mount.sandbox();
    let link = sandbox.cli("link", &["run"]);
    let base = link.split("/lnk_").next().unwrap().to_owned();
    let made = sandbox.cli("key", &["create", "--scope", "admin"]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let key = made["key"].as_str().unwrap();
    let cookie = sign_in(&base, key);
    let operator = [("cookie", cookie.as_str())];
    let bearer = format!("Bearer {key}");

    let session = page(&link, &[]);
    assert!(session.text().contains("<h2>Good</h2>"), "{}", session.text());
    assert!(page(&format!("{base}/sessions/run"), &operator).text().contains("<h2>Good</h2>"));
    let names: Vec<_> = files().into_iter().map(|(name, _)| name).chain(["good.md"]).collect();
    for name in names {
        let id = sandbox.cli("inspect", &[format!("run/{name}"), String::from("--json")]);
        let id = id.split("art_").nth(1).map(|rest| format!("art_{}", &rest[..26])).unwrap();
        let publish = send("POST", &format!("{base}/v1/artifacts/{id}/publish"), &[("authorization", &bearer)], b"");
        assert_eq!(publish.status, 200, "{}", publish.text());
        let public = publish.json()["url"].as_str().unwrap().to_owned();
        let all = [
            (format!("{link}/v/{id}"), [].as_slice()),
            (public, [].as_slice()),
            (format!("{base}/sessions/run/v/{id}"), operator.as_slice()),
        ];
        // The same process looks at a file for each of them: all three for those that end differently.
        let doors = if ["deep.parquet", "bomb.pdf", "good.md"].contains(&name) { 3 } else { 1 };
        for (url, headers) in all.into_iter().take(doors) {
            let shown = page(&url, headers);
            match name {
                "deep.parquet" => assert!(shown.text().contains("There is no preview"), "{}", shown.text()),
                "bomb.pdf" => assert!(shown.text().contains("not shown here"), "{}", shown.text()),
                "good.md" => assert!(shown.text().contains("<td class=\"right\">1</td>"), "{}", shown.text()),
                _ => {}
            }
        }
    }
    // A process broke each time, and only for the first of the pages; the daemon writes on.
    let metrics = request("GET", &format!("{base}/metrics"), &[("authorization", &bearer)]);
    let broken = metrics.text().lines().find_map(|l| l.strip_prefix("outputfs_previews_total{outcome=\"broken\"} "));
    let broken: u32 = broken.unwrap_or_else(|| panic!("nothing broke:\n{}", metrics.text())).parse().unwrap();
    assert!((2..=8).contains(&broken), "{broken}");
    std::fs::write(run.join("after.txt"), "still here").unwrap();
    assert_eq!(std::fs::read_to_string(run.join("after.txt")).unwrap(), "still here");
}
