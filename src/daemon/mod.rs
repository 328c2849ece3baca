//! The composition root: from arguments to parts, and the commands that have a mount or a listener of their own.

mod child;
mod dirty;
mod ground;
mod guard;
mod logging;
mod mcp;
mod mount;
mod mounted;
mod mountpoint;
mod namespace;
mod one_line;
mod run;
mod serve;
mod signals;
mod spawn;
mod watched;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::artifact::{Error, Result};
use crate::catalog::audit::{self, Actor, Who};
use crate::cli::args::{Cli, Command, MountArgs, RunArgs};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{stderr, stdout};
use crate::cli::settings::Settings;
use crate::cli::{self, Context};
use crate::preview;

/// Threads for blocking calls (files, hashing, SQLite): enough to keep a disk and both hashing cores busy, few enough
/// that their stacks and arenas do not add up.
const BLOCKING_THREADS: usize = 16;
const WORKERS: usize = 2;

/// glibc keeps an arena of up to 64 MiB for every thread that allocates; two are enough and stay small.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;

/// The program.
pub fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(word) if word == preview::worker::WORD => return preview::worker::main(),
        Some(word) if word == guard::WORD => return guard::main(std::env::args_os().skip(2)),
        _ => {}
    }
    if let Some(code) = by_another_name() {
        return code;
    }
    bound_memory();
    if let Some(code) = dirty::asked() {
        return code;
    }
    take_foreign_variables();
    forget_empty_variables();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return usage(&e),
    };
    let code = match start(cli) {
        Ok(code) => code,
        Err(failure) => {
            stderr(&failure.text());
            failure.code
        }
    };
    ExitCode::from(code)
}

/// Called by mount(8), we become the command that is meant.
fn by_another_name() -> Option<ExitCode> {
    use std::os::unix::process::CommandExt;
    let called: Vec<_> = std::env::args_os().collect();
    let error = match cli::mount_helper::arguments(&called) {
        Ok(None) => return None,
        Ok(Some(words)) if words.is_empty() => return Some(ExitCode::SUCCESS),
        Ok(Some(words)) => match std::env::current_exe() {
            Ok(program) => {
                let e = std::process::Command::new(&program).args(words).exec();
                Error::io(&program, &e)
            }
            Err(e) => Error::internal(format!("cannot find the outputfs program: {e}")),
        },
        Err(error) => error,
    };
    let failure = Failure::new(&error);
    stderr(&failure.text());
    Some(ExitCode::from(failure.code))
}

fn start(cli: Cli) -> Outcome<u8> {
    let settings = Settings::resolve(cli.global)?;
    if let Command::Run(RunArgs { mount, .. }) | Command::Mount(MountArgs { mountpoint: mount, .. }) = &cli.command {
        mountpoint::refuse_own_ground(&settings, mount)?;
    }
    let entered = match &cli.command {
        // Before any thread exists: a namespace is entered by a process of one thread alone.
        Command::Run(args) if !args.watch => namespace::enter_if_needed(),
        _ => Ok(()),
    };
    if let Command::Mount(args) = &cli.command
        && !args.foreground
        && !args.daemon
    {
        return spawn::daemon(args).map(|()| 0);
    }
    logging::start(&settings, &cli.command)?;
    if let Err(e) = entered {
        // Mounting says that it is not permitted, and the folder is watched instead.
        tracing::debug!(error = %e, "no namespace to mount in");
    }
    let runtime = runtime()?;
    let actor = Actor { door: door(&cli.command), who: own_name() };
    let outcome = runtime.block_on(audit::scope(actor, dispatch(settings, cli.command)));
    // What blocks (a read of standard input, a name lookup) must not hold up the end.
    runtime.shutdown_background();
    outcome
}

fn door(command: &Command) -> &'static str {
    match command {
        Command::Mcp(_) => "mcp",
        // What they do by themselves; who comes through their doors is named there.
        Command::Mount(_) | Command::Serve(_) => "daemon",
        _ => "cli",
    }
}

/// An agent that says so, else the user of this process.
fn own_name() -> Who {
    let agent = ["OUTPUTFS_AGENT_ID", "ARTIFACTA_AGENT_ID"]
        .iter()
        .find_map(|n| std::env::var(n).ok().filter(|v| !v.is_empty()));
    Who::Named(agent.unwrap_or_else(|| format!("outputfs, uid {}", rustix::process::getuid().as_raw())))
}

async fn dispatch(settings: Settings, command: Command) -> Outcome<u8> {
    match command {
        Command::Run(args) => run::run(settings, args).await,
        Command::Mount(args) => mount::run(settings, args).await.map(|()| 0),
        Command::Serve(args) => serve::run(settings, &args).await.map(|()| 0),
        Command::Mcp(args) => mcp::run(settings, args).await.map(|()| 0),
        other => cli::execute(&Context::new(settings), other).await.map(|()| 0),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("outputfs")
        .enable_all()
        .build()
        .map_err(|e| Error::internal(format!("no threads can be started: {e}")))
}

/// Wrong usage is the user's mistake (1), not clap's 2, which means our failure here.
fn usage(e: &clap::Error) -> ExitCode {
    let text = e.render().to_string();
    match e.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match stdout(&text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                stderr(&Failure::new(&error).text());
                ExitCode::from(error.exit_code())
            }
        },
        _ => {
            stderr(&text.strip_prefix("error: ").map_or(text.clone(), |rest| format!("outputfs: {rest}")));
            ExitCode::from(1)
        }
    }
}

fn bound_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: called first in main, before any other thread; mallopt changes a parameter of the allocator only.
    let done = unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
    #[cfg(target_env = "gnu")]
    debug_assert_eq!(done, 1, "more arenas than wanted cost memory and nothing else");
}

/// What the published client calls the session is ours too, where we have no word of our own for it.
fn take_foreign_variables() {
    let (ours, theirs) = ("OUTPUTFS_SESSION_ID", "ARTIFACTA_SESSION_ID");
    if std::env::var_os(ours).is_none_or(|v| v.is_empty())
        && let Some(session) = std::env::var_os(theirs).filter(|v| !v.is_empty())
    {
        // SAFETY: called at the start of main: no other thread reads the environment.
        unsafe { std::env::set_var(ours, session) };
    }
}

/// `OUTPUTFS_STORE=` means "not set", as it does to most tools; clap would take it for a value.
fn forget_empty_variables() {
    use clap::CommandFactory;
    let mut commands = vec![Cli::command()];
    while let Some(command) = commands.pop() {
        for name in command.get_arguments().filter_map(clap::Arg::get_env) {
            if std::env::var_os(name).is_some_and(|v| v.is_empty()) {
                // SAFETY: called at the start of main: no other thread reads the environment.
                unsafe { std::env::remove_var(name) };
            }
        }
        commands.extend(command.get_subcommands().cloned());
    }
}
