//! `outputfs push`.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::artifact::environment;
use crate::artifact::metadata::Metadata;
use crate::artifact::name::SessionName;
use crate::artifact::provenance::{Provenance, bounded};
use crate::artifact::record::Labels;
use crate::artifact::step::AttemptId;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::Committed;
use crate::cli::Context;
use crate::cli::args::PushArgs;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::artifacts;
use crate::cli::progress::Bar;
use crate::cli::target::split;
use crate::cli::value::Meta;
use crate::engine::progress::{Progress, Step};
use crate::engine::push::{PushRequest, PushSource};
use crate::engine::store::Store;

pub async fn run(context: &Context, args: PushArgs) -> Outcome {
    let (files, to) = destination(&args)?;
    let labels = labels(&args)?;
    let plan = plan(&files, &to, args.recursive)?;
    let store = context.open().await?;
    let plan = without_scratch(&store, &to.session, plan).await?;
    join_run(&store)?;
    let pushed = push_all(context, &store, &to.session, plan, &labels).await;
    let closed = store.close().await;
    let (mut done, failed) = pushed;
    if closed.is_ok() {
        // Closing moves small files into the store: the records say so now.
        for done in &mut done {
            match store.artifact(&done.artifact.id.to_string()).await {
                Ok(now) => done.artifact = now,
                // Removed by somebody since: it was stored all the same, which is what is told.
                Err(e) if matches!(e.kind, Kind::NotFound | Kind::Deleted | Kind::Expired) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    let items: Vec<_> = done
        .iter()
        .map(|done| {
            let mut item = done.artifact.to_json();
            item["outcome"] = json!(done.outcome.as_str());
            item
        })
        .collect();
    if failed.is_none() || !done.is_empty() {
        let done: Vec<_> = done.into_iter().map(|done| done.artifact).collect();
        context.output.list(&items, || artifacts(&done, true))?;
    }
    if let Some(e) = failed {
        return Err(Failure::new(&e));
    }
    closed?;
    Ok(())
}

/// Session and path of a push.
#[derive(Debug, PartialEq, Eq)]
struct Destination {
    session: SessionName,
    /// Empty, or ending in `/`: a folder.
    path: String,
}

/// The files, and where they go: `--to`, else the last argument if it is of the form `SESSION/…` and no file, else the
/// default session.
fn destination(args: &PushArgs) -> Result<(Vec<PathBuf>, Destination)> {
    let parse = |text: &str| -> Result<Destination> {
        let (session, path) = split(text);
        Ok(Destination { session: session.parse()?, path: path.to_owned() })
    };
    if let Some(to) = &args.to {
        return Ok((args.files.clone(), parse(to)?));
    }
    if let [files @ .., last] = args.files.as_slice()
        && !files.is_empty()
        && let Some(text) = last.to_str().filter(|t| t.contains('/') || t.ends_with(':'))
        && !last.exists()
        && !text.starts_with(['/', '.'])
    {
        return Ok((files.to_vec(), parse(text)?));
    }
    let session = args.session.session.clone().ok_or_else(|| {
        Error::invalid("push to which session? End with SESSION/ or SESSION/PATH, or set OUTPUTFS_SESSION_ID")
    })?;
    Ok((args.files.clone(), Destination { session, path: String::new() }))
}

/// What this process says of files that it stores by itself.
#[must_use]
pub fn own_labels() -> Labels {
    let mut labels = Labels { provenance: own_provenance(), ..Labels::default() };
    from_environment(&mut labels);
    // A key names one operation, and this is many.
    labels.idempotency_key = None;
    labels
}

fn labels(args: &PushArgs) -> Result<Labels> {
    let mut explicit = Metadata::default();
    for Meta(key, value) in &args.meta {
        explicit.set(key, value.as_bytes())?;
    }
    let mut labels = Labels {
        explicit,
        agent_id: args.agent.clone(),
        ttl: args.ttl.map(|t| t.to_string()),
        content_type: args.content_type.clone(),
        // The flag wins over the environment.
        idempotency_key: args.idempotency_key.clone(),
        provenance: own_provenance(),
        ..Labels::default()
    };
    from_environment(&mut labels);
    Ok(labels)
}

/// This very process.
fn own_provenance() -> Provenance {
    let words: Vec<_> = std::env::args_os().take(1).map(|w| bounded(&w.to_string_lossy())).collect();
    let shown = |path: std::io::Result<PathBuf>| path.ok().map(|p| bounded(&p.to_string_lossy()));
    Provenance {
        executable: shown(std::env::current_exe()),
        argv0: words.into_iter().next(),
        cwd: shown(std::env::current_dir()),
        pid: Some(std::process::id()),
        uid: Some(rustix::process::getuid().as_raw()),
        ..Provenance::default()
    }
}

/// What a command of `outputfs run` stores by itself is of that run, and of the attempt of its `--step`.
///
/// # Errors
/// `Invalid` when the variables are not as `run` sets them; `Internal` when the store is of another attempt already.
pub fn join_run(store: &Store) -> Result<()> {
    if let Some(attempt) = attempt()? {
        store.join_attempt(attempt)?;
    }
    if let Some(run) = std::env::var("OUTPUTFS_RUN_ID").ok().filter(|v| !v.is_empty()) {
        store.join_run(run);
    }
    Ok(())
}

/// A command of `outputfs run --step` pushes into its attempt.
fn attempt() -> Result<Option<AttemptId>> {
    let Some(text) = std::env::var_os("OUTPUTFS_ATTEMPT").filter(|v| !v.is_empty()) else { return Ok(None) };
    let id = text.to_str().and_then(|t| t.parse().ok()).map(AttemptId);
    id.map(Some).ok_or_else(|| Error::invalid("OUTPUTFS_ATTEMPT is set by 'outputfs run --step', and to a number"))
}

/// The same variables that label files written on a mount. What is out of limits is left out, as there.
fn from_environment(labels: &mut Labels) {
    let vars: Vec<_> =
        std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
    let read = environment::read(vars.iter().map(|(k, v)| (k.as_str(), v.as_str())));
    if let Some(excess) = read.excess() {
        tracing::warn!("labels of the environment are left out: {excess}");
    }
    read.label(labels);
}

/// One file on its way.
struct Item {
    from: PathBuf,
    /// Inside the session.
    path: Vec<u8>,
    /// On the command line, not found in a folder.
    named: bool,
}

fn plan(files: &[PathBuf], to: &Destination, recursive: bool) -> Result<Vec<Item>> {
    let folder = to.path.is_empty() || to.path.ends_with('/');
    if !folder && (files.len() > 1 || files.iter().any(|f| f.is_dir())) {
        return Err(Error::invalid(format!("several files cannot all become '{}': end it with '/'", to.path)));
    }
    let mut items = Vec::new();
    for file in files {
        let below =
            |name: &[u8]| if folder { [to.path.as_bytes(), name].concat() } else { to.path.as_bytes().to_vec() };
        if file == Path::new("-") {
            if folder {
                return Err(Error::invalid("standard input needs a name: write SESSION/PATH"));
            }
            items.push(Item { from: file.clone(), path: below(b""), named: true });
            continue;
        }
        let meta = std::fs::metadata(file).map_err(|e| missing(file, &e))?;
        // `.` and `..` have no name of their own: what is in them is meant.
        let name = file.file_name().map(|n| n.as_bytes().to_vec()).unwrap_or_default();
        if meta.is_dir() {
            if !recursive {
                return Err(Error::new(
                    Kind::IsADirectory,
                    format!("{}: is a folder: say --recursive", file.display()),
                ));
            }
            walk(file, &below(&name), &mut items)?;
        } else {
            items.push(Item { from: file.clone(), path: below(&name), named: true });
        }
    }
    Ok(items)
}

fn missing(file: &Path, e: &std::io::Error) -> Error {
    let mut error = Error::io(file, e);
    if error.kind == Kind::NotFound {
        error.message.push_str(" (a destination is written SESSION/ or SESSION/PATH)");
    }
    error
}

/// Regular files below `dir`, in order. Links are not followed: they could lead in circles.
fn walk(dir: &Path, to: &[u8], items: &mut Vec<Item>) -> Result<()> {
    let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut entries = entries.map_err(|e| Error::io(dir, &e))?;
    entries.sort_unstable_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().map_err(|e| Error::io(entry.path(), &e))?;
        let mut path = to.to_vec();
        if !path.is_empty() && !path.ends_with(b"/") {
            path.push(b'/');
        }
        path.extend_from_slice(entry.file_name().as_bytes());
        if kind.is_dir() {
            walk(&entry.path(), &path, items)?;
        } else if kind.is_file() {
            items.push(Item { from: entry.path(), path, named: false });
        } else {
            tracing::warn!(path = %entry.path().display(), "no regular file: left out");
        }
    }
    Ok(())
}

/// Of a folder only what would become an artifact in a mount of the session; files that were named are meant.
async fn without_scratch(store: &Store, session: &SessionName, mut plan: Vec<Item>) -> Result<Vec<Item>> {
    let rules = store.ignore_rules(session).await?;
    let before = plan.len();
    plan.retain(|item| item.named || !rules.is_scratch(&item.path, false));
    if plan.len() < before {
        tracing::info!(files = before - plan.len(), "scratch files are left out");
    }
    Ok(plan)
}

/// What was pushed, and what stopped it.
async fn push_all(
    context: &Context,
    store: &Store,
    session: &SessionName,
    plan: Vec<Item>,
    labels: &Labels,
) -> (Vec<Committed>, Option<Error>) {
    let bar = Bar::bytes(&context.output);
    let total: u64 = plan.iter().filter_map(|i| std::fs::metadata(&i.from).ok()).map(|m| m.len()).sum();
    let (mut before, mut done) = (0, Vec::new());
    for item in plan {
        let size = std::fs::metadata(&item.from).map_or(0, |m| m.len());
        let (all, what) = (bar.follow(), item.from.display().to_string());
        let progress = Progress::new(move |step: &Step| {
            let (done, what) = (before + step.done, what.clone());
            all.tell(&Step { done, total: Some(total), what, ..Step::default() });
        });
        let source = if item.from == Path::new("-") {
            match standard_input() {
                Ok(file) => PushSource::Stream { reader: Box::new(file), size: None },
                Err(e) => return (done, Some(e)),
            }
        } else {
            PushSource::File(item.from)
        };
        let request = PushRequest {
            session: session.clone(),
            path: item.path,
            source,
            labels: labels.clone(),
            mode: None,
            mtime: None,
            progress,
        };
        match store.push(request).await {
            Ok(ingested) => done.push(ingested.committed),
            Err(e) => return (done, Some(e)),
        }
        before += size;
    }
    (done, None)
}

fn standard_input() -> Result<tokio::fs::File> {
    let fd = std::io::stdin().as_fd().try_clone_to_owned().map_err(|e| Error::io("standard input", &e))?;
    Ok(tokio::fs::File::from_std(fd.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::Parser;

    fn parsed(words: &[&str]) -> Result<(Vec<PathBuf>, Destination)> {
        let cli = Cli::try_parse_from(["outputfs", "push"].iter().chain(words)).unwrap();
        let Command::Push(mut args) = cli.command else { panic!() };
        // What the tester's shell has set is not what is tested.
        if !words.contains(&"--session") {
            args.session.session = None;
        }
        destination(&args)
    }

    #[test]
    fn the_last_argument_may_be_the_destination() {
        let (files, to) = parsed(&["a", "b", "run/"]).unwrap();
        assert_eq!(files.len(), 2);
        assert_eq!((to.session.as_str(), to.path.as_str()), ("run", ""));
        let (_, to) = parsed(&["a", "run/x/y.txt"]).unwrap();
        assert_eq!((to.session.as_str(), to.path.as_str()), ("run", "x/y.txt"));
        let (files, to) = parsed(&["--session", "s", "a", "b"]).unwrap();
        assert_eq!((files.len(), to.session.as_str()), (2, "s"));
        assert!(parsed(&["a", "b"]).is_err(), "no session");
        let (files, _) = parsed(&["--session", "s", "a", "/tmp/none/b"]).unwrap();
        assert_eq!(files.len(), 2, "an absolute path is no session");
    }
}
