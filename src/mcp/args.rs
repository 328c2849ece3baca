//! What tools are called with. Descriptions are read by models: each says form and default.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreArgs {
    /// Session to store into; made if missing. Letters, digits, '.', '_', '-'. Default: the server's own session, if it has one.
    pub session_id: Option<String>,
    /// Path inside the session, such as "report.md" or "charts/q3.png". Default with `path`: the file's own name.
    pub filename: Option<String>,
    /// The content as text. Give exactly one of content, content_base64, path.
    pub content: Option<String>,
    /// The content as base64 (RFC 4648), for binary files.
    pub content_base64: Option<String>,
    /// A file on the server's machine, inside one of its allowed roots. For large files: the bytes do not pass through the model.
    pub path: Option<String>,
    /// Who made it.
    pub agent_id: Option<String>,
    /// Keys and values, for finding it again. Keys: letters, digits, '.', '_', ':', '-'.
    pub metadata: Option<BTreeMap<String, String>>,
    /// How long it lives: "12h", "7d", "never". Default: the session's.
    pub ttl: Option<String>,
    /// Such as "text/csv". Default: guessed from name and bytes.
    pub content_type: Option<String>,
    /// Retry key: storing again with the same key and the same bytes answers the same artifact.
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListArgs {
    /// Only of this session. Default: of all sessions.
    pub session_id: Option<String>,
    /// Only by this agent.
    pub agent_id: Option<String>,
    /// Only at exactly this path inside its session.
    pub filename: Option<String>,
    /// Only of this type: "text/csv", or "image/*".
    pub content_type: Option<String>,
    /// Only with all of these keys and values.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Only created at or after this time (RFC 3339).
    pub created_after: Option<String>,
    /// Only created before this time (RFC 3339).
    pub created_before: Option<String>,
    /// At most so many, 1 to 200. Default 50.
    pub limit: Option<u32>,
    /// `next_cursor` of the answer before.
    pub cursor: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetArgs {
    /// The artifact's ID (art_…) or "SESSION/PATH".
    pub artifact_id: String,
    /// Also list all versions of its path, oldest first. Default false.
    pub versions: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadArgs {
    /// The artifact's ID (art_…) or "SESSION/PATH".
    pub artifact_id: String,
    /// First byte, from 0. Default 0.
    pub offset: Option<u64>,
    /// At most so many bytes. Default and most: 262144 of text, 4194304 of anything else.
    pub length: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkArgs {
    /// The artifact's ID (art_…) or "SESSION/PATH". Give exactly one of artifact_id and session_id.
    pub artifact_id: Option<String>,
    /// A session: the link opens a page with all of its files.
    pub session_id: Option<String>,
    /// How long the link lives: "12h", "7d", "never". Default "7d".
    pub expires_in: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SealArgs {
    /// The session. It must be named: sealing is for good.
    pub session_id: String,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionsArgs {
    /// At most so many, 1 to 200. Default 50.
    pub limit: Option<u32>,
    /// `next_cursor` of the answer before.
    pub cursor: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteArgs {
    /// The artifact's ID (art_…) or "SESSION/PATH".
    pub artifact_id: String,
}
