//! HTML, made on the server. It is whole without its one script, which only spares clicks; nothing is asked of anywhere
//! else. [`session`] is a session's page, made of [`card`]s, [`view`] a file's, [`preview`] what files look like.

mod card;
pub mod error;
pub(in crate::http) mod filter;
pub(in crate::http) mod format;
mod preview;
pub mod published;
pub mod session;
mod style;
pub mod view;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::artifact::time::Timestamp;

/// A whole page. Its policy allows its own style sheet and script, and pictures and frames of this host; nothing else runs,
/// nothing leaves.
pub fn page(status: StatusCode, title: &str, content: &Markup) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title) }
                style { (PreEscaped(style::CSS)) }
            }
            body { (content) script { (PreEscaped(style::SCRIPT)) } }
        }
    };
    let policy = format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; img-src 'self' data:; media-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        style::hash(style::CSS),
        style::hash(style::SCRIPT),
    );
    let mut response = (status, markup.into_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

pub(in crate::http) fn time(at: Timestamp) -> Markup {
    html! { time datetime=(at.to_rfc3339()) { (format::moment(at)) } }
}
