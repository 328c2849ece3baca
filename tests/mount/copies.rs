//! Whole copies of what is stored are committed without a hash and without an upload; every other copy is hashed as ever.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::FileExt;

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
    let other = |name: &str, change: &dyn Fn(&std::fs::File, &mut Vec<u8>)| {
        let (from, to) = (std::fs::File::open(m.join("a")).unwrap(), std::fs::File::create(m.join(name)).unwrap());
        let (mut at_from, mut at_to, mut want) = (0, 0, bytes.clone());
        while rustix::fs::copy_file_range(&from, Some(&mut at_from), &to, Some(&mut at_to), SIZE).unwrap() > 0 {}
        change(&to, &mut want);
        drop(to);
        assert_eq!(fact(name, "sha256"), sha256_of(&m.join(name)), "{name}");
        assert!(std::fs::read(m.join(name)).unwrap() == want, "{name}");
    };
    other("changed", &|f, want| {
        f.write_all_at(b"CHANGED", 5_000_000).unwrap();
        want[5_000_000..5_000_007].copy_from_slice(b"CHANGED");
    });
    other("cut", &|f, want| {
        f.set_len(100_000).unwrap();
        want.truncate(100_000);
    });
    other("longer", &|f, want| {
        f.write_all_at(b"more", SIZE as u64).unwrap();
        want.extend_from_slice(b"more");
    });
    other("again", &|f, want| {
        // The same length, other bytes, a copy of its own middle.
        let from = std::fs::File::open(m.join("a")).unwrap();
        let (mut at_from, mut at_to) = (1000, 0);
        let n = rustix::fs::copy_file_range(&from, Some(&mut at_from), f, Some(&mut at_to), 4096).unwrap();
        want.copy_within(1000..1000 + n, 0);
    });
    assert_eq!(count().0, 2);
    // In pieces, one after another; and what is written to it afterwards is a version of its own.
    let (from, to) = (std::fs::File::open(m.join("a")).unwrap(), std::fs::File::create(m.join("pieces")).unwrap());
    let (mut at_from, mut at_to) = (0, 0);
    while rustix::fs::copy_file_range(&from, Some(&mut at_from), &to, Some(&mut at_to), 1 << 20).unwrap() > 0 {}
    drop(to);
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
