//! The scratch tree in the state directory, for who has no mount: its size, its end, and the rules of a session. What it is: the
//! docs of `engine::volume::scratch`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::artifact::ids::Ino;
use crate::artifact::ignore::{FILE_NAME, IgnoreRules};
use crate::artifact::name::{Name, SessionName};
use crate::artifact::{Error, Kind, Result};
use crate::engine::store::Store;

/// Rules longer than this are no rules that anybody wrote.
const RULES_MAX: u64 = 1 << 20;
/// How often a directory is removed again in which a file was just made.
const AGAIN: u32 = 100;

/// Bytes on disk below `root`. Blocking. What vanishes meanwhile is not counted.
///
/// # Errors
/// When a directory cannot be read.
pub fn usage(root: &Path) -> Result<u64> {
    let mut total = 0;
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Error::io(&dir, &e)),
        };
        for entry in entries {
            let entry = entry.map_err(|e| Error::io(&dir, &e))?;
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                dirs.push(entry.path());
            } else {
                total += meta.blocks() * 512 / meta.nlink().max(1);
            }
        }
    }
    Ok(total)
}

/// Also while somebody is making a file in it, who takes that away himself when he finds the session sealed.
fn remove_all(dir: &Path) -> Result<()> {
    for _ in 0..AGAIN {
        match std::fs::remove_dir_all(dir) {
            Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => {}
            done => return done.map_err(|e| Error::io(dir, &e)),
        }
    }
    Err(Error::new(Kind::Busy, format!("{}: files are still being made there", dir.display())))
}

impl Store {
    /// Where this tenant's scratch lies.
    #[must_use]
    pub fn scratch_root(&self) -> PathBuf {
        self.state.root().join("scratch").join(self.tenant.id.0.to_string())
    }

    /// Removes the scratch of sealed sessions and of directories that are gone. What cannot be removed stays for the next time.
    pub async fn discard_scratch(&self) {
        let root = self.scratch_root();
        let Ok(entries) = std::fs::read_dir(&root) else { return };
        for entry in entries.flatten() {
            let Some(ino) = entry.file_name().to_str().and_then(|n| n.parse().ok()).map(Ino) else { continue };
            let over = match self.catalog.node(ino, self.clock.now()).await {
                Ok(node) => node.is_none_or(|n| n.sealed),
                Err(_) => false,
            };
            if !over {
                continue;
            }
            let path = entry.path();
            let gone = tokio::task::spawn_blocking(move || remove_all(&path));
            match gone.await {
                Ok(Err(e)) => tracing::warn!(error = %e, "scratch files of a sealed session stay"),
                Err(e) => tracing::warn!(error = %e, "scratch files of a sealed session stay"),
                Ok(Ok(())) => {}
            }
        }
    }

    /// The text of the `.outputsignore` in a session's root, and its inode.
    ///
    /// # Errors
    /// Of the catalog and the store.
    pub async fn ignore_file(&self, root: Ino) -> Result<(Option<Ino>, Option<String>)> {
        let name = Name::new(FILE_NAME.as_bytes())?;
        let now = self.clock.now();
        let Some(node) = self.catalog.lookup(root, &name, now).await? else { return Ok((None, None)) };
        let Some((id, _)) = node.content else { return Ok((Some(node.ino), None)) };
        if node.size > RULES_MAX {
            tracing::warn!(bytes = node.size, "{FILE_NAME} is too large to hold rules: the built-in ones are in force");
            return Ok((Some(node.ino), None));
        }
        let Some(artifact) = self.catalog.artifact(self.tenant.id, id, now).await? else { return Ok((None, None)) };
        let len = usize::try_from(node.size).unwrap_or(0);
        let bytes = self.reader(&artifact).await?.0.read_at(0, len).await?;
        Ok((Some(node.ino), Some(String::from_utf8_lossy(&bytes).into_owned())))
    }

    /// The rules of a session; the built-in ones when it is not there yet.
    ///
    /// # Errors
    /// Of the catalog and the store.
    pub async fn ignore_rules(&self, session: &SessionName) -> Result<IgnoreRules> {
        let text = match self.session(session.as_str()).await {
            Ok(session) => self.ignore_file(session.root).await?.1,
            Err(e) if e.kind == Kind::NotFound => None,
            Err(e) => return Err(e),
        };
        Ok(IgnoreRules::new(text.as_deref()))
    }
}
