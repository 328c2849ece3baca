//! The control file `.ctl`: one command a line, the answer on the same open file, and for a shell on the next one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::artifact::amount::count;
use crate::artifact::control::{self, Command, Format, LINE_MAX, Target};
use crate::artifact::ids::{Ino, SessionId};
use crate::artifact::name::{Name, display_bytes};
use crate::artifact::permission::{Act, Guard, Who, may};
use crate::artifact::record::{Artifact, Link, LinkTarget};
use crate::artifact::time::{Timestamp, Ttl};
use crate::artifact::visible::visible;
use crate::artifact::{Error, Kind, Result, manifest};
use crate::catalog::Origin;
use crate::catalog::guard::Guarded;

use crate::engine::volume::Caller;
use crate::engine::volume::Volume;
use crate::engine::volume::kernel::permit::Walked;
use crate::engine::volume::kernel::permit::permit;
use crate::engine::volume::kernel::process::Process;
use crate::engine::volume::kernel::process::process;
use crate::engine::volume::ops::io::OVERTAKEN;

/// Answers kept for a later open; each is a few hundred bytes.
const KEPT: usize = 256;
/// An answer that nobody fetched by then is of no interest to anybody.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// Who gets to see an answer.
#[derive(Clone, Copy)]
struct Asker {
    uid: u32,
    process: Option<Process>,
}

struct Kept {
    asker: Asker,
    at: Instant,
    answer: Bytes,
}

/// The last answers, newest at the end.
#[derive(Default)]
pub struct Answers(Mutex<VecDeque<Kept>>);

impl Answers {
    fn keep(&self, asker: Asker, answer: Bytes) {
        let mut kept = self.0.lock();
        kept.retain(|k| k.at.elapsed() < KEPT_FOR);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(Kept { asker, at: Instant::now(), answer });
    }

    /// The last answer given to this process, else to its parent (the shell), else to its user and process group.
    pub fn last(&self, reader: Caller) -> Option<Bytes> {
        let me = process(reader.pid)?;
        let kept = self.0.lock();
        let find = |fits: &dyn Fn(Process) -> bool| {
            kept.iter()
                .rev()
                .find(|k| k.asker.uid == reader.uid && k.asker.process.is_some_and(fits))
                .map(|k| k.answer.clone())
        };
        find(&|p| p.tgid == me.tgid)
            .or_else(|| find(&|p| p.tgid == me.ppid))
            .or_else(|| find(&|p| p.pgid == me.pgid && p.ppid == me.ppid))
            .or_else(|| find(&|p| p.pgid == me.pgid))
    }
}

/// One open control file.
pub struct CtlHandle {
    session: SessionId,
    asker: Asker,
    /// Who opened it: what is done through a descriptor is done with its opener's rights, whoever holds it.
    who: Who,
    state: Mutex<CtlState>,
}

#[derive(Default)]
struct CtlState {
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    answer: Vec<u8>,
    /// Where the next read starts: `read` after `write` on one descriptor continues at the file offset of the
    /// write, so offsets mean nothing here.
    read: usize,
}

impl CtlHandle {
    pub fn new(session: SessionId, caller: Caller, who: Who, last: Option<Bytes>) -> Self {
        let state = CtlState { answer: last.map(|b| b.to_vec()).unwrap_or_default(), ..CtlState::default() };
        let asker = Asker { uid: caller.uid, process: process(caller.pid) };
        Self { session, asker, who, state: Mutex::new(state) }
    }

    /// What has not been read yet of the answers. A read at offset 0 starts over (`seek(0)`, `pread`).
    pub fn read(&self, offset: u64, len: usize) -> Bytes {
        let mut st = self.state.lock();
        if offset == 0 {
            st.read = 0;
        }
        let end = st.read.saturating_add(len).min(st.answer.len());
        let out = Bytes::copy_from_slice(&st.answer[st.read..end]);
        st.read = end;
        out
    }

