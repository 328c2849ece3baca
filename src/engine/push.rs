//! `push`: files into a session without a mount.

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};
use ulid::Ulid;

use crate::artifact::ids::{ArtifactId, Ino};
use crate::artifact::name::{Name, SessionName, display_bytes, split_path};
use crate::artifact::record::{Labels, Node, NodeKind, Session};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::{Birth, FileStat, NewDirs};
use crate::engine::claims::{Charge, Coming};
use crate::engine::ingest::{CommitMeta, Ingested, Source};
use crate::engine::progress::{Progress, Step};
use crate::engine::steps::host;
use crate::engine::store::{Store, blocking};
use crate::engine::store_state::STAGED_PREFIX;
use crate::engine::transit::{self, Transit};
use crate::staging::file::StagingFile;
use crate::staging::hash::{Hasher, hash_bytes};

/// Larger sources go through a staging file, smaller ones through memory alone.
const IN_MEMORY_MAX: usize = 1 << 20;

/// One read of a source.
const PIECE: usize = 1 << 20;
/// The same where little is to be in memory.
const SMALL_PIECE: usize = 64 << 10;

/// The smallest hole that is kept: a page, and a block of most file systems.
const PAGE: usize = 4096;
/// The unit of `st_blocks`, in bytes (stat(2)).
const BLOCK: u64 = 512;

/// How often a path is walked again because someone else made or removed a part of it meanwhile.
const ROUNDS: u32 = 8;

/// What is pushed.
pub enum PushSource {
    /// A regular file: copied privately first, so that a later change of it does no harm.
    File(PathBuf),
    Bytes(Bytes),
    /// A stream: standard input, an HTTP body. `size`, if known, is for the progress alone.
    Stream {
        reader: Box<dyn AsyncRead + Send + Unpin>,
        size: Option<u64>,
    },
    /// A stream that goes to a staging file at once, as its reader's bytes are not to wait in memory until the store has them.
    Spilled(Box<dyn AsyncRead + Send + Unpin>),
}

/// How a stream is staged.
pub(crate) struct Stream<'a> {
    pub total: Option<u64>,
    /// Its holes are kept.
    pub sparse: bool,
    /// Up to so many bytes stay in memory.
    pub memory: usize,
    /// For the progress.
    pub what: &'a str,
}

impl<'a> Stream<'a> {
    pub fn of(total: Option<u64>, what: &'a str) -> Self {
        Self { total, sparse: false, memory: IN_MEMORY_MAX, what }
    }
}

/// One push.
pub struct PushRequest {
    /// Made if missing.
    pub session: SessionName,
    /// Inside the session; directories are made if missing. `a/b.txt`.
    pub path: Vec<u8>,
    pub source: PushSource,
    /// Metadata, agent, TTL, type, idempotency key. `provenance.door` is `push` unless it is set.
    pub labels: Labels,
    /// Permission bits of a new file; none: the source file's, else 0644.
    pub mode: Option<u32>,
    /// None: the source file's, else now.
    pub mtime: Option<Timestamp>,
    pub progress: Progress,
}

/// A private copy of a source.
pub(crate) struct Staged {
    pub source: Source,
    pub mode: Option<u32>,
    pub mtime: Option<Timestamp>,
    pub took: Duration,
    /// 512-byte blocks of a copy that has holes; none: every block counts.
    pub blocks: Option<u64>,
    /// Until they are committed or given up.
    #[expect(dead_code, reason = "held for its end alone")]
    pub charge: Charge,
}

impl Store {
    /// Stores one file at `session:path`; an existing file there gets a new version.
    ///
    /// # Errors
    /// As [`Store::ingest`]; `Reserved` for a reserved name, `IsADirectory`, `NotADirectory` for a path that is taken by another kind,
    /// `Invalid` for an impossible path.
    pub async fn push(&self, request: PushRequest) -> Result<Ingested> {
        let PushRequest { session, path, source, mut labels, mode, mtime, progress } = request;
        labels.check()?;
        let mut names = split_path(&path)?;
        let Some(name) = names.pop() else { return Err(Error::invalid("a path without a name")) };
        if names.first().unwrap_or(&name).is_reserved() {
            return Err(reserved(names.first().unwrap_or(&name)));
        }
        // Not made yet: what is refused leaves no session behind.
        let known = self.catalog.session(self.tenant.id, &session).await?;
        if known.as_ref().is_some_and(|s| s.sealed.is_some()) {
            return Err(Error::sealed(session.as_str()));
        }
        if labels.provenance.door.is_empty() {
            "push".clone_into(&mut labels.provenance.door);
        }
        labels.provenance.host = host();
        labels.provenance.run = self.run();
        let replaces = match &known {
            Some(session) => self.lookup_path(session, &path).await.map_or(0, |found| found.node.size),
            None => 0,
        };
        let coming = Coming { replaces: Some(replaces), upload: None };
        let staged = self.stage(source, &display_bytes(&path), &progress, coming).await?;
        let mut transit = Transit::of(&staged.source);
        let session = self.ensure_session(&session).await?;
        if session.sealed.is_some() {
            return Err(Error::sealed(session.name.as_str()));
        }
        let now = self.clock.now();
        let attributes = (mode.or(staged.mode).unwrap_or(0o644), mtime.or(staged.mtime).unwrap_or(now));
        let id = self.new_artifact_id();
        transit.begins(self);
        let result = self.commit_at(&session, &names, &name, &labels, attributes, &staged, id).await;
        transit.ends(result.as_ref().is_ok_and(|i| i.holds_staging));
        if let Err(e) = &result
            && known.is_none()
        {
            self.take_back_session(&session, e).await;
        }
        result
    }

