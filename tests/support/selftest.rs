//! The helpers themselves: a helper that cannot fail would make every test that uses it worthless.

use std::time::Duration;

use super::*;

#[test]
fn a_condition_that_never_holds_fails() {
    assert!(!wait::holds_within(Duration::from_millis(20), || false));
    let mut looks = 0;
    wait_until("three looks", Duration::from_secs(5), || {
        looks += 1;
        looks == 3
    });
}

#[test]
fn work_that_never_ends_is_given_up() {
    let (_keep, never) = std::sync::mpsc::channel::<()>();
    assert_eq!(with_deadline(Duration::from_millis(20), move || never.recv().is_ok()), None);
    assert_eq!(with_deadline(Duration::from_secs(5), || 7), Some(7));
}

#[test]
fn scripts_run_in_their_folder_and_stop_at_the_first_failure() {
    let sandbox = Sandbox::new(Store::Local);
    assert_eq!(sh("pwd", sandbox.path()), sandbox.path().to_str().expect("a temporary folder in UTF-8"));
    assert!(!try_sh("false; true", sandbox.path()).status.success());
    assert!(!try_sh("false | true", sandbox.path()).status.success());
}

#[test]
fn what_must_be_refused_or_not_said_can_fail_and_names_its_line() {
    let sandbox = Sandbox::new(Store::Local);
    let said = |script: &str| {
        let out = try_sh(&format!("true\n{script}; echo went on"), sandbox.path());
        (out.status.success(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
    };
    for right in [
        "refuses cat none",
        "refuses -e ENOENT cat none",
        "refuses -e ENOTDIR eval 'echo x > /dev/null/x'",
        "f() { return 3; }; refuses f",
        "lacks b echo a",
        "if refuses true; then false; fi",
    ] {
        assert!(said(right).0, "{right}: {}", said(right).1);
    }
    for (wrong, why) in [
        ("refuses true", "not refused: true"),
        ("refuses -e EROFS cat none", "refused, but not with EROFS (Read-only file system)"),
        ("refuses -e ENONE false", "ENONE is not known here"),
        ("if ! refuses -e ENONE false; then false; fi", "ENONE is not known here"),
        ("refuses no-such-command", "ended with 127 instead of being refused"),
        ("refuses eval 'kill -9 $BASHPID'", "ended with 137"),
        ("lacks '^b' printf 'a\nb\n'", "not to be in printf"),
        ("lacks b cat none", "No such file"),
        ("[ a = b ]", "line 2: `[ a = b ]` ended with 1"),
        ("f() { false; }; f", "line 2"),
        ("x=$(false)", "line 2"),
        ("(exit 7)", "ended with 7"),
    ] {
        let (ok, text) = said(wrong);
        assert!(!ok && text.contains(why) && text.contains("line 2: ") && !text.contains("went on"), "{wrong}: {text}");
    }
}

#[test]
fn hashes_are_those_of_the_bytes_in_the_order_asked() {
    let sandbox = Sandbox::new(Store::Local);
    let (abc, empty) = (sandbox.path().join("a\\b\nc"), sandbox.path().join("empty"));
    std::fs::write(&abc, "abc").expect("write");
    std::fs::write(&empty, "").expect("write");
    assert_eq!(
        sha256_of_all(&[&abc, &empty]),
        [
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        ]
    );
}

#[test]
fn a_program_sees_the_sandbox_and_not_the_testers_environment() {
    let sandbox = Sandbox::new(Store::Local);
    let out = sandbox.program("env").output().expect("env");
    let env = String::from_utf8_lossy(&out.stdout).into_owned();
    let foreign: Vec<&str> = env
        .lines()
        .filter(|l| l.starts_with("OUTPUTFS_") || l.starts_with("AWS_"))
        .filter(|l| !l.starts_with("OUTPUTFS_TEST_RUN=") && *l != "AWS_EC2_METADATA_DISABLED=true")
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(env.contains(&format!("HOME={}/home", sandbox.path().display())));
}

#[test]
fn the_s3_server_is_there() {
    let env = s3_env();
    let address = env.endpoint.strip_prefix("http://").expect("an http endpoint");
    std::net::TcpStream::connect(address).unwrap_or_else(|e| panic!("{} does not answer: {e}", env.endpoint));
}

#[test]
fn only_a_fuse_mount_counts_as_mounted() {
    assert!(!mount::is_mounted(std::path::Path::new("/proc")));
    assert!(!mount::is_mounted(std::path::Path::new("/")));
}
