//! What files look like: the beginnings of texts and tables, Markdown, notebooks, and whether a PDF may be shown.
//!
//! Whatever reads the bytes that others wrote runs in a process of its own ([`worker`]), started for one file and confined
//! ([`confine`]) before it sees the first byte: it has two pipes and nothing else. Its parsers may overflow their stack, take all
//! of their memory or never end: that process is over, the file has no preview, and nobody else notices. [`pool`] is the daemon's side:
//! few such processes at a time, a bounded queue before them, budgets for what each may read, answer and take, and what was
//! made before, by hash. The daemon itself never recurses on what a file holds.

mod cache;
mod confine;
mod json;
mod markdown;
mod notebook;
mod parquet;
mod pdf;
pub mod pool;
mod table;
mod wire;
pub mod worker;

use maud::{Markup, PreEscaped, html};
use serde::{Deserialize, Serialize};

use crate::artifact::charset;
use table::Table;

/// How much of a file is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// Notebooks are read whole: a part of one is no JSON.
const NOTEBOOK_MAX: u64 = 8 << 20;
/// A line longer than this, in bytes, is broken where it is shown: nobody scrolls so far to the side.
const LINE: usize = 400;

/// By what means a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Means {
    Markdown,
    /// Delimited text; by tabs for certain, or by what occurs most.
    Table {
        tabs: bool,
    },
    Parquet,
    Notebook,
    Json,
    Text,
    /// Whether it runs anything.
    Pdf,
}

/// One file to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Task {
    pub means: Means,
    pub extent: Extent,
    /// Of the file, in bytes.
    pub size: u64,
    /// Its path, for the addresses of its neighbours.
    pub filename: Vec<u8>,
    /// Where the session's files are, seen from the page: `lnk_…/f/`. None: the page shows one file alone.
    pub files: Option<String>,
    /// As the record says it.
    pub charset: Option<String>,
}

/// What was made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Made {
    /// Nothing can be shown of it.
    Nothing,
    /// HTML of our making, from escaped text. `cut`: there is more of the file.
    Page {
        html: String,
        cut: bool,
    },
    Table(Table),
    /// It runs, sends and opens nothing.
    Passive(bool),
}

/// What was read of a file, to stand on a page.
pub struct Preview {
    pub body: Markup,
    /// There is more of it.
    pub cut: bool,
    /// "first 8 rows of 50,000".
    pub note: Option<String>,
}

impl Made {
    #[must_use]
    pub fn preview(self) -> Option<Preview> {
        match self {
            Made::Page { html, cut } => Some(Preview { body: PreEscaped(html), cut, note: None }),
            Made::Table(table) => Some(Preview { note: table.note(), cut: table.more, body: table.render() }),
            Made::Nothing | Made::Passive(_) => None,
        }
    }

    /// Bytes in memory, about.
    fn weight(&self) -> usize {
        let of_table = |t: &Table| t.head.iter().chain(t.rows.iter().flatten()).map(|c| c.len() + 32).sum();
        match self {
            Made::Page { html, .. } => html.len(),
            Made::Table(table) => of_table(table),
            Made::Nothing | Made::Passive(_) => 0,
        }
    }
}

/// Bytes of the file, as its reader asks for them. Runs in the worker.
pub trait Bytes: Send {
    /// Up to `len` bytes from `offset`; fewer only at the end.
    ///
    /// # Errors
    /// When they cannot be had.
    fn read_at(&mut self, offset: u64, len: usize) -> std::io::Result<bytes::Bytes>;
}

/// Looks at a file. Runs in the worker.
///
/// # Errors
/// When its bytes cannot be had.
fn make(task: &Task, mut file: impl Bytes + 'static) -> std::io::Result<Made> {
    let Task { means, extent, size, .. } = task;
    match means {
        Means::Parquet => {
            let table = parquet::read(file, *size, extent.rows(), extent.columns());
            return Ok(table.map_or(Made::Nothing, Made::Table));
        }
        Means::Pdf => return pdf::passive(file, *size).map(Made::Passive),
        _ => {}
    }
    let whole = *means == Means::Notebook && *size <= NOTEBOOK_MAX;
    let wanted = if whole { usize::try_from(*size).unwrap_or(0) } else { extent.bytes() };
    let bytes = file.read_at(0, wanted)?;
    let cut = (bytes.len() as u64) < *size;
    let Some(text) = charset::text(&bytes, cut, task.charset.as_deref()) else { return Ok(Made::Nothing) };
    if let Means::Table { tabs } = means {
        let table = table::csv(text.as_bytes(), cut, tabs.then_some(b'\t'), extent.rows(), extent.columns());
        return Ok(table.map_or(Made::Nothing, Made::Table));
    }
    let place = markdown::Place::new(task.files.as_deref(), &task.filename);
    let body = match means {
        Means::Markdown => markdown::render(&text, &place),
        Means::Notebook if !cut => match notebook::render(&text, &place, *extent) {
            Some(body) => body,
            None => plain(&text),
        },
        Means::Json if !cut => json::pretty(&text).map_or_else(|| plain(&text), |t| plain(&t)),
        _ => plain(&text),
    };
    Ok(Made::Page { html: body.into_string(), cut })
}

fn plain(text: &str) -> Markup {
    let long = text.lines().any(|line| line.len() > LINE);
    // A leading newline right after <pre> would be swallowed by the parser: one to swallow goes first.
    html! { pre.code.long[long] { "\n" (text) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_long_lines_are_broken() {
        assert_eq!(plain("<script>&").into_string(), "<pre class=\"code\">\n&lt;script&gt;&amp;</pre>");
        assert!(plain(&"x".repeat(LINE + 1)).into_string().starts_with("<pre class=\"code long\">"));
    }
}
