//! What commands print: results on standard output (tables for people, JSON for programs), everything else on standard
//! error.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::artifact::amount;
use crate::artifact::name::display_bytes;
use crate::artifact::record::Artifact;
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Result};
use crate::cli::settings::Settings;

/// How this command prints.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// `--json`, or standard output is no terminal.
    pub json: bool,
    /// `--json` alone: for commands whose plain answer is one bare value.
    pub asked_json: bool,
    pub quiet: bool,
    /// Bars and hints make sense on standard error.
    pub terminal: bool,
}

impl Output {
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            json: settings.json || !std::io::stdout().is_terminal(),
            asked_json: settings.json,
            quiet: settings.quiet,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// JSON or a table.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn list(&self, items: &[Value], table: impl FnOnce() -> Grid) -> Result<()> {
        if self.json { stdout(&array(items)) } else { stdout(&table().render()) }
    }

    /// One JSON object, or text.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn object(&self, value: &Value, text: impl FnOnce() -> String) -> Result<()> {
        if self.json { stdout(&format!("{value}\n")) } else { stdout(&text()) }
    }

    /// A bare value, that shells take as it is; JSON only with `--json`.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn bare(&self, text: &str, json: impl FnOnce() -> Value) -> Result<()> {
        if self.asked_json { stdout(&format!("{}\n", json())) } else { stdout(&format!("{text}\n")) }
    }

    /// A remark on standard error, unless `--quiet`. It is left out rather than wait long for somebody to read it.
    pub fn note(&self, text: &str) {
        if !self.quiet && takes_more(&std::io::stderr(), NOTE_WAITS) {
            stderr(&format!("outputfs: {}\n", printable(text)));
        }
    }
}

/// A JSON array, one element a line: for `jq` and for `grep`.
fn array(items: &[Value]) -> String {
    let mut text = String::from("[");
    for (i, item) in items.iter().enumerate() {
        text.push_str(if i == 0 { "\n" } else { ",\n" });
        text.push_str(&item.to_string());
    }
    text.push_str(if items.is_empty() { "]\n" } else { "\n]\n" });
    text
}

/// Writes to standard output. A reader that went away (`| head`) has what it wanted.
///
/// # Errors
/// Any other failure.
pub fn stdout(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::io("standard output", &e)),
        _ => Ok(()),
    }
}

/// For a reader of standard error that is only slow.
const NOTE_WAITS: Duration = Duration::from_secs(2);

/// Whether a write of some bytes to a pipe or terminal would not wait, asked for as long as `patience`. What cannot be asked takes
/// more.
pub fn takes_more(file: &impl AsFd, patience: Duration) -> bool {
    let mut asked = [PollFd::new(file, PollFlags::OUT)];
    let patience = Timespec::try_from(patience).unwrap_or_default();
    !matches!(poll(&mut asked, Some(&patience)), Ok(0))
}

/// Writes to standard error; nobody can be told when that fails.
pub fn stderr(text: &str) {
    std::io::stderr().lock().write_all(text.as_bytes()).unwrap_or_default();
}

/// A table of text without lines around it.
pub struct Grid(Table);

impl Grid {
    /// `numbers`: columns that are aligned to the right.
    #[must_use]
    pub fn new(header: &[&str], numbers: &[usize]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(header.to_vec());
        for &column in numbers {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        Self(table)
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.add_row(cells.map(|c| printable(&c)));
    }

    #[must_use]
    pub fn render(&self) -> String {
        self.0.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n")
    }
}

/// File names come from anyone: a control character in one must not command the terminal.
pub use crate::artifact::visible::visible as printable;

/// `1.5 KiB`.
#[must_use]
pub fn human(bytes: u64) -> String {
    amount::size(bytes)
}

/// To the second, UTC.
#[must_use]
pub fn when(at: Timestamp) -> String {
    let text = at.to_rfc3339();
    text.split_once('.').map_or(text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// Artifacts for people: ID, path, size, type, state; with the session's name in front of the path if asked for.
#[must_use]
pub fn artifacts(list: &[Artifact], sessions: bool) -> Grid {
    let mut grid = Grid::new(&["ID", "PATH", "SIZE", "TYPE", "STATE", "CREATED"], &[2]);
    for a in list {
        let path = display_bytes(&a.filename);
        let path = match &a.session_name {
            Some(name) if sessions => format!("{name}/{path}"),
            _ => path,
        };
        grid.row([a.id.to_string(), path, human(a.size), a.content_type.clone(), state(a), when(a.created)]);
    }
    grid
}

/// Where its bytes are; of a failed attempt of a step that weighs more.
fn state(a: &Artifact) -> String {
    match &a.attempt {
        Some(attempt) if attempt.failed() => String::from("attempt failed"),
        _ => a.store.as_str().to_owned(),
    }
}

/// The record as lists show it: which attempt of which step wrote it belongs to it.
pub fn record(a: &Artifact) -> serde_json::Value {
    let mut value = a.to_json();
    if let Some(of) = &a.attempt {
        value["attempt"] = of.to_json();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arrays_are_json_and_lines() {
        assert_eq!(array(&[]), "[]\n");
        assert_eq!(array(&[json!(1), json!({"a": 2})]), "[\n1,\n{\"a\":2}\n]\n");
    }

    #[test]
    fn tables_are_plain_and_names_harmless() {
        let mut grid = Grid::new(&["NAME", "SIZE"], &[1]);
        grid.row(["a\x1b[2Jb".into(), "7".into()]);
        assert_eq!(grid.render(), "NAME    SIZE\na\u{241b}[2Jb     7\n");
    }
}
