//! The API's description as a page: no script, no request.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use super::openapi::description;
use crate::http::errors::Problem;
use crate::http::pages;

/// `/docs`.
pub async fn page() -> Result<Response, Problem> {
    let text = serde_json::to_value(description())
        .map_err(|e| crate::artifact::Error::internal(format!("the description cannot be written: {e}")))?;
    Ok(pages::page(StatusCode::OK, "outputfs API", &render(&text)))
}

fn render(api: &Value) -> Markup {
    let none = serde_json::Map::new();
    let paths = api["paths"].as_object().unwrap_or(&none);
    let schemas = api["components"]["schemas"].as_object().unwrap_or(&none);
    let operations = || {
        paths.iter().flat_map(|(path, item)| {
            item.as_object().into_iter().flatten().map(move |(method, operation)| (path, method, operation))
        })
    };
    html! {
        header {
            h1 { "outputfs API" }
            p.facts { span { (prose(&api["info"]["description"])) } span { "For programs: " a href="openapi.json" { "openapi.json" } } }
        }
        main.api {
            nav.contents aria-label="Operations" {
                ul {
                    @for (path, method, operation) in operations() {
                        li { a href={ "#" (str(&operation["operationId"])) } { (name(method, path)) } " " (prose(&operation["summary"])) }
                    }
                }
            }
            @for (path, method, operation) in operations() {
                section.panel id=(str(&operation["operationId"])) {
                    h2 { (name(method, path)) }
                    p { (prose(&operation["summary"])) " " (prose(&operation["description"])) }
                    (parameters(str(&operation["operationId"]), &operation["parameters"]))
                    (bodies(str(&operation["operationId"]), operation))
                }
            }
            @for (name, schema) in schemas {
                section.panel id=(name) {
                    h2 { (name) }
                    p { (prose(&schema["description"])) }
                    (properties(name, schema))
                }
            }
        }
    }
}

fn str(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Text in which what stands between backquotes is code.
fn prose(value: &Value) -> Markup {
    html! {
        @for (n, part) in str(value).split('`').enumerate() {
            @if n % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

fn name(method: &str, path: &str) -> Markup {
    html! { code { strong { (method.to_uppercase()) } " " (path) } }
}

/// A table that scrolls by itself where it is too wide. `label`: no other on the page has it.
fn table(label: &str, head: [&str; 3], rows: &[Markup]) -> Markup {
    html! {
        @if !rows.is_empty() {
            div.wide tabindex="0" role="region" aria-label=(label) {
                table {
                    thead { tr { @for title in head { th scope="col" { (title) } } } }
                    tbody { @for row in rows { (row) } }
                }
            }
        }
    }
}

fn row(name: &str, second: &Markup, says: &Value) -> Markup {
    html! { tr { th scope="row" { code { (name) } } td.text { (second) } td.text { (prose(says)) } } }
}

fn parameters(of: &str, list: &Value) -> Markup {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let place = |p: &Value| html! { (str(&p["in"])) @if p["required"] == Value::Bool(true) { ", needed" } };
    let rows: Vec<_> = list.iter().map(|p| row(str(&p["name"]), &place(p), &p["description"])).collect();
    table(&format!("Parameters of {of}"), ["Parameter", "In", "What it says"], &rows)
}

/// What goes in and what comes back.
fn bodies(of: &str, operation: &Value) -> Markup {
    let none = serde_json::Map::new();
    let content = |body: &Value| {
        html! {
            @for (kind, body) in body["content"].as_object().unwrap_or(&none) { div { (schema(&body["schema"])) " as " code { (kind) } } }
        }
    };
    let request = Some(&operation["requestBody"]).filter(|b| b.is_object()).map(|body| ("request", body));
    let answers = operation["responses"].as_object().into_iter().flatten();
    let all = request.into_iter().chain(answers.map(|(status, answer)| (status.as_str(), answer)));
    let rows: Vec<_> = all.map(|(what, body)| row(what, &content(body), &body["description"])).collect();
    table(&format!("Bodies of {of}"), ["Body", "Content", "What it says"], &rows)
}

fn properties(of: &str, object: &Value) -> Markup {
    let none = serde_json::Map::new();
    let parts = object["allOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    let own = object["properties"].as_object().unwrap_or(&none);
    let of_parts = parts.iter().flat_map(|part| part["properties"].as_object().into_iter().flatten());
    let rows: Vec<_> = own.iter().chain(of_parts).map(|(name, p)| row(name, &schema(p), &p["description"])).collect();
    html! {
        @for part in parts.iter().filter(|part| part["$ref"].is_string()) { p { "All of " (schema(part)) ", and:" } }
        (table(&format!("Fields of {of}"), ["Field", "Type", "What it says"], &rows))
    }
}

/// A type in a few words.
fn schema(value: &Value) -> Markup {
    if let Some(name) = value["$ref"].as_str().and_then(|r| r.rsplit('/').next()) {
        return html! { a href={ "#" (name) } { (name) } };
    }
    if let Some(choices) = value["oneOf"].as_array() {
        return html! { @for (n, choice) in choices.iter().enumerate() { @if n > 0 { " or " } (schema(choice)) } };
    }
    let kind = match &value["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => String::from("anything"),
    };
    html! { (kind) @if value["items"].is_object() { " of " (schema(&value["items"])) } @if let Some(format) = value["format"].as_str() { " (" (format) ")" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_operation_and_asks_for_nothing() {
        let text = render(&serde_json::to_value(description()).unwrap()).into_string();
        for name in [
            "POST</strong> /v1/artifacts",
            "DELETE</strong> /v1/links/{link_id}",
            "GET</strong> /v1/whoami",
            "id=\"ArtifactBody\"",
        ] {
            assert!(text.contains(name), "{name}");
        }
        assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("<script"));
    }
}
