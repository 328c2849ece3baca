//! The beginnings of text files, to be shown on a session's page.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;

use crate::artifact::Result;
use crate::artifact::ids::ArtifactId;
use crate::artifact::record::Artifact;
use crate::http::App;
use crate::http::media::Media;

/// Bytes shown of one file.
const SHOWN: usize = 16 << 10;
/// Larger files are not begun: the first byte of one that is only in the store costs a piece of 4 MiB.
const MAX_SIZE: u64 = 1 << 20;
/// Files shown on one page.
const MAX_FILES: usize = 50;
/// Reads at a time.
const AT_ONCE: usize = 8;
/// A page does not wait longer for its previews; what is late is left out.
const DEADLINE: Duration = Duration::from_secs(5);

/// Beginning of a text.
pub struct Preview {
    pub text: String,
    /// There is more of it.
    pub cut: bool,
}

/// Previews of the text files among `artifacts`, as many as can be had in time.
pub async fn of(app: &App, artifacts: &[Artifact]) -> HashMap<ArtifactId, Preview> {
    let texts = artifacts
        .iter()
        .filter(|a| a.size > 0 && a.size <= MAX_SIZE && Media::of(&a.content_type).is_text())
        .take(MAX_FILES);
    let mut pending = Vec::new();
    for artifact in texts.cloned() {
        let app = app.clone();
        pending.push(async move { (artifact.id, read(&app, &artifact).await) });
    }
    let mut reads = futures::stream::iter(pending).buffer_unordered(AT_ONCE);
    let mut previews = HashMap::new();
    let all = async {
        while let Some((id, read)) = reads.next().await {
            match read {
                Ok(preview) => previews.extend(preview.map(|p| (id, p))),
                // The page still names the file; following its link says what is wrong.
                Err(e) => tracing::warn!(artifact = %id, "a preview could not be read: {e}"),
            }
        }
    };
    if tokio::time::timeout(DEADLINE, all).await.is_err() {
        tracing::warn!("a page was shown without some of its previews: the store is slow");
    }
    previews
}

/// `None` when it is not UTF-8 after all.
async fn read(app: &App, artifact: &Artifact) -> Result<Option<Preview>> {
    let reader = app.store.reader(artifact).await?;
    let bytes = reader.0.read_at(0, SHOWN).await?;
    let cut = (bytes.len() as u64) < artifact.size;
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        // The last character may be cut; anything else is not text that we can show.
        Err(e) if cut && e.error_len().is_none() => std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or_default(),
        Err(_) => return Ok(None),
    };
    Ok(Some(Preview { text: text.to_owned(), cut }))
}
