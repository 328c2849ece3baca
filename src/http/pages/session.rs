//! A session's page: what it is, and its files, to look at, to search and to download.

use std::collections::HashMap;

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use crate::artifact::ids::ArtifactId;
use crate::artifact::link::LinkToken;
use crate::artifact::query::Page;
use crate::artifact::record::Session;
use crate::engine::browse::Facets;
use crate::http::App;
use crate::http::errors::Problem;
use crate::http::pages::card::card;
use crate::http::pages::filter::Filter;
use crate::http::pages::format::{count, size};
use crate::http::pages::preview::{self, Preview};
use crate::http::pages::time;

/// Files on one page.
const PER_PAGE: u32 = 60;

/// The page that `query` (of the address) asks for.
///
/// # Errors
/// Of the catalog; a mark or a condition that is none of ours.
pub async fn respond(app: &App, session: &Session, token: &LinkToken, query: &str) -> Result<Response, Problem> {
    let content = content(app, session, token.reveal(), query).await?;
    Ok(super::page(StatusCode::OK, session.name.as_str(), &content))
}

/// What stands on it. `here` is the last name of its own address, under which its files are.
///
/// # Errors
/// As [`respond`].
pub async fn content(app: &App, session: &Session, here: &str, query: &str) -> Result<Markup, Problem> {
    let filter = Filter::read(query)
        .ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "invalid_request", "That page does not exist."))?;
    let facets = app.store.facets(session.id).await?;
    let mut page = app.store.browse(&filter.query(app.store.tenant.id, session.id, PER_PAGE), &filter.words).await?;
    let whole = filter.after.is_none() && page.next.is_none();
    if whole {
        // All on one page: in the order of a directory. More pages come as the catalog has them, newest first.
        page.artifacts.sort_by(|a, b| a.filename.cmp(&b.filename));
    }
    let base = format!("{here}/");
    let previews = preview::of(app, &page.artifacts, &format!("{base}f/")).await;
    Ok(render(session, &facets, &filter, &page, &previews, here, whole))
}

fn render(
    session: &Session,
    facets: &Facets,
    filter: &Filter,
    page: &Page,
    previews: &HashMap<ArtifactId, Preview>,
    token: &str,
    whole: bool,
) -> Markup {
    let base = format!("{token}/");
    let shown = page.artifacts.len() as u64;
    html! {
        header {
            div.title {
                h1 { bdi { (session.name) } }
                @if facets.files > 0 {
                    a.button href={ (base) "zip" } {
                        "Download all" span.size { @if facets.complete { (size(facets.bytes)) " as zip" } @else { "as zip" } }
                    }
                }
            }
            p.facts {
                @if let Some(sealed) = session.sealed {
                    span.seal.sealed { "Sealed " (time(sealed)) }
                } @else {
                    span.seal { "Open, may still change" }
                }
                span {
                    @if !facets.complete { "more than " }
                    (count(facets.files, "file", "files")) ", " (size(facets.bytes))
                }
                span { "Begun " (time(session.created)) }
                @if let Some(last) = facets.last { span { "latest file " (time(last)) } }
            }
            @if !facets.agents.is_empty() {
                p.facts.agents {
                    "Made by "
                    @for (n, (agent, files)) in facets.agents.iter().take(8).enumerate() {
                        @if n > 0 { ", " }
                        span { bdi { (crate::artifact::visible::visible(agent)) } " (" (files) ")" }
                    }
                    @if facets.agents.len() > 8 { " and others" }
                }
            }
        }
        @if facets.files > 1 || filter.narrows() { (filter.form(token, facets)) }
        main {
            @if filter.narrows() || !whole {
                p.found role="status" {
                    @if whole { (count(shown, "file", "files")) } @else { (count(shown, "file", "files")) " on this page, newest first" }
                }
            }
            @if page.artifacts.is_empty() {
                p.empty {
                    @if filter.narrows() { "No file is like that." }
                    @else if filter.after.is_some() { "There is no file here any more." }
                    @else { "There is no file here yet." }
                }
            }
            div.cards {
                @for artifact in &page.artifacts { (card(artifact, previews.get(&artifact.id), &base)) }
            }
        }
        @if filter.after.is_some() || page.next.is_some() {
            nav aria-label="Pages" {
                @if filter.after.is_some() { a href={ (token) (filter.address(None)) } { "First page" } }
                @if let Some(mark) = page.next { a.next href={ (token) (filter.address(Some(mark))) } { "Next page" } }
            }
        }
    }
}
