//! What a person sees who follows a link that leads nowhere.

use axum::http::StatusCode;
use axum::response::Response;
use maud::html;

use crate::http::errors::Problem;

#[must_use]
pub fn page(problem: &Problem) -> Response {
    let title = match problem.status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::GONE if problem.code == "link_revoked" => "Link withdrawn",
        StatusCode::GONE => "Link expired",
        StatusCode::METHOD_NOT_ALLOWED => "Not possible",
        s if s.is_server_error() => "Not available",
        _ => "That did not work",
    };
    let content = html! {
        main.notice {
            p.code { (problem.status.as_u16()) }
            h1 { (title) }
            p { (problem.message) }
        }
    };
    super::page(problem.status, title, &content)
}
