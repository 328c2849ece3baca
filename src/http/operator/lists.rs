//! Sessions and what is in them; search over everything.

use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use maud::{Markup, html};

use super::signin::Operator;
use crate::artifact::ids::ArtifactId;
use crate::artifact::name::display_bytes;
use crate::artifact::query::{Page, Query, parse_condition};
use crate::artifact::record::{Artifact, SessionSummary};
use crate::artifact::visible::visible;
use crate::http::App;
use crate::http::errors::Problem;
use crate::http::links;
use crate::http::pages;
use crate::http::pages::filter::Filter;
use crate::http::pages::format::{count, size};
use crate::http::pages::time;

/// Rows on a page.
const ROWS: usize = 200;
const FOUND: u32 = 60;
/// Words are looked for in every record: in a large store that takes its time, and somebody waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// All sessions, that of the latest file first.
pub async fn newest(app: &App) -> Result<Vec<SessionSummary>, Problem> {
    let mut all = app.store.sessions().await?;
    all.sort_by_key(|s| std::cmp::Reverse(s.last_artifact.unwrap_or(s.session.created)));
    Ok(all)
}

/// Sessions in rows.
pub fn table(sessions: &[SessionSummary]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Sessions" {
            table {
                thead { tr {
                    th scope="col" { "Session" } th.num scope="col" { "Files" } th.num scope="col" { "Size" }
                    th scope="col" { "State" } th scope="col" { "Begun" } th scope="col" { "Latest file" }
                } }
                tbody {
                    @for s in sessions {
                        tr {
                            th scope="row" { a href={ "/sessions/" (s.session.name) } { bdi { (s.session.name) } } }
                            td.num { (s.artifacts) }
                            td.num { (size(s.bytes)) }
                            td { @if s.session.sealed.is_some() { span.seal.sealed { "Sealed" } } @else { "open" } }
                            td { (time(s.session.created)) }
                            td { @if let Some(last) = s.last_artifact { (time(last)) } @else { "none" } }
                        }
                    }
                }
            }
        }
    }
}

pub async fn sessions(
    State(app): State<App>,
    operator: Operator,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let filter = read(query.as_deref())?;
    let wanted = filter.words.trim().to_lowercase();
    let mut all = newest(&app).await?;
    all.retain(|s| s.session.name.as_str().to_lowercase().contains(&wanted));
    let content = html! {
        header { h1 { "Sessions" } }
        (search_form("/sessions", "Name of a session", &filter.words))
        main {
            p.found role="status" {
                (count(all.len() as u64, "session", "sessions"))
                @if all.len() > ROWS { ", the newest " (ROWS) " shown" }
            }
            @if !all.is_empty() { (table(&all[..all.len().min(ROWS)])) }
        }
    };
    Ok(super::page(StatusCode::OK, "Sessions", "/sessions", &operator.csrf, &content))
}

fn read(query: Option<&str>) -> Result<Filter, Problem> {
    Filter::read(query.unwrap_or_default())
        .ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "invalid_request", "That page does not exist."))
}

fn search_form(action: &str, label: &str, words: &str) -> Markup {
    html! {
        form.filter role="search" action=(action) method="get" {
            label.search {
                span.hidden { (label) }
                input type="search" name="q" value=(words) placeholder=(label) autocomplete="off";
            }
            button type="submit" { "Search" }
        }
    }
}

/// A session's page, as under a link.
pub async fn session(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let session = app.store.session(&name).await?;
    let content = pages::session::content(&app, &session, &name, &query.unwrap_or_default()).await?;
    Ok(super::page(StatusCode::OK, &name, "/sessions", &operator.csrf, &content))
}

