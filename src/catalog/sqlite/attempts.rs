//! Attempts of steps: see [`crate::artifact::step`].

use async_trait::async_trait;

use super::codec::{self, LIVE};
use super::remove::{Fate, drop_name};
use super::{SqliteCatalog, make, tree, write_something};
use crate::artifact::ids::{Ino, MountId, SessionId};
use crate::artifact::name::Name;
use crate::artifact::record::NodeKind;
use crate::artifact::step::{self, Attempt, AttemptId, AttemptState, StepName};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Result};
use crate::catalog::attempts::{Attempts, Ending};
use crate::catalog::sql::{self, Connection, OptionalExtension, Row, params};
use crate::catalog::{Commit, Origin};

const ATTEMPT: &str = "SELECT t.id, t.session, t.step, t.number, t.command, t.started, t.ended, t.exit_code, t.succeeded, \
    t.replaced, count(a.id), coalesce(sum(a.size), 0) FROM attempts t LEFT JOIN artifacts a ON a.attempt = t.id \
    AND a.life = 0 AND (a.expires IS NULL OR a.expires > ?1)";

fn attempt(r: &Row<'_>) -> sql::Result<Attempt> {
    let (ended, exit_code) = (codec::opt_time(r, 6)?, r.get(7)?);
    Ok(Attempt {
        id: AttemptId(r.get(0)?),
        session: SessionId(r.get(1)?),
        step: r.get(2)?,
        number: codec::uint(r, 3)?,
        command: r.get(4)?,
        started: codec::time(r, 5)?,
        ended,
        exit_code,
        state: AttemptState::of(ended.is_some(), exit_code, r.get(8)?),
        replaced: codec::uint(r, 9)?,
        artifacts: codec::uint(r, 10)?,
        bytes: codec::uint(r, 11)?,
    })
}

fn by_id(c: &Connection, id: AttemptId, now: Timestamp) -> Result<Attempt> {
    c.prepare_cached(&format!("{ATTEMPT} WHERE t.id = ?2 GROUP BY t.id"))?
        .query_row(params![now.0, id.0], attempt)
        .optional()?
        .ok_or_else(|| Error::not_found("there is no such attempt"))
}

fn begin(
    c: &Connection,
    mount: MountId,
    session: SessionId,
    step: &StepName,
    command: &str,
    now: Timestamp,
) -> Result<Attempt> {
    if make::session_by_id(c, session)?.is_some_and(|s| s.sealed.is_some()) {
        return Err(tree::sealed(c, session)?);
    }
    let id = c
        .prepare_cached(
            "INSERT INTO attempts(session, step, number, mount, command, started) \
             SELECT ?1, ?2, coalesce(max(number), 0) + 1, ?3, ?4, ?5 FROM attempts WHERE session = ?1 AND step = ?2 \
             RETURNING id",
        )?
        .query_row(params![session.0, step.as_str(), mount.0.to_bytes(), command, now.0], |r| r.get(0))?;
    by_id(c, AttemptId(id), now)
}

fn end(c: &Connection, origin: Origin, id: AttemptId, ending: Ending, now: Timestamp) -> Result<Attempt> {
    write_something(c)?;
    let known = by_id(c, id, now)?;
    if known.ended.is_some() {
        return Ok(known);
    }
    let sealed = make::session_by_id(c, known.session)?.is_some_and(|s| s.sealed.is_some());
    let replaced = if ending.succeeded && !sealed { replace(c, origin, &known, now)? } else { 0 };
    c.prepare_cached("UPDATE attempts SET ended = ?, exit_code = ?, succeeded = ?, replaced = ? WHERE id = ?")?
        .execute(params![now.0, ending.exit_code, ending.succeeded, codec::int(replaced), id.0])?;
    by_id(c, id, now)
}