    /// Whole lines of what was written, and what is left for the next write. A write that does not end a line is a
    /// command all the same when it is all that comes (`printf seal > .ctl`): every write ends a line.
    fn lines(&self, data: &[u8]) -> Vec<Vec<u8>> {
        let mut st = self.state.lock();
        st.partial.extend_from_slice(data);
        let text = std::mem::take(&mut st.partial);
        text.split(|&b| b == b'\n').filter(|l| !l.trim_ascii().is_empty()).map(<[u8]>::to_vec).collect()
    }
}

impl Volume {
    /// As [`Volume::flush`]; what it refuses `caller` is explained to whoever asks for its last answer: an errno says only so much.
    ///
    /// # Errors
    /// As [`Volume::flush`].
    pub async fn flush_for(self: &Arc<Self>, fh: u64, caller: Caller) -> Result<()> {
        let done = self.flush(fh).await;
        if let Err(e) = &done {
            let asker = Asker { uid: caller.uid, process: process(caller.pid) };
            self.hidden.answers.keep(asker, Bytes::from(refusal(e, Format::Plain)));
        }
        done
    }

    /// Runs the commands of one write. The first bad one fails the write; its answer says why.
    pub(in crate::engine::volume) async fn control_write(
        self: &Arc<Self>,
        ctl: &CtlHandle,
        data: &[u8],
    ) -> Result<u32> {
        if data.len() > LINE_MAX * 16 {
            return Err(Error::new(Kind::MetadataTooLarge, "too many commands at once"));
        }
        {
            let mut st = ctl.state.lock();
            st.answer.clear();
            st.read = 0;
        }
        let mut failure = None;
        for line in ctl.lines(data) {
            let (format, command) = control::parse(&line);
            let result = match command {
                Ok(command) => self.obey(ctl.session, &ctl.who, command).await,
                Err(e) => Err(e),
            };
            let text = match &result {
                Ok(answer) => answer.text(format),
                Err(e) => refusal(e, format),
            };
            ctl.state.lock().answer.extend_from_slice(text.as_bytes());
            if let Err(e) = result {
                failure = Some(e);
                break;
            }
        }
        let answer = Bytes::from(ctl.state.lock().answer.clone());
        self.hidden.answers.keep(ctl.asker, answer);
        match failure {
            Some(e) => Err(e),
            None => Ok(u32::try_from(data.len()).unwrap_or(u32::MAX)),
        }
    }

    async fn obey(self: &Arc<Self>, session: SessionId, who: &Who, command: Command) -> Result<Answer> {
        match command {
            Command::Link { target, ttl } => self.ctl_link(session, who, target, ttl).await,
            Command::Links => self.ctl_links(session, who).await,
            Command::Revoke(link) => {
                self.may_revoke(session, who, link.id()).await?;
                let revoked = self.store.revoke_link(link.id()).await?;
                Ok(Answer::new(revoked.id.clone(), json!({"link_id": revoked.id, "revoked": true})))
            }
            Command::Seal => {
                let session = self.needs_session(session)?;
                self.owns(session, who, "seal").await?;
                let sealed = self.seal(session).await?;
                let plain = sealed.digest.to_hex();
                let mut value = manifest::to_json(&sealed);
                if let Some(map) = value.as_object_mut() {
                    let count = sealed.artifacts.len();
                    map.remove("artifacts");
                    map.insert(String::from("artifact_count"), json!(count));
                }
                Ok(Answer::new(plain, value))
            }
            Command::Status => self.ctl_status(session).await,
            Command::Ttl { path, ttl } => {
                let artifact = self.artifact_at(session, &path, who, Act::Write).await?;
                let expires = self.now().plus(ttl);
                let done = self.store.catalog.set_expiry(Origin::NOBODY, artifact.id, expires).await?;
                let plain = done.expires.map_or_else(|| String::from("never"), Timestamp::to_rfc3339);
                Ok(Answer::new(plain, done.to_json()))
            }
            Command::Restore { path, version } => {
                let (session, path) = self.in_session(session, &path).await?;
                let session = self
                    .store
                    .catalog
                    .session_by_id(session)
                    .await?
                    .ok_or_else(|| Error::not_found("the session is gone"))?;
                let name = shown_path(path);
                match self.walk_as(who, session.root, path).await? {
                    Walked::Found(_, guard) => permit(who, &guard, Act::Write, &name)?,
                    Walked::Missing(_, dir) => permit(who, &dir, Act::MakeIn, &format!("the directory of {name}"))?,
                }
                let bytes = path.iter().map(Name::as_bytes).collect::<Vec<_>>().join(&b'/');
                let chosen = self.store.restorable(&session, &bytes, version).await?;
                // The directories that it lay in may be gone: what they let through counts all the same.
                permit(who, &self.guard(Guarded::Artifact(chosen.id)).await?, Act::See, &name)?;
                let done = self.store.restore_artifact(chosen.id).await?;
                Ok(Answer::new(done.id.to_string(), done.to_json()))
            }
            Command::Usage => {
                let usage = self.store.usage().await?;
                let plain = format!(
                    "{}, {} ({} stored), {}",
                    count(usage.artifacts, "artifact"),
                    count(usage.logical_bytes, "byte"),
                    usage.stored_bytes,
                    count(usage.sessions, "session")
                );
                Ok(Answer::new(plain, json!(usage)))
            }
            Command::Help => {
                let commands: Vec<Value> =
                    control::help().iter().map(|(form, text)| json!({"command": form, "help": text})).collect();
                Ok(Answer::new(control::help_text().trim_end().to_owned(), json!({"commands": commands})))
            }
        }
    }

