//! Artifacts as `artifact://art_…`, sessions as `session://NAME`.

use rmcp::model::{Resource, ResourceContents, ResourceTemplate};
use serde_json::json;

use super::{read, tools};
use crate::artifact::amount::count;
use crate::artifact::ids::ArtifactId;
use crate::artifact::name::{SessionName, display_bytes};
use crate::artifact::query::Query;
use crate::artifact::record::{Artifact, Session, SessionSummary};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Result};
use crate::engine::store::Store;

/// Artifacts in one answer.
const PAGE: u32 = 100;
/// Sessions named before the first of them.
const SESSIONS: usize = 50;
/// Artifacts that a session's own resource names.
const SESSION_ARTIFACTS: u32 = 1000;

#[must_use]
pub fn uri(id: ArtifactId) -> String {
    format!("artifact://{id}")
}

#[must_use]
pub fn session_uri(name: &SessionName) -> String {
    format!("session://{name}")
}

/// What a URI names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    Artifact(ArtifactId),
    Session(SessionName),
}

impl Named {
    /// # Errors
    /// `NotFound` for what is no URI of ours.
    pub fn parse(uri: &str) -> Result<Self> {
        let unknown =
            || Error::not_found(format!("there is no resource '{uri}': they are artifact://art_… and session://NAME"));
        if let Some(id) = uri.strip_prefix("artifact://") {
            return id.trim_end_matches('/').parse().map(Named::Artifact).map_err(|_| unknown());
        }
        let name = uri.strip_prefix("session://").ok_or_else(unknown)?;
        name.trim_end_matches('/').parse().map(Named::Session).map_err(|_| unknown())
    }
}

/// How clients see an artifact in a list.
#[must_use]
pub fn of(artifact: &Artifact) -> Resource {
    let name = display_bytes(&artifact.filename);
    let session = artifact.session_name.as_ref().map_or("no session", SessionName::as_str);
    let by = artifact.agent_id.as_ref().map(|a| format!(" by {a}")).unwrap_or_default();
    Resource::new(uri(artifact.id), name.clone())
        .with_title(format!("{session}/{name}"))
        .with_description(format!("version {}{by}, {}", artifact.version, artifact.created.to_rfc3339()))
        .with_mime_type(artifact.content_type.clone())
        .with_size(artifact.size)
}

fn of_session(s: &SessionSummary) -> Resource {
    let sealed = if s.session.sealed.is_some() { ", sealed" } else { "" };
    Resource::new(session_uri(&s.session.name), s.session.name.to_string())
        .with_title(format!("Session {}", s.session.name))
        .with_description(format!("{}{sealed}; subscribe to hear of changes", count(s.artifacts, "artifact")))
        .with_mime_type("application/json")
}

/// # Errors
/// Of the catalog.
pub async fn sessions_newest_first(store: &Store) -> Result<Vec<SessionSummary>> {
    let mut sessions = store.sessions().await?;
    let key = |s: &SessionSummary| (s.last_artifact.unwrap_or(s.session.created), s.session.id.0);
    sessions.sort_by_key(|s| std::cmp::Reverse(key(s)));
    Ok(sessions)
}

/// One page: the latest sessions first, then artifacts, newest first.
///
/// # Errors
/// `Invalid` for a cursor that is none.
pub async fn list(store: &Store, cursor: Option<&str>) -> Result<(Vec<Resource>, Option<String>)> {
    let mut found = Vec::new();
    if cursor.is_none() {
        found.extend(sessions_newest_first(store).await?.iter().take(SESSIONS).map(of_session));
    }
    let after = cursor.map(read_cursor).transpose()?;
    let page = store.find(&Query { limit: PAGE, after, ..Query::all(store.tenant.id) }).await?;
    found.extend(page.artifacts.iter().map(of));
    Ok((found, page.next.map(write_cursor)))
}

#[must_use]
pub fn templates() -> Vec<ResourceTemplate> {
    vec![
        ResourceTemplate::new("artifact://{artifact_id}", "artifact")
            .with_title("An artifact's content")
            .with_description("By its ID (art_…), also of an earlier version."),
        ResourceTemplate::new("session://{session_id}", "session")
            .with_title("A session and its artifacts")
            .with_description("State and list of artifacts as JSON. Subscribe to hear of changes.")
            .with_mime_type("application/json"),
    ]
}

/// # Errors
/// `NotFound`; `FileTooLarge`; of the store.
pub async fn content(store: &Store, uri: &str) -> Result<ResourceContents> {
    match Named::parse(uri)? {
        Named::Artifact(id) => {
            let artifact = store.artifact(&id.to_string()).await?;
            read::resource(store, &artifact).await
        }
        Named::Session(name) => {
            let session = store.session(name.as_str()).await?;
            let text = serde_json::to_string_pretty(&describe(store, &session).await?)
                .map_err(|e| Error::internal(format!("a session could not be written as JSON: {e}")))?;
            Ok(ResourceContents::text(text, session_uri(&name)).with_mime_type("application/json"))
        }
    }
}

async fn describe(store: &Store, session: &Session) -> Result<serde_json::Value> {
    let query = Query { session: Some(session.id), limit: SESSION_ARTIFACTS, ..Query::all(store.tenant.id) };
    let page = store.find(&query).await?;
    let summary = store.sessions().await?.into_iter().find(|s| s.session.id == session.id);
    let mut value = summary.map_or_else(|| json!({"session_id": session.name.as_str()}), |s| tools::session_json(&s));
    if let Some(object) = value.as_object_mut() {
        object.insert("artifacts".into(), page.artifacts.iter().map(Artifact::to_json).collect());
        object.insert("has_more".into(), json!(page.next.is_some()));
    }
    Ok(value)
}

/// A place in the order of answers.
#[must_use]
pub fn write_cursor((created, id): (Timestamp, ArtifactId)) -> String {
    format!("{}-{}", created.0, id.0)
}

/// # Errors
/// `Invalid` for a cursor that is none.
pub fn read_cursor(text: &str) -> Result<(Timestamp, ArtifactId)> {
    let read = || {
        let (nanos, id) = text.rsplit_once('-')?;
        Some((Timestamp(nanos.parse().ok()?), format!("art_{id}").parse().ok()?))
    };
    read().ok_or_else(|| Error::invalid("that cursor is none: begin again without it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_name_artifacts_and_sessions() {
        let id = ArtifactId(ulid::Ulid::from_parts(7, 9));
        assert_eq!(Named::parse(&uri(id)).unwrap(), Named::Artifact(id));
        assert_eq!(Named::parse("session://run_42").unwrap(), Named::Session("run_42".parse().unwrap()));
        for bad in ["", "artifact://", "artifact://run_42", "session://", "session://a/b", "file:///etc/passwd"] {
            assert!(Named::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cursors_round_trip() {
        let place = (Timestamp(-5), ArtifactId(ulid::Ulid::from_parts(7, 9)));
        assert_eq!(read_cursor(&write_cursor(place)).unwrap(), place);
        assert!(read_cursor("x").is_err());
    }
}
