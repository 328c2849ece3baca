//! Two mounts and a command with state directories of their own, as on three machines: one PostgreSQL, one S3.

use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::postgres::{cut, database};
use crate::support::{MountOptions, Sandbox, Store, TestMount, wait_until};

/// What is closed on one machine is seen on the others.
const SEEN: Duration = Duration::from_secs(1);
const CATCHES_UP: Duration = Duration::from_secs(20);

struct Machines {
    a: TestMount,
    b: TestMount,
    third: Sandbox,
    catalog: String,
}

fn machines() -> Machines {
    let catalog = database();
    let first = Sandbox::new(Store::S3);
    let (second, third) = (first.beside(), first.beside());
    let options = || MountOptions::new().session("s1").args(&["--catalog", &catalog]);
    let a = TestMount::of(&Arc::new(first), options());
    let b = TestMount::of(&Arc::new(second), options());
    Machines { a, b, third, catalog }
}

#[test]
fn what_one_closes_the_other_sees_and_a_seal_stops_both() {
    let m = machines();
    for (name, bytes) in [("small.txt", b"hello".to_vec()), ("large.bin", vec![7; 300_000])] {
        // It was looked for before: what the kernel remembers of that must go.
        assert_eq!(fs::read(m.b.join(name)).unwrap_err().kind(), ErrorKind::NotFound);
        fs::write(m.a.join(name), &bytes).unwrap();
        wait_until("it is seen on the other machine", SEEN, || fs::read(m.b.join(name)).is_ok_and(|b| b == bytes));
        assert!(fs::read_dir(m.b.path()).unwrap().any(|e| e.unwrap().file_name() == name));
    }
    fs::write(m.b.join("small.txt"), "changed").unwrap();
    wait_until("the new version is seen", SEEN, || fs::read(m.a.join("small.txt")).is_ok_and(|b| b == b"changed"));
    fs::rename(m.b.join("small.txt"), m.b.join("moved.txt")).unwrap();
    wait_until("the new name is seen", SEEN, || m.a.join("moved.txt").exists() && !m.a.join("small.txt").exists());
    fs::remove_file(m.b.join("large.bin")).unwrap();
    wait_until("the removal is seen", SEEN, || !m.a.join("large.bin").exists());

    m.third.cli("seal", &["s1", "--catalog", &m.catalog]);
    for mount in [&m.a, &m.b] {
        let refused = fs::write(mount.join("late.txt"), "late").unwrap_err();
        assert!(matches!(refused.raw_os_error(), Some(libc::EROFS | libc::EPERM | libc::EACCES)), "{refused}");
        assert_eq!(fs::read(mount.join("moved.txt")).unwrap(), b"changed");
    }
}

#[test]
fn lost_connections_are_made_again() {
    let m = machines();
    fs::write(m.a.join("before.txt"), "1").unwrap();
    wait_until("it is seen", SEEN, || m.b.join("before.txt").exists());
    assert!(cut(&m.catalog) >= 2);
    // One that lost its connection in the middle may say so; the next goes on.
    wait_until("writes go on", CATCHES_UP, || fs::write(m.a.join("after.txt"), "2").is_ok());
    let begun = Instant::now();
    wait_until("the other hears again", CATCHES_UP, || fs::read(m.b.join("after.txt")).is_ok_and(|b| b == b"2"));
    eprintln!("heard after {:?}", begun.elapsed());
    assert_eq!(fs::read(m.b.join("before.txt")).unwrap(), b"1");
}

#[test]
fn what_cannot_work_on_many_machines_is_said() {
    let catalog = database();
    let sandbox = Sandbox::new(Store::S3);
    let refused = |args: &[&str], says: &str, code: i32| {
        let out = sandbox.try_cli("ls", args);
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "{text}");
        assert!(text.contains(says) && !text.contains("s3cr3t"), "{text}");
    };
    refused(&["--catalog", "postgres://me:s3cr3t@h/d"], "is seen by everybody", 1);
    refused(&["--catalog", &catalog, "--durability", "local"], "leave --durability out", 1);
    refused(&["--catalog", "postgres://h/d?sslmode=require"], "TLS to PostgreSQL is not supported yet", 1);
    refused(&["--catalog", "host=/nowhere user=u dbname=d"], "the catalog postgres:///nowhere/d cannot be reached", 3);
    let other = sandbox.beside();
    other.cli("ls", &["--catalog", &catalog]);
    let out = other.try_cli::<&str>("ls", &[]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("belongs to the catalog"), "{out:?}");
}
