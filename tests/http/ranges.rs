//! A file's bytes: whole, in ranges, resumed, not again, never wrong.

use std::process::Command;

use outputfs::blob::BlobKey;

use super::server::{Server, noise, request, try_request};

#[test]
fn a_file_comes_whole_with_all_that_is_known_of_it() {
    let server = Server::start();
    let bytes = noise(3 << 20);
    let artifact = server.push("run", b"dir/clip.mp4", &bytes);
    let link = server.link_to(&artifact);

    let whole = server.get(&link, &[]);
    assert_eq!(whole.status, 200);
    assert!(whole.body == bytes);
    assert_eq!(whole.header("etag"), format!("\"{}\"", artifact.hash));
    assert_eq!(whole.header("content-length"), bytes.len().to_string());
    assert_eq!(whole.header("content-type"), "video/mp4");
    assert_eq!(whole.header("content-disposition"), "inline; filename=\"clip.mp4\"");
    assert_eq!(whole.header("accept-ranges"), "bytes");
    assert!(whole.header("cache-control").contains("private"));
    assert_eq!(whole.header("x-content-type-options"), "nosniff");
    assert_eq!(whole.header("referrer-policy"), "no-referrer");
    assert!(whole.header("x-robots-tag").contains("noindex"));
    assert!(whole.header("last-modified").ends_with(" GMT"));

    let head = server.head(&link);
    assert_eq!((head.status, head.body.len()), (200, 0));
    for same in ["etag", "content-length", "content-type", "content-disposition", "accept-ranges", "last-modified"] {
        assert_eq!(head.header(same), whole.header(same), "{same}");
    }
    // RFC 9110 14.2: a range counts for GET alone.
    assert_eq!(request("HEAD", &server.url(&link), &[("range", "bytes=0-1")]).status, 200);
}

#[test]
fn ranges_of_a_file() {
    let server = Server::start();
    let bytes = noise(10_000);
    let link = server.link_to(&server.push("run", b"data.bin", &bytes));

    for (range, from, to) in [("0-0", 0, 1), ("10-99", 10, 100), ("9000-", 9000, 10_000), ("-7", 9993, 10_000)] {
        let part = server.get(&link, &[("range", &format!("bytes={range}"))]);
        assert_eq!(part.status, 206, "{range}");
        assert_eq!(part.header("content-range"), format!("bytes {from}-{}/10000", to - 1));
        assert_eq!(part.header("content-length"), (to - from).to_string());
        assert!(part.body == bytes[from..to], "{range}");
    }
    let outside = server.get(&link, &[("range", "bytes=10000-")]);
    assert_eq!((outside.status, outside.header("content-range")), (416, "bytes */10000"));
    assert_eq!(outside.json()["error"]["code"], "range_not_satisfiable");
    let ignored = server.get(&link, &[("range", "bytes=5-4")]);
    assert_eq!((ignored.status, ignored.body.len()), (200, 10_000));

    let empty = server.link_to(&server.push("run", b"empty.bin", b""));
    let nothing = server.get(&empty, &[("range", "bytes=0-")]);
    assert_eq!((nothing.status, nothing.header("content-length")), (200, "0"));
}

#[test]
fn several_ranges_come_in_parts() {
    let server = Server::start();
    let bytes = noise(1_000_000);
    let link = server.link_to(&server.push("run", b"data.bin", &bytes));
    let answer = server.get(&link, &[("range", "bytes=0-9,500000-999998,-1")]);
    assert_eq!(answer.status, 206);
    let boundary = answer.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap();
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    let mut expected = Vec::new();
    for (from, to) in [(0, 10), (500_000, 999_999), (999_999, 1_000_000)] {
        let head = format!(
            "--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {from}-{}/1000000\r\n\r\n",
            to - 1
        );
        expected.extend_from_slice(head.as_bytes());
        expected.extend_from_slice(&bytes[from..to]);
        expected.extend_from_slice(b"\r\n");
    }
    expected.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    assert!(answer.body == expected);
}

#[test]
fn what_the_client_has_is_not_sent_again() {
    let server = Server::start();
    let artifact = server.push("run", b"a.txt", b"hello");
    let link = server.link_to(&artifact);
    let tag = format!("\"{}\"", artifact.hash);
    let date = server.head(&link).header("last-modified").to_owned();

    let unchanged = server.get(&link, &[("if-none-match", &tag)]);
    assert_eq!((unchanged.status, unchanged.body.len(), unchanged.header("etag")), (304, 0, tag.as_str()));
    assert_eq!(server.get(&link, &[("if-modified-since", &date)]).status, 304);
    assert_eq!(server.get(&link, &[("if-none-match", "\"other\"")]).status, 200);
    assert_eq!(server.get(&link, &[("if-match", "\"other\"")]).status, 412);
    let part = |condition: &str| server.get(&link, &[("range", "bytes=1-"), ("if-range", condition)]).status;
    assert_eq!((part(&tag), part(&date)), (206, 206));
    assert_eq!((part("\"other\""), part("Tue, 14 Nov 2000 22:13:20 GMT")), (200, 200));
}

