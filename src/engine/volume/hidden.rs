//! Hidden entries: looked up by name, never listed in their parent (the `.zfs` custom).
//!
//! Each gets an inode number with the top bit set ([`table`]), when it is asked for. They hold no bytes of their own. Their owner and mode
//! are those of the inode that they show, and every call asks whether its caller gets that far ([`crate::engine::volume::kernel::permit`]).

pub mod control;
mod listing;
mod table;
mod trash;

use std::sync::Arc;

use bytes::Bytes;

use crate::artifact::ids::{ArtifactId, Ino, SessionId};
use crate::artifact::name::{Name, SessionName};
use crate::artifact::permission::{Act, Guard, Perm, Who};
use crate::artifact::query::{check_conditions, parse_condition};
use crate::artifact::record::{Artifact, Life, NodeKind};
use crate::artifact::standing::Asks;
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Kind, Result, manifest};
use crate::catalog::guard::Guarded;

use crate::engine::volume::Caller;
use crate::engine::volume::Volume;
use crate::engine::volume::handles::Handle;
use crate::engine::volume::hidden::control::CtlHandle;
use crate::engine::volume::inode::attr::Attr;
use crate::engine::volume::inode::open_mode::OpenMode;
use crate::engine::volume::kernel::permit::permit;
use crate::engine::volume::ops::open::How;
use crate::engine::volume::ops::open::Opened;

pub use listing::Listings;
pub use table::{Hidden, is_hidden};

/// What a hidden inode stands for. [`SessionId::NONE`] means the whole tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum What {
    Ctl(SessionId),
    ById(SessionId),
    Manifest(SessionId),
    Where(SessionId, Vec<(String, String)>),
    /// A symlink in `.where` to the file itself, so many conditions deep.
    Pointer(SessionId, usize, ArtifactId),
    /// `.versions`, or a directory below it: the real directory that it mirrors.
    Versions(Ino),
    /// `.versions/PATH`: parent directory and name of the path.
    VersionsOf(Ino, Name),
    Trash(SessionId),
    Artifact(ArtifactId),
    /// The same out of the trash.
    Trashed(ArtifactId),
}

/// The permission bits of a hidden entry, of those of the inode that it shows.
fn shown_mode(what: &What, mode: u32) -> u32 {
    match what {
        // Whoever may search the directory may give commands; each asks for itself what it needs.
        What::Ctl(_) => (mode & 0o111) * 6,
        What::Manifest(_) => mode & 0o444,
        What::Pointer(..) => 0o777,
        // Names go from here, for good or to be restored: each asks the directory that it was in.
        What::Trash(_) => mode & 0o555 | (mode & 0o111) << 1,
        What::ById(_)
        | What::Where(..)
        | What::Versions(_)
        | What::VersionsOf(..)
        | What::Artifact(_)
        | What::Trashed(_) => mode & 0o555,
    }
}

/// Hidden entries that a mount knows, what they show, and what commands in `.ctl` answered.
#[derive(Default)]
pub struct Entries {
    pub(super) table: Hidden,
    pub(super) listings: Listings,
    pub(super) answers: control::Answers,
    /// Who deleted last: `rm -r` asks /proc once, not for each file.
    pub(super) deleter: parking_lot::Mutex<trash::Deleter>,
}

impl Volume {
    /// What a hidden entry shows.
    async fn guarded(&self, what: &What) -> Result<Guarded> {
        Ok(match what {
            What::Ctl(session)
            | What::ById(session)
            | What::Manifest(session)
            | What::Where(session, _)
            | What::Trash(session) => Guarded::Inode(match *session {
                SessionId::NONE => self.root,
                session => self.root_of(session).await?,
            }),
            What::Versions(dir) | What::VersionsOf(dir, _) => Guarded::Inode(*dir),
            What::Pointer(.., id) | What::Artifact(id) | What::Trashed(id) => Guarded::Artifact(*id),
        })
    }

    /// Its guard, for a caller who may do that.
    async fn pass(&self, what: &What, who: &Who, act: Act, name: &str) -> Result<Guard> {
        let guard = self.guard(self.guarded(what).await?).await?;
        permit(who, &guard, act, name)?;
        Ok(guard)
    }