    fn needs_session(&self, session: SessionId) -> Result<SessionId> {
        if session == SessionId::NONE {
            return Err(Error::invalid("this command needs a session: write it to the .ctl inside one"));
        }
        Ok(session)
    }

    /// Session and path of a command's path: inside a session as it is, in the tenant's root its first name is the session.
    async fn in_session<'a>(&self, session: SessionId, path: &'a [Name]) -> Result<(SessionId, &'a [Name])> {
        if session != SessionId::NONE {
            return Ok((session, path));
        }
        let (first, rest) = path.split_first().ok_or_else(|| Error::invalid("no path"))?;
        let found = self.store.session(&first.to_string()).await?;
        Ok((found.id, rest))
    }

    async fn artifact_at(self: &Arc<Self>, session: SessionId, path: &[Name], who: &Who, act: Act) -> Result<Artifact> {
        let (session, path) = self.in_session(session, path).await?;
        let attr = match self.walk_as(who, self.root_of(session).await?, path).await? {
            Walked::Found(attr, guard) => permit(who, &guard, act, &shown_path(path)).map(|()| attr)?,
            Walked::Missing(e, _) => return Err(self.absence(session, path).await.unwrap_or(e)),
        };
        // A file that is being written has an ID once it is committed.
        self.settle_birth(attr.ino).await?;
        for _ in 0..OVERTAKEN {
            let node = self.store.catalog.node(attr.ino, self.now()).await?;
            let Some((id, _)) = node.and_then(|n| n.content) else {
                return Err(Error::new(Kind::IsADirectory, "not a file: only files are artifacts"));
            };
            // A version whose place was taken in between is no more: its successor is asked.
            if let Some(found) = self.artifact_told(id).await? {
                return Ok(found);
            }
        }
        Err(Error::not_found("the file has expired"))
    }

    async fn absence(&self, session: SessionId, path: &[Name]) -> Result<Error> {
        let session = self.store.catalog.session_by_id(session).await?;
        let session = session.ok_or_else(|| Error::not_found("the session is gone"))?;
        self.store.absence(&session, &path.iter().map(Name::as_bytes).collect::<Vec<_>>().join(&b'/')).await
    }

    /// # Errors
    /// `Forbidden` when the session is neither `who`'s nor is `who` root.
    async fn owns(&self, session: SessionId, who: &Who, verb: &str) -> Result<()> {
        let guard = self.guard(Guarded::Inode(self.root_of(session).await?)).await?;
        if may(who, &guard, Act::Own) {
            return Ok(());
        }
        let (uid, owner) = (who.uid, guard.own.uid);
        let text = format!("uid {uid} may not {verb} this session: only its owner (uid {owner}) and root may");
        Err(Error::new(Kind::Forbidden, text))
    }

    pub(in crate::engine::volume) async fn root_of(&self, session: SessionId) -> Result<Ino> {
        let found = self.store.catalog.session_by_id(session).await?;
        found.map(|s| s.root).ok_or_else(|| Error::not_found("the session is gone"))
    }

    async fn ctl_link(
        self: &Arc<Self>,
        session: SessionId,
        who: &Who,
        target: Target,
        ttl: Option<Ttl>,
    ) -> Result<Answer> {
        let target = match target {
            Target::Here => LinkTarget::Session(self.needs_session(session)?),
            Target::Path(path) => match self.in_session(session, &path).await? {
                (session, []) => LinkTarget::Session(session),
                _ => LinkTarget::Artifact(self.linkable(session, &path, who).await?.id),
            },
        };
        if let LinkTarget::Session(session) = target {
            // It shows every file, also those of others and those that come.
            self.owns(session, who, "link all of").await?;
        }
        let new = self.store.create_link(target, ttl).await?;
        let mut value = link_json(&new.link);
        value["url"] = json!(new.url);
        value["note"] = json!(new.note());
        Ok(Answer::new(new.url.clone(), value))
    }

    /// What a link is to lead to. A last word that was to be a time to live and is none is called that, where the rest names a file.
    async fn linkable(self: &Arc<Self>, session: SessionId, path: &[Name], who: &Who) -> Result<Artifact> {
        let missing = match self.artifact_at(session, path, who, Act::Read).await {
            Err(e) if matches!(e.kind, Kind::NotFound | Kind::Deleted | Kind::Expired) => e,
            done => return done,
        };
        let Some((last, dirs)) = path.split_last() else { return Err(missing) };
        let Some(at) = last.as_bytes().iter().rposition(|b| *b == b' ') else { return Err(missing) };
        let (head, word) = (last.as_bytes()[..at].trim_ascii_end(), &last.as_bytes()[at + 1..]);
        if let Ok(head) = Name::new(head)
            && word.first().is_some_and(u8::is_ascii_digit)
            && self.artifact_at(session, &[dirs, &[head]].concat(), who, Act::Read).await.is_ok()
        {
            let text = format!("'{}' is not a time to live: say 90m, 12h, 7d or never", display_bytes(word));
            return Err(Error::invalid(text));
        }
        Err(missing)
    }

    /// The session that a link leads into, if it is `session` (NONE: any), and what stands before its target.
    async fn link_guard(&self, session: SessionId, target: LinkTarget) -> Result<Option<(SessionId, Guard)>> {
        let (of, guarded) = match target {
            LinkTarget::Session(of) => (of, None),
            // Also one that has expired: its links are there still.
            LinkTarget::Artifact(id) => match self.store.catalog.former(self.store.tenant.id, id).await? {
                Some(artifact) => (artifact.session, Some(Guarded::Artifact(id))),
                // Gone for good: nothing says any more whose it was.
                None => (SessionId::NONE, Some(Guarded::Inode(self.root))),
            },
        };
        if session != SessionId::NONE && of != session {
            return Ok(None);
        }
        let guarded = match guarded {
            Some(guarded) => guarded,
            None => Guarded::Inode(self.root_of(of).await?),
        };
        Ok(self.store.catalog.guard(guarded, self.root).await?.map(|guard| (of, guard)))
    }

    /// A link ends by the hand of one who could change what it shows.
    async fn may_revoke(&self, session: SessionId, who: &Who, id: &str) -> Result<()> {
        let missing = || Error::not_found(format!("there is no link '{id}' here"));
        let link = self.store.links(None).await?.into_iter().find(|l| l.id == id).ok_or_else(missing)?;
        let (of, guard) = self.link_guard(session, link.target).await?.ok_or_else(missing)?;
        let act = if matches!(link.target, LinkTarget::Session(_)) { Act::Own } else { Act::Write };
        if of != SessionId::NONE && self.owns(of, who, "revoke").await.is_ok() {
            return Ok(());
        }
        permit(who, &guard, act, "what this link shows")
    }

    async fn ctl_links(&self, session: SessionId, who: &Who) -> Result<Answer> {
        let mut links = Vec::new();
        for link in self.store.links(None).await? {
            if let Some((_, guard)) = self.link_guard(session, link.target).await?
                && may(who, &guard, Act::List)
            {
                links.push(link);
            }
        }
        let now = self.now();
        let lines: Vec<String> = links
            .iter()
            .map(|l| {
                let state = if l.revoked.is_some() {
                    "revoked"
                } else if l.expires.is_some_and(|at| at <= now) {
                    "expired"
                } else {
                    "live"
                };
                let until = l.expires.map_or_else(|| String::from("never"), Timestamp::to_rfc3339);
                format!("{} {state} {until} {}", l.id, target_text(l.target))
            })
            .collect();
        Ok(Answer::new(lines.join("\n"), json!({"links": links.iter().map(link_json).collect::<Vec<_>>()})))
    }

    async fn ctl_status(&self, session: SessionId) -> Result<Answer> {
        let scope = (session != SessionId::NONE).then_some(session);
        let pending = self.store.catalog.pending(scope, None).await?;
        let here = |of: SessionId| scope.is_none_or(|session| session == of);
        let writing = self.inodes.all().iter().filter(|l| here(l.session) && l.has_writers()).count();
        let saving = self.busy();
        let sealed = match scope {
            Some(id) => self.store.catalog.session_by_id(id).await?.is_some_and(|s| s.sealed.is_some()),
            None => false,
        };
        let error = self.store.last_store_error().map(|e| e.message);
        let mut plain = format!(
            "{writing} writing, {saving} saving, {} pending ({}){}",
            pending.artifacts,
            count(pending.bytes, "byte"),
            if sealed { ", sealed" } else { "" }
        );
        if let Some(e) = &error {
            plain.push_str(": ");
            plain.push_str(&visible(e));
        }
        let value = json!({
            "writing": writing, "saving": saving, "pending": pending.artifacts, "pending_bytes": pending.bytes,
            "sealed": sealed, "last_error": error,
        });
        Ok(Answer::new(plain, value))
    }
}