#[test]
fn curl_resumes_a_download() {
    let server = Server::start();
    let bytes = noise(5_000_000);
    let artifact = server.push("run", b"big.bin", &bytes);
    let url = server.url(&server.link_to(&artifact));
    let file = server.dir.path().join("big.bin");
    let resume = || {
        let out = Command::new("curl")
            .args(["-sS", "--fail", "--max-time", "20", "-C", "-", "-o"])
            .arg(&file)
            .arg(&url)
            .output()
            .unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    std::fs::write(&file, &bytes[..1_234_567]).unwrap();
    assert_eq!(resume().0, Some(0));
    assert!(std::fs::read(&file).unwrap() == bytes);
    // Nothing is left to get: 416 with the length tells curl so, and the file stays as it is.
    let (_, error) = resume();
    assert!(std::fs::read(&file).unwrap() == bytes, "{error}");

    let named = Command::new("curl")
        .current_dir(server.dir.path())
        .args(["-sS", "--max-time", "20", "-OJ"])
        .arg(format!("{url}?download=1"))
        .output()
        .unwrap();
    assert!(named.status.success() || server.dir.path().join("big.bin").exists());
}

#[test]
fn odd_names_make_no_odd_headers() {
    let server = Server::start();
    for (name, disposition) in [
        (&b"Gr\xc3\xb6\xc3\x9fe.zip"[..], "attachment; filename=\"Gr__e.zip\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe.zip"),
        (b"a\"b.zip", "attachment; filename=\"a_b.zip\"; filename*=UTF-8''a%22b.zip"),
        (b"a\r\nset-cookie: x=1", "attachment; filename=\"a__set-cookie: x=1\""),
        (b"x\xe2\x80\xaegpj.exe", "attachment; filename=\"x_gpj.exe\""),
        (b"\xff\xfe.zip", "attachment; filename=\"_FF_FE.zip\"; filename*=UTF-8''%25FF%25FE.zip"),
    ] {
        let artifact = server.push_typed("run", name, b"\x00binary", "application/octet-stream");
        let answer = server.get(&server.link_to(&artifact), &[]);
        assert_eq!(answer.header("content-disposition"), disposition);
        assert!(answer.headers.get("set-cookie").is_none());
        assert_eq!(answer.body, b"\x00binary");
    }
}

#[test]
fn documents_that_run_script_are_downloaded_into_a_sandbox() {
    let server = Server::start();
    for name in ["page.html", "image.svg", "feed.xml"] {
        let link = server.link_to(&server.push("run", name.as_bytes(), b"<svg onload='alert(1)'/>"));
        for link in [link.clone(), format!("{link}?download=0")] {
            let answer = server.get(&link, &[]);
            assert!(answer.header("content-disposition").starts_with("attachment"), "{name}");
            assert!(answer.header("content-security-policy").starts_with("sandbox; default-src 'none'"), "{name}");
        }
    }
    // A type that is none, or two, reaches no browser.
    for bad in ["text/plain, text/html", "x/<script>"] {
        let link = server.link_to(&server.push_typed("run", b"odd", bad.as_bytes(), bad));
        let answer = server.get(&link, &[]);
        if !bad.is_empty() {
            assert_eq!(answer.header("content-type"), "application/octet-stream", "{bad}");
            assert!(answer.header("content-disposition").starts_with("attachment"));
        }
    }
    let picture = server.link_to(&server.push("run", b"a.png", b"\x89PNG\r\n\x1a\n"));
    assert!(server.get(&picture, &[]).header("content-disposition").starts_with("inline"));
    let download = server.get(&format!("{picture}?download=1"), &[]);
    assert_eq!(download.header("content-disposition"), "attachment; filename=\"a.png\"");
}

#[test]
fn damaged_bytes_are_never_served() {
    let server = Server::start();
    let bytes = noise(9 << 20);
    let artifact = server.push("run", b"data.bin", &bytes);
    let settled = server.runtime.block_on(server.store.settle_all(
        outputfs::engine::settle::Scope::Own,
        super::server::DEADLINE,
        &outputfs::engine::progress::Progress::none(),
    ));
    assert_eq!(settled.unwrap().artifacts, 0);
    let key = BlobKey::blob("default", artifact.hash);
    let path = server.store.blobs.local_path(&key).unwrap();
    let mut damaged = bytes.clone();
    damaged[6 << 20] ^= 1;
    // A new file: what is stored may be read-only, or shared with a staging file.
    let beside = path.with_extension("damaged");
    std::fs::write(&beside, &damaged).unwrap();
    std::fs::rename(&beside, &path).unwrap();

    let url = server.url(&server.link_to(&artifact));
    match try_request("GET", &url, &[]) {
        // The damage is in a later piece: what came before is right, and the end is missing.
        Err(_) => {}
        Ok(answer) => assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (500, Some("corrupt"))),
    }
    let bad = try_request("GET", &url, &[("range", "bytes=6291456-6291466")]);
    assert!(bad.is_ok_and(|a| a.status == 500 && a.json()["error"]["code"] == "corrupt"));
}
