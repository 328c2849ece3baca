//! `outputfs doctor --bundle FILE`: what somebody needs who is to say what is wrong, without names and bytes of the user's.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::artifact::{Error, Result};
use crate::cli::redact;
use crate::cli::settings::Settings;
use crate::engine::store::Store;

/// Of each log the end.
const LOG_MAX: u64 = 1 << 20;
/// Of the newest daemons.
const LOGS: usize = 5;

/// Writes the archive, readable by its owner alone. `checks` are what `doctor` found; `store` is what could be opened. Answers the names in
/// it. Blocking.
///
/// # Errors
/// `Exists`, and I/O errors with the path.
pub async fn write(to: &Path, settings: &Settings, store: Option<&Store>, checks: &[Value]) -> Result<Vec<String>> {
    let mut parts = vec![(String::from("about.json"), pretty(&about(settings))?)];
    parts.push((String::from("doctor.json"), pretty(&redact::json(json!(checks)))?));
    parts.push((String::from("files.json"), pretty(&files(&settings.store.state_dir))?));
    if let Some(store) = store {
        let status = match store.status().await {
            Ok(status) => redact::json(json!(status)),
            Err(e) => json!({"error": redact::text(&e.message)}),
        };
        parts.push((String::from("status.json"), pretty(&status)?));
    }
    parts.push((String::from("mounts.txt"), mounts()));
    for (name, text) in logs(&settings.store.state_dir.join("logs"))? {
        parts.push((format!("logs/{name}"), text));
    }
    let names = parts.iter().map(|(name, _)| name.clone()).collect();
    pack(to, parts)?;
    Ok(names)
}

fn pack(to: &Path, parts: Vec<(String, String)>) -> Result<()> {
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let file = made.map_err(|e| Error::io(to, &e))?;
    let written = (|| -> std::io::Result<()> {
        let mut zip = ZipWriter::new(file);
        for (name, text) in parts {
            zip.start_file(name, SimpleFileOptions::default())?;
            zip.write_all(text.as_bytes())?;
        }
        zip.finish()?.sync_all()
    })();
    written.map_err(|e| {
        // Half an archive helps nobody.
        if let Err(e) = std::fs::remove_file(to) {
            tracing::warn!(path = %to.display(), error = %e, "half an archive stays");
        }
        Error::io(to, &e)
    })
}

fn pretty(value: &Value) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|e| Error::internal(format!("JSON: {e}")))
}

fn about(settings: &Settings) -> Value {
    let system = rustix::system::uname();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let distribution = read("/etc/os-release").lines().find_map(|l| l.strip_prefix("PRETTY_NAME=").map(str::to_owned));
    let memory = read("/proc/meminfo").lines().take(3).map(str::to_owned).collect::<Vec<_>>();
    let limits =
        read("/proc/self/limits").lines().filter(|l| l.contains("open files")).map(str::to_owned).collect::<Vec<_>>();
    let options = &settings.store.options;
    json!({
        "outputfs": env!("CARGO_PKG_VERSION"),
        "written_at": settings.store.clock.now().to_rfc3339(),
        "kernel": system.release().to_string_lossy(),
        "machine": system.machine().to_string_lossy(),
        "distribution": distribution,
        "cpus": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "memory": memory,
        "limits": limits,
        "uid": rustix::process::getuid().as_raw(),
        "store": settings.store.store.as_deref().map_or("local", |s| if s.starts_with("s3:") { "s3" } else { "local" }),
        "options": redact::json(json!(format!("{options:?}"))),
    })
}

/// Sizes of what is in the state directory; names of its own alone.
fn files(state: &Path) -> Value {
    let mut all = serde_json::Map::new();
    let entries = std::fs::read_dir(state).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let (mut count, mut bytes, mut todo) = (0_u64, 0_u64, vec![entry.path()]);
        while let Some(path) = todo.pop() {
            let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
            if meta.is_dir() {
                todo.extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|e| e.path()));
            } else {
                count += 1;
                bytes += meta.blocks() * 512;
            }
        }
        all.insert(name, json!({"files": count, "bytes_on_disk": bytes}));
    }
    let disk =
        rustix::fs::statvfs(state).map(|s| json!({"free_bytes": s.f_bavail * s.f_frsize, "free_inodes": s.f_favail}));
    json!({"entries": all, "disk": disk.unwrap_or_default()})
}

/// The kernel's lines of FUSE mounts.
fn mounts() -> String {
    let all = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    all.lines().filter(|l| l.contains(" - fuse")).map(|l| redact::text(l) + "\n").collect()
}

fn logs(dir: &Path) -> Result<Vec<(String, String)>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    // Names sort by age.
    paths.sort_unstable();
    let mut all = Vec::new();
    for path in paths.iter().rev().take(LOGS) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let end = end_of(path).map_err(|e| Error::io(path, &e))?;
        all.push((name, String::from_utf8_lossy(&end).lines().map(|l| redact_line(l) + "\n").collect()));
    }
    Ok(all)
}

/// Of a log in JSON each line is an object.
fn redact_line(line: &str) -> String {
    match serde_json::from_str::<Value>(line) {
        Ok(value @ Value::Object(_)) => redact::json(value).to_string(),
        _ => redact::text(line),
    }
}

fn end_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(LOG_MAX)))?;
    let mut end = Vec::new();
    file.take(LOG_MAX).read_to_end(&mut end)?;
    if len > LOG_MAX
        && let Some(at) = end.iter().position(|b| *b == b'\n')
    {
        end.drain(..=at);
    }
    Ok(end)
}
