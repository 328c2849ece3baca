//! What comes in, checked: paths, query parameters, JSON, labels, cursors.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::model::LabelsBody;
use super::{invalid, problem};
use crate::artifact::content_type::BINARY;
use crate::artifact::key::ApiKey;
use crate::artifact::metadata::{Metadata, Provenance, VALUE_MAX, check_content_type};
use crate::artifact::name::SessionName;
use crate::artifact::provenance::traceparent;
use crate::artifact::record::Labels;
use crate::artifact::time::{Timestamp, Ttl};
use crate::engine::turns::Turn;
use crate::http::errors::Problem;
use crate::http::{App, spool};

/// Longest JSON body that carries no content.
const SMALL: usize = 64 << 10;
/// Longest text of a label.
const TEXT_MAX: usize = VALUE_MAX;
/// For a body without content to come in.
const BODY_DEADLINE: Duration = Duration::from_mins(2);

/// The part of the path that varies.
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(invalid("The address is not UTF-8.")),
        }
    }
}

/// A query string, decoded.
pub fn parameters(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8();
        decoded.map(std::borrow::Cow::into_owned).map_err(|_| invalid("The query is not UTF-8."))
    };
    let pairs = query.split('&').filter(|p| !p.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

/// A moment. A `+` of an offset that came unencoded is a space by now.
pub fn moment(name: &str, text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse_rfc3339(&text.trim().replace(' ', "+"))
        .or_else(|_| Timestamp::parse_rfc3339(&format!("{}Z", text.trim())))
        .or_else(|_| Timestamp::parse_rfc3339(&format!("{}T00:00:00Z", text.trim())))
        .map_err(|e| invalid(format!("{name}: {e}")))
}

/// A number of answers, from 1 to `max`.
pub fn limit(text: &str, max: u32) -> Result<u32, Problem> {
    let number = text.parse::<u32>().ok().filter(|n| (1..=max).contains(n));
    number.ok_or_else(|| invalid(format!("limit must be a number from 1 to {max}.")))
}

/// A place in a list, opaque to clients.
pub fn cursor(moment: Timestamp, id: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode([&moment.0.to_be_bytes()[..], id].concat())
}

/// The same read again.
pub fn parse_cursor<const N: usize>(text: &str) -> Result<(Timestamp, [u8; N]), Problem> {
    let bad = || invalid("The cursor is none of ours: take next_cursor of the page before.");
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
    let (moment, id) = bytes.split_first_chunk::<8>().ok_or_else(bad)?;
    Ok((Timestamp(i64::from_be_bytes(*moment)), id.try_into().map_err(|_| bad())?))
}

pub fn stalled() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "The body did not come in time.")
}

/// A body of at most [`SMALL`] bytes; `who` shares the memory for it with others.
async fn small(app: &App, who: &ApiKey, body: Body) -> Result<(Bytes, Option<Turn>), Problem> {
    match tokio::time::timeout(BODY_DEADLINE, spool::whole(app, body, SMALL)).await {
        Ok(whole) => whole?.load(app, &who.id, spool::JSON_TIMES).await,
        Err(_) => Err(stalled()),
    }
}

/// A JSON body; an empty one where `T` has a default is that.
pub async fn json<T: DeserializeOwned>(app: &App, who: &ApiKey, headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    let (bytes, _turn) = small(app, who, body).await?;
    parse(headers, &bytes)
}

/// The same, or nothing at all.
pub async fn optional_json<T: DeserializeOwned + Default>(
    app: &App,
    who: &ApiKey,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    let (bytes, _turn) = small(app, who, body).await?;
    if bytes.is_empty() { Ok(T::default()) } else { parse(headers, &bytes) }
}

pub fn parse<T: DeserializeOwned>(headers: &HeaderMap, bytes: &[u8]) -> Result<T, Problem> {
    if !is_json(headers) {
        return Err(invalid("The body must be JSON: say 'Content-Type: application/json'."));
    }
    serde_json::from_slice(bytes).map_err(|e| invalid(format!("The body is not as it should be: {e}.")))
}

fn is_json(headers: &HeaderMap) -> bool {
    let said = media_type(headers);
    said == "application/json" || said.strip_prefix("application/").is_some_and(|s| s.ends_with("+json"))
}

