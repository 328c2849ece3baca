//! Links and keys: what there is, and how it ends.

use axum::extract::{Path, RawForm, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::signin::{Operator, checked};
use crate::artifact::key::{ApiKey, Scope};
use crate::artifact::record::{Link, LinkTarget};
use crate::artifact::time::Timestamp;
use crate::artifact::visible::visible;
use crate::engine::keys::NewKey;
use crate::http::App;
use crate::http::errors::Problem;
use crate::http::pages::format::count;
use crate::http::pages::time;

/// Rows on a page.
const ROWS: usize = 200;

fn to(address: &'static str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, address)]).into_response()
}

/// A button that asks once more, without script. `what` is what it ends.
fn revoke(action: &str, csrf: &str, what: &str) -> Markup {
    html! {
        details.confirm {
            summary { "Revoke" span.hidden { " " (what) } }
            form method="post" action=(action) {
                input type="hidden" name="csrf" value=(csrf);
                button.danger type="submit" { "Revoke for good" span.hidden { " " (what) } }
            }
        }
    }
}

pub async fn links(State(app): State<App>, operator: Operator) -> Result<Response, Problem> {
    let all = app.store.links(None).await?;
    let now = app.store.clock.now();
    let mut rows = Vec::new();
    for link in all.iter().take(ROWS) {
        rows.push((link, target(&app, link).await?));
    }
    let content = html! {
        header { h1 { "Links" } }
        main {
            p.found role="status" {
                (count(all.len() as u64, "link", "links")) @if all.len() > ROWS { ", the newest " (ROWS) " shown" }
            }
            @if !rows.is_empty() {
                div.wide tabindex="0" role="region" aria-label="Links" {
                    table {
                        thead { tr {
                            th scope="col" { "Link" } th scope="col" { "Leads to" } th scope="col" { "Made" }
                            th scope="col" { "Ends" } th scope="col" { "State" } th scope="col" { span.hidden { "Revoke" } }
                        } }
                        tbody { @for (link, target) in &rows { (link_row(link, target, now, &operator.csrf)) } }
                    }
                }
            }
        }
    };
    Ok(super::page(StatusCode::OK, "Links", "/links", &operator.csrf, &content))
}

async fn target(app: &App, link: &Link) -> Result<Markup, Problem> {
    Ok(match link.target {
        LinkTarget::Session(id) => match app.store.catalog.session_by_id(id).await? {
            Some(s) => html! { "session " a href={ "/sessions/" (s.name) } { bdi { (s.name) } } },
            None => html! { "a session that is gone" },
        },
        LinkTarget::Artifact(id) => match app.store.artifact(&id.to_string()).await {
            Ok(a) => {
                let name = visible(&crate::artifact::name::display_bytes(&a.filename));
                match &a.session_name {
                    Some(session) => html! { a href={ "/sessions/" (session) "/v/" (id) } { bdi { (name) } } },
                    None => html! { bdi { (name) } },
                }
            }
            Err(e) if e.http_status() < 500 => html! { code { (id) } ", gone" },
            Err(e) => return Err(e.into()),
        },
    })
}

fn link_row(link: &Link, target: &Markup, now: Timestamp, csrf: &str) -> Markup {
    let ended = link.expires.is_some_and(|t| t <= now);
    html! {
        tr {
            th scope="row" { code { (link.id) } }
            td { (target) }
            td { (time(link.created)) }
            td { @if let Some(at) = link.expires { (time(at)) } @else { "never" } }
            td {
                @if let Some(at) = link.revoked { "revoked " (time(at)) }
                @else if ended { "expired" }
                @else { "active" }
            }
            td { @if link.revoked.is_none() && !ended { (revoke(&format!("/links/{}/revoke", link.id), csrf, &link.id)) } }
        }
    }
}

pub async fn revoke_link(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawForm(body): RawForm,
) -> Result<Response, Problem> {
    checked(&app, &operator, &headers, &body)?;
    app.store.revoke_link(&id).await?;
    Ok(to("/links"))
}

pub async fn keys(State(app): State<App>, operator: Operator) -> Result<Response, Problem> {
    keys_page(&app, &operator, StatusCode::OK, &html! {}).await
}

async fn keys_page(app: &App, operator: &Operator, status: StatusCode, news: &Markup) -> Result<Response, Problem> {
    let all = app.store.keys().await?;
    let content = html! {
        header { h1 { "Keys" } }
        main {
            (news)
            section.panel {
                h2 { "New key" }
                form.stack method="post" action="/keys" {
                    input type="hidden" name="csrf" value=(operator.csrf);
                    label for="name" { "What you call it" }
                    input #name type="text" name="name" maxlength="128" autocomplete="off";
                    fieldset {
                        legend { "What it may do" }
                        @for (scope, means) in [("read", "read"), ("write", "store, delete, make links, seal"), ("admin", "everything, this view too")] {
                            label { input type="checkbox" name="scope" value=(scope) checked[scope != "admin"]; " " b { (scope) } ": " (means) }
                        }
                    }
                    button.button type="submit" { "Make the key" }
                }
            }
            section {
                h2 { "All keys" }
                div.wide tabindex="0" role="region" aria-label="Keys" {
                    table {
                        thead { tr {
                            th scope="col" { "Key" } th scope="col" { "Name" } th scope="col" { "Scopes" } th scope="col" { "Made" }
                            th scope="col" { "Last used" } th scope="col" { "State" } th scope="col" { span.hidden { "Revoke" } }
                        } }
                        tbody { @for key in all.iter().take(ROWS) { (key_row(key, operator)) } }
                    }
                }
            }
        }
    };
    Ok(super::page(status, "Keys", "/keys", &operator.csrf, &content))
}

fn key_row(key: &ApiKey, operator: &Operator) -> Markup {
    let scopes: Vec<_> = key.scopes.iter().map(|s| s.as_str()).collect();
    html! {
        tr {
            th scope="row" { code { (key.id) "…" (key.last4) } }
            td { bdi { (visible(&key.name)) } @if key.id == operator.key.id { " (yours)" } }
            td { (scopes.join(", ")) }
            td { (time(key.created)) }
            td { @if let Some(at) = key.last_used { (time(at)) } @else { "never" } }
            td { @if let Some(at) = key.revoked { "revoked " (time(at)) } @else { "live" } }
            td { @if key.revoked.is_none() { (revoke(&format!("/keys/{}/revoke", key.id), &operator.csrf, &key.id)) } }
        }
    }
}

/// Shows the key in the answer itself: this is the only time that it is known, and no address leads to it again.
pub async fn make_key(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    RawForm(body): RawForm,
) -> Result<Response, Problem> {
    let form = checked(&app, &operator, &headers, &body)?;
    let scopes = form.all("scope").map(str::parse::<Scope>).collect::<Result<Vec<_>, _>>()?;
    match app.store.create_key(form.get("name").trim(), scopes, None).await {
        Ok(made) => keys_page(&app, &operator, StatusCode::CREATED, &made_key(&made)).await,
        Err(e) if e.http_status() < 500 => {
            let status = StatusCode::from_u16(e.http_status()).unwrap_or(StatusCode::BAD_REQUEST);
            keys_page(&app, &operator, status, &html! { p.wrong role="alert" { (e.message) } }).await
        }
        Err(e) => Err(e.into()),
    }
}

fn made_key(made: &NewKey) -> Markup {
    html! {
        section.panel.news {
            h2 { "The key is made" }
            p { "Copy it now: it is shown this once, and kept nowhere." }
            p { code.secret { (made.secret.reveal()) } }
        }
    }
}

pub async fn revoke_key(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawForm(body): RawForm,
) -> Result<Response, Problem> {
    checked(&app, &operator, &headers, &body)?;
    app.store.revoke_key(&id).await?;
    Ok(to("/keys"))
}
