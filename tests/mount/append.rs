//! Appending to what is stored: right bytes whatever else is done to the file, and only the tail is hashed and moved.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};

use super::on_every_mount;
use crate::support::proxy::Proxy;
use crate::support::{MountOptions, Sandbox, Store, TestMount, wait_until};

const MIB: usize = 1 << 20;

fn random(size: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; size];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

fn sha(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn quick() -> bool {
    std::env::var_os("OUTPUTFS_TEST_QUICK").is_some()
}

fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

fn recorded(path: &Path) -> String {
    let mut value = [0; 64];
    rustix::fs::getxattr(path, "user.artifact.sha256", &mut value[..]).unwrap();
    String::from_utf8(value.to_vec()).unwrap()
}

/// What a reader gets is `want`, and so is what is on record once nobody has it open for writing.
#[track_caller]
fn holds(path: &Path, want: &[u8], closed: bool, what: &str) {
    let got = std::fs::read(path).unwrap();
    assert_eq!(got.len(), want.len(), "{what}");
    let differs = got.iter().zip(want).position(|(a, b)| a != b);
    assert_eq!(differs, None, "{what}: the first byte that differs of {}", want.len());
    if closed {
        assert_eq!(recorded(path), sha(want), "{what}");
    }
}

/// All of it once more by a daemon that remembers nothing, and every blob against its hash.
fn examine_afresh(m: &TestMount, name: &str, want: &[u8]) {
    let pulled = m.sandbox().path().join("pulled");
    m.sandbox().cli("pull", &[&format!("s1/{name}"), pulled.to_str().unwrap(), "--force"]);
    assert_eq!(sha(&std::fs::read(&pulled).unwrap()), sha(want));
    let out = m.sandbox().outputfs("check").arg("--read-data").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
}

/// Above a chunk and above the smallest part that S3 takes, and ending in the middle of both.
const SIZE: usize = 6 * MIB + 12_345;

fn grow_and_change(m: &TestMount) {
    let path = m.join("log.bin");
    let mut want = random(SIZE, 1);
    std::fs::write(&path, &want).unwrap();
    for n in 0..5 {
        let line = random(1000 + n, n as u64);
        append(&path, &line);
        want.extend_from_slice(&line);
        holds(&path, &want, true, "appended");
    }
    // Through a second descriptor, in the middle, while the first goes on appending.
    let mut log = OpenOptions::new().append(true).open(&path).unwrap();
    log.write_all(b"first").unwrap();
    want.extend_from_slice(b"first");
    let other = OpenOptions::new().write(true).open(&path).unwrap();
    other.write_all_at(b"CHANGED", 1234).unwrap();
    want[1234..1241].copy_from_slice(b"CHANGED");
    drop(other);
    holds(&path, &want, false, "by a second descriptor");
    log.write_all(b"second").unwrap();
    want.extend_from_slice(b"second");
    drop(log);
    holds(&path, &want, true, "by a second descriptor");

    // O_APPEND taken away after the open.
    let log = OpenOptions::new().append(true).open(&path).unwrap();
    (&log).write_all(b"tail").unwrap();
    want.extend_from_slice(b"tail");
    rustix::fs::fcntl_setfl(&log, rustix::fs::OFlags::empty()).unwrap();
    log.write_all_at(b"begin", 0).unwrap();
    want[..5].copy_from_slice(b"begin");
    drop(log);
    holds(&path, &want, true, "without O_APPEND");

    // By a shared mapping of an append descriptor, in an old page and in the last one.
    let log = OpenOptions::new().read(true).append(true).open(&path).unwrap();
    (&log).write_all(&[b'm'; 5000]).unwrap();
    want.extend_from_slice(&[b'm'; 5000]);
    let last = want.len() - 1;
    poke(&log, want.len(), &[(3 * MIB, b'X'), (last, b'Y')]);
    (want[3 * MIB], want[last]) = (b'X', b'Y');
    drop(log);
    holds(&path, &want, true, "mapped");

    // Cut, then appended to; a hole punched; cut through the path.
    let log = OpenOptions::new().append(true).open(&path).unwrap();
    log.set_len(SIZE as u64 - 100).unwrap();
    want.truncate(SIZE - 100);
    (&log).write_all(b"after the cut").unwrap();
    want.extend_from_slice(b"after the cut");
    drop(log);
    holds(&path, &want, true, "cut");
    let log = OpenOptions::new().append(true).open(&path).unwrap();
    (&log).write_all(b"more").unwrap();
    want.extend_from_slice(b"more");
    let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&log, flags, 4096, 8192).unwrap();
    want[4096..4096 + 8192].fill(0);
    drop(log);
    holds(&path, &want, true, "punched");
    append(&path, b"x");
    let log = OpenOptions::new().append(true).open(&path).unwrap();
    assert_eq!(rustix::fs::seek(&log, rustix::fs::SeekFrom::Data(0)).unwrap(), 0);
    want.push(b'x');
    crate::support::sh(&format!("python3 -c 'import os; os.truncate(\"log.bin\", {})'", 5 * MIB + 1), m.path());
    want.truncate(5 * MIB + 1);
    drop(log);
    holds(&path, &want, true, "cut through the path");
    append(&path, b"the end");
    want.extend_from_slice(b"the end");
    // Unlinked while it is open it can still be read.
    let log = OpenOptions::new().read(true).append(true).open(&path).unwrap();
    (&log).write_all(b"!").unwrap();
    let mut byte = [0; 1];
    std::fs::hard_link(&path, m.join("kept")).unwrap();
    std::fs::remove_file(&path).unwrap();
    log.read_exact_at(&mut byte, 2 * MIB as u64).unwrap();
    assert_eq!(byte[0], want[2 * MIB]);
    want.push(b'!');
    drop(log);
    holds(&m.join("kept"), &want, true, "by its other name");
    examine_afresh(m, "kept", &want);
}