    /// Finds or makes the session (owner: this process).
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn ensure_session(&self, name: &SessionName) -> Result<Session> {
        if let Some(session) = self.catalog.session(self.tenant.id, name).await? {
            return Ok(session);
        }
        let (uid, gid) = owner();
        self.catalog.ensure_session(self.origin, self.tenant.id, name, uid, gid, self.clock.now()).await
    }

    pub(crate) async fn commit_at(
        &self,
        session: &Session,
        dirs: &[Name],
        name: &Name,
        labels: &Labels,
        attributes: (u32, Timestamp),
        staged: &Staged,
        id: ArtifactId,
    ) -> Result<Ingested> {
        let mut made = Vec::new();
        let done = self.commit_in(session, dirs, name, labels, attributes, staged, id, &mut made).await;
        if done.is_err() {
            self.take_back(made).await;
        }
        done
    }

    /// A session that was made for a file that a limit kept out, unless it holds something by now.
    pub(crate) async fn take_back_session(&self, session: &Session, why: &Error) {
        if !matches!(why.kind, Kind::OverQuota | Kind::FileTooLarge) {
            return;
        }
        let Ok(name) = Name::new(session.name.as_str().as_bytes()) else { return };
        if let Err(e) = self.catalog.rmdir(self.origin, self.tenant.root, &name, self.clock.now()).await {
            tracing::debug!(%name, error = %e, "a session stays without the file it was made for");
        }
    }

