//! Expiry, trash and collection on real mounts.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{MountOptions, Sandbox, Store, TestMount, sh, try_sh, wait_until};

const SHOWS: Duration = Duration::from_secs(5);

/// The clock of every process of a sandbox.
#[cfg(feature = "failpoints")]
struct TestClock(std::path::PathBuf);

#[cfg(feature = "failpoints")]
impl TestClock {
    fn new(sandbox: &Sandbox) -> Self {
        let clock = Self(sandbox.path().join("clock"));
        clock.set(Duration::ZERO);
        clock
    }

    /// So far ahead of real time.
    fn set(&self, ahead: Duration) {
        let temp = self.0.with_extension("new");
        std::fs::write(&temp, ahead.as_nanos().to_string()).unwrap();
        std::fs::rename(&temp, &self.0).unwrap();
    }

    fn mount(&self, sandbox: &Arc<Sandbox>, session: &str) -> TestMount {
        let options = MountOptions::new().session(session).env("OUTPUTFS_TEST_CLOCK", self.0.to_str().unwrap());
        TestMount::of(sandbox, options)
    }

    fn run(&self, sandbox: &Sandbox, args: &[&str]) -> serde_json::Value {
        let out = sandbox.outputfs(args[0]).args(&args[1..]).env("OUTPUTFS_TEST_CLOCK", &self.0).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap_or_default()
    }
}

fn outputfs(sandbox: &Sandbox, args: &[&str]) -> serde_json::Value {
    let out = sandbox.outputfs(args[0]).args(&args[1..]).output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap_or_default()
}

fn now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap()
}

/// By real time, as the kernel's caches know no other.
fn expires_in_that_second(m: &TestMount) {
    let end = outputfs_ttl(m);
    let there = |path: &str| m.join(path).symlink_metadata().is_ok();
    let listed = || std::fs::read_dir(m.join("d")).unwrap().count() == 1;
    let mut open = std::fs::File::open(m.join("d/f")).unwrap();
    // Everything is cached now, by name, by attributes, in the listing.
    let by_id = sh("echo .by-id/$(getfattr --only-values -n user.artifact.id d/f)", m.path());
    let (mut last_seen, mut first_gone) = (Duration::ZERO, Duration::ZERO);
    let deadline = end + Duration::from_secs(3);
    while now() < deadline {
        let before = now();
        let seen = (there("d/f"), listed(), there(&by_id), std::fs::File::open(m.join("d/f")).is_ok());
        if seen == (false, false, false, false) {
            first_gone = now();
            break;
        }
        // The end may come between two of the looks.
        if now() < end {
            assert_eq!(seen, (true, true, true, true), "gone before {end:?}, at {before:?}");
        }
        last_seen = before;
    }
    assert!(first_gone >= end && first_gone < end + Duration::from_secs(1), "gone {first_gone:?} for {end:?}");
    assert!(last_seen < end + Duration::from_secs(1));
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "bytes\n", "a descriptor that was open reads on");
    assert!(!try_sh("cat d/f", m.path()).status.success());
}

/// A file that lives for two seconds more; the moment of its end.
fn outputfs_ttl(m: &TestMount) -> Duration {
    sh("mkdir d; echo bytes > d/f; cat d/f; ls d", m.path());
    // First longer, so that the kernel has long times, then shorter, after the fact.
    sh("echo 'ttl d/f 7d' > .ctl; stat d/f; ls -l d", m.path());
    sh("echo 'ttl d/f 2s' > .ctl; stat d/f; ls -l d", m.path());
    let text = sh("getfattr --only-values -n user.artifact.expires_at d/f", m.path());
    let at = outputfs::artifact::time::Timestamp::parse_rfc3339(&text).unwrap();
    Duration::from_nanos(at.0.unsigned_abs())
}

super::on_every_mount!(expires_in_that_second, trash_shows_what_when_and_by_whom);

fn trash_shows_what_when_and_by_whom(m: &TestMount) {
    sh("mkdir -p d; echo one > d/report; echo two > d/other", m.path());
    sh("OUTPUTFS_AGENT_ID=planner rm d/report; rm d/other", m.path());
    let items = outputfs(m.sandbox(), &["trash", "ls", "s1"]);
    let by = |name: &str| {
        let item = items.as_array().unwrap().iter().find(|i| i["filename"] == name).unwrap();
        (item["deleted_by"].as_str().unwrap_or_default().to_owned(), item["deleted_at"].is_string())
    };
    assert!(by("d/report").0.starts_with("planner (rm, uid "), "{items}");
    assert!(by("d/other").0.starts_with("rm, uid ") && by("d/other").1, "{items}");
    // Hidden, but there; out of it by name.
    assert_eq!(sh("ls -A", m.path()), "d");
    let shown = sh("ls .trash | sort", m.path());
    assert_eq!(shown.lines().map(|l| l.split('~').next().unwrap()).collect::<Vec<_>>(), ["other", "report"]);
    sh("mv .trash/report~* d/back", m.path());
    wait_until("the restored file", SHOWS, || {
        try_sh("[ \"$(cat d/back)\" = one ] && echo more >> d/back && [ \"$(ls .trash | wc -l)\" = 1 ]", m.path())
            .status
            .success()
    });
    // Over a file: a version of it.
    sh("echo new > d/other; mv -f .trash/other~* d/other", m.path());
    wait_until("the file over another", SHOWS, || {
        sh("cat d/other; ls .versions/d/other | wc -l", m.path()).starts_with("two")
    });
    sh("rm d/other; rm .trash/other~*; [ -z \"$(ls .trash)\" ]", m.path());
    sh("rm d/back", m.path());
    outputfs(m.sandbox(), &["trash", "restore", "s1/d/back"]);
    wait_until("the file that the command restored", SHOWS, || m.join("d/back").exists());
    sh("rm d/back", m.path());
    assert_eq!(outputfs(m.sandbox(), &["trash", "empty", "s1"])["purged"], 1);
    assert_eq!(sh("ls .trash", m.path()), "");
    check(m.sandbox());
}

