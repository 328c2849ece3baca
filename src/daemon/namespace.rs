//! Mounting as an ordinary user where no `fusermount3` is: in a user and mount namespace of our own, which the command
//! of `run` shares.

use std::fs;
use std::path::Path;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

use crate::artifact::{Error, Kind, Result};
use crate::cli::doctor::helper;

/// Nothing for root, or where `fusermount3` is. Call it while the process has one thread.
///
/// # Errors
/// `Forbidden` when the system allows no user namespaces either.
pub fn enter_if_needed() -> Result<()> {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    if user.is_root() || helper() {
        return Ok(());
    }
    // SAFETY: no descriptor table is unshared, and this process has one thread: nobody else relies on what changes.
    let entered = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) };
    entered.map_err(|e| {
        Error::new(
            Kind::Forbidden,
            format!("an ordinary user needs fusermount3 (package fuse3) or user namespaces to mount; the latter: {e}"),
        )
    })?;
    // The user stays who he is; without this, files would belong to nobody. (setgroups must go first: user_namespaces(7).)
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("{user} {user} 1"))?;
    write("/proc/self/gid_map", &format!("{group} {group} 1"))?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .map_err(|e| Error::io("/", &e.into()))
}

fn write(path: &str, text: &str) -> Result<()> {
    fs::write(Path::new(path), text).map_err(|e| Error::io(path, &e))
}
