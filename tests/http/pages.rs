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
    assert!(page.contains("4 files, ") && page.contains("by <bdi>writer-7</bdi>") && page.contains("1.5 KiB"));
    assert!(page.contains("<h2>Results</h2>") && page.contains("all &lt;good&gt; &amp; \"well\""), "{page}");
    assert!(page.contains(&format!("<img src=\"{token}/f/{}\"", picture.id)));
    for file in [&html, &archive] {
        assert!(page.contains(&format!("href=\"{token}/f/{}?download=1\"", file.id)));
        assert!(page.contains(&format!("href=\"{token}/v/{}\"", file.id)));
        assert!(!page.contains(&format!("src=\"{token}/f/{}\"", file.id)));
    }
    assert!(page.contains(&format!("<iframe src=\"{token}/f/{}?frame=1\" sandbox=\"\"", html.id)));
    assert!(!page.contains("secret.txt"));
    // One script, ours; nothing from elsewhere.
    assert_eq!((page.matches("<script").count(), page.contains("alert(1)")), (1, false));
    assert!(!page.contains("http:") && !page.contains("https:"));
    let policy = answer.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
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
    assert_eq!(server.get(&format!("{link}/f/{}", gone.id), &[]).status, 410);
    let page = server.get(&link, &[]);
    assert!(page.text().contains("version 2") && !page.text().contains("b.txt"));
}

#[test]
fn hostile_names_are_shown_and_run_nothing() {
    let server = Server::start();
    let deep = [b"d".repeat(250).as_slice(); 16].join(&b'/');
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
    assert!(page.matches("<script").count() == 1 && !page.contains("<img src=x") && !page.contains('\u{202e}'));
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
    assert_eq!(pages, 4);
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

#[test]
fn a_document_in_a_frame_has_no_script_no_network_and_no_origin() {
    let server = Server::start();
    let html = server.push("run", b"page.html", b"<script>alert(1)</script>");
    let svg = server.push("run", b"chart.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>");
    let xml = server.push("run", b"feed.xml", b"<?xml version='1.0'?><a/>");
    let link = server.link_to_session("run");
    for file in [&html, &svg] {
        let framed = server.get(&format!("{link}/f/{}?frame=1", file.id), &[]);
        assert!(framed.header("content-disposition").starts_with("inline"));
        let policy = framed.header("content-security-policy");
        assert!(policy.starts_with("sandbox; default-src 'none';") && !policy.contains("allow-"), "{policy}");
        assert_eq!(framed.header("connection-allowlist"), "()");
        assert!(!policy.contains("script-src") && policy.contains("img-src data:;"), "{policy}");
    }
    let other = server.get(&format!("{link}/f/{}?frame=1", xml.id), &[]);
    assert!(other.header("content-disposition").starts_with("attachment"));
}

#[test]
fn a_session_is_searched_and_filtered() {
    let server = Server::start();
    let by = |agent: &str| Labels { agent_id: Some(agent.into()), ..Labels::default() };
    server.push_with("run", b"charts/Q3.png", b"\x89PNG\r\n\x1a\n1", by("painter"));
    server.push_with("run", b"charts/q4.png", b"\x89PNG\r\n\x1a\n2", by("painter"));
    server.push_with("run", b"notes.md", b"# q3", by("writer"));
    let link = server.link_to_session("run");
    let found = |query: &str| {
        let page = server.get(&format!("{link}?{query}"), &[]).text().to_owned();
        page.matches("<article").count()
    };
    for (query, files) in [
        ("", 3),
        ("q=q3", 1),
        ("q=CHARTS+q", 2),
        ("q=painter", 2),
        ("type=image%2F%2A", 2),
        ("type=text%2Fmarkdown", 1),
        ("agent=writer", 1),
        ("agent=painter&q=q4", 1),
        ("q=nothing", 0),
        ("meta=a%3Db", 0),
    ] {
        assert_eq!(found(query), files, "{query}");
    }
    assert_eq!(server.get(&format!("{link}?meta=x"), &[]).status, 400);
    // The same at its other address.
    assert_eq!(server.get(&format!("/s{link}?q=q4"), &[]).text().matches("<article").count(), 1);
}

#[test]
fn a_file_has_a_page_with_its_versions() {
    let server = Server::start();
    let first = server.push("run", b"a.csv", b"x,y\n1,2\n");
    let second = server.push("run", b"a.csv", b"x,y\n3,4\n");
    let foreign = server.push("other", b"b.csv", b"secret\n");
    let link = server.link_to_session("run");
    let page = server.get(&format!("{link}/v/{}", first.id), &[]);
    let text = page.text();
    assert!(
        page.status == 200 && text.contains("not the newest") && text.contains("<td class=\"num\">1</td>"),
        "{text}"
    );
    assert!(text.contains(&format!("href=\"{}\"", second.id)) && text.contains(&first.hash.to_hex()));
    for none in [foreign.id.to_string(), "a.csv".into(), "x".into()] {
        assert_eq!(server.get(&format!("{link}/v/{none}"), &[]).status, 404, "{none}");
    }
}

#[test]
fn all_of_a_session_is_one_archive() {
    let server = Server::start();
    let deep = [b"d".repeat(250).as_slice(); 16].join(&b'/');
    let large = noise(3 << 20);
    let files: [(&[u8], &[u8]); 6] = [
        (b"a/b.txt", b"hello"),
        (b"large.bin", &large),
        (b"empty", b""),
        (b"\xff.bin", b"x"),
        (b"a\\b", b"y"),
        (&deep, b"z"),
    ];
    for (name, content) in files {
        server.push("run", name, content);
    }
    let answer = server.get(&format!("{}/zip", server.link_to_session("run")), &[]);
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"run.zip\"");
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(&answer.body)).unwrap();
    assert_eq!(archive.len(), files.len());
    let mut content = |name: &str| {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut archive.by_name(name).unwrap(), &mut bytes).unwrap();
        bytes
    };
    assert_eq!((content("run/a/b.txt"), content("run/empty")), (b"hello".to_vec(), Vec::new()));
    assert!(content("run/large.bin") == large);
    let names: Vec<_> = (0..archive.len()).map(|n| archive.by_index(n).unwrap().name().unwrap().to_string()).collect();
    assert!(names.iter().all(|n| n.starts_with("run/") && !n.contains('\\') && !n.contains("..")), "{names:?}");
    // No end is known before it is made: an answer cut off is seen to be.
    assert_eq!(answer.header("content-length"), "");
}

