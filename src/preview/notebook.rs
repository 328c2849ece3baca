//! Jupyter notebooks: text, code and what came out of it, as text and pictures.

use maud::{Markup, html};
use serde_json::Value;

use super::Extent;
use super::markdown::{self, Place};

/// Characters shown of one output.
const OUTPUT: usize = 20_000;
/// Base64 of one picture.
const PICTURE: usize = 4 << 20;

/// `None` when it is none.
#[must_use]
pub fn render(text: &str, place: &Place, extent: Extent) -> Option<Markup> {
    let notebook: Value = serde_json::from_str(text).ok()?;
    let cells = notebook.get("cells")?.as_array()?;
    let shown = match extent {
        Extent::Card => 3,
        Extent::Whole => 500,
    };
    Some(html! {
        div.notebook {
            @for cell in cells.iter().take(shown) { (one(cell, place)) }
            @if cells.len() > shown { p.more { (more_of(cells.len() - shown, "cell")) } }
        }
    })
}

/// "1 more cell", "5 more cells".
pub(super) fn more_of(count: usize, what: &str) -> String {
    format!("{count} more {what}{}", if count == 1 { "" } else { "s" })
}

fn one(cell: &Value, place: &Place) -> Markup {
    let source = joined(&cell["source"]);
    match cell["cell_type"].as_str() {
        Some("markdown") => markdown::render(&source, place),
        Some("code") => html! {
            div.cell {
                @if !source.is_empty() { pre.code { "\n" (source) } }
                @for output in cell["outputs"].as_array().into_iter().flatten() { (out(output)) }
            }
        },
        _ => html! { pre.code { "\n" (source) } },
    }
}

fn out(output: &Value) -> Markup {
    let data = &output["data"];
    for kind in ["image/png", "image/jpeg"] {
        let picture: String = joined(&data[kind]).split_whitespace().collect();
        if !picture.is_empty() && picture.len() <= PICTURE && picture.bytes().all(is_base64) {
            return html! { img src={ "data:" (kind) ";base64," (picture) } alt="Output of the cell"; };
        }
    }
    let text = match output["output_type"].as_str() {
        Some("error") => joined_lines(&output["traceback"]),
        Some("stream") => joined(&output["text"]),
        _ => joined(&data["text/plain"]),
    };
    let text = without_escapes(&text);
    let end = text.char_indices().nth(OUTPUT).map_or(text.len(), |(at, _)| at);
    html! { @if !text.is_empty() { pre.out { "\n" (text[..end]) @if end < text.len() { "…" } } } }
}

fn is_base64(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=')
}

/// A string, or strings that make one.
fn joined(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    }
}

fn joined_lines(value: &Value) -> String {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

/// Without the colours of a terminal.
fn without_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\x1b' && chars.peek() == Some(&'[') {
            chars.next();
            while chars.next().is_some_and(|c| !('\x40'..='\x7e').contains(&c)) {}
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_and_outputs() {
        let text = r##"{"cells":[
            {"cell_type":"markdown","source":["# Title\n","<script>alert(1)</script>"]},
            {"cell_type":"code","source":"print('<b>')","outputs":[
                {"output_type":"stream","text":["<b>\n"]},
                {"output_type":"display_data","data":{"image/png":"aGk=\n","text/html":"<script>x</script>"}},
                {"output_type":"display_data","data":{"image/png":"\" onerror=\"x","text/plain":"fallback"}},
                {"output_type":"error","traceback":["\u001b[0;31mValueError\u001b[0m: bad"]}]}]}"##;
        let out = render(text, &Place::new(Some("f/"), b"a.ipynb"), Extent::Whole).unwrap().into_string();
        assert!(out.contains("<h2>Title</h2>") && out.contains("data:image/png;base64,aGk="), "{out}");
        assert!(out.contains("fallback") && out.contains("ValueError: bad"), "{out}");
        assert!(!out.contains("<script") && !out.contains("<b>") && !out.contains("\" onerror"), "{out}");
        for bad in ["", "[]", "{}", "{\"cells\":3}"] {
            assert!(render(bad, &Place::new(Some("f/"), b"a"), Extent::Whole).is_none(), "{bad}");
        }
        assert!(render("{\"cells\":[3,null,{}]}", &Place::new(Some("f/"), b"a"), Extent::Card).is_some());
    }
}
