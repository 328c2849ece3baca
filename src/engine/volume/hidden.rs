//! Hidden entries: looked up by name, never listed in their parent (the `.zfs` custom).
//!
//! Each gets an inode number with the top bit set, on demand, for as long as the volume lives: the same thing
//! keeps the same number. They hold no bytes of their own.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::artifact::ids::{ArtifactId, Ino, SessionId};
use crate::artifact::name::{Name, SessionName};
use crate::artifact::query::{Query, parse_condition};
use crate::artifact::record::{Artifact, Life, NodeKind};
use crate::artifact::standing::Asks;
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Kind, Result, manifest};

use super::attr::Attr;
use super::control::CtlHandle;
use super::dir::Listed;
use super::handles::Handle;
use super::open::{How, OpenMode, Opened};
use super::{Caller, Volume};

const HIDDEN: u64 = 1 << 63;

/// True for numbers that this module gave out.
pub fn is_hidden(ino: Ino) -> bool {
    ino.0 & HIDDEN != 0
}

/// What a hidden inode stands for. [`SessionId::NONE`] means the whole tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum What {
    Ctl(SessionId),
    ById(SessionId),
    Manifest(SessionId),
    Where(SessionId, Vec<(String, String)>),
    /// A symlink in `.where` to the file itself; the text is its target.
    Pointer(Vec<u8>),
    /// `.versions`, or a directory below it: the real directory that it mirrors.
    Versions(Ino),
    /// `.versions/PATH`: parent directory and name of the path.
    VersionsOf(Ino, Name),
    Trash(SessionId),
    Artifact(ArtifactId),
    /// The same out of the trash.
    Trashed(ArtifactId),
}

/// Both directions of the numbering.
#[derive(Default)]
pub struct Hidden {
    map: Mutex<(HashMap<What, u64>, HashMap<u64, What>)>,
}

impl Hidden {
    pub(super) fn ino(&self, what: What) -> Ino {
        let mut map = self.map.lock();
        if let Some(n) = map.0.get(&what) {
            return Ino(*n);
        }
        let n = HIDDEN | (map.1.len() as u64 + 1);
        map.0.insert(what.clone(), n);
        map.1.insert(n, what);
        Ino(n)
    }

    pub(super) fn what(&self, ino: Ino) -> Result<What> {
        self.map.lock().1.get(&ino.0).cloned().ok_or_else(|| Error::not_found("no such entry"))
    }
}

impl Volume {
    fn hidden_node(&self, what: What, kind: NodeKind, mode: u32, size: u64, at: Timestamp) -> Attr {
        Attr {
            ino: self.hidden.ino(what),
            kind,
            mode,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            rdev: 0,
            nlink: if kind == NodeKind::Dir { 2 } else { 1 },
            size,
            blocks: size.div_ceil(512),
            atime: at,
            mtime: at,
            ctime: at,
            keep: false,
            expires: None,
        }
    }

    fn artifact_attr(&self, artifact: &Artifact) -> Attr {
        // In the trash, the time of the deletion.
        let at = artifact.deleted.filter(|_| artifact.life == Life::Trashed).unwrap_or(artifact.created);
        let what = if artifact.life == Life::Trashed { What::Trashed } else { What::Artifact };
        self.hidden_node(what(artifact.id), NodeKind::File, 0o444, artifact.size, at)
    }

