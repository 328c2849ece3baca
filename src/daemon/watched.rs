//! The folder of `run` where nothing is mounted: followed by inotify(7) while the command runs, looked through at its end.
//!
//! What inotify tells only makes things early (an artifact is there soon after its file is closed, each closed state is a version);
//! that nothing is missing is the look at the end. So lost events, a full queue and too many directories cost no file.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::artifact::amount::count;
use crate::artifact::name::{SessionName, display_bytes};
use crate::artifact::record::Labels;
use crate::artifact::{Error, Kind, Result};
use crate::cli::args::RunArgs;
use crate::cli::failure::Outcome;
use crate::cli::progress::Bar;
use crate::cli::{Context, push};
use crate::daemon::mounted::{Links, links_at, start_links};
use crate::daemon::mountpoint::Mountpoint;
use crate::daemon::signals::{Signals, name};
use crate::engine::folder::Folder;
use crate::engine::store::Store;
use crate::staging::state_dir::MountInfo;

/// A program that closes many files is followed in heaps.
const HEAP: Duration = Duration::from_millis(50);
/// Looks at the end: who still writes then is not waited for.
const LOOKS: u32 = 3;
/// Of refused files so many are named.
const NAMED: usize = 10;

/// A folder that is followed, with all that belongs to it.
pub struct Watched {
    pub store: Arc<Store>,
    place: Mountpoint,
    links: Option<Links>,
    stop: CancellationToken,
    follower: JoinHandle<Result<Folder>>,
    background: Vec<JoinHandle<()>>,
}

impl Watched {
    /// From its return on nothing that happens in the folder is missed.
    ///
    /// # Errors
    /// Whatever keeps the folder or the store from being used; then nothing is left behind.
    pub async fn start(
        context: &mut Context,
        args: &RunArgs,
        session: SessionName,
        place: Mountpoint,
    ) -> Outcome<Self> {
        let listen = links_at(context, &args.mounting)?;
        let store = match context.open().await {
            Ok(store) => store,
            Err(e) => {
                place.release();
                return Err(e.into());
            }
        };
        match Self::on(context, args, &session, &place, &store, listen).await {
            Ok((stop, follower, links)) => {
                let background = vec![store.spawn_sweeper(), store.spawn_recovery()];
                Ok(Self { store, place, links, stop, follower, background })
            }
            Err(failure) => {
                if let Err(e) = store.close().await {
                    tracing::warn!(error = %e, "the staging directory stays");
                }
                place.release();
                Err(failure)
            }
        }
    }

    async fn on(
        context: &Context,
        args: &RunArgs,
        session: &SessionName,
        place: &Mountpoint,
        store: &Arc<Store>,
        listen: Option<SocketAddr>,
    ) -> Outcome<(CancellationToken, JoinHandle<Result<Folder>>, Option<Links>)> {
        store.ensure_session(session).await?;
        if let Some(dir) = &store.mount_dir {
            dir.write_info(&MountInfo {
                pid: std::process::id(),
                mountpoint: None,
                session: Some(session.to_string()),
                tenant: store.tenant_name.to_string(),
                store: store.blobs.describe(),
            })?;
        }
        let links = match listen {
            Some(addr) => start_links(context, &args.mounting, store, addr).await?,
            None => None,
        };
        let (tell, told) = mpsc::unbounded_channel();
        let watcher = watcher(place.path(), tell);
        if let Err(e) = &watcher {
            let at = place.path().display();
            context.output.note(&format!("{at} cannot be watched ({e}): its files become artifacts at the end"));
        }
        let (root, adopt) = (place.path().to_owned(), args.mounting.adopt);
        let folder = Folder::open(store.clone(), session.clone(), root.clone(), labels(args), adopt).await?;
        let stop = CancellationToken::new();
        let follower = tokio::spawn(follow(folder, root, watcher.ok(), told, stop.clone()));
        Ok((stop, follower, links))
    }

    /// Says so when another program has the address where links would be served.
    pub fn note_taken_address(&self, context: &Context) {
        if let Some(links) = &self.links {
            links.note_taken_address(context);
        }
    }

    /// The folder, absolute.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// Takes what is left, ends the listener. The folder stays with all that is in it. The store stays open: close it.
    ///
    /// # Errors
    /// What is not in the store, and why. It is in the folder.
    pub async fn finish(self, context: &Context, signals: &Signals) -> (Arc<Store>, Result<()>) {
        let Self { store, place, links, stop, follower, background } = self;
        stop.cancel();
        let stored = Self::look_at_the_end(follower, &place, context, signals).await;
        for task in background {
            task.abort();
        }
        if let Some(links) = links {
            links.end().await;
        }
        // What is in it stays.
        if std::fs::read_dir(place.path()).is_ok_and(|mut entries| entries.next().is_none()) {
            place.release();
        }
        (store, stored)
    }

