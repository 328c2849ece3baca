//! Many writers at once: processes beside processes, sessions beside sessions, readers in between.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::wait::with_deadline;
use crate::support::{MountOptions, Store, TestMount};

/// Writes files under its own names, renames every tenth, overwrites every fifth; prints the names that must be there.
const WRITER: &str = r#"
import os, sys
d, who, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
for i in range(count):
    name = f"{who}_{i:03d}.txt"
    body = (name + "\n").encode() * (1 + i * 7 % 400)
    for _ in range(2 if i % 5 == 0 else 1):
        fd = os.open(f"{d}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(fd, body)
        os.close(fd)
    if i % 10 == 0:
        os.rename(f"{d}/{name}", f"{d}/moved_{name}")
        name = "moved_" + name
    assert os.stat(f"{d}/{name}").st_size == len(body), name
    print(name)
"#;

/// Far above what it takes, below a hang.
const DEADLINE: Duration = Duration::from_secs(240);

fn writer(m: &TestMount, dir: &Path, who: &str, count: usize) -> Child {
    let mut c = m.sandbox().program("python3");
    c.args(["-c", WRITER]).arg(dir).args([who, &count.to_string()]);
    c.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn names(children: Vec<Child>) -> HashSet<String> {
    let all = with_deadline(DEADLINE, move || {
        let mut all = HashSet::new();
        for child in children {
            let out = child.wait_with_output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            all.extend(String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned));
        }
        all
    });
    all.expect("the writers end in time")
}

fn listing(dir: &Path) -> HashSet<String> {
    std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// Lists, reads, stats and asks the control file until told to stop. Returns the largest number of threads it saw.
fn pester(m: &TestMount, dir: &Path, cached: bool, stop: &AtomicBool, rounds: &AtomicU64) -> u64 {
    let mut most = 0;
    while !stop.load(Ordering::Relaxed) {
        for name in listing(dir) {
            // Renamed meanwhile: gone is right, wrong bytes are not.
            let Ok(bytes) = std::fs::read(dir.join(&name)) else { continue };
            let line = name.strip_prefix("moved_").unwrap_or(&name).as_bytes();
            let same = |c: &[u8]| {
                let n = c.len().min(line.len());
                c[..n] == line[..n]
            };
            // Without passthrough pages are the kernel's. One read while its file is cut to nothing comes back from here empty, and
            // the kernel, which does not know of the cut yet, fills it up (fs/fuse/file.c, fuse_short_read): no reply of ours helps.
            if cached && bytes.iter().all(|b| *b == 0) {
                continue;
            }
            let begins = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]).into_owned();
            assert!(bytes.chunks(line.len() + 1).all(same), "{name}: {} bytes, {begins:?}", bytes.len());
        }
        assert!(!m.ctl("status").unwrap().is_empty());
        let status = std::fs::read_to_string(format!("/proc/{}/status", m.pid())).unwrap();
        let threads = status.lines().find_map(|l| l.strip_prefix("Threads:")).unwrap();
        most = most.max(threads.trim().parse().unwrap());
        rounds.fetch_add(1, Ordering::Relaxed);
    }
    most
}

fn whole(dir: &Path, expected: &HashSet<String>) {
    let found = listing(dir);
    let missing: Vec<_> = expected.difference(&found).take(5).collect();
    let extra: Vec<_> = found.difference(expected).take(5).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:?}, not expected {extra:?}");
    for name in expected {
        let line = format!("{}\n", name.strip_prefix("moved_").unwrap_or(name));
        let bytes = std::fs::read(dir.join(name)).unwrap();
        let i: usize = line.trim().rsplit(['_', '.']).nth(1).unwrap().parse().unwrap();
        assert_eq!(bytes, line.repeat(1 + i * 7 % 400).as_bytes(), "{name}");
    }
}

/// Fewer with `scripts/test --quick`.
fn files(full: usize) -> usize {
    if std::env::var_os("OUTPUTFS_TEST_QUICK").is_some() { full / 10 } else { full }
}

fn into_one_session(store: Store, options: MountOptions, cached: bool) {
    let mut m = TestMount::with(store, options.session("s1"));
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let (expected, threads) = std::thread::scope(|scope| {
        let pesterer = scope.spawn(|| pester(&m, m.path(), cached, &stop, &rounds));
        let children = (0..64).map(|k| writer(&m, m.path(), &format!("p{k}"), files(100))).collect();
        let expected = names(children);
        stop.store(true, Ordering::Relaxed);
        (expected, pesterer.join().unwrap())
    });
    assert_eq!(expected.len(), 64 * files(100));
    assert!(rounds.load(Ordering::Relaxed) > 0);
    assert!(threads <= 40, "the daemon had {threads} threads");
    whole(m.path(), &expected);
    m.remount();
    whole(m.path(), &expected);
    let check = m.sandbox().cli("check", &["--read-data"]);
    println!("{check}");
}

#[test]
fn sixty_four_processes_into_one_session() {
    into_one_session(Store::Local, MountOptions::new(), false);
}

#[test]
fn sixty_four_processes_into_one_session_without_passthrough() {
    into_one_session(Store::Local, MountOptions::new().no_passthrough(), true);
}

#[test]
fn sixty_four_processes_into_one_session_s3() {
    into_one_session(Store::S3, MountOptions::new(), false);
}

#[test]
fn sixteen_sessions_on_one_mount_and_sixteen_runs_beside_it() {
    let m = TestMount::new(Store::Local);
    let count = files(50);
    // Half of the sessions through the shared mount, half each by a mount of its own on the same state directory.
    let shared: Vec<_> = (0..8).map(|k| format!("shared{k}")).collect();
    let own: Vec<_> = (0..8).map(|k| format!("own{k}")).collect();
    let mut children = Vec::new();
    for s in &shared {
        std::fs::create_dir(m.join(s)).unwrap();
        children.push(writer(&m, &m.join(s), s, count));
    }
    for s in &own {
        let mut c = m.sandbox().outputfs("run");
        let mountpoint = m.sandbox().new_mountpoint();
        c.args(["-q", "--session", s, "--http", "off", "--mount"])
            .arg(&mountpoint)
            .args(["--", "python3", "-c", WRITER]);
        c.arg(&mountpoint).args([s, &count.to_string()]);
        children.push(c.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    }
    let all = names(children);
    assert_eq!(all.len(), 16 * count);
    for s in shared.iter().chain(&own) {
        let mine = all.iter().filter(|n| n.strip_prefix("moved_").unwrap_or(n).starts_with(&format!("{s}_"))).cloned();
        whole(&m.join(s), &mine.collect());
    }
}