    /// `None`: no hidden entry of that name here.
    pub(super) async fn lookup_hidden(&self, parent: Ino, name: &Name) -> Result<Option<Attr>> {
        if is_hidden(parent) {
            return self.lookup_below(self.hidden.what(parent)?, name).await;
        }
        let Some(node) = self.store.catalog.node(parent, self.now()).await? else { return Ok(None) };
        if node.kind != NodeKind::Dir || !self.is_top(parent, node.session).await? {
            return Ok(None);
        }
        let (session, now) = (node.session, self.now());
        let dir = |what| Some(self.hidden_node(what, NodeKind::Dir, 0o555, 4096, now));
        Ok(match name.as_bytes() {
            b".ctl" => Some(self.hidden_node(What::Ctl(session), NodeKind::File, 0o666, 0, now)),
            b".by-id" => dir(What::ById(session)),
            b".where" => dir(What::Where(session, Vec::new())),
            b".versions" if session != SessionId::NONE => dir(What::Versions(parent)),
            b".trash" if session != SessionId::NONE => dir(What::Trash(session)),
            b".manifest.json" if session != SessionId::NONE => self
                .manifest_bytes(session)
                .await?
                .map(|bytes| self.hidden_node(What::Manifest(session), NodeKind::File, 0o444, bytes.len() as u64, now)),
            _ => None,
        })
    }

    async fn manifest_bytes(&self, session: SessionId) -> Result<Option<Bytes>> {
        Ok(self.store.catalog.manifest(session).await?.map(|m| Bytes::from(manifest::to_bytes(&m))))
    }

    async fn lookup_below(&self, what: What, name: &Name) -> Result<Option<Attr>> {
        let now = self.now();
        match what {
            What::ById(session) => {
                let Ok(id) = name.to_string().parse::<ArtifactId>() else { return Ok(None) };
                let found = self.shown(&What::Artifact(id)).await?;
                Ok((session == SessionId::NONE || found.session == session).then(|| self.artifact_attr(&found)))
            }
            What::Where(session, mut conditions) => {
                if let Ok(condition) = parse_condition(&name.to_string()) {
                    conditions.push(condition);
                    return Ok(Some(self.hidden_node(
                        What::Where(session, conditions),
                        NodeKind::Dir,
                        0o555,
                        4096,
                        now,
                    )));
                }
                let listed = self.matches(session, &conditions).await?;
                Ok(listed.into_iter().find(|l| l.name == name.as_bytes()).map(|l| l.attr))
            }
            What::Versions(dir) => {
                if let Some(node) = self.store.catalog.lookup(dir, name, now).await?
                    && node.kind == NodeKind::Dir
                {
                    return Ok(Some(self.hidden_node(What::Versions(node.ino), NodeKind::Dir, 0o555, 4096, now)));
                }
                let versions = self.store.catalog.versions(dir, name, now).await?;
                Ok((!versions.is_empty())
                    .then(|| self.hidden_node(What::VersionsOf(dir, name.clone()), NodeKind::Dir, 0o555, 4096, now)))
            }
            What::VersionsOf(dir, of) => {
                let Ok(number) = name.to_string().parse::<u64>() else { return Ok(None) };
                let versions = self.store.catalog.versions(dir, &of, now).await?;
                Ok(versions.iter().find(|a| a.version == number).map(|a| self.artifact_attr(a)))
            }
            What::Trash(session) => {
                let listed = self.trashed(session).await?;
                Ok(listed.into_iter().find(|l| l.name == name.as_bytes()).map(|l| l.attr))
            }
            What::Ctl(_) | What::Manifest(_) | What::Pointer(_) | What::Artifact(_) | What::Trashed(_) => {
                Err(Error::new(Kind::NotADirectory, "not a directory"))
            }
        }
    }

    pub(super) async fn hidden_attr(&self, ino: Ino) -> Result<Attr> {
        let what = self.hidden.what(ino)?;
        let now = self.now();
        Ok(match what {
            What::Ctl(_) => self.hidden_node(what, NodeKind::File, 0o666, 0, now),
            What::Manifest(session) => {
                let size = self.manifest_bytes(session).await?.map_or(0, |b| b.len() as u64);
                self.hidden_node(What::Manifest(session), NodeKind::File, 0o444, size, now)
            }
            What::Pointer(ref target) => {
                let size = target.len() as u64;
                self.hidden_node(what, NodeKind::Symlink, 0o777, size, now)
            }
            What::Artifact(_) | What::Trashed(_) => self.artifact_attr(&self.shown(&what).await?),
            _ => self.hidden_node(what, NodeKind::Dir, 0o555, 4096, now),
        })
    }