    async fn look_at_the_end(
        follower: JoinHandle<Result<Folder>>,
        place: &Mountpoint,
        context: &Context,
        signals: &Signals,
    ) -> Result<()> {
        let bar = Bar::items(&context.output);
        bar.message("storing what is left");
        let looking = async {
            let mut folder = follower.await.map_err(|e| Error::internal(format!("following the folder: {e}")))??;
            for _ in 0..LOOKS {
                if !folder.look_at_all().await? {
                    break;
                }
            }
            told(&folder, place.path())
        };
        let mut looking = std::pin::pin!(looking);
        let mut asked = false;
        loop {
            let signal = tokio::select! {
                done = &mut looking => return done,
                signal = signals.next() => signal,
            };
            let at = place.path().display();
            if asked {
                return Err(Error::new(
                    Kind::TimedOut,
                    format!("interrupted: what is not stored yet is in {at} alone"),
                ));
            }
            asked = true;
            let signal = name(signal.number);
            context
                .output
                .note(&format!("{signal}: files are still being stored; once more leaves them in {at} alone"));
        }
    }
}

/// Of what the command writes as far as `run` knows it: its environment is ours, and may have been changed by whoever wrote.
fn labels(args: &RunArgs) -> Labels {
    let mut labels = push::own_labels();
    "watch".clone_into(&mut labels.provenance.door);
    labels.provenance.argv0 = args.command.first().map(|word| word.to_string_lossy().into_owned());
    (labels.provenance.executable, labels.provenance.pid) = (None, None);
    labels
}

fn told(folder: &Folder, root: &Path) -> Result<()> {
    let refused = folder.refused();
    let Some(first) = refused.values().next() else { return Ok(()) };
    let mut named: Vec<_> =
        refused.iter().take(NAMED).map(|(path, e)| format!("'{}' ({})", display_bytes(path), e.message)).collect();
    if refused.len() > NAMED {
        named.push(format!("and {} more", refused.len() - NAMED));
    }
    let files = count(refused.len() as u64, "file");
    let text = format!("{files} of {} not stored, and there alone: {}", root.display(), named.join(", "));
    Err(Error::new(first.kind, text))
}

fn watcher(root: &Path, tell: mpsc::UnboundedSender<notify::Result<Event>>) -> notify::Result<RecommendedWatcher> {
    // Nobody listens any more once the command has ended.
    let mut watcher = notify::recommended_watcher(move |event| drop(tell.send(event)))?;
    watcher.watch(root, RecursiveMode::Recursive)?;
    Ok(watcher)
}

/// Until `stop`. Without a watcher there is nothing to do until then.
async fn follow(
    mut folder: Folder,
    root: PathBuf,
    watcher: Option<RecommendedWatcher>,
    mut told: mpsc::UnboundedReceiver<notify::Result<Event>>,
    stop: CancellationToken,
) -> Result<Folder> {
    while watcher.is_some() {
        let first = tokio::select! {
            () = stop.cancelled() => break,
            event = told.recv() => event,
        };
        let Some(first) = first else { break };
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(HEAP) => {}
        }
        let (mut paths, mut all) = (BTreeSet::new(), false);
        let mut event = Some(first);
        while let Some(one) = event {
            all |= !gather(one, &root, &mut paths);
            event = told.try_recv().ok();
        }
        if !all && paths.is_empty() {
            continue;
        }
        let looked = if all { folder.look_at_all().await } else { folder.look(paths).await };
        if let Err(e) = looked {
            // The look at the end counts.
            tracing::warn!(error = %e, "a look into the folder failed");
        }
    }
    Ok(folder)
}

/// The paths inside the folder that an event makes worth a look; false when it may be any.
fn gather(event: notify::Result<Event>, root: &Path, paths: &mut BTreeSet<Vec<u8>>) -> bool {
    let event = match event {
        Ok(event) if !event.need_rescan() => event,
        Ok(_) => return false,
        Err(e) => {
            tracing::warn!(error = %e, "the folder is followed in part: the look at the end finds the rest");
            return false;
        }
    };
    let wanted = |path: &PathBuf| match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(_))
        | EventKind::Remove(_)
        | EventKind::Create(CreateKind::Folder) => true,
        // A file that was just made has nothing to take until it is closed; a link, symbolic or hard, is whole at once.
        EventKind::Create(_) => std::fs::symlink_metadata(path).is_ok_and(|m| !m.is_file() || m.nlink() > 1),
        _ => false,
    };
    for path in event.paths.iter().filter(|path| wanted(path)) {
        if let Ok(inside) = path.strip_prefix(root) {
            paths.insert(inside.as_os_str().as_bytes().to_vec());
        }
    }
    true
}