/// Writes bytes through a shared mapping of the whole file.
fn poke(file: &File, len: usize, bytes: &[(usize, u8)]) {
    // SAFETY: a fresh shared mapping of an open file of `len` bytes, written within it and unmapped here.
    unsafe {
        let flags = libc::PROT_READ | libc::PROT_WRITE;
        let map = libc::mmap(std::ptr::null_mut(), len, flags, libc::MAP_SHARED, file.as_raw_fd(), 0);
        assert_ne!(map, libc::MAP_FAILED);
        for (at, byte) in bytes {
            map.cast::<u8>().add(*at).write_volatile(*byte);
        }
        assert_eq!(libc::munmap(map, len), 0);
    }
}

/// Any order of appends and changes by any descriptors, beside a copy in memory.
fn any_order(m: &TestMount) {
    for seed in 0..if quick() { 2 } else { 6 } {
        let mut rng = StdRng::seed_from_u64(seed);
        let name = format!("f{seed}");
        let path = m.join(&name);
        let mut want = random([MIB + 5, SIZE, 9 * MIB][rng.random_range(0..3)], seed);
        std::fs::write(&path, &want).unwrap();
        let mut open: Vec<(File, bool)> = Vec::new();
        let mut story = Vec::new();
        for step in 0..60 {
            let bytes = random(rng.random_range(1..5000), step);
            let what = rng.random_range(0..13);
            story.push(what);
            match what {
                0..4 => {
                    append(&path, &bytes);
                    want.extend_from_slice(&bytes);
                }
                4 | 5 if open.len() < 4 => {
                    let appends = rng.random_bool(0.7);
                    let file = OpenOptions::new().read(rng.random()).write(true).append(appends).open(&path).unwrap();
                    open.push((file, appends));
                }
                6 | 7 if !open.is_empty() => {
                    let (file, appends) = &open[rng.random_range(0..open.len())];
                    if *appends {
                        (&*file).write_all(&bytes).unwrap();
                        want.extend_from_slice(&bytes);
                    } else {
                        let at = rng.random_range(0..want.len());
                        file.write_all_at(&bytes, at as u64).unwrap();
                        want.resize(want.len().max(at + bytes.len()), 0);
                        want[at..at + bytes.len()].copy_from_slice(&bytes);
                    }
                }
                8 if !open.is_empty() => {
                    let (file, _) = open.swap_remove(rng.random_range(0..open.len()));
                    drop(file);
                }
                9 if !open.is_empty() => open[rng.random_range(0..open.len())].0.sync_all().unwrap(),
                10 if rng.random_bool(0.2) => {
                    let len = rng.random_range(0..want.len() + 1000);
                    OpenOptions::new().write(true).open(&path).unwrap().set_len(len as u64).unwrap();
                    want.resize(len.max(1), 0);
                    if len == 0 {
                        std::fs::write(&path, [0]).unwrap();
                    }
                }
                11 => open.clear(),
                _ => holds(&path, &want, open.is_empty(), &format!("seed {seed}: {story:?}")),
            }
        }
        open.clear();
        holds(&path, &want, true, &format!("seed {seed}: {story:?}"));
        examine_afresh(m, &name, &want);
    }
}