    pub(super) async fn hidden_target(&self, ino: Ino) -> Result<Vec<u8>> {
        match self.hidden.what(ino)? {
            What::Pointer(target) => Ok(target),
            _ => Err(Error::invalid("not a symbolic link")),
        }
    }

    /// The artifact behind a hidden inode, for its attributes.
    pub(super) fn hidden_artifact(&self, ino: Ino) -> Option<ArtifactId> {
        match self.hidden.what(ino) {
            Ok(What::Artifact(id) | What::Trashed(id)) => Some(id),
            _ => None,
        }
    }

    /// The artifact that a hidden file shows: what is deleted is in `.trash` and nowhere else.
    ///
    /// # Errors
    /// `NotFound`, `Deleted`, `Expired`.
    pub(super) async fn shown(&self, what: &What) -> Result<Artifact> {
        match *what {
            What::Artifact(id) => self.store.standing(id, Asks::Standing).await,
            What::Trashed(id) => {
                let artifact = self.store.standing(id, Asks::Deleted).await?;
                let gone = || Error::not_found(format!("{id} is not in the trash any more"));
                (artifact.life == Life::Trashed).then_some(artifact).ok_or_else(gone)
            }
            _ => Err(Error::not_found("not an artifact")),
        }
    }

    pub(super) async fn list_hidden(&self, dir: Ino, cookie: u64) -> Result<Vec<Listed>> {
        let me = self.hidden_attr(dir).await?;
        let mut entries = vec![
            Listed { cookie: 1, name: b".".to_vec(), attr: me },
            Listed { cookie: 2, name: b"..".to_vec(), attr: me },
        ];
        let now = self.now();
        match self.hidden.what(dir)? {
            What::Where(session, conditions) if !conditions.is_empty() => {
                entries.extend(self.matches(session, &conditions).await?);
            }
            What::VersionsOf(parent, name) => {
                for artifact in self.store.catalog.versions(parent, &name, now).await? {
                    let name = artifact.version.to_string().into_bytes();
                    entries.push(Listed { cookie: 0, name, attr: self.artifact_attr(&artifact) });
                }
            }
            What::Versions(real) => {
                for entry in self.store.catalog.list(real, 0, u32::MAX, now).await? {
                    let what = match entry.node.kind {
                        NodeKind::Dir => What::Versions(entry.node.ino),
                        NodeKind::File => What::VersionsOf(real, entry.name.clone()),
                        _ => continue,
                    };
                    let attr = self.hidden_node(what, NodeKind::Dir, 0o555, 4096, now);
                    entries.push(Listed { cookie: 0, name: entry.name.as_bytes().to_vec(), attr });
                }
            }
            What::ById(session) => {
                for artifact in self.all(Query { session: some(session), ..Query::all(self.store.tenant.id) }).await? {
                    let name = artifact.id.to_string().into_bytes();
                    entries.push(Listed { cookie: 0, name, attr: self.artifact_attr(&artifact) });
                }
            }
            What::Trash(session) => entries.extend(self.trashed(session).await?),
            _ => {}
        }
        // Positions, not keys: such a listing is short and made anew each time.
        for (at, entry) in entries.iter_mut().enumerate() {
            entry.cookie = at as u64 + 1;
        }
        let skip = usize::try_from(cookie).unwrap_or(usize::MAX).min(entries.len());
        Ok(entries.split_off(skip))
    }

    /// Deleted artifacts as `<name>~<last 6 of the ID>`, so that two of one name stay apart.
    pub(super) async fn trashed(&self, session: SessionId) -> Result<Vec<Listed>> {
        let query = Query { session: some(session), life: Life::Trashed, ..Query::all(self.store.tenant.id) };
        let artifacts = self.all(query).await?;
        Ok(artifacts
            .into_iter()
            .map(|a| {
                let id = a.id.to_string();
                let mut name = a.filename.rsplit(|&b| b == b'/').next().unwrap_or_default().to_vec();
                name.truncate(crate::artifact::name::NAME_MAX - 7);
                name.extend_from_slice(format!("~{}", &id[id.len() - 6..]).as_bytes());
                Listed { cookie: 0, name, attr: self.artifact_attr(&a) }
            })
            .collect())
    }

