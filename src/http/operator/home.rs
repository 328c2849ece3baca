//! The first page: what is there, how it grows, what came last.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use maud::{Markup, html};

use super::{lists, plot, signin};
use crate::artifact::query::By;
use crate::http::App;
use crate::http::errors::Problem;
use crate::http::pages::format::size;

/// Sessions named.
const LATEST: usize = 8;

pub async fn page(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let Some(operator) = signin::operator(&app, &headers).await? else {
        return Ok(signin::page(StatusCode::OK, None));
    };
    let store = &app.store;
    let now = store.clock.now();
    let usage = store.usage().await?;
    let shares = store.catalog.shares(store.tenant.id, By::Day, now).await?;
    let days = plot::days(&shares, now);
    let links = store.catalog.active_links(store.tenant.id, now).await?;
    let requests = store.requests_this_month().await?;
    let sessions = lists::newest(&app).await?;
    let saved = usage.logical_bytes.saturating_sub(usage.stored_bytes);
    let figure = |name: &str, value: String| -> Markup {
        html! { div { dt { (name) } dd { (value) } } }
    };
    let content = html! {
        header { h1 { "Store of " bdi { (store.tenant_name) } } }
        main {
            dl.numbers {
                (figure("Artifacts", usage.artifacts.to_string()))
                (figure("Sessions", usage.sessions.to_string()))
                (figure("Written", size(usage.logical_bytes)))
                (figure("Stored", size(usage.stored_bytes)))
                (figure("Saved by deduplication", size(saved)))
                (figure("Active links", links.to_string()))
                (figure("Requests this month", requests.to_string()))
                @if let Some(most) = usage.max_bytes { (figure("Limit", size(most))) }
            }
            div.plots {
                (plot::figure("plot-written", "Bytes by day", "written", &days, |d| d.logical))
                (plot::figure("plot-saved", "Saved by deduplication", "saved", &days, plot::Day::saved))
            }
            (plot::table(&days))
            section {
                h2 { "Latest sessions" }
                @if sessions.is_empty() { p.empty { "There is no session yet." } }
                @else {
                    (lists::table(&sessions[..sessions.len().min(LATEST)]))
                    @if sessions.len() > LATEST { p { a href="/sessions" { "All " (sessions.len()) " sessions" } } }
                }
            }
        }
    };
    Ok(super::page(StatusCode::OK, "Overview", "/", &operator.csrf, &content))
}
