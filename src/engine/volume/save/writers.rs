//! Who writes: the labels and the provenance of a file, from its writer's process.
//!
//! # Which process
//! A thread's number and the moment of its start do not name a program: `exec` puts another one into the same thread, and numbers
//! come again. What is remembered goes by the addresses too at which the kernel laid the program out ([`Layout`]), and only where it
//! chose them at random. Without that (`setarch -R`, `randomize_va_space=0`) two programs can look the same: then each file's writer is
//! read anew.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::artifact::environment::{self, Environment};
use crate::artifact::metadata::Provenance;
use crate::artifact::provenance::{bounded, script_of};
use crate::artifact::record::Labels;
use crate::artifact::versions::MOUNT;

use crate::engine::volume::kernel::process::process;

/// Longest wait for a process's environment: it may be the very process that waits for us.
const PATIENCE: Duration = Duration::from_millis(500);
/// Programs remembered at most.
const KNOWN: usize = 256;

/// `PF_RANDOMIZE` of the kernel's `include/linux/sched.h`: this program's addresses were chosen at random.
const RANDOMIZE: u64 = 0x0040_0000;
/// `AT_RANDOM` of getauxval(3).
const AT_RANDOM: u64 = 25;

/// One program as one thread runs it, from its last `exec` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Layout {
    tid: u32,
    /// When the thread started, in clock ticks after boot.
    started: u64,
    /// Where code, stack and environment begin, and the environment ends.
    addresses: [u64; 4],
    /// The addresses tell it from every other program.
    random: bool,
}

/// From `/proc/TID/stat`. Its caller is inside a call on this mount, so no thread of its process can be replacing the program,
/// which is the one thing that the kernel would wait for.
fn layout_of(tid: u32) -> Option<Layout> {
    let stat = fs::read_to_string(format!("/proc/{tid}/stat")).ok()?;
    layout(tid, &stat)
}

fn layout(tid: u32, stat: &str) -> Option<Layout> {
    // The command may hold blanks and parentheses: fields start after the last one (proc(5)).
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |n: usize| fields.get(n - 3).and_then(|f| f.parse::<u64>().ok());
    let addresses = [field(26)?, field(28)?, field(50)?, field(51)?];
    // Zeros: the kernel does not tell us another user's addresses.
    let random = field(9)? & RANDOMIZE != 0 && addresses.iter().all(|a| *a > 0);
    Some(Layout { tid, started: field(22)?, addresses, random })
}

/// What was read of the programs that write here.
///
/// Reading an environment takes the process's `mmap_lock`, which a sibling thread may hold while it waits for this very mount
/// (`munmap(2)` of a dirty page waits until it is written): never from a thread that answers the kernel, never without end.
#[derive(Default)]
pub struct Writers {
    known: Mutex<HashMap<Layout, Labels>>,
}

impl Writers {
    /// Labels from the environment of the writer `tid`, and its provenance. What cannot be read (a process that is gone, another
    /// user's) is left out; what is out of limits is left out too: a label never makes a write fail.
    pub async fn labels_of(&self, tid: u32, uid: u32) -> Labels {
        let layout = layout_of(tid);
        let known = layout.filter(|l| l.random).and_then(|l| self.known.lock().get(&l).cloned());
        let labels = match known {
            Some(labels) => labels,
            None => self.read(tid, layout).await,
        };
        let provenance = Provenance {
            pid: labels.provenance.pid.or(Some(tid)),
            uid: Some(uid),
            // A process changes it as it goes.
            cwd: fs::read_link(format!("/proc/{tid}/cwd")).ok().map(|p| bounded(&p.to_string_lossy())),
            host: crate::engine::steps::host(),
            door: String::from(MOUNT),
            ..labels.provenance
        };
        Labels { provenance, ..labels }
    }

    async fn read(&self, tid: u32, layout: Option<Layout>) -> Labels {
        let Some(layout) = layout else { return Labels::default() };
        let reading = tokio::task::spawn_blocking(move || read_labels(tid));
        let Ok(Ok(labels)) = tokio::time::timeout(PATIENCE, reading).await else {
            tracing::debug!(
                tid,
                "the writer's environment could not be read in time: its files carry no labels from it"
            );
            return Labels::default();
        };
        if layout_of(tid) != Some(layout) {
            tracing::debug!(tid, "the writer ended while it was looked at: its file carries no labels from it");
            return Labels::default();
        }
        if layout.random {
            let mut known = self.known.lock();
            // Bounded: what is forgotten is read again.
            if known.len() >= KNOWN {
                known.clear();
            }
            known.insert(layout, labels.clone());
        }
        labels
    }
}

