//! Random sequences of what programs do with one open file, replayed on a mount and on a plain directory: the same
//! bytes, sizes and answers after every step, and at most one version a handle that wrote.
//!
//! The pure decisions have their own model (`artifact::openfile`); this is the same kind of sequence on the real thing.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::support::{MountOptions, Store, TestMount};

#[derive(Clone, Debug)]
enum Step {
    /// A slot, and whether to truncate, append, or open read-write.
    Open(usize, u8),
    Write(usize, u8, u16),
    WriteAt(usize, u8, u16),
    /// A duplicate is made and closed at once: a FLUSH while the handle goes on.
    CloseADuplicate(usize),
    Sync(usize),
    SetLen(usize, u16),
    Close(usize),
    Rename,
    Unlink,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let slot = 0..3_usize;
    let step = prop_oneof![
        4 => (slot.clone(), any::<u8>()).prop_map(|(s, how)| Step::Open(s, how)),
        6 => (slot.clone(), any::<u8>(), 1..30_000_u16).prop_map(|(s, b, n)| Step::Write(s, b, n)),
        2 => (slot.clone(), any::<u8>(), 0..40_000_u16).prop_map(|(s, b, at)| Step::WriteAt(s, b, at)),
        3 => slot.clone().prop_map(Step::CloseADuplicate),
        1 => slot.clone().prop_map(Step::Sync),
        1 => (slot.clone(), any::<u16>()).prop_map(|(s, n)| Step::SetLen(s, n)),
        4 => slot.prop_map(Step::Close),
        1 => Just(Step::Rename),
        1 => Just(Step::Unlink),
    ];
    prop::collection::vec(step, 1..25)
}

/// One of the two directories with its open handles.
struct Side {
    dir: PathBuf,
    slots: [Option<File>; 3],
}

impl Side {
    fn new(dir: PathBuf) -> Self {
        std::fs::create_dir(&dir).unwrap();
        Self { dir, slots: [None, None, None] }
    }

    /// What a program would see: the errno, or nothing.
    fn step(&mut self, step: &Step) -> Result<(), i32> {
        let errno = |e: std::io::Error| e.raw_os_error().unwrap_or(0);
        let file = self.dir.join("f");
        match *step {
            Step::Open(slot, how) => {
                let mut options = OpenOptions::new();
                options.write(true).create(true).mode(0o644).read(how & 4 != 0);
                match how % 3 {
                    0 => options.truncate(true),
                    1 => options.append(true),
                    _ => &mut options,
                };
                self.close(slot)?;
                self.slots[slot] = Some(options.open(file).map_err(errno)?);
                Ok(())
            }
            Step::Write(slot, byte, n) => match &mut self.slots[slot] {
                Some(f) => f.write_all(&vec![byte; n.into()]).map_err(errno),
                None => Ok(()),
            },
            Step::WriteAt(slot, byte, at) => match &self.slots[slot] {
                Some(f) => f.write_all_at(&[byte; 100], at.into()).map_err(errno),
                None => Ok(()),
            },
            Step::CloseADuplicate(slot) => match &self.slots[slot] {
                Some(f) => close(f.try_clone().map_err(errno)?),
                None => Ok(()),
            },
            Step::Sync(slot) => self.slots[slot].as_ref().map_or(Ok(()), |f| f.sync_all().map_err(errno)),
            Step::SetLen(slot, n) => self.slots[slot].as_ref().map_or(Ok(()), |f| f.set_len(n.into()).map_err(errno)),
            Step::Close(slot) => self.close(slot),
            Step::Rename => std::fs::rename(&file, self.dir.join("g")).map_err(errno),
            Step::Unlink => std::fs::remove_file(&file).map_err(errno),
        }
    }

    fn close(&mut self, slot: usize) -> Result<(), i32> {
        self.slots[slot].take().map_or(Ok(()), close)
    }

    fn bytes(&self) -> [Option<Vec<u8>>; 2] {
        ["f", "g"].map(|name| std::fs::read(self.dir.join(name)).ok())
    }
}

/// `close(2)` with its answer.
fn close(file: File) -> Result<(), i32> {
    let fd = file.as_raw_fd();
    std::mem::forget(file);
    // SAFETY: the descriptor was just taken out of its owner, which will not close it, and is closed once.
    match unsafe { libc::close(fd) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}

fn replay(store: Store, options: MountOptions, cases: u32) {
    let m = TestMount::with(store, options.session("s1"));
    let plain = m.sandbox().path().join("plain");
    std::fs::create_dir(&plain).unwrap();
    let case = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    runner
        .run(&steps(), |steps| {
            case.set(case.get() + 1);
            let name = format!("case{}", case.get());
            let mut ours = Side::new(m.join(&name));
            let mut theirs = Side::new(plain.join(&name));
            for (i, step) in steps.iter().enumerate() {
                prop_assert_eq!(ours.step(step), theirs.step(step), "answer of step {} {:?}", i, step);
                if ours.bytes() != theirs.bytes() {
                    return Err(TestCaseError::fail(format!("bytes after step {i} {step:?}")));
                }
            }
            for slot in 0..3 {
                prop_assert_eq!(ours.close(slot), Ok(()));
                theirs.close(slot).unwrap();
            }
            prop_assert!(ours.bytes() == theirs.bytes(), "bytes after the last close");
            let opens = steps.iter().filter(|s| matches!(s, Step::Open(..))).count();
            for name in ["f", "g"] {
                let versions = std::fs::read_dir(m.join(".versions").join(ours.dir.file_name().unwrap()).join(name));
                let count = versions.map_or(0, Iterator::count);
                // A handle makes one version at most, and a rename onto a path brings one along.
                prop_assert!(count <= opens + 1, "{} versions of {} by {} handles", count, name, opens);
            }
            Ok(())
        })
        .unwrap();
    let out = m.sandbox().outputfs("check").arg("--read-data").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
}

fn cases(full: u32) -> u32 {
    if std::env::var_os("OUTPUTFS_TEST_QUICK").is_some() { 10 } else { full }
}

#[test]
fn local() {
    replay(Store::Local, MountOptions::new(), cases(120));
}

#[test]
fn local_without_passthrough() {
    replay(Store::Local, MountOptions::new().no_passthrough(), cases(120));
}

#[test]
fn s3() {
    replay(Store::S3, MountOptions::new(), cases(60));
}
