//! `outputfs umount`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::artifact::amount::count;
use crate::artifact::{Error, Kind, Result};
use crate::cli::args::UmountArgs;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::human;
use crate::cli::progress::Bar;
use crate::cli::{Context, busy};
use crate::engine::options::StoreConfig;
use crate::engine::stale_mount;
use crate::engine::store::Store;
use crate::staging::state_dir::MountEntry;

/// Between two looks at a daemon that is ending.
const LOOK: Duration = Duration::from_millis(50);
/// Between two questions to the catalog on how much is left.
const ASK: Duration = Duration::from_millis(500);

pub async fn run(context: &Context, args: &UmountArgs) -> Outcome {
    let mountpoint = resolve(&args.mountpoint)?;
    let context = &at_its_state(context, &mountpoint)?;
    if stale_mount::detach(&mountpoint)? {
        context.output.note("its daemon was dead: the mount is taken away, what was staged is recovered now");
        context.open_light().await?;
        return Ok(());
    }
    let store = context.open_light().await?;
    let Some((entry, pid)) = owner(&store, &mountpoint)? else { return Err(not_ours(context, &mountpoint)) };
    let users: Vec<_> =
        busy::users(&mountpoint).into_iter().filter(|u| u.pid != pid.as_raw_nonzero().get().unsigned_abs()).collect();
    if !users.is_empty() && !args.force {
        let text = format!("{} is in use by {}", mountpoint.display(), busy::sentence(&users));
        return Err(Failure::new(&Error::new(Kind::Busy, text)).hint("end them, or say --force to unmount under them"));
    }
    match kill_process(pid, Signal::TERM) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(e) => return Err(Error::io(format!("process {pid:?}", pid = pid.as_raw_nonzero()), &e.into()).into()),
    }
    wait(context, &store, &entry, pid, args.timeout).await?;
    let left = store.left_by(entry.id)?;
    if left.is_none() && store.state.mounts()?.iter().any(|m| m.id == entry.id) {
        return killed_meanwhile(context, &mountpoint, &entry).await;
    }
    if is_mounted(&mountpoint)? {
        let text = format!("{}: its daemon ended but something is still mounted there", mountpoint.display());
        return Err(Error::internal(text).into());
    }
    match left {
        Some(left) => Err(Error::new(Kind::TimedOut, format!("unmounted, but {}", left.sentence())).into()),
        None => Ok(()),
    }
}

/// A daemon that ends takes its directory away, or says what it leaves there: this one was killed before it could do either.
async fn killed_meanwhile(context: &Context, mountpoint: &Path, entry: &MountEntry) -> Outcome {
    stale_mount::detach(mountpoint)?;
    // Opening recovers.
    let store = context.open_light().await?;
    let left = store.catalog.unmoved(None, Some(entry.id)).await?;
    if left.artifacts == 0 {
        context.output.note("its daemon was killed while it ended: what it left is recovered");
        return Ok(());
    }
    let text = format!(
        "unmounted, but its daemon was killed while it ended, before it had stored {} ({} bytes): they are kept, 'outputfs status' \
         lists them, and the next outputfs command goes on",
        count(left.artifacts, "file"),
        left.bytes
    );
    Err(Error::new(Kind::TimedOut, text).into())
}

/// The mount itself says where its state is: nobody has to remember how it was made.
fn at_its_state(context: &Context, mountpoint: &Path) -> Result<Context> {
    let mut settings = context.settings.clone();
    if let Some(state_dir) = stale_mount::state_dir(mountpoint)?
        && state_dir != settings.store.state_dir
    {
        // What was said of a store belongs to another state directory; this one remembers its own.
        settings.store = StoreConfig { options: settings.store.options, ..StoreConfig::new(state_dir)? };
    }
    Ok(Context::new(settings))
}

/// The path as the kernel knows it, also when its daemon is dead and the last part cannot be asked.
fn resolve(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(|e| Error::io(path, &e))?;
    if let Some(known) = stale_mount::at(&absolute)? {
        return Ok(known);
    }
    match std::fs::canonicalize(&absolute) {
        Ok(found) => Ok(found),
        Err(e) if e.raw_os_error() == Some(libc::ENOTCONN) || e.raw_os_error() == Some(libc::EACCES) => {
            let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else { return Ok(absolute) };
            Ok(std::fs::canonicalize(parent).map_err(|e| Error::io(parent, &e))?.join(name))
        }
        Err(e) => Err(Error::io(path, &e)),
    }
}

/// The living mount there and its daemon.
fn owner(store: &Store, mountpoint: &Path) -> Result<Option<(MountEntry, Pid)>> {
    let entries = store.state.mounts()?;
    Ok(entries.into_iter().filter(|e| e.alive).find_map(|entry| {
        let info = entry.info.as_ref().filter(|i| i.mountpoint.as_deref() == Some(mountpoint))?;
        let pid = i32::try_from(info.pid).ok().and_then(Pid::from_raw)?;
        Some((entry, pid))
    }))
}

fn not_ours(context: &Context, mountpoint: &Path) -> Failure {
    let (at, state) = (mountpoint.display(), context.settings.store.state_dir.display());
    match is_mounted(mountpoint) {
        Ok(true) => Failure::new(&Error::not_found(format!("{at} is not a mount of the state directory {state}")))
            .hint("say --state-dir as it was said when it was mounted"),
        _ => Failure::new(&Error::not_found(format!("{at} is not mounted"))),
    }
}

/// Whether an outputfs is mounted on exactly this path.
pub fn is_mounted(mountpoint: &Path) -> Result<bool> {
    stale_mount::is_ours(mountpoint)
}

async fn wait(context: &Context, store: &Store, entry: &MountEntry, pid: Pid, timeout: Duration) -> Outcome {
    let started = Instant::now();
    let bar = Bar::items(&context.output);
    let (mut asked, mut most) = (None::<Instant>, 0);
    while test_kill_process(pid) != Err(rustix::io::Errno::SRCH) && still_owned(store, entry)? {
        if started.elapsed() >= timeout {
            let text = format!(
                "not everything is stored after {timeout:?}; the daemon goes on ('outputfs status' lists what waits)"
            );
            return Err(Error::new(Kind::TimedOut, text).into());
        }
        if asked.is_none_or(|at| at.elapsed() >= ASK) {
            asked = Some(Instant::now());
            let left = store.catalog.unmoved(None, Some(entry.id)).await?;
            most = most.max(left.artifacts);
            bar.set(most - left.artifacts, Some(most));
            bar.message(&format!("storing what is left ({})", human(left.bytes)));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// The lock is free once its daemon has done all it could.
fn still_owned(store: &Store, entry: &MountEntry) -> Result<bool> {
    Ok(store.state.mounts()?.iter().any(|m| m.id == entry.id && m.alive))
}
