//! What `/proc` tells of a process: whose environment labels its files, and who may see which answer.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use parking_lot::Mutex;

use crate::artifact::metadata::{Metadata, Provenance};
use crate::artifact::record::Labels;

/// Numbers of one process. The kernel names a thread in its requests; answers belong to processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub tgid: u32,
    pub ppid: u32,
    pub pgid: u32,
}

/// Looks `tid` up. None when it is gone or hidden (another PID namespace shows as 0).
pub fn process(tid: u32) -> Option<Process> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)?.trim().parse::<u32>().ok());
    let stat = fs::read_to_string(format!("/proc/{tid}/stat")).ok()?;
    // The command may hold blanks and parentheses: fields start after the last one (proc(5)).
    let pgid = stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()?;
    Some(Process { tgid: field("Tgid:")?, ppid: field("PPid:")?, pgid })
}

/// The further groups of the thread `tid` (proc(5)); none when it is gone or hidden.
pub fn groups(tid: u32) -> Vec<u32> {
    let Ok(status) = fs::read_to_string(format!("/proc/{tid}/status")) else { return Vec::new() };
    let line = status.lines().find_map(|l| l.strip_prefix("Groups:")).unwrap_or_default();
    line.split_whitespace().filter_map(|group| group.parse().ok()).collect()
}

/// Signals that end a process by default (signal(7)), as bits of the masks in `/proc/PID/status`.
const ENDING: u64 = {
    let signals = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGILL,
        libc::SIGABRT,
        libc::SIGFPE,
        libc::SIGKILL,
        libc::SIGSEGV,
        libc::SIGPIPE,
        libc::SIGALRM,
        libc::SIGTERM,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGBUS,
        libc::SIGTRAP,
        libc::SIGSYS,
        libc::SIGXCPU,
        libc::SIGXFSZ,
        libc::SIGVTALRM,
        libc::SIGPROF,
        libc::SIGPOLL,
    ];
    let (mut mask, mut i) = (0, 0);
    while i < signals.len() {
        mask |= 1 << (signals[i] - 1);
        i += 1;
    }
    mask
};
/// `PF_EXITING` of the kernel's `include/linux/sched.h`.
const EXITING: u64 = 4;

/// True when the thread `tid` is to end by a signal as soon as its system call returns, or is ending by one. A process that
/// exits by itself is not dying: whoever waits for it may count on what it wrote.
pub fn is_dying(tid: u32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{tid}/status")) else { return false };
    let mask = |name: &str| {
        let value = status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
        u64::from_str_radix(value.trim(), 16).unwrap_or(0)
    };
    let deaf = mask("SigBlk:") | mask("SigIgn:") | mask("SigCgt:");
    if (mask("SigPnd:") | mask("ShdPnd:")) & ENDING & !deaf != 0 {
        return true;
    }
    // Who has memory is not ending. Nor may `stat` be asked of him: the kernel answers it under a lock that a process holds
    // while `execve` closes its files, which is when it waits for us.
    if status.lines().any(|l| l.starts_with("VmSize:")) {
        return false;
    }
    let Ok(stat) = fs::read_to_string(format!("/proc/{tid}/stat")) else { return false };
    let Some((_, fields)) = stat.rsplit_once(')') else { return false };
    // Counted from the third field on, as proc(5) numbers them: 9 is flags, 52 the exit code in the form of waitpid(2).
    let field = |n: usize| fields.split_whitespace().nth(n - 3).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    field(9) & EXITING != 0 && field(52) & 0x7f != 0
}

/// One program as one process runs it: `exec` makes another, also in the same process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Run {
    /// When the process started, in clock ticks after boot.
    started: u64,
    /// Where its environment lies, which address-space randomisation makes its own.
    environment: (u64, u64),
}

