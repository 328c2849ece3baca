//! `outputfs pull`.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::artifact::ids::ArtifactId;
use crate::artifact::name::display_bytes;
use crate::artifact::query::Query;
use crate::artifact::record::Artifact;
use crate::artifact::{Error, Kind, Result};
use crate::cli::Context;
use crate::cli::args::PullArgs;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::ls::below;
use crate::cli::output::{Grid, human};
use crate::cli::progress::Bar;
use crate::cli::target::{spell, split};
use crate::engine::progress::{Progress, Step};
use crate::engine::store::Store;

pub async fn run(context: &Context, args: PullArgs) -> Outcome {
    let store = context.open_light().await?;
    let what = spell(&store, &args.what, args.session.session.as_ref()).await?;
    let wanted = if args.deleted { deleted(&store, &what).await? } else { select(&store, &what).await? };
    let to_stdout = args.to.as_deref() == Some(Path::new("-"));
    if to_stdout {
        let [(artifact, _)] = wanted.as_slice() else {
            return Err(
                Error::invalid(format!("'{what}' is not one artifact: only one can go to standard output")).into()
            );
        };
        let bar = Bar::bytes(&context.output);
        store.pull_to(artifact, &mut standard_output()?, &bar.follow()).await?;
        return Ok(());
    }
    let plan = plan(wanted, args.to.as_deref());
    if !args.force {
        refuse_existing(&plan)?;
    }
    let total: u64 = plan.iter().map(|(a, _)| a.size).sum();
    let bar = Bar::bytes(&context.output);
    let mut before = 0;
    for (artifact, to) in &plan {
        if let Some(parent) = to.parent().filter(|p| !p.as_os_str().is_empty()) {
            tokio::fs::create_dir_all(parent).await.map_err(|e| Error::io(parent, &e))?;
        }
        store.pull_to_file(artifact, to, &beginning_at(&bar, before, total, to)).await?;
        before += artifact.size;
    }
    drop(bar);
    let items: Vec<_> = plan
        .iter()
        .map(|(a, to)| {
            let mut value = a.to_json();
            value["path"] = json!(to.to_string_lossy());
            value
        })
        .collect();
    context.output.list(&items, || {
        let mut grid = Grid::new(&["ID", "SIZE", "PATH"], &[1]);
        for (a, to) in &plan {
            grid.row([a.id.to_string(), human(a.size), to.display().to_string()]);
        }
        grid
    })?;
    Ok(())
}

/// Progress of one file as a part of all.
fn beginning_at(bar: &Bar, before: u64, total: u64, to: &Path) -> Progress {
    let (all, what) = (bar.follow(), to.display().to_string());
    Progress::new(move |step: &Step| {
        let (done, what) = (before + step.done, what.clone());
        all.tell(&Step { done, total: Some(total), what, ..Step::default() });
    })
}

fn base(path: &[u8]) -> Vec<u8> {
    path.rsplit(|&b| b == b'/').next().unwrap_or(path).to_vec()
}

/// One artifact out of the trash, under its own name.
async fn deleted(store: &Store, what: &str) -> Result<Vec<(Artifact, Vec<u8>)>> {
    let artifact = store.deleted_artifact(what).await?;
    let name = base(&artifact.filename);
    Ok(vec![(artifact, name)])
}

/// Artifacts with the path each has below the destination folder; a single file has its own name.
async fn select(store: &Store, what: &str) -> Result<Vec<(Artifact, Vec<u8>)>> {
    let (session, path) = split(what);
    let path = path.trim_matches('/');
    if what.parse::<ArtifactId>().is_ok() || !path.is_empty() {
        match store.artifact(what).await {
            Ok(artifact) => {
                let name = base(&artifact.filename);
                return Ok(vec![(artifact, name)]);
            }
            Err(e) if e.kind != Kind::IsADirectory => return Err(e),
            Err(_) => {}
        }
    }
    let session = store.session(session).await?;
    let found = store.find_all(Query { session: Some(session.id), ..Query::all(store.tenant.id) }).await?;
    // A folder comes with its name, a session without.
    let cut = path.rfind('/').map_or(0, |at| at + 1);
    let mut wanted: Vec<_> = found
        .into_iter()
        .filter(|a| below(&a.filename, path.as_bytes()))
        .map(|a| (a.filename.get(cut..).map(<[u8]>::to_vec), a))
        .filter_map(|(rest, a)| rest.map(|r| (a, r)))
        .collect();
    wanted.sort_unstable_by(|a, b| a.1.cmp(&b.1));
    Ok(wanted)
}

/// Where each goes. One artifact goes to the very path, or into it if that is a folder.
fn plan(wanted: Vec<(Artifact, Vec<u8>)>, to: Option<&Path>) -> Vec<(Artifact, PathBuf)> {
    let named = to.filter(|t| wanted.len() == 1 && !t.is_dir() && !t.as_os_str().as_bytes().ends_with(b"/"));
    // One file of a folder keeps its place in it.
    let single = wanted.len() == 1 && wanted.iter().all(|(_, name)| !name.contains(&b'/'));
    if let (Some(file), true) = (named, single) {
        return wanted.into_iter().map(|(a, _)| (a, file.to_owned())).collect();
    }
    let folder = to.map_or_else(PathBuf::new, Path::to_owned);
    wanted.into_iter().map(|(a, name)| (a, folder.join(OsStr::from_bytes(&name)))).collect()
}

fn refuse_existing(plan: &[(Artifact, PathBuf)]) -> Outcome {
    for (artifact, to) in plan {
        if std::fs::symlink_metadata(to).is_ok() {
            let e = Error::new(
                Kind::Exists,
                format!("{} exists: '{}' was not fetched", to.display(), display_bytes(&artifact.filename)),
            );
            return Err(Failure::new(&e).hint("--force replaces it"));
        }
    }
    Ok(())
}

/// Unbuffered, and off the async threads.
fn standard_output() -> Result<tokio::fs::File> {
    let fd = std::io::stdout().as_fd().try_clone_to_owned().map_err(|e| Error::io("standard output", &e))?;
    Ok(tokio::fs::File::from_std(fd.into()))
}
