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
    html! {
        header { h1 { "outputfs API" } p.facts { span { (str(&api["info"]["description"])) } } }
        main {
            p { "All of it for programs: " a href="openapi.json" { "openapi.json" } }
            @for (path, item) in paths {
                @for (method, operation) in item.as_object().unwrap_or(&none) {
                    section {
                        h2 id=(str(&operation["operationId"])) { code { (method.to_uppercase()) " " (path) } }
                        p { (str(&operation["summary"])) " " (str(&operation["description"])) }
                        (parameters(&operation["parameters"]))
                        (bodies("Request", &operation["requestBody"]["content"]))
                        @for (status, answer) in operation["responses"].as_object().unwrap_or(&none) {
                            p { strong { (status) } " " (str(&answer["description"])) }
                            (bodies("Answer", &answer["content"]))
                        }
                    }
                }
            }
            @for (name, schema) in schemas {
                section {
                    h2 id=(name) { (name) }
                    p { (str(&schema["description"])) }
                    (properties(schema))
                }
            }
        }
    }
}

fn str(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn parameters(list: &Value) -> Markup {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    html! {
        @if !list.is_empty() {
            ul {
                @for p in list {
                    li { code { (str(&p["name"])) } " (" (str(&p["in"])) @if p["required"] == Value::Bool(true) { ", needed" } ") " (str(&p["description"])) }
                }
            }
        }
    }
}

fn bodies(what: &str, content: &Value) -> Markup {
    html! {
        @if let Some(content) = content.as_object() {
            ul { @for (kind, body) in content { li { (what) " " code { (kind) } ": " (schema(&body["schema"])) } } }
        }
    }
}

fn properties(object: &Value) -> Markup {
    let none = serde_json::Map::new();
    let parts = object["allOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    html! {
        ul {
            @for (name, property) in object["properties"].as_object().unwrap_or(&none) {
                li { code { (name) } ": " (schema(property)) " " (str(&property["description"])) }
            }
            @for part in parts {
                @if part["$ref"].is_string() { li { "all of " (schema(part)) } }
                @for (name, property) in part["properties"].as_object().unwrap_or(&none) {
                    li { code { (name) } ": " (schema(property)) " " (str(&property["description"])) }
                }
            }
        }
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
        for name in ["POST /v1/artifacts", "DELETE /v1/links/{link_id}", "GET /v1/whoami", "id=\"ArtifactBody\""] {
            assert!(text.contains(name), "{name}");
        }
        assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("<script"));
    }
}
