//! Signing in with a key, and what a signed-in browser is trusted with.
//!
//! - The cookie is random, `HttpOnly`, `SameSite=Strict`, and `Secure` over HTTPS; only its hash is kept, in memory: a restart
//!   signs everybody out. It ends after [`LIFE`], or [`IDLE`] without a request, at sign-out, and with the key that opened it.
//! - A form that changes anything carries the session's own token, and must come from a page of this very origin.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Extension, FromRequestParts, RawForm, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::html;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::artifact::key::{ApiKey, Scope};
use crate::http::errors::Problem;
use crate::http::server::Peer;
use crate::http::{App, pages};

const LIFE: Duration = Duration::from_hours(12);
const IDLE: Duration = Duration::from_hours(1);
/// Signed in at a time; beyond it the one that was idle longest is signed out.
const MOST: usize = 1000;
const COOKIE: &str = "outputfs_operator";

/// Everybody who is signed in at this server.
#[derive(Default)]
pub struct SignedIn(Mutex<HashMap<[u8; 32], Entry>>);

#[derive(Clone)]
struct Entry {
    key: String,
    csrf: String,
    since: Instant,
    seen: Instant,
}

fn random() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl SignedIn {
    /// The cookie's value for who signs in with the key of that ID.
    fn enter(&self, key: &str, now: Instant) -> String {
        let token = random();
        let mut all = self.0.lock();
        all.retain(|_, e| fresh(e, now));
        if all.len() >= MOST
            && let Some(oldest) = all.iter().min_by_key(|(_, e)| e.seen).map(|(h, _)| *h)
        {
            all.remove(&oldest);
        }
        all.insert(hash(&token), Entry { key: key.to_owned(), csrf: random(), since: now, seen: now });
        token
    }

    fn find(&self, token: &str, now: Instant) -> Option<Entry> {
        let mut all = self.0.lock();
        let entry = all.get_mut(&hash(token)).filter(|e| fresh(e, now))?;
        entry.seen = now;
        Some(entry.clone())
    }

    fn leave(&self, token: &str) {
        self.0.lock().remove(&hash(token));
    }
}

fn fresh(entry: &Entry, now: Instant) -> bool {
    now.duration_since(entry.since) < LIFE && now.duration_since(entry.seen) < IDLE
}

/// Whoever is signed in.
pub struct Operator {
    pub key: ApiKey,
    /// For the forms of the page.
    pub csrf: String,
    token: String,
}

impl FromRequestParts<App> for Operator {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let found = operator(app, &parts.headers).await.map_err(IntoResponse::into_response)?;
        found.ok_or_else(|| (StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response())
    }
}

/// Who is signed in by the cookie of a request; the key must still stand and open everything.
///
/// # Errors
/// Of the catalog.
pub async fn operator(app: &App, headers: &HeaderMap) -> Result<Option<Operator>, Problem> {
    let Some(token) = cookie(headers) else { return Ok(None) };
    let Some(entry) = app.operators.find(&token, Instant::now()) else { return Ok(None) };
    let key = app.store.catalog.key(&entry.key).await?;
    let standing = key.filter(|k| k.revoked.is_none() && k.tenant == app.store.tenant.id && k.may(Scope::Admin));
    if standing.is_none() {
        app.operators.leave(&token);
    }
    Ok(standing.map(|key| Operator { key, csrf: entry.csrf, token }))
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    let mut pairs = values.flat_map(|v| v.split(';')).filter_map(|p| p.trim().split_once('='));
    pairs.find_map(|(name, value)| (name == COOKIE).then(|| value.to_owned()))
}

/// The fields of a form.
pub struct Form(Vec<(String, String)>);

impl Form {
    pub fn read(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body).replace('+', " ");
        let decode = |t: &str| percent_decode_str(t).decode_utf8_lossy().into_owned();
        let pairs = text.split('&').filter(|p| !p.is_empty()).map(|p| p.split_once('=').unwrap_or((p, "")));
        Self(pairs.map(|(k, v)| (decode(k), decode(v))).collect())
    }

    /// Empty without that field.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find_map(|(k, v)| (k == name).then_some(v.as_str())).unwrap_or_default()
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == name).map(|(_, v)| v.as_str())
    }
}

/// A form of a page of ours that whoever is signed in has sent.
///
/// # Errors
/// 403.
pub fn checked(app: &App, operator: &Operator, headers: &HeaderMap, body: &[u8]) -> Result<Form, Problem> {
    let form = Form::read(body);
    let same: bool = form.get("csrf").as_bytes().ct_eq(operator.csrf.as_bytes()).into();
    if same && from_here(app.api.trust_proxy, headers) { Ok(form) } else { Err(foreign()) }
}

fn foreign() -> Problem {
    let message = "This form did not come from this page, or the page is old. Load it again and try once more.";
    Problem::new(StatusCode::FORBIDDEN, "forbidden", message)
}

