//! The command line: arguments, settings, output, and one file for each command that needs neither a mount nor a
//! listener of its own (those are in `daemon`, which may use the other adapters).

pub mod args;
mod bundle;
pub mod busy;
mod check;
mod check_ignore;
mod completions;
pub mod doctor;
pub mod failure;
mod gc;
mod inspect;
mod key;
mod link;
mod links;
mod log;
mod ls;
mod man;
pub mod mount_helper;
pub mod output;
pub mod progress;
mod pull;
pub mod push;
mod quota;
mod redact;
mod restore;
mod revoke;
mod rm;
mod seal;
mod session;
pub mod settings;
mod status;
pub mod steps;
mod target;
mod trash;
mod ttl;
pub mod umount;
mod usage;
pub mod value;
mod verify;

use std::sync::Arc;

use crate::artifact::name::SessionName;
use crate::artifact::{Error, Result};
use crate::engine::store::Store;

use args::Command;
use failure::{Failure, Outcome};
use output::Output;
use settings::Settings;

/// What every command gets.
pub struct Context {
    pub settings: Settings,
    pub output: Output,
}

impl Context {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let output = Output::new(&settings);
        Self { settings, output }
    }

    /// For commands that store no bytes.
    ///
    /// # Errors
    /// As [`Store::open_light`].
    pub async fn open_light(&self) -> Result<Arc<Store>> {
        let store = Store::open_light(&self.settings.store).await?;
        self.tell_recovery(&store);
        Ok(store)
    }

    /// With a staging directory. Close it when done.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open(&self) -> Result<Arc<Store>> {
        let store = Store::open(&self.settings.store).await?;
        self.tell_recovery(&store);
        Ok(store)
    }

    /// Recovered files are news: whoever lost a daemon wants to know what became of them.
    fn tell_recovery(&self, store: &Store) {
        let Some(recovery) = store.recovery() else { return };
        let (committed, trashed) = (recovery.committed.len(), recovery.trashed.len());
        if committed + trashed > 0 {
            self.output.note(&format!(
                "recovered after a crash: {committed} closed files are stored, {trashed} that were open are in .trash"
            ));
        }
        for left in &recovery.left {
            self.output.note(&format!("not recovered yet: {left}"));
        }
    }
}

/// A fresh session's name: `ses_` and 12 characters, 71 random bits.
#[must_use]
pub fn fresh_session() -> Option<SessionName> {
    use rand::Rng;
    use rand::distr::Alphanumeric;
    let random: String = rand::rng().sample_iter(Alphanumeric).take(12).map(char::from).collect();
    format!("ses_{random}").parse().ok()
}

/// # Errors
/// `Internal`, never in practice: the name is of the right form.
pub fn session_or_fresh(said: Option<SessionName>) -> Result<(SessionName, bool)> {
    match said {
        Some(name) => Ok((name, false)),
        None => fresh_session().map(|n| (n, true)).ok_or_else(|| Error::internal("no session name could be made")),
    }
}

/// Runs a command that needs no mount and no listener.
///
/// # Errors
/// What is to be told and the exit code.
pub async fn execute(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Umount(args) => umount::run(context, &args).await,
        Command::Ls(args) => ls::run(context, args).await,
        Command::Push(args) => push::run(context, args).await,
        Command::Pull(args) => pull::run(context, args).await,
        Command::Inspect(args) => inspect::run(context, &args).await,
        Command::Link(args) => link::run(context, &args).await,
        Command::Links(args) => links::run(context, &args).await,
        Command::Revoke(args) => revoke::run(context, &args).await,
        Command::Seal(args) => seal::run(context, args).await,
        Command::Session(args) => session::run(context, args.command).await,
        Command::CheckIgnore(args) => check_ignore::run(context, &args).await,
        Command::Rm(args) => rm::run(context, &args).await,
        Command::Restore(args) => restore::run(context, &args).await,
        Command::Trash(args) => trash::run(context, args.command).await,
        Command::Ttl(args) => ttl::run(context, &args).await,
        Command::Gc(args) => gc::run(context, &args).await,
        Command::Verify(args) => verify::run(context, args).await,
        Command::Check(args) => check::run(context, &args).await,
        Command::Doctor(args) => doctor::run(context, &args).await,
        Command::Steps(args) => steps::run(context, args).await,
        Command::Log(args) => log::run(context, args).await,
        Command::Quota(args) => quota::run(context, args.command).await,
        Command::Usage(args) => usage::run(context, &args).await,
        Command::Status => status::run(context).await,
        Command::Key(args) => key::run(context, args.command).await,
        Command::Completions { shell } => completions::run(shell),
        Command::Man(args) => man::run(&args),
        Command::Run(_) | Command::Mount(_) | Command::Serve(_) | Command::Mcp(_) => {
            Err(Failure::new(&Error::internal("this command belongs to the daemon")))
        }
    }
}