/// From `/proc/TID/stat`. Its caller is inside a call on this mount, so no thread of its process can be replacing the program,
/// which is the one thing that the kernel would wait for.
fn run_of(tid: u32) -> Option<Run> {
    let stat = fs::read_to_string(format!("/proc/{tid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |n: usize| fields.get(n - 3).and_then(|f| f.parse().ok());
    Some(Run { started: field(22)?, environment: (field(50)?, field(51)?) })
}

/// Longest wait for a process's environment: it may be the very process that waits for us.
const PATIENCE: Duration = Duration::from_millis(500);
/// Programs remembered at most.
const KNOWN: usize = 256;

/// What was read of the programs that write here.
///
/// Reading an environment takes the process's `mmap_lock`, which a sibling thread may hold while it waits for this very mount
/// (`munmap(2)` of a dirty page waits until it is written): never from a thread that answers the kernel, never without end.
#[derive(Default)]
pub struct Writers {
    known: Mutex<HashMap<Run, Labels>>,
}

impl Writers {
    /// Labels from the environment of the writer `tid`, and its provenance. What cannot be read (a process that is gone, another
    /// user's) is left out; what is out of limits is left out too: a label never makes a write fail.
    pub async fn labels_of(&self, tid: u32, uid: u32) -> Labels {
        let run = run_of(tid).filter(|run| run.environment.1 > 0);
        let known = run.and_then(|run| self.known.lock().get(&run).cloned());
        let labels = match known {
            Some(labels) => labels,
            None => self.read(tid, run).await,
        };
        Labels { provenance: Provenance { pid: Some(tid), uid: Some(uid), ..labels.provenance }, ..labels }
    }

    async fn read(&self, tid: u32, run: Option<Run>) -> Labels {
        let reading = tokio::task::spawn_blocking(move || read_labels(tid));
        let Ok(Ok(labels)) = tokio::time::timeout(PATIENCE, reading).await else {
            tracing::debug!(
                tid,
                "the writer's environment could not be read in time: its files carry no labels from it"
            );
            return Labels {
                provenance: Provenance { door: String::from(DOOR), ..Provenance::default() },
                ..Labels::default()
            };
        };
        if let Some(run) = run {
            let mut known = self.known.lock();
            // Bounded: what is forgotten is read again.
            if known.len() >= KNOWN {
                known.clear();
            }
            known.insert(run, labels.clone());
        }
        labels
    }
}

const DOOR: &str = "mount";

fn read_labels(tid: u32) -> Labels {
    let mut labels = Labels {
        provenance: Provenance {
            executable: fs::read_link(format!("/proc/{tid}/exe")).ok().map(|p| p.to_string_lossy().into_owned()),
            pid: None,
            uid: None,
            door: String::from(DOOR),
        },
        ..Labels::default()
    };
    if let Ok(env) = fs::read(format!("/proc/{tid}/environ")) {
        read_environment(&env, &mut labels);
    }
    labels
}

/// `NUL`-separated `KEY=value` pairs as in proc(5).
fn read_environment(env: &[u8], labels: &mut Labels) {
    let mut meta = Metadata::default();
    let mut fallback_agent = None;
    let mut fallback_ttl = None;
    let valid_ttl = |v: &str| v.parse::<crate::artifact::time::Ttl>().is_ok().then(|| v.to_owned());
    for pair in env.split(|&b| b == 0) {
        let Ok(pair) = std::str::from_utf8(pair) else { continue };
        let Some((key, value)) = pair.split_once('=') else { continue };
        match key {
            "OUTPUTFS_AGENT_ID" if !value.is_empty() => labels.env_agent_id = Some(value.to_owned()),
            "ARTIFACTA_AGENT_ID" if !value.is_empty() => fallback_agent = Some(value.to_owned()),
            "OUTPUTFS_TTL" => labels.env_ttl = valid_ttl(value),
            "ARTIFACTA_TTL" => fallback_ttl = valid_ttl(value),
            "OUTPUTFS_IDEMPOTENCY_KEY" if !value.is_empty() => labels.idempotency_key = Some(value.to_owned()),
            _ => {
                if let Some(key) = key.strip_prefix("OUTPUTFS_META_")
                    && let Err(e) = meta.set(&key.to_ascii_lowercase(), value.as_bytes())
                {
                    tracing::debug!(key, error = %e, "metadata from the environment left out");
                }
            }
        }
    }
    labels.environment = meta;
    labels.env_agent_id = labels.env_agent_id.take().or(fallback_agent);
    labels.env_ttl = labels.env_ttl.take().or(fallback_ttl);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_labels_a_file() {
        let mut labels = Labels::default();
        read_environment(
            b"PATH=/bin\0OUTPUTFS_META_STAGE=final\0OUTPUTFS_META_1=bad\0ARTIFACTA_AGENT_ID=old\0OUTPUTFS_AGENT_ID=a1\0OUTPUTFS_TTL=x\0ARTIFACTA_TTL=7d\0",
            &mut labels,
        );
        assert_eq!(labels.environment.get("stage"), Some("final"));
        assert_eq!(labels.environment.0.len(), 1);
        assert_eq!(labels.env_agent_id.as_deref(), Some("a1"));
        assert_eq!(labels.env_ttl.as_deref(), Some("7d"));
    }

    #[test]
    fn a_thread_belongs_to_its_process() {
        let me = std::process::id();
        let tid = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        let p = process(tid).unwrap();
        assert_eq!(p.tgid, me);
        assert!(p.ppid > 0 && p.pgid > 0);
    }
}
