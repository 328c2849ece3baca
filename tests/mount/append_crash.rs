//! kill -9 at named points while a large file grows: every acknowledged line is there, none half, none twice.

use std::io::Write;
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::time::Duration;

use crate::support::{MountOptions, Store, TestMount};

/// Above this appends send the new bytes alone, on every store.
const BASE: usize = 6 << 20;
const LINES: usize = 120;

fn line(n: usize) -> String {
    format!("{n:062}\n")
}

/// Appends line by line, each by an open of its own, until the daemon dies. How many were acknowledged.
fn append(path: &Path, from: usize) -> usize {
    for n in from..from + LINES {
        let Ok(mut file) = std::fs::OpenOptions::new().append(true).open(path) else { return n };
        if file.write_all(line(n).as_bytes()).is_err() {
            return n;
        }
        // SAFETY: the descriptor was just taken out of its owner and is closed once.
        if unsafe { libc::close(file.into_raw_fd()) } != 0 {
            return n;
        }
    }
    from + LINES
}

fn grows_through_crashes(store: Store, options: &MountOptions, points: &[&str]) {
    let options = options.clone().session("s1").args(&["--version-window", "off"]);
    let base: Vec<u8> = (0..BASE).map(|n| u8::try_from(n * 31 % 251).unwrap_or(0)).collect();
    let mut m = TestMount::with(store, options.clone());
    std::fs::write(m.join("log"), &base).unwrap();
    let mut there = 0;
    for point in points {
        m.remount_with(options.clone().env("FAILPOINTS", &format!("{point}=4%return")));
        let acked = append(&m.join("log"), there);
        let died = crate::support::wait::holds_within(Duration::from_millis(500), || !m.is_alive());
        if died {
            m.wait_end(Duration::from_secs(5));
        } else {
            m.kill9();
        }
        println!("{point}: {} lines acknowledged, died at the point: {died}", acked - there);
        m.remount_with(options.clone());
        let bytes = std::fs::read(m.join("log")).unwrap_or_else(|e| panic!("{point}: {e}\n{}", m.log()));
        assert!(bytes[..BASE] == base[..], "{point}: what was there before is not as it was");
        let tail = std::str::from_utf8(&bytes[BASE..]).unwrap();
        let whole = tail.len() / line(0).len();
        // The one that was on its way may have made it.
        assert!((acked..=acked + 1).contains(&whole), "{point}: {whole} lines of {acked} acknowledged");
        assert_eq!(tail, (0..whole).map(line).collect::<String>(), "{point}: lines are whole, in order, once");
        there = whole;
        m.sandbox().cli("check", &["--read-data"]);
    }
}

const POINTS: [&str; 6] = [
    "ingest::before_put",
    "ingest::after_put",
    "ingest::before_commit",
    "ingest::after_commit",
    "settle::before_adopt",
    "settle::after_adopt",
];

#[test]
fn a_log_grows_through_crashes_local() {
    grows_through_crashes(Store::Local, &MountOptions::new(), &POINTS[2..]);
}

#[test]
fn a_log_grows_through_crashes_s3() {
    grows_through_crashes(Store::S3, &MountOptions::new(), &POINTS[..4]);
}

#[test]
fn a_log_grows_through_crashes_s3_durability_local() {
    grows_through_crashes(Store::S3, &MountOptions::new().durability_local(), &POINTS);
}
