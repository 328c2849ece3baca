//! The first rows of a table.

use maud::{Markup, html};
use serde::{Deserialize, Serialize};

use crate::artifact::visible::visible;

/// Characters shown of one cell.
const CELL: usize = 160;

/// Rows of text, all of one width.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
    /// Columns that are not shown.
    pub hidden_columns: usize,
    /// Rows in all, where that is known.
    pub total: Option<u64>,
    /// There are more rows.
    pub more: bool,
}

impl Table {
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let rows = self.rows.len();
        let mut parts = Vec::new();
        match self.total {
            Some(total) if total > rows as u64 => parts.push(format!("first {rows} of {total} rows")),
            None if self.more => {
                parts.push(if rows == 1 { String::from("first row") } else { format!("first {rows} rows") });
            }
            _ => {}
        }
        if self.hidden_columns > 0 {
            parts.push(super::notebook::more_of(self.hidden_columns, "column"));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    #[must_use]
    pub fn render(&self) -> Markup {
        html! {
            table.data {
                thead { tr { @for cell in &self.head { th scope="col" { (cell) } } } }
                tbody {
                    @for row in &self.rows {
                        tr { @for cell in row { td.num[is_number(cell)] { (cell) } } }
                    }
                }
            }
        }
    }
}

/// Reads delimited text; `cut`: there is more of it than `bytes`. `None` when it is empty.
#[must_use]
pub fn csv(bytes: &[u8], cut: bool, delimiter: Option<u8>, rows: usize, columns: usize) -> Option<Table> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter.unwrap_or_else(|| guess(bytes)))
        .from_reader(bytes);
    let mut read: Vec<Vec<String>> = Vec::new();
    let mut hidden_columns = 0;
    let mut more = false;
    for record in reader.byte_records() {
        // Bytes in memory do not fail to be read, and a flexible reader takes rows of any width.
        let Ok(record) = record else { break };
        // The head is a row too; and one more tells that there are more.
        if read.len() > rows {
            more = true;
            break;
        }
        hidden_columns = hidden_columns.max(record.len().saturating_sub(columns));
        read.push(record.iter().take(columns).map(cell).collect());
    }
    // The last row of a part is seldom whole.
    if cut && !more {
        more = true;
        if read.len() > 1 {
            read.pop();
        }
    }
    let width = read.iter().map(Vec::len).max().filter(|w| *w > 0)?;
    for row in &mut read {
        row.resize(width, String::new());
    }
    let head = read.remove(0);
    Some(Table { head, total: (!more).then_some(read.len() as u64), rows: read, hidden_columns, more })
}

/// What occurs most in the first line.
fn guess(bytes: &[u8]) -> u8 {
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let count = |d: u8| line.split(|b| *b == d).count();
    // At a tie the first: `max_by_key` keeps the last.
    b"|\t;,".iter().copied().max_by_key(|d| count(*d)).unwrap_or(b',')
}

fn cell(bytes: &[u8]) -> String {
    shorten(&String::from_utf8_lossy(bytes))
}

/// What fits into a cell, and shows all of its characters.
#[must_use]
pub fn shorten(text: &str) -> String {
    match text.char_indices().nth(CELL) {
        Some((end, _)) => visible(&format!("{}…", &text[..end])),
        None => visible(text),
    }
}

fn is_number(cell: &str) -> bool {
    cell.len() < 40 && cell.bytes().any(|b| b.is_ascii_digit()) && cell.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_separators() {
        let table = csv(b"name;note\n\"a;b\";\"line\nbreak \"\"q\"\"\"\nx;1.5\n", false, None, 10, 10).unwrap();
        assert_eq!(table.head, ["name", "note"]);
        assert_eq!(table.rows, [["a;b", "line\u{240a}break \"q\""], ["x", "1.5"]]);
        assert_eq!((table.total, table.note()), (Some(2), None));
        assert_eq!(csv(b"a\tb\n1\t2\n", false, None, 10, 10).unwrap().head, ["a", "b"]);
        assert_eq!(csv(b"", false, None, 10, 10), None);
    }

    #[test]
    fn long_tables_are_begun() {
        let text: String = (0..50_000).map(|n| format!("{n},x{n}\n")).collect();
        let table = csv(&text.as_bytes()[..4096], true, None, 8, 8).unwrap();
        assert_eq!((table.rows.len(), table.more), (8, true));
        assert_eq!(table.note().as_deref(), Some("first 8 rows"));
        // A row that is cut off in the middle is not shown as if it were whole.
        let cut = csv(b"a,b\n1,2\n3,45", true, None, 8, 8).unwrap();
        assert_eq!(cut.rows, [["1", "2"]]);
    }

    #[test]
    fn hostile_cells_are_text() {
        let wide: String = (0..1000).map(|n| format!("c{n},")).collect();
        let table =
            csv(format!("{wide}\n<script>alert(1)</script>,\u{202e}txt\n").as_bytes(), false, None, 8, 8).unwrap();
        assert_eq!((table.head.len(), table.hidden_columns), (8, 993));
        let html = table.render().into_string();
        assert!(html.contains("&lt;script&gt;") && html.contains("[U+202E]txt") && !html.contains("<script"), "{html}");
        let long = csv(format!("a\n{}\n", "é".repeat(100_000)).as_bytes(), false, None, 8, 8).unwrap();
        assert_eq!(long.rows[0][0].chars().count(), CELL + 1);
        let uneven = csv(b"a\n1,2,3\n\"unclosed", false, None, 8, 8).unwrap();
        assert_eq!(uneven.rows, [["1", "2", "3"], ["unclosed", "", ""]]);
    }
}
