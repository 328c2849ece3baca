//! link, links, revoke; and `serve`, which answers them.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use super::*;

#[test]
fn links_are_made_listed_and_ended() {
    let sandbox = sandbox();
    write(sandbox.path(), "f", "text");
    ok(&sandbox, &["push", "f", "s/f"]);
    let url = ok(&sandbox, &["link", "s/f", "--public-url", "https://files.example.org/"]);
    let url = url.trim_end();
    assert!(url.starts_with("https://files.example.org/lnk_"), "{url}");
    let token = url.rsplit('/').next().expect("a token");
    assert_eq!(token.len(), 4 + 28);

    let out = outputfs(&sandbox, &["link", "s", "--ttl", "1h", "--json"]);
    let whole: Value = serde_json::from_str(&stdout(&out)).expect("JSON");
    assert!(whole["url"].as_str().is_some_and(|u| u.starts_with("http://127.0.0.1:7780/lnk_")));
    assert!(stderr(&out).contains("nobody serves links"), "{}", stderr(&out));

    let list = ok(&sandbox, &["links"]);
    assert!(!list.contains(token), "a token is shown once");
    assert_eq!(serde_json::from_str::<Value>(&list).expect("JSON").as_array().map(Vec::len), Some(2));
    ok(&sandbox, &["revoke", url]);
    assert_eq!(ok_json(&sandbox, &["links", "s/f"])[0]["state"], "revoked");
    assert!(fails(&sandbox, 1, &["revoke", "lnk_00000000"]).contains("no link"));
    assert!(fails(&sandbox, 1, &["link"]).contains("a link to what?"));
}

#[test]
fn serve_answers_links_and_ends_on_sigterm() {
    let sandbox = sandbox();
    write(sandbox.path(), "f", "text");
    ok(&sandbox, &["push", "f", "s/f"]);
    let mut c = sandbox.program(env!("CARGO_BIN_EXE_outputfs"));
    c.args(["serve", "--http", "127.0.0.1:0"]).env("OUTPUTFS_STATE_DIR", sandbox.state_dir());
    let mut server = c.stderr(Stdio::piped()).spawn().expect("it starts");
    let mut said = BufReader::new(server.stderr.take().expect("its standard error"));
    let base = loop {
        let mut line = String::new();
        assert_ne!(said.read_line(&mut line).expect("a line"), 0, "it ended");
        if let Some((_, base)) = line.trim_end().split_once("links are served at ") {
            break base.to_owned();
        }
    };
    // Whoever makes a link now finds the listener by itself.
    let url = ok(&sandbox, &["link", "s/f"]);
    assert!(url.starts_with(&base), "{url} is not at {base}");
    let body = ureq::get(url.trim_end()).call().expect("an answer").body_mut().read_to_string().expect("text");
    assert_eq!(body, "text");
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
    let ended = crate::support::with_deadline(Duration::from_secs(20), move || server.wait().expect("its end"));
    assert!(ended.expect("it ends in time").success());
}