on_every_mount!(grow_and_change, any_order);

/// Bytes below a directory, as `du` counts them.
fn stored(dir: &Path) -> u64 {
    let out = std::process::Command::new("du").args(["-s", "-B1"]).arg(dir).output().unwrap();
    String::from_utf8_lossy(&out.stdout).split_whitespace().next().unwrap().parse().unwrap()
}

/// Bytes of the objects below the sandbox's prefix.
fn in_bucket(sandbox: &Sandbox) -> u64 {
    let (url, env) = (sandbox.s3_url().unwrap(), crate::support::s3_env());
    let (bucket, prefix) = url.trim_start_matches("s3://").split_once('/').unwrap();
    let count = "import boto3, sys
s3 = boto3.client('s3', endpoint_url=sys.argv[1])
pages = s3.get_paginator('list_objects_v2').paginate(Bucket=sys.argv[2], Prefix=sys.argv[3])
print(sum(o['Size'] for page in pages for o in page.get('Contents', [])))";
    let out = sandbox.program("python3").args(["-c", count, &env.endpoint, bucket, prefix]).output().unwrap();
    String::from_utf8_lossy(&out.stdout)
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)))
}

fn rounds() -> usize {
    if quick() { 100 } else { 1000 }
}

/// Appends line by line, each by an open of its own; answers the content.
fn log_lines(path: &Path, rounds: usize) -> Vec<u8> {
    let mut want = random(16 * MIB, 9);
    std::fs::write(path, &want).unwrap();
    for n in 0..rounds {
        let line = random(1024, n as u64);
        append(path, &line);
        want.extend_from_slice(&line);
    }
    want
}

#[test]
fn a_log_reopened_for_each_line_sends_its_lines_only() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let proxy = runtime.block_on(Proxy::start(&crate::support::s3_env().endpoint));
    let sandbox = Arc::new(Sandbox::through(&proxy.url()));
    // Swept as it goes: what was replaced is gone after a moment.
    let sweeping = MountOptions::new().session("s1").args(&["--gc-interval", "1s", "--gc-grace", "1ms"]);
    let mut m = TestMount::of(&sandbox, sweeping);
    let rounds = rounds();
    let path = m.join("app.log");
    let want = log_lines(&path, rounds);
    let sent = proxy.take_received();
    let requests = proxy.take_requests().len();
    let left = in_bucket(&sandbox);
    println!("s3: {} MiB are stored after the last append", left >> 20);
    println!("s3: {rounds} appends of 1 KiB to 16 MiB: {sent} bytes sent in {requests} requests");
    // The file once, the lines once, and what S3's own words take: the list of parts of each upload. A few times more
    // the file, because a busy server lets attempts time out; each append sending it would be rounds × 16 MiB.
    let due = 6 * 16 * MIB as u64 + rounds as u64 * 2048;
    assert!(
        (16 * MIB as u64 + rounds as u64 * 1024..due).contains(&sent),
        "{sent} bytes were sent, {due} at most are due"
    );
    holds(&path, &want, true, "appended");
    // A daemon that remembers nothing fetches less than a chunk to go on, and sends the line.
    m.remount();
    append(&path, b"after the remount");
    let sent = proxy.take_received();
    assert!(sent < 4096, "{sent} bytes were sent after a remount");
    let want = [&want[..], b"after the remount"].concat();
    holds(&path, &want, true, "after the remount");
    examine_afresh(&m, "app.log", &want);
    let versions = m.sandbox().cli("inspect", &["s1/app.log", "--versions", "--json"]);
    let versions = versions.matches("\"artifact_id\"").count();
    println!("s3: {versions} versions are left");
    assert!((1..=10).contains(&versions), "{versions} versions are kept");
    // What the versions share is stored once for each version that is kept, and nothing is left of those replaced.
    // The first run condemns, the second deletes.
    for _ in 0..2 {
        m.sandbox().cli("gc", &["--gc-grace", "1ms"]);
    }
    let stored = in_bucket(m.sandbox());
    println!("s3: {} MiB are stored for {versions} versions", stored >> 20);
    assert!(stored < (versions as u64 + 1) * 18 * MIB as u64, "{stored} bytes are stored for {versions} versions");
    drop(m);
}