    /// What fulfils all conditions, as symlinks to the files themselves: by base name, or with the path's slashes
    /// turned into `__` where two share one.
    async fn matches(&self, session: SessionId, conditions: &[(String, String)]) -> Result<Vec<Listed>> {
        let query = Query { session: some(session), metadata: conditions.to_vec(), ..Query::all(self.store.tenant.id) };
        let artifacts = self.all(query).await?;
        let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
        let base = |a: &Artifact| a.filename.rsplit(|&b| b == b'/').next().unwrap_or_default().to_vec();
        for artifact in &artifacts {
            *seen.entry(base(artifact)).or_default() += 1;
        }
        // `.where/k=v` lies two levels below the root that the target is relative to, each further condition one more.
        let up = b"../".repeat(conditions.len() + 1);
        let tenant_wide = session == SessionId::NONE;
        Ok(artifacts
            .iter()
            .map(|a| {
                let mut path = Vec::new();
                if tenant_wide && let Some(name) = &a.session_name {
                    path.extend_from_slice(name.as_str().as_bytes());
                    path.push(b'/');
                }
                if tenant_wide && a.session_name.is_none() {
                    // Stored without a session: no directory shows it.
                    path.extend_from_slice(format!(".by-id/{}", a.id).as_bytes());
                } else {
                    path.extend_from_slice(&a.filename);
                }
                let mut name = base(a);
                if seen.get(&name).is_some_and(|n| *n > 1) {
                    name = path.iter().flat_map(|&b| if b == b'/' { b"__".to_vec() } else { vec![b] }).collect();
                    name.truncate(crate::artifact::name::NAME_MAX);
                }
                let target = [up.clone(), path].concat();
                let size = target.len() as u64;
                let attr = self.hidden_node(What::Pointer(target), NodeKind::Symlink, 0o777, size, a.created);
                Listed { cookie: 0, name, attr }
            })
            .collect())
    }

    /// All pages of a query.
    async fn all(&self, mut query: Query) -> Result<Vec<Artifact>> {
        let mut out = Vec::new();
        loop {
            let page = self.store.catalog.find(&query, self.now()).await?;
            out.extend(page.artifacts);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(out),
            }
        }
    }

    pub(super) async fn open_hidden(self: &Arc<Self>, ino: Ino, mode: OpenMode, caller: Caller) -> Result<Opened> {
        let what = self.hidden.what(ino)?;
        if mode.write && !matches!(what, What::Ctl(_)) {
            return Err(Error::new(Kind::Reserved, "outputfs keeps this file for itself"));
        }
        let (handle, how) = match what {
            What::Ctl(session) => {
                let last = if mode.write { None } else { self.answers.last(caller) };
                (Handle::Ctl(CtlHandle::new(session, caller, last)), How::Direct)
            }
            What::Manifest(session) => {
                let bytes = self.manifest_bytes(session).await?.ok_or_else(|| Error::not_found("not sealed"))?;
                (Handle::Fixed(bytes), How::Direct)
            }
            What::Artifact(_) | What::Trashed(_) => {
                let artifact = self.shown(&what).await?;
                (Handle::Content(self.store.reader(&artifact).await?), How::Cached { keep: true })
            }
            _ => return Err(Error::new(Kind::IsADirectory, "is a directory")),
        };
        let read_only = !matches!(handle, Handle::Ctl(_));
        Ok(Opened { fh: self.handles.add(handle), how, read_only })
    }

    /// Name of a session, for answers.
    pub(super) async fn session_name(&self, id: SessionId) -> Result<SessionName> {
        let session = self.store.catalog.session_by_id(id).await?;
        session.map(|s| s.name).ok_or_else(|| Error::not_found("the session is gone"))
    }
}

fn some(session: SessionId) -> Option<SessionId> {
    (session != SessionId::NONE).then_some(session)
}
