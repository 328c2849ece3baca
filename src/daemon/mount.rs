//! `outputfs mount`, in the foreground or as the daemon.

use crate::artifact::Error;
use crate::cli::Context;
use crate::cli::args::MountArgs;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::settings::Settings;
use crate::daemon::mounted::Live;
use crate::daemon::mountpoint::Mountpoint;
use crate::daemon::signals::{Signals, name};
use crate::daemon::spawn::Parent;

pub async fn run(settings: Settings, args: MountArgs) -> Outcome {
    let signals = Signals::install()?;
    let parent = if args.daemon { Some(Parent::detach()?) } else { None };
    let mut context = Context::new(settings);
    let started = match Mountpoint::prepare(&args.mountpoint, false, args.mounting.adopt) {
        Ok(place) => {
            // Its own directory must be free to be removed or unmounted.
            if args.daemon {
                std::env::set_current_dir("/").map_err(|e| Error::io("/", &e))?;
            }
            Live::start(&mut context, &args.mounting, args.session.session, place).await
        }
        Err(failure) => Err(failure),
    };
    if let Ok(live) = &started {
        live.note_taken_address(&context);
    }
    let mut live = match (started, parent) {
        (Ok(live), None) => live,
        (Ok(live), Some(parent)) => {
            if !parent.ready() {
                tracing::warn!("whoever asked for the mount is gone: unmounting");
                return end(live, &context, &signals).await;
            }
            live
        }
        (Err(failure), None) => return Err(failure),
        (Err(failure), Some(parent)) => {
            tracing::error!("{}", failure.text().trim_end());
            parent.failed(&failure);
            return Err(Failure::silent(failure.code));
        }
    };
    tracing::info!(mountpoint = %args.mountpoint.display(), "mounted");
    tokio::select! {
        signal = signals.next() => tracing::info!(signal = name(signal.number), "ending"),
        () = live.ended() => match live.broken() {
            Some(e) => tracing::error!("{e}"),
            None => tracing::info!("unmounted by somebody else"),
        },
    }
    end(live, &context, &signals).await
}

async fn end(live: Live, context: &Context, signals: &Signals) -> Outcome {
    let (store, stored) = live.finish(context, signals).await;
    stored?;
    store.close().await?;
    tracing::info!("unmounted");
    Ok(())
}
