//! What goes over the wire, in the words of the API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::artifact::name::{SessionName, display_bytes};
use crate::artifact::record::{Artifact, Link, LinkTarget};
use crate::artifact::step::AttemptOf;
use crate::artifact::time::Timestamp;
use crate::catalog::Outcome;

/// One artifact.
#[derive(Debug, Serialize, ToSchema)]
pub struct ArtifactBody {
    #[schema(example = "art_01JD8Q3ZV5N8R2K7M4T6W9X0YA")]
    pub artifact_id: String,
    /// The path inside the session.
    #[schema(example = "charts/q3.png")]
    pub filename: String,
    pub content_type: String,
    pub size_bytes: u64,
    /// SHA-256, hexadecimal.
    pub content_hash: String,
    /// Null: stored without a session.
    pub session_id: Option<String>,
    pub agent_id: Option<String>,
    pub metadata: BTreeMap<String, String>,
    /// 1 is the oldest of its path.
    pub version: u64,
    /// `pending`: on its way to the store; `stored`.
    pub state: String,
    /// The step whose attempt wrote it.
    pub step: Option<String>,
    #[schema(value_type = Option<Object>, example = json!({"step": "report", "number": 2, "state": "running"}))]
    pub attempt: Option<serde_json::Value>,
    /// Program, process, machine and door of its writer, as far as they are known.
    #[schema(value_type = Object)]
    pub provenance: serde_json::Value,
    /// What came of storing it: `created`, `updated` (the same bytes with other labels) or `unchanged`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// RFC 3339, UTC.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Null: never.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
}

impl From<&Artifact> for ArtifactBody {
    fn from(a: &Artifact) -> Self {
        Self {
            artifact_id: a.id.to_string(),
            filename: display_bytes(&a.filename),
            content_type: a.content_type.clone(),
            size_bytes: a.size,
            content_hash: a.hash.to_hex(),
            session_id: a.session_name.as_ref().map(|n: &SessionName| n.as_str().to_owned()),
            agent_id: a.agent_id.clone(),
            metadata: a.metadata.0.clone(),
            version: a.version,
            state: a.store.as_str().to_owned(),
            step: a.attempt.as_ref().map(|of| of.step.clone()),
            attempt: a.attempt.as_ref().map(AttemptOf::to_json),
            provenance: a.provenance.to_json(),
            outcome: None,
            created_at: a.created.to_rfc3339(),
            expires_at: a.expires.map(Timestamp::to_rfc3339),
        }
    }
}