#[test]
fn a_local_log_reopened_for_each_line_is_not_stored_anew_each_time() {
    let mut m = TestMount::with(Store::Local, MountOptions::new().session("s1"));
    let rounds = rounds();
    let path = m.join("app.log");
    let begun = std::time::Instant::now();
    let want = log_lines(&path, rounds);
    println!("local: {rounds} appends of 1 KiB to 16 MiB took {:?}", begun.elapsed());
    holds(&path, &want, true, "appended");
    m.remount();
    holds(&path, &want, true, "after a remount");
    examine_afresh(&m, "app.log", &want);
    let bytes = stored(&m.sandbox().state_dir());
    println!("local: {} MiB are stored", bytes >> 20);
    // Each window leaves a version, and one that reached the store before it was replaced lies there until it is collected: how
    // many is a matter of time, but they are far fewer than rounds.
    assert!(bytes < 40 * 17 * MIB as u64, "{bytes} bytes are stored");
}

#[test]
fn a_server_that_cannot_copy_gets_all_of_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let proxy = runtime.block_on(Proxy::start(&crate::support::s3_env().endpoint));
    proxy.refuse_copies();
    let sandbox = Arc::new(Sandbox::through(&proxy.url()));
    let m = TestMount::of(&sandbox, MountOptions::new().session("s1"));
    let path = m.join("app.log");
    let mut want = random(SIZE, 3);
    std::fs::write(&path, &want).unwrap();
    for n in 0..5 {
        append(&path, format!("line {n}").as_bytes());
        want.extend_from_slice(format!("line {n}").as_bytes());
        holds(&path, &want, true, "appended");
    }
    let copies = proxy.take_requests().iter().filter(|r| r.contains("partNumber=1&")).count();
    assert!(copies <= 3, "{copies} copies were asked for");
    examine_afresh(&m, "app.log", &want);
}

#[test]
fn versions_of_one_program_within_the_window_are_one_and_the_newest_are_kept() {
    let m = TestMount::with(Store::Local, MountOptions::new().session("s1").args(&["--version-window", "1h"]));
    let path = m.join("notes.txt");
    for n in 0..20 {
        std::fs::write(&path, format!("{n}").repeat(50_000)).unwrap();
    }
    let versions = |m: &TestMount| std::fs::read_dir(m.join(".versions/notes.txt")).unwrap().count();
    assert_eq!(versions(&m), 1);
    // Another program is another writer.
    crate::support::sh("for n in 1 2 3; do echo $n > notes.txt; done", m.path());
    assert_eq!(versions(&m), 2);
    // What was replaced before it was stored takes no place.
    let staged = || {
        std::fs::read_dir(m.sandbox().state_dir().join("mounts")).unwrap().flatten().map(|e| stored(&e.path())).sum()
    };
    wait_until("the staging files are gone", Duration::from_secs(20), || {
        let s: u64 = staged();
        s < 100_000
    });

    let m = TestMount::with(
        Store::Local,
        MountOptions::new().session("s1").args(&["--version-window", "off", "--keep-versions", "3"]),
    );
    let path = m.join("notes.txt");
    for n in 0..20 {
        std::fs::write(&path, format!("{n}").repeat(10)).unwrap();
    }
    let mut left: Vec<_> = std::fs::read_dir(m.join(".versions/notes.txt"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["18", "19", "20"]);
}