pub async fn view(
    State(app): State<App>,
    operator: Operator,
    Path((name, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let session = app.store.session(&name).await?;
    let artifact = artifact(&app, &name, &id).await?;
    let content = pages::view::content(&app, &session, &artifact, &name).await?;
    let title = format!("{} · {name}", visible(&display_bytes(&artifact.filename)));
    Ok(super::page(StatusCode::OK, &title, "/sessions", &operator.csrf, &content))
}

async fn artifact(app: &App, session: &str, id: &str) -> Result<Artifact, Problem> {
    let missing =
        || Problem::new(StatusCode::NOT_FOUND, "artifact_not_found", "There is no such file in this session.");
    if id.parse::<ArtifactId>().is_err() {
        return Err(missing());
    }
    let found = app.store.session(session).await?;
    links::find(app, &found, id.as_bytes()).await?.ok_or_else(missing)
}

/// The bytes of a file of a session, by ID or path: sandboxed as under a link.
pub async fn file(
    State(app): State<App>,
    _operator: Operator,
    Path((name, _)): Path<(String, String)>,
    method: Method,
    uri: Uri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let session = app.store.session(&name).await?;
    // Names of files are bytes: the path is read as it came.
    let rest = uri.path().splitn(5, '/').nth(4).unwrap_or_default();
    let path: Vec<u8> = percent_encoding::percent_decode_str(rest).collect();
    let found = links::find(&app, &session, &path).await?.ok_or_else(Problem::not_found)?;
    links::bytes(&app, &found, &method, &headers, &query.unwrap_or_default(), "operator").await
}

pub async fn zip(
    State(app): State<App>,
    _operator: Operator,
    Path(name): Path<String>,
    method: Method,
) -> Result<Response, Problem> {
    let session = app.store.session(&name).await?;
    crate::http::zip::respond(&app, &session, &method, "operator").await
}

/// Files of all sessions by words of their path, agent or metadata; `agent`, `type` and `meta` of the address narrow it.
pub async fn search(
    State(app): State<App>,
    operator: Operator,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let filter = read(query.as_deref())?;
    let question = Query {
        agent: filter.agent.clone(),
        metadata: filter.metadata.as_deref().and_then(|m| parse_condition(m).ok()).into_iter().collect(),
        content_type: filter.content_type.clone(),
        after: filter.after,
        limit: FOUND,
        ..Query::all(app.store.tenant.id)
    };
    let found = match tokio::time::timeout(PATIENCE, app.store.browse(&question, &filter.words)).await {
        Ok(found) => found?,
        Err(_) => {
            let message = "The search took too long. Search within a session, or by agent or metadata.";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timed_out", message));
        }
    };
    let content = html! {
        header { h1 { "Search" } }
        (search_form("/search", "Words of a path, an agent or metadata", &filter.words))
        main { (results(&filter, &found)) }
    };
    Ok(super::page(StatusCode::OK, "Search", "/search", &operator.csrf, &content))
}

fn results(filter: &Filter, found: &Page) -> Markup {
    html! {
        p.found role="status" {
            @if found.artifacts.is_empty() { "No file is like that." }
            @else { (count(found.artifacts.len() as u64, "file", "files")) @if found.next.is_some() { " on this page" } ", newest first" }
        }
        @if !found.artifacts.is_empty() {
            div.wide tabindex="0" role="region" aria-label="Files found" {
                table {
                    thead { tr {
                        th scope="col" { "File" } th scope="col" { "Session" } th.num scope="col" { "Size" }
                        th scope="col" { "Agent" } th scope="col" { "Metadata" } th scope="col" { "Stored" }
                    } }
                    tbody { @for artifact in &found.artifacts { (row(artifact)) } }
                }
            }
        }
        @if filter.after.is_some() || found.next.is_some() {
            nav aria-label="Pages" {
                @if filter.after.is_some() { a href={ "/search" (filter.address(None)) } { "First page" } }
                @if let Some(mark) = found.next { a.next href={ "/search" (filter.address(Some(mark))) } { "Next page" } }
            }
        }
    }
}

fn row(artifact: &Artifact) -> Markup {
    let name = visible(&display_bytes(&artifact.filename));
    html! {
        tr {
            th scope="row" {
                @if let Some(session) = &artifact.session_name {
                    a href={ "/sessions/" (session) "/v/" (artifact.id) } { bdi { (name) } }
                } @else { bdi { (name) } " " code { (artifact.id) } }
            }
            td { @if let Some(session) = &artifact.session_name { a href={ "/sessions/" (session) } { bdi { (session) } } } @else { "none" } }
            td.num { (size(artifact.size)) }
            td { @if let Some(agent) = &artifact.agent_id { bdi { (visible(agent)) } } }
            td.pairs { @for (key, value) in &artifact.metadata.0 { span { bdi { (visible(key)) } "=" bdi { (visible(value)) } } " " } }
            td { (time(artifact.created)) }
        }
    }
}