/// What a command answers: the bare value, and all of it.
struct Answer {
    plain: String,
    value: Value,
}

impl Answer {
    fn new(plain: String, value: Value) -> Self {
        Self { plain, value }
    }

    fn text(&self, format: Format) -> String {
        match format {
            Format::Plain if self.plain.is_empty() => String::new(),
            Format::Plain => format!("{}\n", self.plain),
            Format::Json => format!("{}\n", self.value),
        }
    }
}

fn refusal(e: &Error, format: Format) -> String {
    match format {
        Format::Plain => format!("error: {}\n", visible(&e.message)),
        Format::Json => {
            let code = format!("{:?}", e.kind);
            format!(
                "{}\n",
                json!({"error": {"code": code, "message": format!("error: {e}"), "status": e.http_status()}})
            )
        }
    }
}

fn shown_path(path: &[Name]) -> String {
    path.iter().map(Name::to_string).collect::<Vec<_>>().join("/")
}

fn target_text(target: LinkTarget) -> String {
    match target {
        LinkTarget::Artifact(id) => id.to_string(),
        LinkTarget::Session(_) => String::from("."),
    }
}

fn link_json(link: &Link) -> Value {
    let artifact = match link.target {
        LinkTarget::Artifact(id) => Some(id.to_string()),
        LinkTarget::Session(_) => None,
    };
    json!({
        "link_id": link.id,
        "artifact_id": artifact,
        "created_at": link.created.to_rfc3339(),
        "expires_at": link.expires.map(Timestamp::to_rfc3339),
        "revoked_at": link.revoked.map(Timestamp::to_rfc3339),
    })
}
