//! Whole copies of what is stored are committed without a hash and without an upload; every other copy is hashed as ever.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;

use rand::{RngCore, SeedableRng, rngs::StdRng};

use crate::support::{MountOptions, Store, TestMount, sh, sha256_of};

const SIZE: usize = (9 << 20) + 321;

/// A mount that tells its counters, and their address.
fn counting(store: Store, options: MountOptions) -> (TestMount, String) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let m = TestMount::with(store, options.session("s1").args(&["--http", &address]));
    (m, format!("http://{address}/metrics"))
}

fn counter(url: &str, name: &str) -> u64 {
    let text = sh(&format!("curl -sSf {url}"), std::path::Path::new("/"));
    let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("no {name} in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// In a process of one thread: ours starts programs in other threads, and each of them closes what it inherits, which is a close.
#[track_caller]
fn python(m: &TestMount, code: &str) {
    let copy = "import os
def COPY(src, dst, n):
    while os.copy_file_range(src.fileno(), dst.fileno(), n): pass";
    let out =
        m.sandbox().program("python3").current_dir(m.path()).args(["-c", &format!("{copy}\n{code}")]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

fn copies(store: Store, options: MountOptions) {
    let (mut m, url) = counting(store, options);
    let mut bytes = vec![0; SIZE];
    StdRng::seed_from_u64(7).fill_bytes(&mut bytes);
    std::fs::write(m.join("a"), &bytes).unwrap();
    // A clean end leaves nothing that is not in the store.
    m.remount();
    let fact = |name: &str, what: &str| sh(&format!("getfattr --only-values -n user.artifact.{what} {name}"), m.path());
    let count = || (counter(&url, "outputfs_copies_total"), counter(&url, "outputfs_dedup_hits_total"));
    assert_eq!(count(), (0, 0));
    sh("cp a b; cp b c; cmp a b; cmp a c", m.path());
    assert_eq!(count(), (2, 2), "two copies, neither hashed nor sent");
    assert_eq!(fact("b", "sha256"), sha256_of(&m.join("a")));
    assert_ne!(fact("b", "id"), fact("a", "id"));

    // Whatever else is done to the copy before it is closed, its bytes are hashed.
    let other = |name: &str, change: &str, want: &[u8]| {
        python(&m, &format!("COPY(open('a', 'rb'), to := open('{name}', 'wb+', 0), {SIZE}); {change}"));
        assert_eq!(fact(name, "sha256"), sha256_of(&m.join(name)), "{name}");
        assert!(std::fs::read(m.join(name)).unwrap() == want, "{name}");
        assert_eq!(count().0, 2, "{name}");
    };
    let mut changed = bytes.clone();
    changed[5_000_000..5_000_007].copy_from_slice(b"CHANGED");
    other("changed", "os.pwrite(to.fileno(), b'CHANGED', 5_000_000)", &changed);
    other("cut", "to.truncate(100_000)", &bytes[..100_000]);
    other("longer", &format!("os.pwrite(to.fileno(), b'more', {SIZE})"), &[&bytes[..], b"more"].concat());
    // The same length, other bytes, a copy of its own middle.
    let mut again = bytes.clone();
    again.copy_within(1000..5096, 0);
    other("again", "os.copy_file_range(os.open('a', os.O_RDONLY), to.fileno(), 4096, 1000, 0)", &again);
    // In pieces, one after another; and what is written to it afterwards is a version of its own.
    python(&m, "COPY(open('a', 'rb'), open('pieces', 'wb', 0), 1 << 20)");
    assert_eq!(count().0, 3);
    OpenOptions::new().append(true).open(m.join("pieces")).unwrap().write_all(b"!").unwrap();
    m.remount();
    sh("cmp a b; cmp a c; printf '!' | cat a - | cmp - pieces", m.path());
    m.sandbox().cli("check", &["--read-data"]);
}

#[test]
fn local() {
    copies(Store::Local, MountOptions::new());
}

#[test]
fn local_without_passthrough() {
    copies(Store::Local, MountOptions::new().no_passthrough());
}

#[test]
fn s3() {
    copies(Store::S3, MountOptions::new());
}

#[test]
fn s3_durability_local() {
    copies(Store::S3, MountOptions::new().durability_local().no_passthrough());
}
