//! Where the command of `run` writes: a mount, or, where nothing can be mounted, a folder that is watched.

use std::path::Path;
use std::sync::Arc;

use crate::artifact::Kind;
use crate::artifact::Result;
use crate::artifact::name::SessionName;
use crate::cli::args::RunArgs;
use crate::cli::failure::Outcome;
use crate::cli::{Context, doctor};
use crate::daemon::mounted::Live;
use crate::daemon::mountpoint::Mountpoint;
use crate::daemon::signals::Signals;
use crate::daemon::watched::Watched;
use crate::engine::store::Store;

pub enum Ground {
    Mounted(Box<Live>),
    Watched(Watched),
}

impl Ground {
    /// # Errors
    /// Whatever keeps both from being used; then nothing is left behind.
    pub async fn start(context: &mut Context, args: &RunArgs, session: &SessionName) -> Outcome<Self> {
        if !args.watch {
            match Self::mount(context, args, session).await {
                Err(failure) if failure.kind == Some(Kind::NoMount) => {
                    let why = failure.message.unwrap_or_default();
                    let at = args.mount.display();
                    context.output.note(&format!("{why}; so {at} is a plain folder that is watched, as with --watch"));
                }
                done => return done,
            }
        }
        let place = Mountpoint::prepare(&args.mount, true, true)?;
        Watched::start(context, args, session.clone(), place).await.map(Self::Watched)
    }

    async fn mount(context: &mut Context, args: &RunArgs, session: &SessionName) -> Outcome<Self> {
        // Before the folder is looked at: a watched one need not be empty.
        doctor::can_mount()?;
        let place = Mountpoint::prepare(&args.mount, true, args.mounting.adopt)?;
        let live = Live::start(context, &args.mounting, Some(session.clone()), place).await?;
        Ok(Self::Mounted(Box::new(live)))
    }

    /// The folder, absolute.
    pub fn path(&self) -> &Path {
        match self {
            Self::Mounted(live) => live.path(),
            Self::Watched(watched) => watched.path(),
        }
    }

    pub fn store(&self) -> &Arc<Store> {
        match self {
            Self::Mounted(live) => &live.store,
            Self::Watched(watched) => &watched.store,
        }
    }

    /// Says so when another program has the address where links would be served.
    pub fn note_taken_address(&self, context: &Context) {
        match self {
            Self::Mounted(live) => live.note_taken_address(context),
            Self::Watched(watched) => watched.note_taken_address(context),
        }
    }

    /// Waits until all is stored and gives the place back. The store stays open: close it.
    ///
    /// # Errors
    /// What is not in the store, and why.
    pub async fn finish(self, context: &Context, signals: &Signals) -> (Arc<Store>, Result<()>) {
        match self {
            Self::Mounted(live) => live.finish(context, signals).await,
            Self::Watched(watched) => watched.finish(context, signals).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::artifact::{Error, Kind};
    use crate::cli::failure::Failure;

    #[test]
    fn what_cannot_be_mounted_is_told_from_other_failures() {
        assert_eq!(Failure::new(&Error::new(Kind::NoMount, "x")).hint("y").kind, Some(Kind::NoMount));
        assert_ne!(Failure::new(&Error::internal("x")).kind, Some(Kind::NoMount));
        assert_eq!(Failure::silent(1).kind, None);
    }
}