/// `Content-Type` without its parameters.
pub fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(axum::http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// `Idempotency-Key`.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().map_err(|_| invalid("Idempotency-Key must be of visible ASCII characters."))?;
    if text.is_empty() || text.len() > TEXT_MAX {
        return Err(invalid(format!("Idempotency-Key must have 1 to {TEXT_MAX} characters.")));
    }
    Ok(Some(text.to_owned()))
}

/// A session's name and everything else that is said of an artifact. What is empty is not said.
pub fn labels(app: &App, body: LabelsBody, headers: &HeaderMap) -> Result<(Option<SessionName>, Labels), Problem> {
    let said = |text: Option<String>| text.filter(|t| !t.is_empty());
    let session = said(body.session_id).map(|s| SessionName::from_str(&s)).transpose().map_err(problem)?;
    let mut explicit = Metadata::default();
    for (name, value) in body.metadata.unwrap_or_default() {
        explicit.set(&name, value.as_bytes()).map_err(problem)?;
    }
    let ttl = said(body.ttl).map(|text| ttl(app, &text).map(|_| text)).transpose()?;
    let agent_id = said(body.agent_id).map(|a| text("agent_id", a)).transpose()?;
    // What a client says of a file of which it knows nothing.
    let content_type = said(body.content_type).filter(|t| !t.trim().eq_ignore_ascii_case(BINARY));
    content_type.as_deref().map_or(Ok(()), check_content_type).map_err(problem)?;
    let labels = Labels {
        explicit,
        agent_id,
        ttl,
        content_type,
        idempotency_key: idempotency_key(headers)?,
        provenance: Provenance {
            door: String::from("http"),
            traceparent: headers.get("traceparent").and_then(|v| v.to_str().ok()).and_then(traceparent),
            ..Provenance::default()
        },
        ..Labels::default()
    };
    Ok((session, labels))
}

/// A life that may be asked for.
pub fn ttl(app: &App, text: &str) -> Result<Ttl, Problem> {
    let ttl: Ttl = text.parse().map_err(problem)?;
    let now = app.store.clock.now();
    let longest = app.api.max_ttl.and_then(|max| now.plus(Ttl::Seconds(max.as_secs())));
    match (longest, now.plus(ttl)) {
        (Some(longest), end) if end.is_none_or(|end| end > longest) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "ttl_exceeds_plan_limit",
            format!("'{text}' is longer than this server allows, which is until {}.", longest.to_rfc3339()),
        )),
        _ => Ok(ttl),
    }
}

pub fn text(name: &str, value: String) -> Result<String, Problem> {
    if value.len() > TEXT_MAX || value.chars().any(char::is_control) {
        return Err(invalid(format!("{name} must have at most {TEXT_MAX} bytes and no control characters.")));
    }
    Ok(value)
}

/// Metadata as a JSON object in a text.
pub fn metadata_text(text: &str) -> Result<BTreeMap<String, String>, Problem> {
    serde_json::from_str(text).map_err(|e| invalid(format!("metadata must be a JSON object of strings: {e}.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_went() {
        let text = cursor(Timestamp(-5), &[9; 16]);
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_eq!(parse_cursor::<16>(&text).unwrap(), (Timestamp(-5), [9; 16]));
        for bad in ["", "x", "!!", &text[..10], &cursor(Timestamp(1), &[0; 8])] {
            assert!(parse_cursor::<16>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn moments_survive_a_client_that_does_not_encode() {
        let noon = Timestamp::parse_rfc3339("2026-01-31T12:00:00Z").unwrap();
        for text in
            ["2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00", "2026-01-31T13:00:00 01:00", "2026-01-31T12:00:00"]
        {
            assert_eq!(moment("t", text).unwrap(), noon, "{text}");
        }
        assert!(moment("t", "2026-01-31").is_ok() && moment("t", "soon").is_err() && moment("t", "").is_err());
    }

    #[test]
    fn queries_are_decoded() {
        let found = parameters("metadata.a=x+y%2B&limit&&b=%C3%A4").unwrap();
        let expected = [("metadata.a", "x y+"), ("limit", ""), ("b", "ä")];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert!(parameters("a=%FF").is_err());
    }
}
