//! `outputfs run`.

use std::ffi::OsString;
use std::path::Path;

use serde_json::json;

use crate::artifact::amount::count;
use crate::artifact::name::SessionName;
use crate::artifact::query::Query;
use crate::artifact::record::Artifact;
use crate::artifact::step::Attempt;
use crate::artifact::{Error, Result};
use crate::cli::args::RunArgs;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{artifacts, stderr, stdout};
use crate::cli::progress::Bar;
use crate::cli::settings::Settings;
use crate::cli::steps::full;
use crate::cli::{Context, session_or_fresh};
use crate::daemon::child;
use crate::daemon::ground::Ground;
use crate::daemon::signals::Signals;
use crate::engine::store::Store;

/// The exit code that a shell gives a command it cannot start.
const NOT_STARTED: i64 = 127;

pub async fn run(settings: Settings, args: RunArgs) -> Outcome<u8> {
    let signals = Signals::install()?;
    let mut context = Context::new(settings);
    let (session, fresh) = session_or_fresh(args.session.session.clone())?;
    if fresh {
        context.output.note(&format!("session {session}"));
    }
    let ground = Ground::start(&mut context, &args, &session).await?;
    let mut env = environment(&context.settings, &session, ground.path());
    // Runs side by side are the normal case, and standard error is the command's.
    if args.mounting.http.http.is_some() {
        ground.note_taken_address(&context);
    }
    if let Err(e) = refuse_sealed(ground.store(), &session).await {
        let (store, _) = ground.finish(&context, &signals).await;
        store.close().await?;
        return Err(e.into());
    }

    match begin(ground.store(), &session, &args).await {
        Ok(more) => env.extend(more),
        Err(e) => {
            let (store, _) = ground.finish(&context, &signals).await;
            store.end_run().await?;
            store.close().await?;
            return Err(e.into());
        }
    }
    let ended = match child::start(&args.command, &env) {
        Ok(mut child) => child::wait(&mut child, &signals).await.map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    let (store, mut stored) = ground.finish(&context, &signals).await;
    stored = stored.and(store.end_run().await);
    let code = match ended {
        Ok(code) => code,
        Err(failure) => {
            store.end_attempt(NOT_STARTED, false).await?;
            store.close().await?;
            return Err(failure);
        }
    };
    let attempt = match store.end_attempt(i64::from(code), stored.is_ok()).await {
        Ok(attempt) => attempt,
        Err(e) => {
            stored = stored.and(Err(e));
            None
        }
    };
    if let Some(attempt) = attempt.as_ref().filter(|a| a.replaced > 0) {
        context.output.note(&format!(
            "{} of earlier attempts of step '{}' now in the trash ('outputfs trash ls {session}')",
            count(attempt.replaced, "file"),
            attempt.step
        ));
    }
    let mut sealed = false;
    if args.seal && stored.is_ok() {
        if code == 0 {
            match seal(&context, &store, &session).await {
                Ok(()) => sealed = true,
                Err(e) => stored = Err(e),
            }
        } else {
            context.output.note(&format!("the command failed ({code}): '{session}' is not sealed"));
        }
    }
    if stored.is_ok() {
        // Moves what rode in the catalog into the store, so that the table says "stored".
        stored = store.close().await;
    }
    tell(&context, &store, &session, &args, (code, sealed, attempt)).await?;
    match stored {
        Ok(()) => Ok(code),
        // The command's own failure is the news; ours comes second.
        Err(e) if code != 0 => {
            stderr(&Failure::new(&e).text());
            Ok(code)
        }
        Err(e) => Err(e.into()),
    }
}

/// Where the command finds its folder, and `outputfs` and `artifacta` within it their session, agent and lifetime.
fn environment(settings: &Settings, session: &SessionName, dir: &Path) -> Vec<(&'static str, OsString)> {
    let mut env = folder(settings, session, dir);
    for names in [["OUTPUTFS_AGENT_ID", "ARTIFACTA_AGENT_ID"], ["OUTPUTFS_TTL", "ARTIFACTA_TTL"]] {
        if let Some(said) = names.iter().find_map(|name| std::env::var_os(name).filter(|v| !v.is_empty())) {
            env.extend(names.map(|name| (name, said.clone())));
        }
    }
    env
}

fn folder(settings: &Settings, session: &SessionName, dir: &Path) -> Vec<(&'static str, OsString)> {
    let mut env = vec![
        ("OUTPUTFS_SESSION_ID", OsString::from(session.as_str())),
        ("ARTIFACTA_SESSION_ID", OsString::from(session.as_str())),
        ("OUTPUTFS_DIR", dir.as_os_str().to_owned()),
        ("OUTPUTFS_STATE_DIR", settings.store.state_dir.as_os_str().to_owned()),
        ("OUTPUTFS_TENANT", OsString::from(settings.store.tenant.as_str())),
    ];
    // (One with a password came by the environment or the settings file, where the command finds it too.)
    if let Some(catalog) = settings.store.catalog.as_ref().and_then(|c| c.plain()) {
        env.push(("OUTPUTFS_CATALOG", OsString::from(catalog)));
    }
    env
}

/// The run, and the attempt that `--step` asks for: what the command is to know of them. A key of this store that the command would
/// use anyway is exchanged for one of the run, so that what comes with it is the run's.
async fn begin(store: &Store, session: &SessionName, args: &RunArgs) -> Result<Vec<(&'static str, OsString)>> {
    store.begin_run();
    let mut env = Vec::new();
    if let Some(run) = store.run() {
        env.push(("OUTPUTFS_RUN_ID", OsString::from(run)));
    }
    if let Some(step) = &args.step {
        let session = store.session(session.as_str()).await?;
        let words: Vec<_> = args.command.iter().map(|w| w.to_string_lossy()).collect();
        let attempt = store.begin_attempt(&session, step, &words.join(" ")).await?;
        let number = OsString::from(attempt.id.0.to_string());
        env.extend(["OUTPUTFS_STEP", "ARTIFACTA_STEP"].map(|name| (name, OsString::from(&attempt.step))));
        env.extend(["OUTPUTFS_ATTEMPT", "ARTIFACTA_ATTEMPT"].map(|name| (name, number.clone())));
    }
    let key = std::env::var("ARTIFACTA_API_KEY").unwrap_or_default();
    if let Some(made) = store.key_for_run(&key).await? {
        env.push(("ARTIFACTA_API_KEY", OsString::from(made.secret.reveal())));
    }
    Ok(env)
}

/// A command that cannot write anything need not run.
async fn refuse_sealed(store: &Store, name: &SessionName) -> Result<()> {
    match store.session(name.as_str()).await?.sealed {
        Some(_) => Err(Error::sealed(name.as_str())),
        None => Ok(()),
    }
}

async fn seal(context: &Context, store: &Store, name: &SessionName) -> Result<()> {
    let session = store.session(name.as_str()).await?;
    let bar = Bar::bytes(&context.output);
    store.seal(&session, store.options.upload_timeout, &bar.follow()).await.map(drop)
}

/// The table and the report.
async fn tell(
    context: &Context,
    store: &Store,
    name: &SessionName,
    args: &RunArgs,
    (code, sealed, attempt): (u8, bool, Option<Attempt>),
) -> Result<()> {
    let session = store.session(name.as_str()).await?;
    // What others put into the session is not this run's to tell of.
    let query = Query { session: Some(session.id), run: store.run(), ..Query::all(store.tenant.id) };
    let mut list = store.find_all(query).await?;
    list.sort_unstable_by(|a, b| a.filename.cmp(&b.filename));
    if !context.output.quiet && !list.is_empty() {
        stderr(&artifacts(&list, false).render());
    }
    let Some(to) = &args.report else { return Ok(()) };
    let mut report = json!({
        "session_id": name.as_str(),
        "exit_code": code,
        "sealed": sealed || session.sealed.is_some(),
        "artifacts": list.iter().map(Artifact::to_json).collect::<Vec<_>>(),
    });
    if let Some(attempt) = attempt {
        report["step"] = full(&attempt);
    }
    let text = format!("{report}\n");
    if to == Path::new("-") {
        return stdout(&text);
    }
    std::fs::write(to, text).map_err(|e| Error::io(to, &e))
}