/// What earlier attempts wrote and nobody wrote since goes to the trash. Whatever this attempt wrote, be it with the same
/// bytes, bears its own number by now.
fn replace(c: &Connection, origin: Origin, attempt: &Attempt, now: Timestamp) -> Result<u64> {
    let names: Vec<(Ino, Name)> = c
        .prepare_cached(&format!(
            "SELECT d.parent, d.name FROM attempts t JOIN artifacts a ON a.attempt = t.id AND a.session = t.session \
             AND a.life = {LIVE} \
             JOIN inodes i ON i.artifact = a.id JOIN dentries d ON d.ino = i.ino \
             WHERE t.session = ? AND t.step = ? AND t.number < ? ORDER BY d.parent, d.name"
        ))?
        .query_map(params![attempt.session.0, attempt.step, codec::int(attempt.number)], |r| {
            Ok((codec::ino(r, 0)?, codec::name(r, 1)?))
        })?
        .collect::<sql::Result<_>>()?;
    let by = step::replacement(&attempt.step, attempt.number);
    let mut replaced = 0;
    for (parent, name) in names {
        let Some(entry) = tree::entry(c, parent, &name, now)?.filter(|e| e.node.kind == NodeKind::File) else {
            continue;
        };
        let content = entry.node.content;
        let removed = drop_name(c, origin, &entry, Fate::Trash, now)?;
        if let (0, Some((id, _))) = (removed.nlink, content) {
            c.prepare_cached("UPDATE artifacts SET deleted_by = ? WHERE id = ?")?
                .execute(params![by, codec::id_bytes(id)])?;
        }
        replaced += 1;
    }
    Ok(replaced)
}

/// `artifact` is of the attempt and the run that write it now.
pub fn claim(c: &Connection, artifact: crate::artifact::ids::ArtifactId, x: &Commit) -> Result<()> {
    let run = x.labels.provenance.run.as_ref();
    if x.attempt.is_some() || run.is_some() {
        c.prepare_cached("UPDATE artifacts SET attempt = coalesce(?, attempt), run = coalesce(?, run) WHERE id = ?")?
            .execute(params![x.attempt.map(|a| a.0), run, codec::id_bytes(artifact)])?;
    }
    Ok(())
}

/// Whether the artifact was written by that very attempt, or by none if there is none.
pub fn is_of(c: &Connection, artifact: crate::artifact::ids::ArtifactId, attempt: Option<AttemptId>) -> Result<bool> {
    let sql = "SELECT attempt IS NOT DISTINCT FROM ? FROM artifacts WHERE id = ?";
    let same = c
        .prepare_cached(sql)?
        .query_row(params![attempt.map(|a| a.0), codec::id_bytes(artifact)], |r| r.get(0))
        .optional()?;
    Ok(same.unwrap_or(false))
}

#[async_trait]
impl Attempts for SqliteCatalog {
    async fn begin_attempt(
        &self,
        mount: MountId,
        session: SessionId,
        step: &StepName,
        command: &str,
        now: Timestamp,
    ) -> Result<Attempt> {
        let (step, command) = (step.clone(), command.to_owned());
        self.durable(move |c| begin(c, mount, session, &step, &command, now)).await
    }

    async fn end_attempt(&self, origin: Origin, id: AttemptId, ending: Ending, now: Timestamp) -> Result<Attempt> {
        self.durable(move |c| end(c, origin, id, ending, now)).await
    }

    async fn running_attempt(&self, mount: MountId) -> Result<Option<AttemptId>> {
        self.readers.read(|c| {
            Ok(c.prepare_cached("SELECT id FROM attempts WHERE mount = ? AND ended IS NULL")?
                .query_row([mount.0.to_bytes()], |r| r.get(0).map(AttemptId))
                .optional()?)
        })
    }

    async fn abandon_attempts(&self, mount: MountId, now: Timestamp) -> Result<u64> {
        if self.running_attempt(mount).await?.is_none() {
            return Ok(0);
        }
        self.durable(move |c| {
            write_something(c)?;
            let ended = c
                .prepare_cached("UPDATE attempts SET ended = ? WHERE mount = ? AND ended IS NULL")?
                .execute(params![now.0, mount.0.to_bytes()])?;
            Ok(ended as u64)
        })
        .await
    }

    async fn attempts(&self, session: SessionId, now: Timestamp) -> Result<Vec<Attempt>> {
        self.scan(move |c| {
            let mut stmt =
                c.prepare_cached(&format!("{ATTEMPT} WHERE t.session = ?2 GROUP BY t.id ORDER BY t.step, t.number"))?;
            let rows = stmt.query_map(params![now.0, session.0], attempt)?;
            Ok(rows.collect::<sql::Result<_>>()?)
        })
        .await
    }
}