    /// For doors that know a hidden inode by its number.
    ///
    /// # Errors
    /// `Forbidden`.
    pub(super) async fn pass_hidden(&self, ino: Ino, who: &Who, act: Act) -> Result<()> {
        let what = self.hidden.table.what(ino)?;
        self.pass(&what, who, act, "this entry").await.map(drop)
    }

    fn hidden_node(&self, what: What, guard: &Guard, size: u64, at: Timestamp) -> Attr {
        let kind = match what {
            What::Ctl(_) | What::Manifest(_) | What::Artifact(_) | What::Trashed(_) => NodeKind::File,
            What::Pointer(..) => NodeKind::Symlink,
            _ => NodeKind::Dir,
        };
        let (mode, Perm { uid, gid, .. }) = (shown_mode(&what, guard.own.mode), guard.own);
        let ino = self.hidden.table.ino(what);
        Attr {
            ino,
            kind,
            mode,
            uid,
            gid,
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

    /// The kernel is told of `ino` once more.
    pub fn told_of(&self, ino: Ino) {
        if is_hidden(ino) {
            self.hidden.table.hold(ino);
        }
    }

    /// The kernel takes back so many lookups of `ino`.
    pub fn forget(&self, ino: Ino, lookups: u64) {
        if is_hidden(ino) {
            self.hidden.table.forget(ino, lookups);
        }
    }

    /// `None`: no hidden entry of that name here.
    pub(super) async fn lookup_hidden(&self, parent: Ino, name: &Name, who: &Who) -> Result<Option<Attr>> {
        let what = if is_hidden(parent) {
            let what = self.hidden.table.what(parent)?;
            self.pass(&what, who, Act::See, &name.to_string()).await?;
            self.below(what, name).await?
        } else {
            self.at_top(parent, name).await?
        };
        let Some(what) = what else { return Ok(None) };
        let guard = self.pass(&what, who, Act::See, &name.to_string()).await?;
        self.attr_of_hidden(what, &guard).await.map(Some)
    }

    async fn at_top(&self, parent: Ino, name: &Name) -> Result<Option<What>> {
        let Some(node) = self.store.catalog.node(parent, self.now()).await? else { return Ok(None) };
        if node.kind != NodeKind::Dir || !self.is_top(parent, node.session).await? {
            return Ok(None);
        }
        let (session, inside) = (node.session, node.session != SessionId::NONE);
        Ok(match name.as_bytes() {
            b".ctl" => Some(What::Ctl(session)),
            b".by-id" => Some(What::ById(session)),
            b".where" => Some(What::Where(session, Vec::new())),
            b".versions" if inside => Some(What::Versions(parent)),
            b".trash" if inside => Some(What::Trash(session)),
            b".manifest.json" if inside && node.sealed => Some(What::Manifest(session)),
            _ => None,
        })
    }

    async fn manifest_bytes(&self, session: SessionId) -> Result<Option<Bytes>> {
        Ok(self.store.catalog.manifest(session).await?.map(|m| Bytes::from(manifest::to_bytes(&m))))
    }

    async fn below(&self, what: What, name: &Name) -> Result<Option<What>> {
        let now = self.now();
        match what {
            What::ById(session) => {
                let Ok(id) = name.to_string().parse::<ArtifactId>() else { return Ok(None) };
                let found = self.shown(&What::Artifact(id)).await?;
                Ok((session == SessionId::NONE || found.session == session).then_some(What::Artifact(id)))
            }
            What::Where(session, mut conditions) => {
                if let Ok(condition) = parse_condition(&name.to_string()) {
                    conditions.push(condition);
                    check_conditions(conditions.len())?;
                    return Ok(Some(What::Where(session, conditions)));
                }
                self.listed(&What::Where(session, conditions), name).await
            }
            What::Versions(dir) => {
                if let Some(node) = self.store.catalog.lookup(dir, name, now).await?
                    && node.kind == NodeKind::Dir
                {
                    return Ok(Some(What::Versions(node.ino)));
                }
                let versions = self.store.catalog.versions(dir, name, now).await?;
                Ok((!versions.is_empty()).then(|| What::VersionsOf(dir, name.clone())))
            }
            What::VersionsOf(..) | What::Trash(_) => self.listed(&what, name).await,
            What::Ctl(_) | What::Manifest(_) | What::Pointer(..) | What::Artifact(_) | What::Trashed(_) => {
                Err(Error::new(Kind::NotADirectory, "not a directory"))
            }
        }
    }

    /// The artifact that a hidden entry shows: what is deleted is in `.trash` and nowhere else.
    ///
    /// # Errors
    /// `NotFound`, `Deleted`, `Expired`.
    pub(super) async fn shown(&self, what: &What) -> Result<Artifact> {
        match *what {
            What::Artifact(id) | What::Pointer(.., id) => self.store.standing(id, Asks::Standing).await,
            What::Trashed(id) => {
                let artifact = self.store.standing(id, Asks::Deleted).await?;
                let gone = || Error::not_found(format!("{id} is not in the trash any more"));
                (artifact.life == Life::Trashed).then_some(artifact).ok_or_else(gone)
            }
            _ => Err(Error::not_found("not an artifact")),
        }
    }

    async fn attr_of_hidden(&self, what: What, guard: &Guard) -> Result<Attr> {
        Ok(match what {
            What::Ctl(_) => self.hidden_node(what, guard, 0, self.now()),
            What::Manifest(session) => {
                let size = self.manifest_bytes(session).await?.map_or(0, |b| b.len() as u64);
                self.hidden_node(what, guard, size, self.now())
            }
            What::Pointer(session, depth, _) => {
                let artifact = self.shown(&what).await?;
                let size = target_of(session, depth, &artifact).len() as u64;
                self.hidden_node(what, guard, size, artifact.created)
            }
            What::Artifact(_) | What::Trashed(_) => {
                let artifact = self.shown(&what).await?;
                self.hidden_node(what, guard, artifact.size, listing::shown_at(&artifact))
            }
            _ => self.hidden_node(what, guard, 4096, self.now()),
        })
    }

    pub(super) async fn hidden_attr(&self, ino: Ino) -> Result<Attr> {
        let what = self.hidden.table.what(ino)?;
        let guard = self.guard(self.guarded(&what).await?).await?;
        self.attr_of_hidden(what, &guard).await
    }

    pub(super) async fn hidden_target(&self, ino: Ino, who: &Who) -> Result<Vec<u8>> {
        let what = self.hidden.table.what(ino)?;
        self.pass(&what, who, Act::See, "this entry").await?;
        match what {
            What::Pointer(session, depth, _) => Ok(target_of(session, depth, &self.shown(&what).await?)),
            _ => Err(Error::invalid("not a symbolic link")),
        }
    }

    /// The artifact behind a hidden inode, for its attributes.
    pub(super) fn hidden_artifact(&self, ino: Ino) -> Option<ArtifactId> {
        match self.hidden.table.what(ino) {
            Ok(What::Artifact(id) | What::Trashed(id)) => Some(id),
            _ => None,
        }
    }

    /// The artifact of that ID, which is told.
    pub(super) async fn artifact_told(&self, id: ArtifactId) -> Result<Option<Artifact>> {
        self.store.telling(|| self.store.catalog.artifact(self.store.tenant.id, id, self.now())).await
    }

    pub(super) async fn open_hidden(self: &Arc<Self>, ino: Ino, mode: OpenMode, caller: Caller) -> Result<Opened> {
        let what = self.hidden.table.what(ino)?;
        if mode.write && !matches!(what, What::Ctl(_)) {
            return Err(Error::new(Kind::Reserved, "outputfs keeps this file for itself"));
        }
        let who = Who::is_calling(caller);
        let act = if matches!(what, What::Ctl(_)) { Act::See } else { Act::Read };
        self.pass(&what, &who, act, "this file").await?;
        let (handle, how) = match what {
            What::Ctl(session) => {
                let last = if mode.write { None } else { self.hidden.answers.last(caller) };
                (Handle::Ctl(CtlHandle::new(session, caller, who, last)), How::Direct)
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

/// Where a file lies below the directory that `session`'s `.where` is in.
fn path_of(session: SessionId, a: &Artifact) -> Vec<u8> {
    match &a.session_name {
        _ if session != SessionId::NONE => a.filename.clone(),
        Some(name) => [name.as_str().as_bytes(), b"/", &a.filename].concat(),
        // Stored without a session: no directory shows it.
        None => format!(".by-id/{}", a.id).into_bytes(),
    }
}

/// `.where/k=v` lies two levels below the root that the target is relative to, each further condition one more.
fn target_of(session: SessionId, depth: usize, a: &Artifact) -> Vec<u8> {
    [b"../".repeat(depth + 1), path_of(session, a)].concat()
}
