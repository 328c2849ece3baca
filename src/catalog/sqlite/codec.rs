//! Between rows and the domain's values.

use std::path::Path;

use ulid::Ulid;

use crate::artifact::ids::{ArtifactId, BlobHash, Ino, MountId, SessionId, TenantId};
use crate::artifact::life::BlobState;
use crate::artifact::name::{Name, SessionName};
use crate::artifact::record::{Artifact, Labels, Life, Node, NodeKind, Session, StoreState};
use crate::artifact::step::{AttemptOf, AttemptState};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Result};
use crate::catalog::sql::{self, Connection, OptionalExtension, Row, ValueRef, params};

/// The error of a file that cannot be used as a catalog.
pub fn damaged(path: &Path, e: &rusqlite::Error) -> Error {
    Error::internal(format!("{} cannot be used as a catalog: {e}", path.display()))
}

/// As SQLite keeps it. Nothing here reaches 2^63: sizes, sequence numbers and counts.
pub fn int(v: u64) -> i64 {
    i64::try_from(v).unwrap_or(i64::MAX)
}

pub fn uint(row: &Row<'_>, i: usize) -> sql::Result<u64> {
    row.get::<i64>(i).map(|v| u64::try_from(v).unwrap_or(0))
}

pub fn opt_uint(row: &Row<'_>, i: usize) -> sql::Result<Option<u64>> {
    Ok(row.get::<Option<i64>>(i)?.map(|v| u64::try_from(v).unwrap_or(0)))
}

pub fn ino(row: &Row<'_>, i: usize) -> sql::Result<Ino> {
    uint(row, i).map(Ino)
}

pub fn time(row: &Row<'_>, i: usize) -> sql::Result<Timestamp> {
    row.get(i).map(Timestamp)
}

pub fn opt_time(row: &Row<'_>, i: usize) -> sql::Result<Option<Timestamp>> {
    Ok(row.get::<Option<i64>>(i)?.map(Timestamp))
}

pub fn hash(row: &Row<'_>, i: usize) -> sql::Result<BlobHash> {
    row.get(i).map(BlobHash)
}

pub fn artifact_id(row: &Row<'_>, i: usize) -> sql::Result<ArtifactId> {
    row.get::<[u8; 16]>(i).map(|b| ArtifactId(Ulid::from_bytes(b)))
}

pub fn opt_artifact_id(row: &Row<'_>, i: usize) -> sql::Result<Option<ArtifactId>> {
    Ok(row.get::<Option<[u8; 16]>>(i)?.map(|b| ArtifactId(Ulid::from_bytes(b))))
}

pub fn mount(row: &Row<'_>, i: usize) -> sql::Result<MountId> {
    row.get::<[u8; 16]>(i).map(|b| MountId(Ulid::from_bytes(b)))
}

pub fn id_bytes(id: ArtifactId) -> [u8; 16] {
    id.0.to_bytes()
}

fn bad(i: usize, e: impl std::fmt::Display) -> sql::Error {
    sql::Error::value(i, e)
}

pub fn name(row: &Row<'_>, i: usize) -> sql::Result<Name> {
    Name::new(row.bytes(i)?).map_err(|e| bad(i, e))
}

/// The name of a session in the trash is followed by `~` and its ID.
pub fn shown_name(kept: &str) -> &str {
    kept.split('~').next().unwrap_or(kept)
}

pub fn session_name(row: &Row<'_>, i: usize) -> sql::Result<SessionName> {
    match row.text(i)? {
        "" => Ok(SessionName::loose()),
        name => shown_name(name).parse().map_err(|e: Error| bad(i, e)),
    }
}

/// A JSON column.
pub fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, i: usize) -> sql::Result<T> {
    serde_json::from_str(row.text(i)?).map_err(|e| bad(i, e))
}

pub fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::internal(format!("catalog: cannot encode a record: {e}")))
}

pub fn kind_code(kind: NodeKind) -> i64 {
    match kind {
        NodeKind::File => 0,
        NodeKind::Dir => 1,
        NodeKind::Symlink => 2,
        NodeKind::Fifo => 3,
        NodeKind::Socket => 4,
        NodeKind::Char => 5,
        NodeKind::Block => 6,
    }
}

pub fn kind(code: i64) -> NodeKind {
    match code {
        1 => NodeKind::Dir,
        2 => NodeKind::Symlink,
        3 => NodeKind::Fifo,
        4 => NodeKind::Socket,
        5 => NodeKind::Char,
        6 => NodeKind::Block,
        _ => NodeKind::File,
    }
}

pub const LIVE: i64 = 0;
pub const SUPERSEDED: i64 = 1;
pub const TRASHED: i64 = 2;

pub fn life_code(life: Life) -> i64 {
    match life {
        Life::Live => LIVE,
        Life::Superseded => SUPERSEDED,
        Life::Trashed => TRASHED,
    }
}

pub fn life(code: i64) -> Life {
    match code {
        LIVE => Life::Live,
        SUPERSEDED => Life::Superseded,
        _ => Life::Trashed,
    }
}

pub const INLINE: i64 = 0;
pub const PROVISIONAL: i64 = 1;
pub const STORED: i64 = 2;
pub const CONDEMNED: i64 = 3;
pub const DELETING: i64 = 4;

pub fn blob_state(code: i64) -> BlobState {
    match code {
        INLINE => BlobState::Inline,
        PROVISIONAL => BlobState::Provisional,
        STORED => BlobState::Stored,
        CONDEMNED => BlobState::Condemned,
        _ => BlobState::Deleting,
    }
}

