//! A session's page.

use outputfs::artifact::record::Labels;

use super::server::{Server, noise};

#[test]
fn a_session_shows_its_files() {
    let server = Server::start();
    let agent = Labels { agent_id: Some("writer-7".into()), ..Labels::default() };
    let text = server.push_with("run_42", b"notes/summary.md", b"# Results\nall <good> & \"well\"\n", agent);
    let picture = server.push("run_42", b"chart.png", b"\x89PNG\r\n\x1a\n");
    let html = server.push("run_42", b"evil.html", b"<script>alert(1)</script>");
    let archive = server.push("run_42", b"all.zip", &noise(1500));
    server.push("other", b"secret.txt", b"not yours");
    let link = server.link_to_session("run_42");

    let answer = server.get(&link, &[]);
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/html; charset=utf-8"));
    let page = answer.text();
    let token = &link[1..];
    assert!(page.contains("<title>run_42</title>") && page.contains("Open, may still change"));
    assert!(page.contains("4 files") && page.contains("by <bdi>writer-7</bdi>") && page.contains("1.5 kB"));
    assert!(page.contains("# Results\nall &lt;good&gt; &amp; &quot;well&quot;"));
    assert!(page.contains(&format!("<img src=\"{token}/f/{}\"", picture.id)));
    for download in [&html, &archive] {
        assert!(page.contains(&format!("href=\"{token}/f/{}?download=1\"", download.id)));
        assert!(!page.contains(&format!("src=\"{token}/f/{}", download.id)));
    }
    assert!(!page.contains("secret.txt"));
    // No script, nothing from elsewhere.
    assert!(!page.contains("<script") && !page.contains("http:") && !page.contains("https:") && !page.contains("//"));
    let policy = answer.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"));
    assert_eq!(answer.header("referrer-policy"), "no-referrer");

    // The files behind it: by ID and by path, with the same rules.
    let by_id = server.get(&format!("{link}/f/{}", text.id), &[("range", "bytes=2-8")]);
    assert_eq!((by_id.status, by_id.text()), (206, "Results"));
    let by_path = server.get(&format!("{link}/f/notes/summary.md"), &[]);
    assert_eq!(by_path.header("etag"), format!("\"{}\"", text.hash));
    let active = server.get(&format!("{link}/f/evil.html"), &[]);
    assert!(active.header("content-disposition").starts_with("attachment"));
    assert!(active.header("content-security-policy").starts_with("sandbox"));
    for missing in ["f/none.txt", "f/notes", "f/../other/secret.txt", "f/%2e%2e/other/secret.txt"] {
        assert_eq!(server.get(&format!("{link}/{missing}"), &[]).status, 404, "{missing}");
    }
    let slash = server.get(&format!("{link}/"), &[]);
    assert_eq!((slash.status, slash.header("location")), (308, format!("..{link}").as_str()));
}

#[test]
fn files_of_another_session_are_not_found() {
    let server = Server::start();
    server.push("mine", b"a.txt", b"a");
    let foreign = server.push("other", b"b.txt", b"b");
    let link = server.link_to_session("mine");
    assert_eq!(server.get(&format!("{link}/f/{}", foreign.id), &[]).status, 404);
}

#[test]
fn an_earlier_version_stays_reachable_and_a_deleted_file_does_not() {
    let server = Server::start();
    let first = server.push("run", b"a.txt", b"one");
    server.push("run", b"a.txt", b"two");
    let gone = server.push("run", b"b.txt", b"gone");
    server.runtime.block_on(server.store.rm("run/b.txt")).unwrap();
    let link = server.link_to_session("run");
    assert_eq!(server.get(&format!("{link}/f/{}", first.id), &[]).text(), "one");
    assert_eq!(server.get(&format!("{link}/f/a.txt"), &[]).text(), "two");
    assert_eq!(server.get(&format!("{link}/f/{}", gone.id), &[]).status, 404);
    let page = server.get(&link, &[]);
    assert!(page.text().contains("version 2") && !page.text().contains("b.txt"));
}

#[test]
fn hostile_names_are_shown_and_run_nothing() {
    let server = Server::start();
    let deep = [b"d".repeat(250).as_slice(); 400].join(&b'/');
    let names: [&[u8]; 7] = [
        b"<script>alert(1)<",
        b"\"><img src=x onerror=alert(1)>.png",
        b"'quotes' & \"double\".txt",
        b"line\nbreak.txt",
        b"x\xe2\x80\xaegpj.exe",
        b"\xff\xfe.bin",
        &deep,
    ];
    for name in names {
        server.push("run", name, b"plain text");
    }
    let link = server.link_to_session("run");
    let answer = server.get(&link, &[]);
    let page = answer.text();
    assert!(page.contains("7 files"));
    assert!(!page.contains("<script") && !page.contains("<img src=x") && !page.contains('\u{202e}'));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;"));
    assert!(page.contains("&quot;&gt;&lt;img src=x onerror=alert(1)&gt;.png"));
    assert!(page.contains("x[U+202E]gpj.exe") && page.contains("line\u{240a}break.txt") && page.contains("%FF%FE.bin"));
    assert!(page.contains(std::str::from_utf8(&deep).unwrap()));
    // Paths that are no UTF-8 are addresses as well.
    assert_eq!(server.get(&format!("{link}/f/%FF%FE.bin"), &[]).text(), "plain text");
    assert_eq!(server.get(&format!("{link}/f/%3Cscript%3Ealert(1)%3C"), &[]).text(), "plain text");
}

#[test]
fn a_large_session_has_pages() {
    let server = Server::start();
    for i in 0..205 {
        server.push("run", format!("f{i:03}.bin").as_bytes(), format!("\0{i}").as_bytes());
    }
    let link = server.link_to_session("run");
    let (mut path, mut seen, mut pages) = (link.clone(), Vec::new(), 0);
    loop {
        let answer = server.get(&path, &[]);
        assert_eq!(answer.status, 200);
        pages += 1;
        seen.extend(answer.text().split("<bdi>f").skip(1).map(|rest| rest[..3].to_owned()));
        let Some((_, next)) = answer.text().split_once("class=\"next\" href=\"") else { break };
        path = format!("/{}", next.split('"').next().unwrap());
    }
    assert_eq!(pages, 3);
    seen.sort();
    assert!(seen.iter().cloned().eq((0..205).map(|i| format!("{i:03}"))), "{seen:?}");
    assert_eq!(server.get(&format!("{link}?after=x"), &[]).status, 400);
}

#[test]
fn a_sealed_session_says_so() {
    let server = Server::start();
    server.push("run", b"a.txt", b"hello");
    let session = server.runtime.block_on(server.store.session("run")).unwrap();
    let progress = outputfs::engine::progress::Progress::none();
    server.runtime.block_on(server.store.seal(&session, super::server::DEADLINE, &progress)).unwrap();
    let page = server.get(&server.link_to_session("run"), &[]);
    assert!(page.text().contains("class=\"seal sealed\">Sealed <time"));
}
