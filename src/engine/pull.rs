//! `pull`: an artifact's bytes out of the store, proven.

use std::path::Path;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use ulid::Ulid;

use crate::artifact::name::display_bytes;
use crate::artifact::record::Artifact;
use crate::artifact::{Error, Result};
use crate::engine::gc::replaced::HOLD_EVERY;
use crate::engine::progress::{Progress, Step};
use crate::engine::store::{Store, blocking};

/// One read: a few of them make a chunk, so that a bar moves; small enough to hold several.
const PIECE: usize = 1 << 20;

impl Store {
    /// Writes the bytes to the file `to` (beside it first, then renamed; what was there is replaced).
    ///
    /// # Errors
    /// `Corrupt`, `StoreUnavailable`, I/O errors with the path. Then `to` is as it was.
    pub async fn pull_to_file(&self, artifact: &Artifact, to: &Path, progress: &Progress) -> Result<()> {
        let name = to.file_name().ok_or_else(|| Error::invalid(format!("'{}' is not a file name", to.display())))?;
        let dir = to.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A name of its own length, not the target's with something added: that could pass 255 bytes.
        let temp = dir.join(format!(".outputfs-{}.part", Ulid::new()));
        let target = dir.join(name);
        let result = self.pull_and_rename(artifact, &temp, &target, progress).await;
        if result.is_err() {
            // The first error is the one to tell.
            let _kept = std::fs::remove_file(&temp);
        }
        result
    }

    async fn pull_and_rename(&self, artifact: &Artifact, temp: &Path, to: &Path, progress: &Progress) -> Result<()> {
        let mut file = tokio::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(temp)
            .await
            .map_err(|e| Error::io(temp, &e))?;
        self.pull_to(artifact, &mut file, progress).await?;
        drop(file);
        let (temp, to) = (temp.to_owned(), to.to_owned());
        blocking(move || std::fs::rename(&temp, &to).map_err(|e| Error::io(&to, &e))).await
    }

    /// Streams the bytes, in order, and flushes them: a writer like tokio's file holds the last of them back, and the failure of
    /// writing them.
    ///
    /// # Errors
    /// As [`Store::pull_to_file`]; what was written before stays written.
    pub async fn pull_to(
        &self,
        artifact: &Artifact,
        to: &mut (dyn AsyncWrite + Send + Unpin),
        progress: &Progress,
    ) -> Result<()> {
        let reader = self.stream(artifact).await?;
        let mut held = std::time::Instant::now();
        let what = display_bytes(&artifact.filename);
        let mut step = Step { total: Some(artifact.size), what, ..Step::default() };
        while step.done < artifact.size {
            if held.elapsed() >= HOLD_EVERY {
                held = std::time::Instant::now();
                self.hold_streams().await?;
            }
            let bytes = reader.read_at(step.done, PIECE).await?;
            if bytes.is_empty() {
                return Err(Error::internal(format!("{}: its bytes end too early", artifact.id)));
            }
            to.write_all(&bytes).await.map_err(unwritable)?;
            step.done += bytes.len() as u64;
            progress.tell(&step);
        }
        to.flush().await.map_err(unwritable)?;
        step.items = 1;
        progress.tell(&step);
        Ok(())
    }
}

fn unwritable(e: std::io::Error) -> Error {
    Error::new(Error::io("output", &e).kind, format!("the output cannot be written: {e}"))
}
