//! Which files are looked at, and by what means; how they look is for [`crate::preview`].

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;

use crate::artifact::charset;
use crate::artifact::ids::ArtifactId;
use crate::artifact::record::{Artifact, CHUNK};
use crate::http::App;
use crate::http::media::Media;
use crate::http::readers::Through;
pub use crate::preview::{Extent, Preview};
use crate::preview::{Made, Means, Task};

/// Bytes that the previews of one page may have fetched: the first byte of a file that is only in the store costs a
/// piece of [`CHUNK`].
const BUDGET: u64 = 64 << 20;
/// Of one page at a time: a page does not fill the queue before the workers.
const AT_ONCE: usize = 4;
/// A page does not wait longer for its previews; what is late is left out.
const DEADLINE: Duration = Duration::from_secs(5);

/// By what means a file is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Picture,
    Audio,
    Video,
    Pdf,
    /// HTML and SVG: in a sandboxed frame.
    Frame,
    Markdown,
    /// Delimited text.
    Table,
    Parquet,
    Notebook,
    Json,
    Text,
    Other,
}

impl Kind {
    /// By type, and by name where types are seldom right.
    #[must_use]
    pub fn of(artifact: &Artifact) -> Self {
        let media = Media::of(&artifact.content_type);
        let name = artifact.filename.to_ascii_lowercase();
        let named = |endings: &[&str]| endings.iter().any(|e| name.ends_with(e.as_bytes()));
        match media.essence.as_str() {
            "text/html" | "image/svg+xml" | "application/xhtml+xml" => Kind::Frame,
            "application/pdf" => Kind::Pdf,
            _ if media.is_picture() => Kind::Picture,
            e if e.starts_with("audio/") => Kind::Audio,
            e if e.starts_with("video/") && !named(&[".ts"]) => Kind::Video,
            "application/vnd.apache.parquet" | "application/x-parquet" => Kind::Parquet,
            _ if named(&[".parquet"]) => Kind::Parquet,
            "application/x-ipynb+json" => Kind::Notebook,
            _ if named(&[".ipynb"]) => Kind::Notebook,
            "text/csv" | "text/tab-separated-values" => Kind::Table,
            "text/markdown" => Kind::Markdown,
            "application/json" => Kind::Json,
            _ if media.is_text() || media.essence.ends_with("xml") => Kind::Text,
            _ if named(&[".md", ".markdown"]) => Kind::Markdown,
            _ if named(&[".csv", ".tsv"]) => Kind::Table,
            _ if named(&[".log", ".txt", ".rs", ".go", ".ts", ".tsx", ".sql", ".toml", ".yaml", ".yml", ".sh"]) => {
                Kind::Text
            }
            _ => Kind::Other,
        }
    }

    /// How its preview is made; none: a browser shows it, or nobody.
    fn means(self, artifact: &Artifact) -> Option<Means> {
        Some(match self {
            Kind::Markdown => Means::Markdown,
            Kind::Table => Means::Table { tabs: artifact.content_type.starts_with("text/tab") },
            Kind::Parquet => Means::Parquet,
            Kind::Notebook => Means::Notebook,
            Kind::Json => Means::Json,
            Kind::Text => Means::Text,
            Kind::Picture | Kind::Audio | Kind::Video | Kind::Pdf | Kind::Frame | Kind::Other => return None,
        })
    }
}

/// Previews of those among `artifacts` that are read, as many as can be had in time.
pub async fn of(app: &App, artifacts: &[Artifact], files: &str) -> HashMap<ArtifactId, Preview> {
    let local = app.store.blobs.is_local();
    let mut spent = 0;
    let mut pending = Vec::new();
    for artifact in artifacts {
        if Kind::of(artifact).means(artifact).is_none() || artifact.size == 0 {
            continue;
        }
        let cost = if local { 0 } else { artifact.size.min(CHUNK) };
        if spent + cost > BUDGET {
            continue;
        }
        spent += cost;
        pending.push(async move { (artifact.id, one(app, artifact, Extent::Card, Some(files)).await) });
    }
    let mut reads = futures::stream::iter(pending).buffer_unordered(AT_ONCE);
    let mut previews = HashMap::new();
    let all = async {
        while let Some((id, preview)) = reads.next().await {
            previews.extend(preview.map(|p| (id, p)));
        }
    };
    if tokio::time::timeout(DEADLINE, all).await.is_err() {
        tracing::warn!("a page was shown without some of its previews: there was no time to make them");
    }
    previews
}

/// `None`: nothing can be shown of it, or not now; the page still names the file, and following its link says what is wrong.
/// `files` is where the session's files are, seen from the page: `lnk_…/f/`; none: only this file is on the page.
pub async fn one(app: &App, artifact: &Artifact, extent: Extent, files: Option<&str>) -> Option<Preview> {
    let means = Kind::of(artifact).means(artifact)?;
    made(app, artifact, means, extent, files).await?.preview()
}

/// Whether a PDF may be shown in a frame: nothing in it runs, as far as all of it could be read.
pub async fn is_passive(app: &App, artifact: &Artifact) -> bool {
    matches!(made(app, artifact, Means::Pdf, Extent::Whole, None).await, Some(Made::Passive(true)))
}

async fn made(app: &App, artifact: &Artifact, means: Means, extent: Extent, files: Option<&str>) -> Option<Made> {
    let task = Task {
        means,
        extent,
        size: artifact.size,
        filename: artifact.filename.clone(),
        files: files.map(str::to_owned),
        charset: charset::said(&artifact.content_type).map(str::to_owned),
    };
    let file = async { Ok(Through(&app.readers, app.store.reader(artifact).await?)) };
    match app.previews.make(&task, artifact.hash, file).await {
        Ok(made) => Some(made),
        Err(e) => {
            tracing::warn!(artifact = %artifact.id, "a preview could not be made: {e}");
            None
        }
    }
}
