//! What files look like: the beginnings of texts and tables, Markdown, notebooks, each from a bounded number of bytes
//! and made of escaped text alone, whatever the file holds.

pub mod json;
pub mod markdown;
pub mod notebook;
pub mod parquet;
pub mod pdf;
pub mod table;

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use maud::{Markup, html};

use crate::artifact::Result;
use crate::artifact::ids::ArtifactId;
use crate::artifact::record::{Artifact, CHUNK};
use crate::http::App;
use crate::http::media::Media;
use table::Table;

/// How much of a file is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// One card among others.
    Card,
    /// The file's own page.
    Whole,
}

impl Extent {
    /// Bytes read of a text.
    fn bytes(self) -> usize {
        match self {
            Extent::Card => 4 << 10,
            Extent::Whole => 512 << 10,
        }
    }

    fn rows(self) -> usize {
        match self {
            Extent::Card => 8,
            Extent::Whole => 200,
        }
    }

    fn columns(self) -> usize {
        match self {
            Extent::Card => 8,
            Extent::Whole => 50,
        }
    }
}

/// Bytes that the previews of one page may have fetched: the first byte of a file that is only in the store costs a
/// piece of [`CHUNK`].
const BUDGET: u64 = 64 << 20;
/// Reads at a time.
const AT_ONCE: usize = 8;
/// A page does not wait longer for its previews; what is late is left out.
const DEADLINE: Duration = Duration::from_secs(5);
/// Notebooks are read whole: a part of one is no JSON.
const NOTEBOOK_MAX: u64 = 8 << 20;

/// By what means a file is looked at.
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

    /// Its preview is made here, from its bytes.
    fn is_read(self) -> bool {
        matches!(self, Kind::Markdown | Kind::Table | Kind::Parquet | Kind::Notebook | Kind::Json | Kind::Text)
    }
}

/// What was read of a file.
pub struct Preview {
    pub body: Markup,
    /// There is more of it.
    pub cut: bool,
    /// "first 8 rows of 50,000".
    pub note: Option<String>,
}

/// Previews of those among `artifacts` that are read, as many as can be had in time.
pub async fn of(app: &App, artifacts: &[Artifact], files: &str) -> HashMap<ArtifactId, Preview> {
    let local = app.store.blobs.is_local();
    let mut spent = 0;
    let mut pending = Vec::new();
    for artifact in artifacts {
        let kind = Kind::of(artifact);
        if !kind.is_read() || artifact.size == 0 {
            continue;
        }
        let cost = if local { 0 } else { artifact.size.min(CHUNK) };
        if spent + cost > BUDGET {
            continue;
        }
        spent += cost;
        let (app, artifact, files) = (app.clone(), artifact.clone(), files.to_owned());
        pending.push(async move { (artifact.id, one(&app, &artifact, Extent::Card, &files).await) });
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

/// `None`: nothing can be shown of it. `files` is where the session's files are, seen from the page: `lnk_…/f/`.
///
/// # Errors
/// Of the store.
pub async fn one(app: &App, artifact: &Artifact, extent: Extent, files: &str) -> Result<Option<Preview>> {
    let kind = Kind::of(artifact);
    if !kind.is_read() {
        return Ok(None);
    }
    let reader = app.store.reader(artifact).await?;
    if kind == Kind::Parquet {
        return Ok(parquet::read(reader, extent.rows(), extent.columns()).await.map(tabled));
    }
    let whole = kind == Kind::Notebook && artifact.size <= NOTEBOOK_MAX;
    let wanted = if whole { usize::try_from(artifact.size).unwrap_or(0) } else { extent.bytes() };
    let bytes = reader.0.read_at(0, wanted).await?;
    let cut = (bytes.len() as u64) < artifact.size;
    if kind == Kind::Table {
        let delimiter = artifact.content_type.starts_with("text/tab").then_some(b'\t');
        return Ok(table::csv(&bytes, cut, delimiter, extent.rows(), extent.columns()).map(tabled));
    }
    let Some(text) = text(&bytes, cut) else { return Ok(None) };
    let folder = markdown::Place::new(files, &artifact.filename);
    let body = match kind {
        Kind::Markdown => markdown::render(text, &folder),
        Kind::Notebook if !cut => match notebook::render(text, &folder, extent) {
            Some(body) => body,
            None => plain(text),
        },
        Kind::Json if !cut => json::pretty(text).map_or_else(|| plain(text), |t| plain(&t)),
        _ => plain(text),
    };
    Ok(Some(Preview { body, cut, note: None }))
}

fn tabled(table: Table) -> Preview {
    Preview { note: table.note(), cut: table.more, body: table.render() }
}

/// The characters that are whole; `None` when it is not UTF-8 after all.
fn text(bytes: &[u8], cut: bool) -> Option<&str> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        // The last character may be cut; anything else is not text that we can show.
        Err(e) if cut && e.error_len().is_none() => std::str::from_utf8(&bytes[..e.valid_up_to()]).ok(),
        Err(_) => None,
    }
}

fn plain(text: &str) -> Markup {
    // A leading newline right after <pre> would be swallowed by the parser: one to swallow goes first.
    html! { pre.code { "\n" (text) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_character_may_be_cut() {
        assert_eq!(text("añ".as_bytes(), false), Some("añ"));
        assert_eq!(text(&"añ".as_bytes()[..2], true), Some("a"));
        assert_eq!(text(&"añ".as_bytes()[..2], false), None);
        assert_eq!(text(b"a\xff\xffb", true), None);
        assert_eq!(text(b"\xef\xbb\xbfa", false), Some("a"));
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(plain("<script>&").into_string(), "<pre class=\"code\">\n&lt;script&gt;&amp;</pre>");
    }
}
