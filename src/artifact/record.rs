//! The records of the domain: sessions, tree nodes, artifacts, blobs, links, as every layer passes them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::aside::Aside;
use super::error::Result;
use super::ids::{ArtifactId, BlobHash, Ino, MountId, SessionId, TenantId};
use super::metadata::{Defaults, Metadata, Provenance, check_content_type, check_label};
use super::name::{Name, SessionName, display_bytes};
use super::step::AttemptOf;
use super::time::{Timestamp, Ttl};

/// A named group of outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub tenant: TenantId,
    pub name: SessionName,
    /// The directory that is its root.
    pub root: Ino,
    pub created: Timestamp,
    pub sealed: Option<Timestamp>,
    /// In the trash, since; its name may be another session's by now.
    pub removed: Option<Timestamp>,
}

/// One row of `outputfs session ls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSummary {
    pub session: Session,
    /// Live artifacts only.
    pub artifacts: u64,
    pub bytes: u64,
    pub first_artifact: Option<Timestamp>,
    pub last_artifact: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    File,
    Dir,
    Symlink,
    Fifo,
    Socket,
    Char,
    Block,
}

/// One inode of the tree as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub ino: Ino,
    /// [`SessionId::NONE`] for the tenant's root.
    pub session: SessionId,
    pub kind: NodeKind,
    /// Permission bits with setuid, setgid and sticky: `mode & 0o7777`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u32,
    pub nlink: u32,
    /// Bytes; of a symlink the length of its target; of a directory 4096.
    pub size: u64,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    pub target: Option<Vec<u8>>,
    /// The newest artifact of a file, and the blob that holds its bytes.
    pub content: Option<(ArtifactId, BlobHash)>,
    /// The session is sealed: shown modes lose their `w`.
    pub sealed: bool,
    /// When a file ceases: its newest artifact's expiry.
    pub expires: Option<Timestamp>,
    /// 512-byte blocks that hold data, of a sparse file fewer than its size wants. None: every one.
    pub blocks: Option<u64>,
}

/// One entry of a directory. Cookies grow with creation and are never used twice: a listing resumes after one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub cookie: u64,
    pub name: Name,
    pub node: Node,
}

/// Where an artifact stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// The newest version of a path that exists.
    Live,
    /// An earlier version.
    Superseded,
    /// Deleted, in the trash.
    Trashed,
}

/// Whether its bytes have reached the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreState {
    /// On local disk, upload to follow.
    Pending,
    Stored,
}

impl StoreState {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StoreState::Pending => "pending",
            StoreState::Stored => "stored",
        }
    }
}

/// One version of one file, immutable but for metadata, expiry and where its path leads after a rename.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    pub id: ArtifactId,
    pub tenant: TenantId,
    pub session: SessionId,
    pub session_name: Option<SessionName>,
    /// The inode that shows or showed it.
    pub ino: Ino,
    /// Path inside the session, names joined by `/`; any bytes but NUL.
    pub filename: Vec<u8>,
    /// 1 is the oldest of its path.
    pub version: u64,
    pub content_type: String,
    pub size: u64,
    pub hash: BlobHash,
    pub agent_id: Option<String>,
    pub metadata: Metadata,
    /// Its attributes that are no metadata.
    pub aside: Aside,
    pub provenance: Provenance,
    pub idempotency_key: Option<String>,
    pub created: Timestamp,
    pub expires: Option<Timestamp>,
    pub life: Life,
    pub store: StoreState,
    pub deleted: Option<Timestamp>,
    /// It was found in staging after a crash, its file still open.
    pub recovered: bool,
    /// Who deleted it, as far as that is known: an agent, or a program and its user.
    pub deleted_by: Option<String>,
    /// The attempt of a step that wrote it.
    pub attempt: Option<AttemptOf>,
    /// Until when a later commit may take its place: see [`super::versions::tell`].
    pub fleeting: Option<Timestamp>,
}