fn check(sandbox: &Sandbox) {
    let out = sandbox.outputfs("check").arg("--read-data").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
}

#[test]
fn versions_come_back_by_number_without_an_upload() {
    let m = TestMount::with(Store::Local, MountOptions::new().session("s1"));
    sh("for i in 1 2 3; do cp /dev/stdin f <<< v$i; sync f; sleep 0; done", m.path());
    let versions = outputfs(m.sandbox(), &["inspect", "--versions", "s1/f"]);
    let first = versions.as_array().unwrap().first().unwrap()["version"].to_string();
    let old = sh(&format!("cat .versions/f/{first}"), m.path());
    outputfs(m.sandbox(), &["restore", "s1/f", &first]);
    wait_until("the old bytes", SHOWS, || sh("cat f", m.path()) == old);
    check(m.sandbox());
}

#[cfg(feature = "failpoints")]
#[test]
fn a_moved_clock_ends_files_on_every_mount_and_the_collector_frees_them() {
    let sandbox = Arc::new(Sandbox::new(Store::Local));
    let clock = TestClock::new(&sandbox);
    let (a, b) = (clock.mount(&sandbox, "s1"), clock.mount(&sandbox, "s1"));
    sh("head -c 300000 /dev/urandom > f; echo 'ttl f 90m' > .ctl; echo keep > g; echo 'ttl g never' > .ctl", a.path());
    let both = |script: &str| [&a, &b].iter().all(|m| try_sh(script, m.path()).status.success());
    wait_until("both see it", SHOWS, || both("[ -e f ] && [ \"$(ls)\" = \"f\ng\" ]"));
    let mut open = std::fs::File::open(b.join("f")).unwrap();
    clock.set(Duration::from_secs(89 * 60));
    assert!(both("[ -e f ] && ls | grep -qx f"));
    clock.set(Duration::from_secs(91 * 60));
    wait_until("both see its end", Duration::from_secs(1), || {
        both("[ ! -e f ] && [ \"$(ls)\" = g ] && refuses -e ENOENT cat f")
    });
    // The sweep frees the records, the bytes after their grace; the open descriptor reads on.
    // (Not before the bytes are in the store.)
    let mut condemned = 0;
    wait_until("it is swept", SHOWS, || {
        condemned += clock.run(&sandbox, &["gc"])["condemned"].as_u64().unwrap();
        condemned == 1
    });
    clock.set(Duration::from_secs(10 * 3600));
    // Now, or once the mount that has it open lets go of it.
    let mut deleted = clock.run(&sandbox, &["gc"])["deleted"].as_u64().unwrap();
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 300_000);
    drop(open);
    let mut hours = 10;
    wait_until("its bytes are freed", SHOWS, || {
        hours += 2;
        clock.set(Duration::from_secs(hours * 3600));
        deleted += clock.run(&sandbox, &["gc"])["deleted"].as_u64().unwrap();
        deleted == 1
    });
    assert!(both("[ \"$(ls)\" = g ]"));
    clock.run(&sandbox, &["check", "--read-data"]);
}

#[cfg(feature = "failpoints")]
#[test]
fn deleted_files_stay_for_the_grace_period_and_the_daemon_sweeps_by_itself() {
    let sandbox = Arc::new(Sandbox::new(Store::Local));
    let clock = TestClock::new(&sandbox);
    let options = MountOptions::new()
        .session("s1")
        .env("OUTPUTFS_TEST_CLOCK", clock.0.to_str().unwrap())
        .args(&["--gc-interval", "1s"]);
    let m = TestMount::of(&sandbox, options);
    sh("head -c 300000 /dev/urandom > f; rm f", m.path());
    let blobs = sandbox.path().join("state/blobs/default/blobs");
    let count = |dir: &Path| sh("find . -type f | wc -l", dir).parse::<u32>().unwrap();
    wait_until("the blob is in the store", SHOWS, || blobs.exists() && count(&blobs) == 1);
    clock.set(Duration::from_hours(6 * 24));
    assert_eq!(clock.run(&sandbox, &["gc"])["purged"], 0);
    clock.set(Duration::from_hours(8 * 24));
    wait_until("the trash ends", SHOWS, || clock.run(&sandbox, &["trash", "ls"]).as_array().is_some_and(Vec::is_empty));
    clock.set(Duration::from_hours(9 * 24));
    wait_until("the bytes go", SHOWS, || count(&blobs) == 0);
    clock.run(&sandbox, &["check"]);
}

#[test]
fn a_tree_that_is_removed_comes_back_from_the_trash() {
    let m = TestMount::with(Store::Local, MountOptions::new().session("s1"));
    sh("mkdir d; for i in $(seq 1500); do echo $i > d/$i; done; rm -r d", m.path());
    assert_eq!(sh("ls .trash | wc -l", m.path()), "1500");
    sh("mkdir d; cd .trash; for f in *; do mv \"$f\" ../d/${f%~*}; done", m.path());
    assert_eq!(sh("cat d/* | sort -n | cmp - <(seq 1500) && ls .trash | wc -l", m.path()), "0");
}