impl crate::engine::volume::Volume {
    /// Labels and provenance of whoever opens a file for writing.
    pub(in crate::engine::volume) async fn labels_of(&self, caller: crate::engine::volume::Caller) -> Labels {
        let mut labels = self.saves.writers.labels_of(caller.pid, caller.uid).await;
        labels.provenance.run = self.store.run();
        labels
    }
}

fn read_labels(tid: u32) -> Labels {
    let mut labels = Labels::default();
    let of = &mut labels.provenance;
    of.executable = fs::read_link(format!("/proc/{tid}/exe")).ok().map(|p| p.to_string_lossy().into_owned());
    if let Ok(line) = fs::read(format!("/proc/{tid}/cmdline")) {
        let words: Vec<_> = line.split(|&b| b == 0).filter(|w| !w.is_empty()).map(String::from_utf8_lossy).collect();
        of.argv0 = words.first().map(|w| bounded(w));
        of.script = script_of(&words).map(|w| bounded(&w));
    }
    of.pid = process(tid).map(|p| p.tgid);
    of.process = of.pid.and_then(|tgid| mark(tid, tgid));
    if let Ok(env) = fs::read(format!("/proc/{tid}/environ")) {
        let pairs = env.split(|&b| b == 0).filter_map(|pair| std::str::from_utf8(pair).ok()?.split_once('='));
        let read: Environment = environment::read(pairs);
        if let Some(excess) = read.excess() {
            tracing::warn!(tid, "labels of a writer's environment are left out: {excess}");
        }
        read.label(&mut labels);
    }
    labels
}

/// What tells this process, as it is since its last `exec`, from every other that ever ran anywhere: this boot, its thread group, its
/// start, and the random bytes that `exec` gave it. Those seed its stack guard: only a hash of them leaves this function.
fn mark(tid: u32, tgid: u32) -> Option<String> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    let boot = BOOT.get_or_init(|| fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()).as_ref()?;
    let started = layout_of(tgid)?.started;
    let auxv = fs::read(format!("/proc/{tid}/auxv")).ok()?;
    let word = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_ne_bytes);
    let (pairs, _) = auxv.as_chunks::<16>();
    let at = pairs.iter().find(|pair| word(&pair[..8]) == Some(AT_RANDOM)).and_then(|pair| word(&pair[8..]))?;
    let mut random = [0; 16];
    fs::File::open(format!("/proc/{tid}/mem")).ok()?.read_exact_at(&mut random, at).ok()?;
    let hash = Sha256::new()
        .chain_update(boot)
        .chain_update(tgid.to_be_bytes())
        .chain_update(started.to_be_bytes())
        .chain_update(random)
        .finalize();
    Some(hex::encode(&hash[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> u32 {
        rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
    }

    #[test]
    fn a_thread_is_read_and_its_process_marked() {
        let labels = read_labels(me());
        assert_eq!(labels.provenance.pid, Some(std::process::id()));
        let mark = labels.provenance.process.expect("a process may read itself");
        assert_eq!(mark.len(), 32);
        let other = std::thread::spawn(|| read_labels(me())).join().unwrap();
        assert_eq!(other.provenance.process, Some(mark), "threads are one process");
    }

    #[test]
    fn without_randomisation_nothing_is_told_apart() {
        let stat = |flags: u64, stack: u64| {
            let mut fields = vec![String::from("1"); 52];
            (fields[6], fields[25]) = (flags.to_string(), stack.to_string());
            format!("7 (a ) b) {}", fields.join(" "))
        };
        assert!(layout(7, &stat(RANDOMIZE | 4, 9)).unwrap().random);
        assert!(!layout(7, &stat(4, 9)).unwrap().random);
        assert!(!layout(7, &stat(RANDOMIZE, 0)).unwrap().random, "hidden from us");
        assert!(layout(7, "").is_none());
    }
}
