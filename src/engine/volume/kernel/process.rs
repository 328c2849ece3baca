//! What `/proc` tells of a process: who may see which answer, and who is about to end.

use std::fs;
use std::time::Duration;

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

/// Looks at a thread that has just asked for something and may not have gone to sleep yet.
const LOOKS: u32 = 20;

/// Whether the thread `tid` waits in msync(2). False where the kernel does not let us see (proc_pid_syscall(5) asks for what a debugger
/// needs), as where it is another call.
pub async fn is_in_msync(tid: u32) -> bool {
    let msync = format!("{} ", libc::SYS_msync);
    for _ in 0..LOOKS {
        let look = tokio::task::spawn_blocking(move || fs::read_to_string(format!("/proc/{tid}/syscall")));
        match look.await {
            Ok(Ok(now)) if now.starts_with("running") => tokio::time::sleep(Duration::from_millis(1)).await,
            Ok(Ok(now)) => return now.starts_with(&msync),
            _ => return false,
        }
    }
    false
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_belongs_to_its_process() {
        let me = std::process::id();
        let tid = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        let p = process(tid).unwrap();
        assert_eq!(p.tgid, me);
        assert!(p.ppid > 0 && p.pgid > 0);
    }
}