    /// Directories that were made for a file that did not come. One that somebody else uses by now stays.
    async fn take_back(&self, made: Vec<(Ino, Name)>) {
        for (parent, name) in made.into_iter().rev() {
            match self.catalog.rmdir(self.origin, parent, &name, self.clock.now()).await {
                Ok(_) => {}
                Err(e) => {
                    return tracing::debug!(%name, error = %e, "a directory stays without the file it was made for");
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "what one commit is made of")]
    async fn commit_in(
        &self,
        session: &Session,
        dirs: &[Name],
        name: &Name,
        labels: &Labels,
        (mode, mtime): (u32, Timestamp),
        staged: &Staged,
        id: ArtifactId,
        made: &mut Vec<(Ino, Name)>,
    ) -> Result<Ingested> {
        let mut last = None;
        for _ in 0..ROUNDS {
            let parent = self.make_dirs(session, dirs, made).await?;
            let (ino, birth) = match self.catalog.lookup(parent, name, self.clock.now()).await? {
                Some(Node { kind: NodeKind::File, ino, .. }) => (ino, None),
                Some(node) => return Err(not_a_file(name, node.kind)),
                None => {
                    let first = self.catalog.reserve(2).await?;
                    let (uid, gid) = owner();
                    let birth =
                        Birth { parent, name: name.clone(), cookie: first + 1, mode, uid, gid, replaces: false };
                    (Ino(first), Some(birth))
                }
            };
            let born = birth.is_some();
            let meta = CommitMeta {
                session: session.id,
                ino,
                birth,
                id,
                collapse: None,
                name: name.as_bytes().to_vec(),
                labels: labels.clone(),
                mtime,
                stat: FileStat { blocks: staged.blocks, ..FileStat::default() },
                durable: true,
                hashing: staged.took,
            };
            match self.ingest(staged.source.clone(), meta).await {
                // Someone else made the file at the same time (or, with an idempotency key, the key is taken: then
                // the name is still free and the answer stands).
                Err(e) if e.kind == Kind::Exists && born => {
                    if self.catalog.lookup(parent, name, self.clock.now()).await?.is_none() {
                        return Err(e);
                    }
                    last = Some(e);
                }
                // Someone else removed the file or its directory.
                Err(e) if e.kind == Kind::NotFound => last = Some(e),
                other => return other,
            }
        }
        Err(last.unwrap_or_else(|| Error::internal("a path changed faster than a file could be put there")))
    }

    /// `mkdir -p` below the session's root, in one transaction. What had to be made is added to `made`.
    pub(crate) async fn make_dirs(
        &self,
        session: &Session,
        names: &[Name],
        made: &mut Vec<(Ino, Name)>,
    ) -> Result<Ino> {
        let mut at = session.root;
        for name in names {
            match self.catalog.lookup(at, name, self.clock.now()).await? {
                Some(Node { kind: NodeKind::Dir, ino, .. }) => at = ino,
                Some(_) => return Err(Error::new(Kind::NotADirectory, format!("'{name}' is not a directory"))),
                None => {
                    let (uid, gid) = owner();
                    let dirs = NewDirs { root: session.root, path: names.to_vec(), uid, gid };
                    let (last, new) = self.catalog.make_dirs(self.origin, dirs, self.clock.now()).await?;
                    made.extend(new);
                    return Ok(last);
                }
            }
        }
        Ok(at)
    }

    /// A private copy, hashed while copying.
    async fn stage(&self, source: PushSource, what: &str, progress: &Progress, coming: Coming) -> Result<Staged> {
        let started = Instant::now();
        match source {
            PushSource::Bytes(bytes) => {
                let digest = hash_bytes(&bytes);
                Ok(Staged {
                    source: Source::Bytes(bytes, digest),
                    mode: None,
                    mtime: None,
                    took: started.elapsed(),
                    blocks: None,
                    charge: Charge::default(),
                })
            }
            PushSource::File(path) => {
                let opened = path.clone();
                let (file, meta) = blocking(move || {
                    let file = std::fs::File::open(&opened).map_err(|e| Error::io(&opened, &e))?;
                    let meta = file.metadata().map_err(|e| Error::io(&opened, &e))?;
                    if meta.is_dir() {
                        return Err(Error::new(Kind::IsADirectory, format!("{}: is a directory", opened.display())));
                    }
                    Ok((file, meta))
                })
                .await?;
                let nanos = u32::try_from(meta.mtime_nsec()).unwrap_or(0);
                // A pipe or device has neither a size nor a time worth keeping.
                let regular = meta.is_file();
                let total = regular.then_some(meta.len());
                let sparse = regular && meta.blocks() * BLOCK < meta.len();
                let mut reader = tokio::fs::File::from_std(file);
                let (source, charge) = self
                    .stage_stream(&mut reader, Stream { sparse, ..Stream::of(total, what) }, progress, coming)
                    .await
                    .map_err(|e| named(&path, &e))?;
                Ok(Staged {
                    blocks: if sparse { blocks_of(&source).await? } else { None },
                    source,
                    mode: regular.then_some(meta.permissions().mode() & 0o777),
                    mtime: regular.then(|| Timestamp::from_parts(meta.mtime(), nanos)),
                    took: started.elapsed(),
                    charge,
                })
            }
            PushSource::Stream { mut reader, size } => {
                let stream = Stream::of(size, what);
                let (source, charge) = self.stage_stream(&mut *reader, stream, progress, coming).await?;
                Ok(Staged { source, mode: None, mtime: None, took: started.elapsed(), blocks: None, charge })
            }
            PushSource::Spilled(mut reader) => {
                let stream = Stream { memory: 0, ..Stream::of(None, what) };
                let (source, charge) = self.stage_stream(&mut *reader, stream, progress, coming).await?;
                Ok(Staged { source, mode: None, mtime: None, took: started.elapsed(), blocks: None, charge })
            }
        }
    }

    /// `sparse`: zeros become holes of the copy.
    pub(crate) async fn stage_stream(
        &self,
        reader: &mut (dyn AsyncRead + Send + Unpin),
        stream: Stream<'_>,
        progress: &Progress,
        coming: Coming,
    ) -> Result<(Source, Charge)> {
        let Stream { total, sparse, memory, what } = stream;
        let most = if memory < IN_MEMORY_MAX { SMALL_PIECE } else { PIECE };
        let mut charge = Charge::of(self.ledger());
        // What is sure not to fit is not read.
        self.may_stage(total.unwrap_or(0), &mut charge, coming).await?;
        let mut hasher = Hasher::new();
        let mut held: Vec<u8> = Vec::new();
        let mut staging: Option<Draft> = None;
        let mut step = Step { total, what: what.to_owned(), ..Step::default() };
        loop {
            let mut piece = Vec::with_capacity(most);
            let got = (&mut *reader).take(most as u64).read_to_end(&mut piece).await.map_err(|e| unreadable(&e))?;
            if got == 0 {
                break;
            }
            step.done += got as u64;
            // (Refused, what is staged goes with its draft.)
            self.may_stage(step.done.max(total.unwrap_or(0)), &mut charge, coming).await?;
            held.append(&mut piece);
            if held.len() > memory || staging.is_some() {
                let file = match staging.take() {
                    Some(file) => file,
                    None => self.new_staging_file().await?,
                };
                let at = step.done - held.len() as u64;
                (hasher, staging) = spill(hasher, std::mem::take(&mut held), file, at, sparse).await?;
            }
            progress.tell(&step);
        }
        if let Some(staging) = staging {
            return Ok((Source::File { staging: staging.keep()?, digest: hasher.finish() }, charge));
        }
        let digest = hash_bytes(&held);
        Ok((Source::Bytes(Bytes::from(held), digest), charge))
    }

    async fn new_staging_file(&self) -> Result<Draft> {
        let dir = self.staging()?;
        blocking(move || StagingFile::create(&dir, &format!("{STAGED_PREFIX}{}", Ulid::new())).map(Draft::new)).await
    }

    /// A file without a name, for what a client sends until all of it is there: gone with its last descriptor.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub async fn nameless_file(&self) -> Result<std::fs::File> {
        let draft = self.new_staging_file().await?;
        // Its name goes with the draft.
        draft.0.as_ref().map_or_else(no_file, |f| f.file.try_clone().map_err(|e| Error::io(&f.path, &e)))
    }
}

/// A staging file that no commit has taken yet: removed when it is dropped, by an error or by a client that goes.
struct Draft(Option<StagingFile>);

impl Draft {
    fn new(file: StagingFile) -> Self {
        Self(Some(file))
    }

