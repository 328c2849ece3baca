//! Who uses a mount: by working directory, open files and mappings, as `fuser -m` tells.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// A process that waits inside `execve` for a dead file system makes every look at it wait too (the kernel's
/// `exec_update_lock`): a few threads look, and what they did not find by then is left out.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOKERS: usize = 4;

/// A process that uses the mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub pid: u32,
    pub name: String,
    /// What of it: `working directory`, or a path.
    pub what: String,
}

/// Processes with something on the file system mounted at `mountpoint`. Others' processes are seen by root alone. Takes
/// [`PATIENCE`] at most.
#[must_use]
pub fn users(mountpoint: &Path) -> Vec<User> {
    // By path, not by device: a stat of the mount could wait for its daemon.
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let me = std::process::id();
    let pids = processes.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let pids = Arc::new(Mutex::new(pids.filter(|pid| *pid != me).collect::<Vec<_>>()));
    let (found, answers) = mpsc::channel();
    for _ in 0..LOOKERS {
        let (pids, found, mountpoint) = (pids.clone(), found.clone(), mountpoint.to_owned());
        std::thread::spawn(move || {
            let next = || pids.lock().ok()?.pop();
            while let Some(pid) = next() {
                let user = same_namespace(pid).then(|| use_of(pid, &mountpoint)).flatten();
                if let Some(what) = user
                    && found.send(User { pid, name: name_of(pid), what }).is_err()
                {
                    break;
                }
            }
        });
    }
    drop(found);
    let end = Instant::now() + PATIENCE;
    let mut users: Vec<User> =
        std::iter::from_fn(|| answers.recv_timeout(end.saturating_duration_since(Instant::now())).ok()).collect();
    users.sort_by_key(|u| u.pid);
    users
}

fn name_of(pid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

/// Paths of a process in another mount namespace mean other things.
fn same_namespace(pid: u32) -> bool {
    let namespace = |pid: &str| std::fs::metadata(format!("/proc/{pid}/ns/mnt")).ok().map(|m| m.ino());
    match (namespace("self"), namespace(&pid.to_string())) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => true,
    }
}

fn use_of(pid: u32, mountpoint: &Path) -> Option<String> {
    let link = |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}")).ok();
    let inside = |path: &Path| path.starts_with(mountpoint);
    if link("cwd").is_some_and(|p| inside(&p)) {
        return Some(String::from("working directory"));
    }
    if let Some(exe) = link("exe").filter(|p| inside(p)) {
        return Some(exe.display().to_string());
    }
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()
        .and_then(|fds| fds.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok()).find(|path| inside(path)));
    if let Some(path) = open {
        return Some(path.display().to_string());
    }
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mapped = maps.lines().filter_map(|l| l.find('/').map(|at| Path::new(&l[at..])));
    mapped.into_iter().find(|p| inside(p)).map(|p| p.display().to_string())
}

/// `bash (812, working directory), python3 (900, /m/x)`, at most five.
#[must_use]
pub fn sentence(users: &[User]) -> String {
    let mut named: Vec<String> = users.iter().take(5).map(|u| format!("{} ({}, {})", u.name, u.pid, u.what)).collect();
    if users.len() > 5 {
        named.push(format!("and {} more", users.len() - 5));
    }
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn processes_are_named_by_what_they_use() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(users(dir.path()), []);
        let mut child = Command::new("cat").current_dir(dir.path()).stdin(Stdio::piped()).spawn().unwrap();
        let found = users(dir.path());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].pid, found[0].what.as_str()), (child.id(), "working directory"));
    }

    #[test]
    fn many_are_counted() {
        let one = User { pid: 1, name: "a".into(), what: "/m/x".into() };
        assert_eq!(sentence(std::slice::from_ref(&one)), "a (1, /m/x)");
        assert!(sentence(&vec![one; 7]).ends_with(", and 2 more"));
    }
}
