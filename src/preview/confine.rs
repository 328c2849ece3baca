//! What the worker gives up before it sees a byte of anybody's: memory and CPU beyond its budget, files, the network, other
//! processes, its user's rights. What cannot be given up here is told, never passed over.

use std::collections::BTreeMap;

use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Bytes of heap.
const HEAP: u64 = 256 << 20;
/// Bytes of address space: the program itself, and its heap.
const SPACE: u64 = 2 << 30;
const STACK: u64 = 8 << 20;
/// Seconds of CPU.
const CPU: u64 = 5;
/// Behind everybody else who wants the CPU.
const NICE: i32 = 15;
/// `nobody`, where we are root.
const NOBODY: u32 = 65534;

/// Gives up what can be; says what could not be had. The process has one thread and nothing but its standard streams open.
#[must_use]
pub fn enter() -> Vec<String> {
    let mut missing = Vec::new();
    let mut need = |what: &str, done: Result<(), String>| {
        if let Err(e) = done {
            missing.push(format!("{what}: {e}"));
        }
    };
    need("no inherited files", close_all());
    need("low priority", rustix::process::nice(NICE).map(drop).map_err(|e| e.to_string()));
    for (what, resource, bytes) in [
        ("a limit of memory", Resource::Data, HEAP),
        ("a limit of address space", Resource::As, SPACE),
        ("a limit of stack", Resource::Stack, STACK),
        ("a limit of CPU time", Resource::Cpu, CPU),
        ("no core files", Resource::Core, 0),
        ("no written files", Resource::Fsize, 0),
        ("no more files", Resource::Nofile, 0),
    ] {
        need(what, limit(resource, bytes));
    }
    need("no rights of root", unprivileged());
    need("no more processes", limit(Resource::Nproc, 0));
    need("no new rights", rustix::thread::set_no_new_privs(true).map_err(|e| e.to_string()));
    let hidden = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    need("no sight of its memory", hidden.map_err(|e| e.to_string()));
    if let Err(filter) = calls_alone() {
        need("a filter of system calls (seccomp)", Err(filter));
        // The second best: an empty network and an empty tree.
        need("namespaces of its own", namespaces());
    }
    missing
}

fn close_all() -> Result<(), String> {
    // SAFETY: closes descriptors that this process has inherited and nothing in it knows of.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().to_string()) }
}

fn limit(resource: Resource, most: u64) -> Result<(), String> {
    let now = rustix::process::getrlimit(resource);
    let most = now.maximum.map_or(most, |m| m.min(most));
    let new = Rlimit { current: Some(most), maximum: Some(most) };
    rustix::process::setrlimit(resource, new).map_err(|e| e.to_string())
}

/// Another user where we are root, no group but its own, no capability.
fn unprivileged() -> Result<(), String> {
    use rustix::process::{Gid, Uid};
    let told = |e: rustix::io::Errno| e.to_string();
    let user = if rustix::process::geteuid().is_root() {
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        rustix::thread::set_thread_groups(&[])
            .and_then(|()| rustix::thread::set_thread_res_gid(gid, gid, gid))
            .and_then(|()| rustix::thread::set_thread_res_uid(uid, uid, uid))
    } else {
        Ok(())
    };
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).map_err(told)?;
    user.map_err(told)
}

/// From here on: its two pipes, memory that cannot be run, clocks, its own end.
fn calls_alone() -> Result<(), String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|e| e.to_string())?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_readv,
        libc::SYS_writev,
        libc::SYS_close,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_sigaltstack,
        libc::SYS_clock_gettime,
        libc::SYS_getrandom,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_sched_yield,
        libc::SYS_restart_syscall,
    ] {
        rules.insert(call, Vec::new());
    }
    let only = |argument: u8, of: SeccompCmpOp, value: u64| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, of, value)
            .and_then(|c| SeccompRule::new(vec![c]))
            .map_err(|e| e.to_string())
    };
    // No memory that can be run.
    let exec = u64::try_from(libc::PROT_EXEC).unwrap_or(u64::MAX);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![only(2, SeccompCmpOp::MaskedEq(exec), 0)?]);
    }
    // `abort` signals itself.
    rules.insert(libc::SYS_tgkill, vec![only(0, SeccompCmpOp::Eq, u64::from(std::process::id()))?]);
    let refused = SeccompAction::Errno(u32::try_from(libc::EPERM).unwrap_or(1));
    let filter = SeccompFilter::new(rules, refused, SeccompAction::Allow, arch).map_err(|e| e.to_string())?;
    let program: seccompiler::BpfProgram = filter.try_into().map_err(|e: seccompiler::BackendError| e.to_string())?;
    seccompiler::apply_filter(&program).map_err(|e| e.to_string())
}

fn namespaces() -> Result<(), String> {
    use rustix::thread::UnshareFlags as Of;
    let all = Of::NEWUSER | Of::NEWNET | Of::NEWNS | Of::NEWIPC | Of::NEWUTS;
    // SAFETY: no descriptor table is unshared, and the process has one thread.
    unsafe { rustix::thread::unshare_unsafe(all) }.map_err(|e| e.to_string())?;
    // The directory of a process's descriptors holds nothing that could be opened.
    rustix::process::chroot("/proc/self/fdinfo").and_then(|()| rustix::process::chdir("/")).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a process of its own: what is given up stays given up.
    #[test]
    fn what_was_given_up_is_gone() {
        // SAFETY: the child calls nothing that takes a lock of another thread's, but for the allocator, which it may find locked:
        // then the deadline of the wait below says so.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let missing = enter();
            let open = std::fs::File::open("/etc/passwd").is_ok();
            let made = std::net::TcpListener::bind("127.0.0.1:0").is_ok();
            let root = rustix::process::geteuid().is_root();
            let code =
                i32::from(!missing.is_empty()) | i32::from(open) << 1 | i32::from(made) << 2 | i32::from(root) << 3;
            // SAFETY: ends the child without running what belongs to its parent.
            unsafe { libc::_exit(code) }
        }
        let mut status = 0;
        // SAFETY: waits for the child that was just made.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 0));
    }
}