    /// From here on it is the caller's.
    fn keep(mut self) -> Result<StagingFile> {
        self.0.take().map_or_else(no_file, Ok)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(file) = self.0.take() {
            transit::remove(&file.path);
        }
    }
}

fn no_file<T>() -> Result<T> {
    Err(Error::internal("a staging file was given away twice"))
}

/// Hashes and writes `bytes` at `at`, the end of `file`, off the async threads.
async fn spill(
    mut hasher: Hasher,
    bytes: Vec<u8>,
    file: Draft,
    at: u64,
    sparse: bool,
) -> Result<(Hasher, Option<Draft>)> {
    blocking(move || {
        hasher.update(&bytes);
        let Some(staging) = &file.0 else { return no_file() };
        let to = &staging.file;
        let written = if sparse { write_data(to, &bytes, at) } else { to.write_all_at(&bytes, at) };
        written.map_err(|e| Error::io(&staging.path, &e))?;
        Ok((hasher, Some(file)))
    })
    .await
}

/// Leaves out the pages that are zero: a write of them would take blocks. The file ends where `bytes` do.
fn write_data(file: &std::fs::File, bytes: &[u8], at: u64) -> std::io::Result<()> {
    let (mut from, mut page) = (0, 0);
    while page < bytes.len() {
        let end = bytes.len().min(page + PAGE);
        if bytes[page..end].iter().all(|b| *b == 0) {
            file.write_all_at(&bytes[from..page], at + from as u64)?;
            from = end;
        }
        page = end;
    }
    file.write_all_at(&bytes[from..], at + from as u64)?;
    file.set_len(at + bytes.len() as u64)
}

/// Of what is kept in memory there are no blocks.
async fn blocks_of(source: &Source) -> Result<Option<u64>> {
    let Source::File { staging, .. } = source else { return Ok(None) };
    let path = staging.path.clone();
    blocking(move || std::fs::metadata(&path).map(|m| Some(m.blocks())).map_err(|e| Error::io(&path, &e))).await
}

/// Of a stream that has no path.
fn unreadable(e: &std::io::Error) -> Error {
    use std::io::ErrorKind as K;
    match e.kind() {
        K::FileTooLarge => Error::new(Kind::FileTooLarge, e.to_string()),
        K::TimedOut => Error::new(Kind::TimedOut, e.to_string()),
        K::InvalidData | K::UnexpectedEof | K::ConnectionReset | K::BrokenPipe => Error::invalid(e.to_string()),
        _ => Error::internal(format!("the source cannot be read: {e}")),
    }
}

pub(crate) fn owner() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

fn named(path: &std::path::Path, e: &Error) -> Error {
    Error::new(e.kind, format!("{}: {}", path.display(), e.message))
}

fn reserved(name: &Name) -> Error {
    Error::new(Kind::Reserved, format!("'{name}' is a name that outputfs keeps for itself"))
}

fn not_a_file(name: &Name, kind: NodeKind) -> Error {
    match kind {
        NodeKind::Dir => Error::new(Kind::IsADirectory, format!("'{name}' is a directory")),
        _ => Error::new(Kind::Exists, format!("'{name}' exists and is not a regular file")),
    }
}