impl Artifact {
    /// The record as all JSON shows it (CONTRACT §9): the REST API's names.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "artifact_id": self.id.to_string(),
            "filename": display_bytes(&self.filename),
            "content_type": self.content_type,
            "size_bytes": self.size,
            "content_hash": self.hash.to_hex(),
            "session_id": self.session_name.as_ref().map(SessionName::as_str),
            "agent_id": self.agent_id,
            "metadata": self.metadata,
            "version": self.version,
            "state": self.store.as_str(),
            "created_at": self.created.to_rfc3339(),
            "expires_at": self.expires.map(Timestamp::to_rfc3339),
        })
    }

    /// The record with what tells where it came from: the attempt of a step, and the writer.
    #[must_use]
    pub fn to_full_json(&self) -> Value {
        let mut value = self.to_json();
        value["step"] = json!(self.attempt.as_ref().map(|a| &a.step));
        value["attempt"] = json!(self.attempt.as_ref().map(AttemptOf::to_json));
        value["provenance"] = self.provenance.to_json();
        value
    }
}

/// Where the bytes of a blob are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobPlace {
    /// In the catalog row itself; moves to the store later.
    Inline(bytes::Bytes),
    /// In a staging file of `mount` on this host, which may still change: readers verify. `file` is its name
    /// in that mount's staging directory.
    Provisional { mount: MountId, file: String },
    /// In the blob store under its hash.
    Stored,
}

/// One blob of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    pub hash: BlobHash,
    pub size: u64,
    pub place: BlobPlace,
    pub chunks: Chunks,
}

/// BLAKE3 digests of the consecutive [`CHUNK`]-byte pieces of a blob larger than one chunk; empty for smaller
/// ones, which their SHA-256 alone proves. They let a range be verified without reading the whole, prove at
/// upload that what is sent is what was hashed, and prove at close that bytes hashed early did not change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunks(pub Vec<[u8; 32]>);

/// 4 MiB: small enough that a random read from S3 answers in tens of milliseconds, large enough that a
/// 5 GB blob needs 38 KiB of digests.
pub const CHUNK: u64 = 4 << 20;

impl Chunks {
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.concat()
    }

    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.as_chunks::<32>().0.to_vec())
    }
}

/// What a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkTarget {
    Artifact(ArtifactId),
    Session(SessionId),
}

/// A public, expiring, revocable URL. The token itself is never stored: only `sha256(token)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// `lnk_` + 8 characters: the public beginning of the token, enough to name it in a list and to revoke it.
    pub id: String,
    pub token_hash: BlobHash,
    pub tenant: TenantId,
    pub target: LinkTarget,
    pub created: Timestamp,
    pub expires: Option<Timestamp>,
    pub revoked: Option<Timestamp>,
}

/// Everything about a file that is not its bytes, as the writer's side knows it when it commits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// Set by `setfattr` or the API: wins, and stays with the path's later versions.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub explicit: Metadata,
    /// From the writer's environment: wins over the directories' defaults.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub environment: Metadata,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_agent_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_ttl: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    #[serde(default)]
    pub provenance: Provenance,
    /// Attributes that are no metadata; they stay with the path's later versions.
    #[serde(default, skip_serializing_if = "Aside::is_empty")]
    pub aside: Aside,
}

impl Labels {
    /// The limits of what somebody said. (Metadata is within its own: see [`Metadata::set`].)
    ///
    /// # Errors
    /// `E2BIG`, `EINVAL`.
    pub fn check(&self) -> Result<()> {
        let said = [("agent_id", &self.agent_id), ("idempotency key", &self.idempotency_key)];
        for (name, value) in said {
            value.as_deref().map_or(Ok(()), |value| check_label(name, value))?;
        }
        self.content_type.as_deref().map_or(Ok(()), check_content_type)
    }
}

/// The manifest of a sealed session (CONTRACT §6, §9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub session_id: SessionName,
    pub sealed_at: Timestamp,
    /// SHA-256 over the canonical JSON of `artifacts`, hex.
    pub digest: BlobHash,
    pub artifacts: Vec<Artifact>,
}

/// Quota and defaults of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    pub id: TenantId,
    pub name: String,
    pub root: Ino,
    pub ttl: Ttl,
    pub defaults: Defaults,
    /// Logical bytes; none: no limit.
    pub max_bytes: Option<u64>,
    pub max_artifacts: Option<u64>,
    pub max_file_bytes: Option<u64>,
}
