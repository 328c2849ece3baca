//! The FUSE adapter: translates the kernel's requests into calls of the volume, and its answers back. No policy.
//!
//! Requests come in on two threads. A call is polled once where it arrives: what needs no wait is answered at once, on
//! the CPU that the caller is on; what waits (for the catalog's writer, a disk, the store) goes on in the runtime and
//! is answered from there, so that no request ever waits behind another's upload.

mod convert;
mod expiry;
mod gone;
mod invalidate;
mod opened;
mod ops;
mod reply;
mod tmpfile;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption, SessionACL};

use crate::artifact::name::SessionName;
use crate::artifact::{Error, Kind, Result};
use crate::engine::stale_mount;
use crate::engine::store::Store;
use crate::engine::volume::Volume;
use crate::staging::own_mount;

/// With the source name, what leftovers are recognised by (see `staging::own_mount`).
pub const SUBTYPE: &str = "outputfs";

/// What to mount where.
#[derive(Clone, Debug)]
pub struct MountSpec {
    pub mountpoint: PathBuf,
    /// None: every session of the tenant.
    pub session: Option<SessionName>,
    /// Let the kernel write straight to staging files where it can.
    pub passthrough: bool,
    /// Let other users in (needs root, or `user_allow_other` in /etc/fuse.conf).
    pub allow_other: bool,
    /// Threads that take requests.
    pub threads: usize,
}

/// A live mount. Dropping it unmounts.
pub struct Mounted {
    pub volume: Arc<Volume>,
    session: Option<BackgroundSession>,
    mountpoint: PathBuf,
    ended: tokio::sync::watch::Receiver<bool>,
    broken: Option<Error>,
    background: Vec<tokio::task::JoinHandle<()>>,
}

/// Mounts; the file system answers when this returns.
///
/// # Errors
/// A sentence for people when the device, the permission or the mount point is missing.
pub async fn mount(store: Arc<Store>, spec: MountSpec) -> Result<Mounted> {
    let volume = Volume::open(store, spec.session.as_ref()).await?;
    let (ended_tx, ended) = tokio::sync::watch::channel(false);
    let fs = ops::OutputFs::new(volume.clone(), tokio::runtime::Handle::current(), spec.passthrough, ended_tx);
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(own_mount::source(volume.store.state.root())),
        MountOption::Subtype(String::from(SUBTYPE)),
        MountOption::DefaultPermissions,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoAtime,
    ];
    config.acl = if spec.allow_other { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(spec.threads.max(1));
    let mountpoint = spec.mountpoint.clone();
    let session = tokio::task::spawn_blocking(move || fuser::spawn_mount(fs, &mountpoint, &config))
        .await
        .map_err(|e| Error::internal(format!("mounting ended unexpectedly: {e}")))?
        .map_err(|e| explain(&e, &spec.mountpoint))?;
    raise_read_ahead(&spec.mountpoint);
    let mut background = vec![invalidate::spawn(volume.clone(), session.notifier())];
    background.extend(volume.spawn_background());
    Ok(Mounted { volume, session: Some(session), mountpoint: spec.mountpoint, ended, broken: None, background })
}

impl Mounted {
    /// Waits until everything closed so far is in the store.
    ///
    /// # Errors
    /// `TimedOut` after `deadline`, or why the store does not take it.
    pub async fn drain(&self, deadline: Duration) -> Result<()> {
        self.volume.drain(deadline).await
    }

    /// # Errors
    /// `Busy` when files are open below the mount point, unless `lazy`.
    pub fn unmount(&mut self, lazy: bool) -> Result<()> {
        let flags = if lazy { rustix::mount::UnmountFlags::DETACH } else { rustix::mount::UnmountFlags::empty() };
        match rustix::mount::unmount(&self.mountpoint, flags) {
            // `EINVAL`: not mounted any more, somebody was faster.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(rustix::io::Errno::PERM) => fusermount(&self.mountpoint, lazy)?,
            Err(rustix::io::Errno::BUSY) => {
                return Err(Error::new(Kind::Busy, format!("{}: files are open below it", self.mountpoint.display())));
            }
            Err(e) => return Err(Error::io(&self.mountpoint, &e.into())),
        }
        if !lazy {
            self.stop();
        }
        Ok(())
    }

