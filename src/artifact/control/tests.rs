use proptest::prelude::*;

use super::*;

fn path(text: &str) -> Vec<Name> {
    split_path(text.as_bytes()).unwrap()
}

fn link(text: &str, ttl: Option<&str>) -> Command {
    Command::Link { target: Target::Path(path(text)), ttl: ttl.map(|t| t.parse().unwrap()) }
}

fn good(line: &str) -> Command {
    let (format, command) = parse(line.as_bytes());
    assert_eq!(format, Format::Plain, "{line}");
    command.unwrap_or_else(|e| panic!("{line}: {e}"))
}

fn bad(line: &str) -> String {
    let (_, command) = parse(line.as_bytes());
    let err = command.expect_err(line);
    assert_eq!(err.errno(), libc::EINVAL, "{line}: {err}");
    err.message
}

#[test]
fn every_command() {
    assert_eq!(good("link report.pdf\n"), link("report.pdf", None));
    assert_eq!(good("link charts/q3.png 7d"), link("charts/q3.png", Some("7d")));
    assert_eq!(good("link . never"), Command::Link { target: Target::Here, ttl: Some(Ttl::Never) });
    assert_eq!(good("link ./"), Command::Link { target: Target::Here, ttl: None });
    assert_eq!(good("links"), Command::Links);
    assert_eq!(good("revoke lnk_01234567"), Command::Revoke("lnk_01234567".parse().unwrap()));
    assert_eq!(
        good("revoke https://x.test/lnk_0123456789ABCDEFGHIJKLMNOPQR"),
        Command::Revoke("lnk_0123456789ABCDEFGHIJKLMNOPQR".parse().unwrap())
    );
    assert_eq!(good("  seal \r\n"), Command::Seal);
    assert_eq!(good("status"), Command::Status);
    assert_eq!(good("ttl a b.txt 12h"), Command::Ttl { path: path("a b.txt"), ttl: Ttl::Seconds(43_200) });
    assert_eq!(good("restore a.txt"), Command::Restore { path: path("a.txt"), version: None });
    assert_eq!(good("restore a.txt 3"), Command::Restore { path: path("a.txt"), version: Some(3) });
    assert_eq!(good("usage"), Command::Usage);
    assert_eq!(good("help"), Command::Help);
}

#[test]
fn json_in_front() {
    assert_eq!(parse(b"json links\n"), (Format::Json, Ok(Command::Links)));
    assert_eq!(parse(b"json link json 7d"), (Format::Json, Ok(link("json", Some("7d")))));
    assert_eq!(parse(b"link json").1, Ok(link("json", None)));
    let (format, command) = parse(b"json");
    assert_eq!(format, Format::Json);
    assert!(command.is_err());
    assert_eq!(parse(b"jsonlinks").0, Format::Plain);
}

#[test]
fn blanks_and_quotes() {
    assert_eq!(good("link my report.pdf 7d"), link("my report.pdf", Some("7d")));
    assert_eq!(good("link my  report.pdf"), link("my  report.pdf", None));
    assert_eq!(good("link my report 7d.pdf"), link("my report 7d.pdf", None));
    assert_eq!(good(r#"link "my report 7d""#), link("my report 7d", None));
    assert_eq!(good(r#"link "my report" 7d"#), link("my report", Some("7d")));
    assert_eq!(good(r"link my report \7d"), link("my report 7d", None));
    assert_eq!(good("link 7d"), link("7d", None));
    assert_eq!(good("link 7d 7d"), link("7d", Some("7d")));
    assert_eq!(good(r"link it\'s.pdf"), link("it's.pdf", None));
    assert_eq!(good(r#"link "it's \"x\" \n.pdf""#), link(r#"it's "x" \n.pdf"#, None));
    assert_eq!(good(r"link 'a\b c'/d"), link(r"a\b c/d", None));
    assert_eq!(good("restore 'v 2' 2"), Command::Restore { path: path("v 2"), version: Some(2) });
    assert_eq!(good("restore 'v 2'"), Command::Restore { path: path("v 2"), version: None });
    assert_eq!(parse(b"link caf\xe9").1.unwrap(), {
        Command::Link { target: Target::Path(split_path(b"caf\xe9").unwrap()), ttl: None }
    });
}

#[test]
fn bad_commands_say_what_would_be_right() {
    assert!(bad("").contains("help"));
    assert!(bad("lnik a").contains("'lnik' is not a command"));
    assert!(bad("link").contains("link PATH|. [TTL]"));
    assert!(bad("link ..").contains("'..'"));
    assert!(bad("link a/../b").contains("'..'"));
    assert!(bad("link /").contains("names no file"));
    assert!(bad("link 'a").contains("never closed"));
    assert!(bad("link a\\").contains("backslash"));
    assert!(bad("seal now").contains("alone"));
    assert!(bad("ttl a.txt").contains("ttl PATH DURATION"));
    assert!(bad("ttl a.txt soon").contains("'soon' is not a duration"));
    assert!(bad("restore a.txt 0").contains("from 1"));
    assert!(bad("revoke").contains("revoke LNK"));
    assert!(bad("revoke nothing").contains("not a link"));
    assert!(bad(&format!("link {}", "a/".repeat(5000))).contains("at most"));
}

#[test]
fn help_names_every_command() {
    let text = help_text();
    assert_eq!(text.lines().count(), help().len());
    for verb in ["link", "links", "revoke", "seal", "status", "ttl", "restore", "usage", "help"] {
        assert!(text.lines().any(|l| l.split(' ').next() == Some(verb)), "{verb}");
    }
    assert!(text.lines().all(|l| l.len() <= 100));
}

proptest! {
    #[test]
    fn parsing_never_panics(line in proptest::collection::vec(any::<u8>(), 0..60)) {
        drop(parse(&line));
    }

    #[test]
    fn any_name_can_be_quoted(name in "[^/\\x00]{1,40}", ttl in proptest::option::of(Just("7d"))) {
        prop_assume!(name != "." && name != ".." && name.len() <= 255);
        let quoted = format!("'{}'", name.replace('\'', r"'\''"));
        let line = format!("link {quoted} {}", ttl.unwrap_or_default());
        prop_assert_eq!(parse(line.as_bytes()).1.unwrap(), link(&name, ttl));
    }
}
