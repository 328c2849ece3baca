//! `/lnk_…`: a file, or a session's page and its files.

use axum::Router;
use axum::extract::{OriginalUri, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use percent_encoding::percent_decode_str;

use crate::artifact::ids::ArtifactId;
use crate::artifact::link::LinkToken;
use crate::artifact::record::{Artifact, Session};
use crate::artifact::standing::Asks;
use crate::artifact::{Error, Kind};
use crate::engine::links::Resolved;
use crate::http::App;
use crate::http::content::{self, ContentRequest};
use crate::http::errors::Problem;
use crate::http::pages;

pub fn routes() -> Router<App> {
    // The handlers read the path themselves: names of files are bytes, and need not be UTF-8.
    let pages = Router::new()
        .route("/{link}", get(root))
        .route("/{link}/", get(slash))
        .route("/{link}/f/{*file}", get(file))
        .route("/{link}/v/{artifact}", get(view))
        .route("/{link}/zip", get(zip));
    // Pages have an address of their own too; everything on them is named relative to it.
    pages.clone().nest("/s", pages)
}

/// A file's bytes or a session's page.
async fn root(
    State(app): State<App>,
    method: Method,
    OriginalUri(uri): OriginalUri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (token, _) = split(uri.path())?;
    let query = query.unwrap_or_default();
    match resolve(&app, &token).await? {
        Target::Artifact(artifact) => {
            if uri.path().starts_with("/s/")
                && let Some(page) = app.store.catalog.publication_of_link(app.store.tenant.id, token.id()).await?
                && page.withdrawn.is_none()
            {
                return pages::published::respond(&app, &artifact, &page, &token).await;
            }
            bytes(&app, &artifact, &method, &headers, &query, token.id()).await
        }
        Target::Session(session) => pages::session::respond(&app, &session, &token, &query).await,
    }
}

/// Relative addresses on the page need the form without the slash. The answer is relative too: we may be behind a prefix.
async fn slash(uri: Uri) -> Result<Response, Problem> {
    let (token, _) = split(uri.path())?;
    Ok((StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, format!("../{}", token.reveal()))]).into_response())
}

/// A file of a session, by ID or by path.
async fn file(
    State(app): State<App>,
    method: Method,
    uri: Uri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (token, rest) = split(uri.path())?;
    let name: Vec<u8> = percent_decode_str(rest.strip_prefix("f/").unwrap_or(rest)).collect();
    let artifact = match resolve(&app, &token).await? {
        Target::Session(session) => find(&app, &session, &name).await?.ok_or_else(no_such_file)?,
        // A published page and its content.
        Target::Artifact(artifact) if name == artifact.id.to_string().as_bytes() => *artifact,
        Target::Artifact(_) => return Err(Problem::not_found()),
    };
    bytes(&app, &artifact, &method, &headers, &query.unwrap_or_default(), token.id()).await
}

/// The page of a file of a session.
async fn view(State(app): State<App>, uri: Uri) -> Result<Response, Problem> {
    let (token, rest) = split(uri.path())?;
    let Target::Session(session) = resolve(&app, &token).await? else { return Err(Problem::not_found()) };
    let id = rest.strip_prefix("v/").unwrap_or(rest);
    if id.parse::<ArtifactId>().is_err() {
        return Err(no_such_file());
    }
    let artifact = find(&app, &session, id.as_bytes()).await?.ok_or_else(no_such_file)?;
    pages::view::respond(&app, &session, &artifact, &token).await
}

/// All files of a session.
async fn zip(State(app): State<App>, method: Method, uri: Uri) -> Result<Response, Problem> {
    let (token, _) = split(uri.path())?;
    let Target::Session(session) = resolve(&app, &token).await? else { return Err(Problem::not_found()) };
    crate::http::zip::respond(&app, &session, &method, token.id()).await
}

enum Target {
    Artifact(Box<Artifact>),
    Session(Session),
}

async fn resolve(app: &App, token: &LinkToken) -> Result<Target, Problem> {
    match app.store.resolve_link(token.reveal()).await? {
        Resolved::Artifact(_, artifact) => Ok(Target::Artifact(artifact)),
        Resolved::Session(_, session) => Ok(Target::Session(session)),
        Resolved::Expired => {
            Err(Problem::new(StatusCode::GONE, "link_expired", "This link has expired. Ask for a new one."))
        }
        // Gone to whoever holds the link, whatever became of it.
        Resolved::Gone(why) => Err(Problem { status: StatusCode::GONE, ..why.into() }),
        Resolved::Revoked => {
            Err(Problem::new(StatusCode::GONE, "link_revoked", "This link was withdrawn by whoever shared it."))
        }
        Resolved::Unknown => Err(unknown()),
    }
}

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "link_not_found", "There is no such link. Check that all of it was copied.")
}

fn no_such_file() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "artifact_not_found", "There is no such file in this session.")
}

/// The artifact of this session with that ID (also an earlier version: a page that is open stays right) or at that path.
pub(in crate::http) async fn find(app: &App, session: &Session, name: &[u8]) -> Result<Option<Artifact>, Error> {
    let text = std::str::from_utf8(name).unwrap_or_default();
    let former = match text.parse() {
        Ok(id) => app.store.catalog.former(app.store.tenant.id, id).await?.filter(|a| a.session == session.id),
        Err(_) => None,
    };
    let found = match former {
        Some(former) => app.store.standing(former.id, Asks::Standing).await.map(Some),
        None => Ok(None),
    };
    let found = match found {
        Ok(None) => app.store.artifact_at(session, name).await.map(Some),
        other => other,
    };
    match found {
        Ok(artifact) => Ok(artifact),
        Err(e) if matches!(e.kind, Kind::Deleted | Kind::Expired | Kind::Forbidden) => Err(e),
        // A path that names no file, whatever the reason, is not found.
        Err(e) if e.http_status() < 500 => Ok(None),
        Err(e) => Err(e),
    }
}

pub(in crate::http) async fn bytes(
    app: &App,
    artifact: &Artifact,
    method: &Method,
    headers: &HeaderMap,
    query: &str,
    link: &str,
) -> Result<Response, Problem> {
    let asked = |name| parameter(query, name).is_some_and(|v| v != "0");
    let (download, frame) = (asked("download"), asked("frame"));
    let response = content::respond(app, ContentRequest { artifact, method, headers, download, frame, link }).await?;
    tracing::debug!(link, artifact = %artifact.id, status = response.status().as_u16(), "link followed");
    Ok(response)
}

/// Token and rest of `/lnk_…/rest`. Anything that is no token is as unknown as a wrong one.
fn split(path: &str) -> Result<(LinkToken, &str), Problem> {
    let path = path.strip_prefix("/s/").or_else(|| path.strip_prefix('/')).unwrap_or(path);
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    if !first.starts_with("lnk_") {
        return Err(Problem::not_found());
    }
    first.parse().map(|token| (token, rest)).map_err(|_| unknown())
}

/// The first value of `name` in a query string, as written (what we read there is never encoded). Without `=`: empty.
fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| match pair.split_once('=') {
        Some((key, value)) => (key == name).then_some(value),
        None => (pair == name).then_some(""),
    })
}