/// Browsers say where a form was; what says nothing is no browser, and has no cookie to be misused.
fn from_here(trust_proxy: bool, headers: &HeaderMap) -> bool {
    let said = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    if let Some(site) = said("sec-fetch-site") {
        return site == "same-origin" || site == "none";
    }
    let Some(origin) = said("origin") else { return true };
    // A proxy's word is only that where one stands before us.
    let forwarded = if trust_proxy { said("x-forwarded-host") } else { None };
    let host = forwarded.or_else(|| said("host"));
    host.is_some() && origin.split_once("://").map(|(_, h)| h) == host
}

fn set_cookie(response: &mut Response, app: &App, headers: &HeaderMap, token: &str, seconds: u64) {
    let secure = if app.tls || app.base(headers).starts_with("https:") { "; Secure" } else { "" };
    let text = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// The form for whoever is not signed in.
pub fn page(status: StatusCode, wrong: Option<&str>) -> Response {
    let content = html! {
        main.signin {
            h1 { "outputfs" }
            p { "Sign in with an API key that has the scope " code { "admin" } "." }
            form.stack method="post" action="/signin" {
                label for="key" { "API key" }
                input #key type="password" name="key" required autocomplete="current-password" spellcheck="false"
                    placeholder="ak_live_…" aria-describedby=[wrong.map(|_| "wrong")] aria-invalid=[wrong.map(|_| "true")];
                @if let Some(wrong) = wrong { p #wrong .wrong role="alert" { (wrong) } }
                button.button type="submit" { "Sign in" }
            }
            p.hint { "Make one with " code { "outputfs key create --scope admin" } "." }
        }
    };
    super::kept_nowhere(pages::page(status, "Sign in · outputfs", &content))
}

pub async fn sign_in(
    State(app): State<App>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    RawForm(body): RawForm,
) -> Result<Response, Problem> {
    if !from_here(app.api.trust_proxy, &headers) {
        return Err(foreign());
    }
    let client = app.client(&headers, peer.as_ref().map(|p| &p.0));
    let form = Form::read(&body);
    let Some(key) = app.store.authenticate(form.get("key").trim()).await? else {
        tracing::warn!(client, "a sign-in was refused");
        return Ok(page(StatusCode::UNAUTHORIZED, Some("That key is not valid, or was revoked.")));
    };
    if !key.may(Scope::Admin) {
        return Ok(page(StatusCode::FORBIDDEN, Some("That key does not have the scope admin.")));
    }
    tracing::info!(key = key.id, client, "signed in");
    let token = app.operators.enter(&key.id, Instant::now());
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response();
    set_cookie(&mut response, &app, &headers, &token, LIFE.as_secs());
    Ok(response)
}

pub async fn sign_out(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    RawForm(body): RawForm,
) -> Result<Response, Problem> {
    checked(&app, &operator, &headers, &body)?;
    app.operators.leave(&operator.token);
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response();
    set_cookie(&mut response, &app, &headers, "", 0);
    Ok(response)
}

/// Shared by all handlers.
pub type Operators = Arc<SignedIn>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_ends_by_itself() {
        let all = SignedIn::default();
        let now = Instant::now();
        let token = all.enter("key_a", now);
        assert_eq!(all.find(&token, now).unwrap().key, "key_a");
        assert!(all.find("x", now).is_none());
        // Used every half hour it lasts, but not for ever.
        let mut at = now;
        while at + IDLE / 2 < now + LIFE {
            at += IDLE / 2;
            assert!(all.find(&token, at).is_some());
        }
        assert!(all.find(&token, now + LIFE).is_none());
        let idle = all.enter("key_a", now);
        assert!(all.find(&idle, now + IDLE).is_none());
        let gone = all.enter("key_a", now);
        all.leave(&gone);
        assert!(all.find(&gone, now).is_none());
    }

    #[test]
    fn forms_of_other_pages_are_told_from_ours() {
        let via = |trust_proxy: bool, pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            from_here(trust_proxy, &headers)
        };
        let from = |pairs: &[(&'static str, &str)]| via(false, pairs);
        // Another host's word counts where a proxy gave it.
        let forwarded = [("origin", "https://h"), ("x-forwarded-host", "h"), ("host", "inside:1")];
        assert!(via(true, &forwarded) && !via(false, &forwarded));
        assert!(from(&[("sec-fetch-site", "same-origin")]));
        assert!(!from(&[("sec-fetch-site", "cross-site")]) && !from(&[("sec-fetch-site", "same-site")]));
        assert!(from(&[("origin", "http://h:1"), ("host", "h:1")]));
        assert!(!from(&[("origin", "http://evil"), ("host", "h:1")]) && !from(&[("origin", "null"), ("host", "h:1")]));
        let form = Form::read(b"a=1+2&b=%3Cx%3E&b=y&c");
        assert_eq!((form.get("a"), form.get("c"), form.get("d")), ("1 2", "", ""));
        assert_eq!(form.all("b").collect::<Vec<_>>(), ["<x>", "y"]);
    }
}
