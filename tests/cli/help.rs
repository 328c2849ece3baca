//! Usage, help and their exit codes.

use super::*;
use crate::support::bash;

/// Every command that people are told of.
const COMMANDS: [&str; 30] = [
    "run",
    "mount",
    "umount",
    "ls",
    "push",
    "pull",
    "inspect",
    "link",
    "links",
    "revoke",
    "seal",
    "session",
    "check-ignore",
    "rm",
    "restore",
    "trash",
    "trash ls",
    "trash empty",
    "trash restore",
    "ttl",
    "gc",
    "verify",
    "check",
    "doctor",
    "status",
    "serve",
    "mcp",
    "completions",
    "man",
    "session new",
];

/// Set `OUTPUTFS_TEST_BLESS` to write the help as it is now; then look at the difference.
#[test]
fn help_is_as_recorded() {
    let sandbox = sandbox();
    let mut all = ok(&sandbox, &["--help"]);
    for command in COMMANDS {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        all.extend(["\n\n==== ", command, "\n", &own_part(&ok(&sandbox, &words))]);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/help.txt");
    if std::env::var_os("OUTPUTFS_TEST_BLESS").is_some() {
        std::fs::write(&path, &all).expect("the recorded help");
    }
    let recorded = std::fs::read_to_string(&path).expect("the recorded help");
    for (now, then) in all.lines().zip(recorded.lines()) {
        assert_eq!(now, then, "the help has changed: run with OUTPUTFS_TEST_BLESS=1 and look at the difference");
    }
    assert_eq!(all.lines().count(), recorded.lines().count());
}

/// Without the options of every command, which the help of the program itself shows.
fn own_part(help: &str) -> String {
    let mut kept = String::new();
    for paragraph in help.split("\n\n").filter(|p| !p.starts_with("Store:") && !p.starts_with("Output:")) {
        kept.push_str(paragraph.trim_end());
        kept.push('\n');
    }
    kept
}

#[test]
fn every_command_takes_the_common_options() {
    let sandbox = sandbox();
    for command in COMMANDS {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = ok(&sandbox, &words);
        for option in ["--state-dir", "--store", "--s3-endpoint", "--tenant", "--json", "--log-format"] {
            assert!(help.contains(option), "{command} has no {option}");
        }
    }
}

#[test]
fn wrong_usage_is_the_users_mistake() {
    let sandbox = sandbox();
    for words in [&["nonsense"][..], &["ls", "--nonsense"], &["push"], &["run"], &[], &["mount"]] {
        let said = fails(&sandbox, 1, words);
        assert!(said.starts_with("outputfs: ") || said.contains("Usage:"), "{words:?}: {said}");
    }
    for (words, says) in [
        (&["ls", "--since", "yesterday"][..], "'yesterday' is not a time: write 90m, 7d, or 2026-01-31T12:00:00Z"),
        (&["ls", "--where", "novalue"], "'novalue' is not a condition: write key=value"),
        (&["--cache-size", "big", "ls"], "'big' is not a size"),
        (&["--upload-timeout", "5", "ls"], "'5' is not a time to wait"),
        (&["link", "x", "--ttl", "1y"], "'1y' is not a duration"),
        (&["mount", "m", "--http", "7780"], "'7780' is not an address"),
        (&["run", "--session", "../x", "true"], "../x"),
    ] {
        let said = fails(&sandbox, 1, words);
        assert!(said.contains(says), "{words:?}: {said}");
    }
}

#[test]
fn version_completions_and_manual() {
    let sandbox = sandbox();
    assert!(ok(&sandbox, &["--version"]).starts_with(concat!("outputfs ", env!("CARGO_PKG_VERSION"))));
    for shell in ["bash", "zsh", "fish"] {
        assert!(ok(&sandbox, &["completions", shell]).contains("umount"));
    }
    assert!(ok(&sandbox, &["man"]).contains(".TH outputfs"));
    ok(&sandbox, &["man", "--out", "pages"]);
    let page = std::fs::read_to_string(sandbox.path().join("pages/outputfs-run.1")).expect("a page");
    assert!(page.contains("report"));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let sandbox = sandbox();
    let script = format!("'{}' completions bash | head -1", env!("CARGO_BIN_EXE_outputfs"));
    let out = bash(&mut sandbox.program("bash"), &script).output().expect("bash");
    assert!(out.status.success(), "{}", stderr(&out));
    assert_eq!(stderr(&out), "");
}