#[test]
fn texts_are_said_to_be_what_their_bytes_are() {
    let server = Server::start();
    let german = "Die Größe der Übung änderte sich für alle schönen Straßen\n";
    let latin: Vec<u8> = german.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let wide: Vec<u8> = "\u{feff}Größe\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let long = vec![b'x'; 3 << 20];
    for (name, typed, bytes, charset, shown) in [
        ("a.txt", "text/plain", german.as_bytes(), "utf-8", "Größe"),
        ("b.txt", "text/plain", &latin, "windows-1252", "Größe"),
        ("c.csv", "text/csv", &latin, "windows-1252", "Größe"),
        ("d.md", "text/markdown", &wide, "utf-16le", "Größe"),
        ("e.txt", "text/plain; charset=iso-8859-1", &latin, "iso-8859-1", "Größe"),
        ("f.txt", "text/plain", &long, "utf-8", "<pre class=\"code long\">"),
    ] {
        let file = server.push_typed("run", name.as_bytes(), bytes, typed);
        let raw = server.get(&server.link_to(&file), &[]);
        let essence = typed.split(';').next().unwrap();
        assert_eq!(raw.header("content-type"), format!("{essence}; charset={charset}"), "{name}");
        assert!(raw.body == bytes, "{name}: the bytes are as they were");
        let part = server.get(&server.link_to(&file), &[("range", "bytes=2-5")]);
        assert_eq!(part.header("content-type"), raw.header("content-type"), "{name}");
        let page = server.get(&format!("{}/v/{}", server.link_to_session("run"), file.id), &[]);
        assert!(page.text().contains(shown), "{name}: {}", &page.text()[..2000]);
    }
}
