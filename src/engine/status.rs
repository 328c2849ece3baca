//! `status`: the state directory as a whole, also of other processes.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::artifact::amount::count;
use crate::artifact::{Error, Result};
use crate::engine::store::{Store, blocking};

pub use crate::engine::store_state::{Recovery, StoreFailure};

const FILE: &str = "status.json";
/// Names kept of what was left, and how many a sentence names.
const LEFT_KEPT: u32 = 100;
const LEFT_SAID: usize = 5;

/// What a mount that ended has taken and the store has not.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Left {
    pub files: u64,
    pub bytes: u64,
    /// `session/path`; not all of many.
    pub names: Vec<String>,
    /// Where the bytes wait.
    pub dir: String,
    /// Why they are not stored.
    pub reason: String,
}

impl Left {
    /// One sentence for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        let shown = self.names.iter().take(LEFT_SAID).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = self.files.saturating_sub(self.names.len().min(LEFT_SAID) as u64);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!(
            "not in the store: {} ({} bytes): {shown}{more}. They wait in {}, and the next outputfs command with this \
             state directory stores them ({})",
            count(self.files, "file"),
            self.bytes,
            self.dir,
            self.reason
        )
    }
}

/// What a mount tells of itself in `status.json` of its directory (temp, rename; at most once a second).
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct MountReport {
    #[serde(default)]
    pub store_failure: Option<StoreFailure>,
    /// Closed files whose bytes could not be stored yet (`EIO` at close): retried in the background.
    #[serde(default)]
    pub unsaved: Vec<String>,
    /// All of those, and their bytes.
    #[serde(default)]
    pub unsaved_files: u64,
    #[serde(default)]
    pub unsaved_bytes: u64,
    /// Files open for writing.
    #[serde(default)]
    pub writing: u64,
    /// The last word of a mount that ended before all was stored.
    #[serde(default)]
    pub left: Option<Left>,
    /// What dead owners left and this mount is still recovering: one sentence each.
    #[serde(default)]
    pub recovering: Vec<String>,
}

#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct MountStatus {
    pub mount_id: String,
    pub alive: bool,
    pub pid: Option<u32>,
    pub mountpoint: Option<String>,
    pub session_id: Option<String>,
    pub tenant: Option<String>,
    /// Committed, bytes not in the store yet.
    pub pending_artifacts: u64,
    pub pending_bytes: u64,
    /// Files in its staging directory.
    pub staged_files: u64,
    pub staged_bytes: u64,
    #[serde(flatten)]
    pub report: MountReport,
}

#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Status {
    pub state_dir: String,
    pub store: String,
    pub tenant: String,
    /// Of all mounts and inline bytes together.
    pub pending_artifacts: u64,
    pub pending_bytes: u64,
    pub mounts: Vec<MountStatus>,
    /// What the recovery at the opening of this store did and left; none when there was nothing to do.
    pub recovery: Option<Recovery>,
}

impl Store {
    /// # Errors
    /// When the state directory or the catalog cannot be read.
    pub async fn status(&self) -> Result<Status> {
        let state = self.state.clone();
        let entries = blocking(move || {
            let mut found = Vec::new();
            for entry in state.mounts()? {
                let dir = state.mounts_dir().join(entry.id.to_string());
                found.push((entry, read_report(&dir)?, staged(&dir.join("staging"))?));
            }
            Ok(found)
        })
        .await?;
        let mut mounts = Vec::new();
        for (entry, mut report, (staged_files, staged_bytes)) in entries {
            if entry.id == self.origin.0 {
                report.store_failure = self.last_store_error();
            }
            let pending = self.catalog.pending(None, Some(entry.id)).await?;
            let info = entry.info;
            mounts.push(MountStatus {
                mount_id: entry.id.to_string(),
                alive: entry.alive,
                pid: info.as_ref().map(|i| i.pid),
                mountpoint: info.as_ref().and_then(|i| i.mountpoint.as_ref()).map(|p| p.display().to_string()),
                session_id: info.as_ref().and_then(|i| i.session.clone()),
                tenant: info.map(|i| i.tenant),
                pending_artifacts: pending.artifacts,
                pending_bytes: pending.bytes,
                staged_files,
                staged_bytes,
                report,
            });
        }
        let all = self.catalog.pending(None, None).await?;
        Ok(Status {
            state_dir: self.state.root().display().to_string(),
            store: self.blobs.describe(),
            tenant: self.tenant_name.to_string(),
            pending_artifacts: all.artifacts,
            pending_bytes: all.bytes,
            mounts,
            recovery: self.inner.recovery.lock().clone(),
        })
    }

    /// What this mount leaves when it ends now, `reason` being why; `unsaved` is its own report.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn left(&self, unsaved: &MountReport, reason: &str) -> Result<Left> {
        let waiting = self.catalog.waiting(self.origin.0, LEFT_KEPT).await?;
        let mut names: Vec<_> = waiting
            .iter()
            .map(|a| {
                let path = crate::artifact::name::display_bytes(&a.filename);
                a.session_name.as_ref().map_or_else(|| path.clone(), |s| format!("{s}/{path}"))
            })
            .collect();
        names.extend(unsaved.unsaved.iter().cloned());
        let known: u64 = waiting.iter().map(|a| a.size).sum();
        // Of more than are kept by name the number counts what lies with this mount alone.
        let pending = self.catalog.pending(None, Some(self.origin.0)).await?;
        let dir = self.mount_dir.as_ref().map_or_else(|| self.state.root().to_owned(), |d| d.path().to_owned());
        Ok(Left {
            files: pending.artifacts.max(waiting.len() as u64) + unsaved.unsaved_files,
            bytes: pending.bytes.max(known) + unsaved.unsaved_bytes,
            names,
            dir: dir.display().to_string(),
            reason: reason.to_owned(),
        })
    }

    /// The last word of a mount of this state directory; none when it stored everything and took its directory away.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn left_by(&self, mount: crate::artifact::ids::MountId) -> Result<Option<Left>> {
        Ok(read_report(&self.state.mounts_dir().join(mount.to_string()))?.left)
    }

    /// Writes this mount's `status.json`. Nothing without a staging directory.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn report(&self, report: &MountReport) -> Result<()> {
        let Some(dir) = &self.mount_dir else { return Ok(()) };
        let text =
            serde_json::to_vec(report).map_err(|e| Error::internal(format!("a status cannot be written: {e}")))?;
        let (path, temp) = (dir.path().join(FILE), dir.path().join("status.json.new"));
        // No fsync: it tells of a living process.
        let mut options = std::fs::OpenOptions::new();
        let written = options.write(true).create(true).truncate(true).mode(0o600).open(&temp);
        written.and_then(|mut f| f.write_all(&text)).map_err(|e| Error::io(&temp, &e))?;
        std::fs::rename(&temp, &path).map_err(|e| Error::io(&path, &e))
    }
}

/// None written, or one of another version: then nothing is known.
fn read_report(dir: &Path) -> Result<MountReport> {
    let path = dir.join(FILE);
    match std::fs::read(&path) {
        Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(MountReport::default()),
        Err(e) => Err(Error::io(&path, &e)),
    }
}

fn staged(dir: &Path) -> Result<(u64, u64)> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        // Its owner has just removed it.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((0, 0)),
        Err(e) => return Err(Error::io(dir, &e)),
    };
    let (mut files, mut bytes) = (0, 0);
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(dir, &e))?;
        // Settled meanwhile: not there any more.
        let Ok(meta) = entry.metadata() else { continue };
        files += 1;
        bytes += meta.len();
    }
    Ok((files, bytes))
}
