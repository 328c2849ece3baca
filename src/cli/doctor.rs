//! `outputfs doctor`: what usually keeps outputfs from working, examined.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::thread::{CapabilitySet, capabilities};
use serde_json::{Value, json};

use crate::artifact::{Error, Kind, Result};
use crate::blob::doctor::{Check, examine};
use crate::cli::args::DoctorArgs;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::Grid;
use crate::cli::{Context, bundle};

pub async fn run(context: &Context, args: &DoctorArgs) -> Outcome {
    let mut checks = vec![check("FUSE device", fuse_device), check("mounting", may_mount)];
    let started = Instant::now();
    let mut code = 0;
    let mut opened = None;
    match context.open_light().await {
        Err(e) => {
            code = e.exit_code();
            checks.push(Check { name: "state directory", ok: false, detail: e.message, took: started.elapsed() });
        }
        Ok(store) => {
            let detail = format!("{}, catalog opened", store.state.root().display());
            checks.push(Check { name: "state directory", ok: true, detail, took: started.elapsed() });
            let found = examine(&*store.blobs).await;
            if found.iter().any(|c| !c.ok) {
                code = 3;
            }
            checks.extend(found);
            opened = Some(store);
        }
    }
    let ok = checks.iter().all(|c| c.ok);
    let items: Vec<_> = checks.iter().map(to_json).collect();
    if let Some(to) = &args.bundle {
        let names = bundle::write(to, &context.settings, opened.as_deref(), &items).await?;
        let (to, names) = (to.display(), names.join(", "));
        context
            .output
            .note(&format!("{to} holds {names}: look into it before you send it, names of yours may be left"));
    }
    context.output.list(&items, || {
        let mut grid = Grid::new(&["CHECK", "", "TOOK", "WHAT WAS FOUND"], &[2]);
        for c in &checks {
            let word = if c.ok { "ok" } else { "FAILED" };
            grid.row([c.name.to_owned(), word.to_owned(), format!("{} ms", c.took.as_millis()), c.detail.clone()]);
        }
        grid
    })?;
    if ok { Ok(()) } else { Err(Failure::silent(if code == 0 { 2 } else { code })) }
}

fn to_json(c: &Check) -> Value {
    let took = u64::try_from(c.took.as_millis()).unwrap_or(u64::MAX);
    json!({"check": c.name, "ok": c.ok, "detail": c.detail, "took_ms": took})
}

fn check(name: &'static str, examine: impl FnOnce() -> Result<String>) -> Check {
    let started = Instant::now();
    let outcome = examine();
    let took: Duration = started.elapsed();
    match outcome {
        Ok(detail) => Check { name, ok: true, detail, took },
        Err(e) => Check { name, ok: false, detail: e.message, took },
    }
}

fn fuse_device() -> Result<String> {
    let device = Path::new("/dev/fuse");
    match std::fs::OpenOptions::new().read(true).write(true).open(device) {
        Ok(_) => Ok(String::from("/dev/fuse can be opened")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Error::not_found(
            "/dev/fuse is missing: run 'modprobe fuse', or give the container '--device /dev/fuse'",
        )),
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Err(Error::new(
            Kind::Forbidden,
            "/dev/fuse is not open to you: as root, run 'chmod 666 /dev/fuse', as distributions ship it",
        )),
        Err(e) => Err(Error::io(device, &e)),
    }
}

fn may_mount() -> Result<String> {
    if rustix::process::geteuid().is_root() {
        let sets = capabilities(None).map_err(|e| Error::io("/proc/self", &e.into()))?;
        return if sets.effective.contains(CapabilitySet::SYS_ADMIN) {
            Ok(String::from("as root, by mount(2)"))
        } else {
            Err(Error::new(Kind::Forbidden, "root may not mount here: give the container '--cap-add SYS_ADMIN'"))
        };
    }
    if helper() {
        return Ok(String::from("as an ordinary user, by fusermount3"));
    }
    let off = std::fs::read_to_string("/proc/sys/user/max_user_namespaces").is_ok_and(|n| n.trim() == "0");
    if off {
        return Err(Error::new(Kind::Forbidden, "no fusermount3 and no user namespaces: install fuse3"));
    }
    Ok(String::from("no fusermount3: 'outputfs run' uses a user namespace, 'outputfs mount' needs fuse3 installed"))
}

/// Whether mounting is worth a try.
///
/// # Errors
/// `NoMount`, with what is missing.
pub fn can_mount() -> Result<()> {
    fuse_device().and_then(|_| may_mount()).map(drop).map_err(|e| Error::new(Kind::NoMount, e.message))
}

/// Whether the setuid helper that mounts for ordinary users is there.
pub fn helper() -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join("fusermount3").is_file()))
}