    /// Resolves when the kernel side went away, by whoever's hand.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // An error means that the sender is gone: ended as well.
        if ended.wait_for(|e| *e).await.is_err() {
            tracing::debug!("the file system's end was not announced");
        }
    }

    /// Why it ended, when that was neither our hand nor a user's.
    pub fn broken(&mut self) -> Option<Error> {
        let still_there = *self.ended.borrow() && self.session.is_some();
        if still_there && stale_mount::is_ours(&self.mountpoint).unwrap_or(false) {
            let text = format!(
                "{}: a thread that answers its requests broke down by a bug in outputfs; mount it again",
                self.mountpoint.display()
            );
            self.broken = Some(Error::internal(text));
        }
        self.broken.clone()
    }

    fn stop(&mut self) {
        for task in self.background.drain(..) {
            task.abort();
        }
        if let Some(session) = self.session.take()
            && let Err(e) = session.join()
        {
            tracing::warn!(error = %e, "the FUSE session ended with an error");
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for task in self.background.drain(..) {
            task.abort();
        }
        if self.session.is_some() {
            // Lazily: a drop must not hang on somebody's open file. Its failure leaves a mount that answers errors.
            if let Err(e) = self.unmount(true) {
                tracing::warn!(error = %e, "could not unmount");
            }
        }
    }
}

fn fusermount(mountpoint: &std::path::Path, lazy: bool) -> Result<()> {
    let mut command = std::process::Command::new("fusermount3");
    command.arg(if lazy { "-uz" } else { "-u" }).arg("--").arg(mountpoint);
    let out = command.output().map_err(|e| Error::io("fusermount3", &e))?;
    if out.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&out.stderr).trim().to_owned();
    let kind = if text.contains("busy") { Kind::Busy } else { Kind::Internal };
    Err(Error::new(kind, format!("{}: {text}", mountpoint.display())))
}

fn explain(e: &std::io::Error, mountpoint: &std::path::Path) -> Error {
    let at = mountpoint.display();
    if !std::path::Path::new("/dev/fuse").exists() {
        return Error::new(
            Kind::NoMount,
            "/dev/fuse is missing: load the kernel module 'fuse', or give the container '--device /dev/fuse --cap-add SYS_ADMIN'",
        );
    }
    match e.kind() {
        std::io::ErrorKind::NotFound => {
            Error::not_found(format!("{at}: no such directory (or fusermount3 is not installed)"))
        }
        std::io::ErrorKind::PermissionDenied => Error::new(
            Kind::NoMount,
            format!(
                "{at}: not permitted to mount ({e}): run as root, install fuse3 (fusermount3), or give the container '--device /dev/fuse --cap-add SYS_ADMIN'"
            ),
        ),
        _ => Error::new(Kind::Internal, format!("{at}: cannot mount: {e}")),
    }
}

/// The kernel reads ahead 128 KiB on a FUSE mount: with 1 MiB a cold sequential read needs an eighth of the requests.
/// Needs root; without, reads are slower and nothing else.
///
/// The device is asked for without a request to ourselves (`AT_STATX_DONT_SYNC`, statx(2)): a daemon that is killed while it waits for
/// its own answer can neither die nor answer.
fn raise_read_ahead(mountpoint: &std::path::Path) {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    let Ok(stat) = statx(CWD, mountpoint, AtFlags::STATX_DONT_SYNC, StatxFlags::empty()) else { return };
    let path = format!("/sys/class/bdi/{}:{}/read_ahead_kb", stat.stx_dev_major, stat.stx_dev_minor);
    if let Err(e) = std::fs::write(&path, "1024") {
        tracing::debug!(path, error = %e, "read-ahead stays as it is");
    }
}