impl ArtifactBody {
    /// With what came of storing it.
    pub fn of(a: &Artifact, outcome: Option<Outcome>) -> Self {
        Self { outcome: outcome.map(|o| o.as_str().to_owned()), ..Self::from(a) }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ArtifactList {
    /// Newest first: `created_at` descending, then `artifact_id` descending.
    pub artifacts: Vec<ArtifactBody>,
    pub has_more: bool,
    /// Say it as `cursor` for the next page.
    pub next_cursor: Option<String>,
}

/// The form of an upload. `file` is the content, and its file name is taken unless `filename` says another.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "only its description is used: the form is read field by field")]
pub struct UploadForm {
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    pub file: Vec<u8>,
    pub filename: Option<String>,
    pub content_type: Option<String>,
    pub session_id: Option<String>,
    pub agent_id: Option<String>,
    /// A JSON object of strings.
    #[schema(example = r#"{"stage":"final"}"#)]
    pub metadata: Option<String>,
    #[schema(example = "30d")]
    pub ttl: Option<String>,
}

/// An upload with its content in base64.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JsonUpload {
    #[schema(min_length = 1, max_length = 4096)]
    pub filename: String,
    /// Base64.
    #[schema(format = Byte)]
    pub content: String,
    #[serde(flatten)]
    pub labels: LabelsBody,
}

/// What is said of an artifact.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct LabelsBody {
    #[schema(example = "text/csv")]
    pub content_type: Option<String>,
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    pub session_id: Option<String>,
    pub agent_id: Option<String>,
    pub metadata: Option<BTreeMap<String, String>>,
    /// `90s`, `12h`, `30d`, `never`, or a moment (RFC 3339).
    #[schema(example = "30d")]
    pub ttl: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct UploadUrlRequest {
    #[schema(min_length = 1, max_length = 4096)]
    pub filename: String,
    /// Exactly.
    #[schema(minimum = 0, maximum = 5_368_709_120_u64)]
    pub size_bytes: u64,
    #[serde(flatten)]
    pub labels: LabelsBody,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct UploadUrl {
    pub artifact_id: String,
    /// Takes the bytes, without a key.
    pub upload_url: String,
    #[schema(example = "PUT")]
    pub upload_method: String,
    /// To be sent with them.
    pub upload_headers: BTreeMap<String, String>,
    /// Seconds.
    pub expires_in: u64,
    pub filename: String,
    pub content_type: Option<String>,
    pub size_bytes: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DownloadUrl {
    pub artifact_id: String,
    /// Gives the bytes, without a key.
    pub download_url: String,
    pub filename: String,
    pub content_type: String,
    pub size_bytes: u64,
    /// Seconds.
    pub expires_in: u64,
    #[schema(format = DateTime)]
    pub expires_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Deleted {
    pub artifact_id: String,
    pub deleted: bool,
    #[schema(format = DateTime)]
    pub deleted_at: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct ExtendTtl {
    /// From now: `12h`, `30d`, `never`, or a moment (RFC 3339).
    #[schema(example = "30d")]
    pub ttl: String,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct LinkRequest {
    /// Seconds; 7 days unless said.
    #[schema(minimum = 1, maximum = 3_155_760_000_u64)]
    pub expires_in: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct LinkBody {
    pub link_id: String,
    /// Told only when the link is made: it is kept nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    pub artifact_id: Option<String>,
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub revoked_at: Option<String>,
}

impl LinkBody {
    pub fn new(link: &Link, url: Option<String>) -> Self {
        Self {
            link_id: link.id.clone(),
            url,
            artifact_id: match link.target {
                LinkTarget::Artifact(id) => Some(id.to_string()),
                LinkTarget::Session(_) => None,
            },
            expires_at: link.expires.map(Timestamp::to_rfc3339),
            created_at: link.created.to_rfc3339(),
            revoked_at: link.revoked.map(Timestamp::to_rfc3339),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct LinkList {
    /// Newest first.
    pub links: Vec<LinkBody>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct LinkRevoked {
    pub link_id: String,
    pub revoked: bool,
    #[schema(format = DateTime)]
    pub revoked_at: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SessionBody {
    pub session_id: String,
    pub artifact_count: u64,
    pub is_sealed: bool,
    #[schema(format = DateTime)]
    pub first_artifact_at: Option<String>,
    #[schema(format = DateTime)]
    pub last_artifact_at: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SessionList {
    /// The newest session first.
    pub sessions: Vec<SessionBody>,
    pub has_more: bool,
    /// Say it as `after` for the next page.
    pub next_cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Sealed {
    pub session_id: String,
    #[schema(example = "sealed")]
    pub status: String,
    #[schema(format = DateTime)]
    pub sealed_at: String,
    pub artifact_count: u64,
}

/// A session that is in the trash now.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionDeleted {
    pub session_id: String,
    pub deleted: bool,
    /// Files that went with it.
    pub files: u64,
    pub directories: u64,
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct RestoreSession {
    /// The name to come back under; its own unless said.
    pub new_session_id: Option<String>,
}

/// A session that came back from the trash.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionRestored {
    pub session_id: String,
    /// Files that came back with it.
    pub files: u64,
}

/// The account behind a key. A limit that is null is none.
#[derive(Debug, Serialize, ToSchema)]
pub struct Whoami {
    pub tenant_name: String,
    #[schema(example = "self-hosted")]
    pub plan: String,
    pub api_key_last_4: String,
    pub scopes: Vec<String>,
    pub usage_requests_month: u64,
    pub plan_requests_limit_month: Option<u64>,
    pub usage_storage_bytes: u64,
    pub plan_storage_limit_bytes: Option<u64>,
    pub active_links: u64,
    pub max_active_links: Option<u64>,
    /// Requests a second in the long run.
    pub rate_limit_sustained: u32,
    /// Requests at once after a pause.
    pub rate_limit_burst: u32,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct PublishRequest {
    #[schema(max_length = 1024)]
    pub title: Option<String>,
    #[schema(min_length = 1, max_length = 32, pattern = "^[A-Za-z0-9_-]+$", example = "unlisted")]
    pub visibility: Option<String>,
    #[schema(min_length = 1, max_length = 32, pattern = "^[A-Za-z0-9_-]+$", example = "link")]
    pub access: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Published {
    pub artifact_id: String,
    pub published: bool,
    /// The page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_id: Option<String>,
    pub title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_at: Option<String>,
}

/// Every error.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// For programs: `artifact_not_found`, `session_sealed`, …
    pub code: String,
    /// One sentence for people.
    pub message: String,
    pub status: u16,
    /// Of `rate_limited`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}