/// The columns that [`node`] reads, beginning at its `at`; `i` is the inode.
pub const NODE: &str = "i.ino, i.session, i.kind, i.mode, i.uid, i.gid, i.rdev, i.nlink, i.size, \
    i.atime, i.mtime, i.ctime, i.target, i.artifact, a.hash, s.sealed IS NOT NULL, \
    i.blocks, a.expires";
/// What [`NODE`] needs beside `inodes i`.
pub const NODE_JOIN: &str = "LEFT JOIN artifacts a ON a.id = i.artifact LEFT JOIN sessions s ON s.id = i.session";

pub fn node(row: &Row<'_>, at: usize) -> sql::Result<Node> {
    let artifact = opt_artifact_id(row, at + 13)?;
    let hash: Option<[u8; 32]> = row.get(at + 14)?;
    Ok(Node {
        ino: ino(row, at)?,
        session: SessionId(row.get(at + 1)?),
        kind: kind(row.get(at + 2)?),
        mode: row.get(at + 3)?,
        uid: row.get(at + 4)?,
        gid: row.get(at + 5)?,
        rdev: row.get(at + 6)?,
        nlink: row.get(at + 7)?,
        size: uint(row, at + 8)?,
        atime: time(row, at + 9)?,
        mtime: time(row, at + 10)?,
        ctime: time(row, at + 11)?,
        target: row.get(at + 12)?,
        content: artifact.zip(hash.map(BlobHash)),
        sealed: row.get(at + 15)?,
        blocks: opt_uint(row, at + 16)?,
        expires: opt_time(row, at + 17)?,
    })
}

/// The columns and tables that [`artifact`] reads.
pub const ARTIFACT: &str = "a.id, a.tenant, a.session, s.name, a.ino, a.parent, a.name, a.version, a.content_type, \
    a.size, a.hash, a.agent_id, a.metadata, a.labels, a.idem_key, a.created, a.expires, a.life, b.state, a.deleted, \
    a.recovered, s.root, a.deleted_by, a.fleeting, b.kept, \
    (SELECT json_array(t.step, t.number, iif(t.ended IS NOT NULL, 1, 0), t.exit_code, t.succeeded) FROM attempts t WHERE t.id = a.attempt) FROM artifacts a JOIN sessions s ON s.id = a.session \
    LEFT JOIN blobs b ON b.tenant = a.tenant AND b.hash = a.hash";

/// An artifact's row; `filename` is its last name alone until [`super::paths::Paths`] puts the directories before it.
pub struct ArtifactRow {
    pub artifact: Artifact,
    pub parent: Ino,
    pub root: Ino,
}

pub fn artifact(row: &Row<'_>) -> sql::Result<ArtifactRow> {
    let labels: Labels = json(row, 13)?;
    let artifact = Artifact {
        id: artifact_id(row, 0)?,
        tenant: TenantId(row.get(1)?),
        session: SessionId(row.get(2)?),
        session_name: Some(session_name(row, 3)?).filter(|n| !n.is_loose()),
        ino: ino(row, 4)?,
        filename: row.get(6)?,
        version: uint(row, 7)?,
        content_type: row.get(8)?,
        size: uint(row, 9)?,
        hash: hash(row, 10)?,
        agent_id: row.get(11)?,
        metadata: json(row, 12)?,
        aside: labels.aside,
        provenance: labels.provenance,
        idempotency_key: row.get(14)?,
        created: time(row, 15)?,
        expires: opt_time(row, 16)?,
        life: life(row.get(17)?),
        store: store_state(row.get(18)?, row.get(24)?),
        deleted: opt_time(row, 19)?,
        recovered: row.get(20)?,
        deleted_by: row.get(22)?,
        fleeting: opt_time(row, 23)?,
        attempt: attempt_of(row, 25)?,
    };
    Ok(ArtifactRow { artifact, parent: ino(row, 5)?, root: ino(row, 21)? })
}

/// What is `kept` lies where its store is: as good as there.
pub fn store_state(state: Option<i64>, kept: Option<bool>) -> StoreState {
    if state.is_some_and(|s| s >= STORED) || kept == Some(true) { StoreState::Stored } else { StoreState::Pending }
}

fn attempt_of(row: &Row<'_>, at: usize) -> sql::Result<Option<AttemptOf>> {
    if row.get_ref(at)? == ValueRef::Null {
        return Ok(None);
    }
    let (step, number, ended, exit_code, succeeded): (String, u64, u8, Option<i64>, u8) = json(row, at)?;
    Ok(Some(AttemptOf { step, number, state: AttemptState::of(ended != 0, exit_code, succeeded != 0) }))
}

pub const SESSION: &str = "s.id, s.tenant, s.name, s.root, s.created, s.sealed, s.removed";

pub fn session(row: &Row<'_>) -> sql::Result<Session> {
    Ok(Session {
        id: SessionId(row.get(0)?),
        tenant: TenantId(row.get(1)?),
        name: session_name(row, 2)?,
        root: ino(row, 3)?,
        created: time(row, 4)?,
        sealed: opt_time(row, 5)?,
        removed: opt_time(row, 6)?,
    })
}

/// Takes `count` numbers out of the sequence within the caller's transaction.
pub fn draw(c: &Connection, count: u64) -> Result<u64> {
    let first: i64 = c
        .prepare_cached("UPDATE counters SET value = value + ?1 WHERE name = 'seq' RETURNING value - ?1")?
        .query_row(params![int(count)], |r| r.get(0))
        .optional()?
        .ok_or_else(|| Error::internal("catalog: the sequence is missing"))?;
    Ok(u64::try_from(first).unwrap_or(0))
}
