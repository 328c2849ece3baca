//! Recovery of what dead owners left in their staging directories (CONTRACT §3.7).
//!
//! Whoever can lock a directory recovers it. The order inside is: provisional blobs into the store, then each story of the journal
//! (commit or trash → `Done` → the file goes), then the directory. Killed anywhere, the next one does the same again: IDs are
//! derived from the directory and the file, so that nothing comes twice.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use ulid::Ulid;

use crate::artifact::content_type::{HEAD, by_bytes};
use crate::artifact::ids::{ArtifactId, BlobHash, Ino, MountId, SessionId, TenantId};
use crate::artifact::name::{Name, display_bytes};
use crate::artifact::record::{Artifact, BlobPlace, Labels};
use crate::artifact::{Error, Kind, Result};
use crate::catalog::{Birth, Commit, FileStat, Origin};
use crate::engine::failpoints::hit;
use crate::engine::ingest::{CommitMeta, Source, Where};
use crate::engine::settle::{BATCH, Owner, remove_staging};
use crate::engine::stale_mount;
use crate::engine::steps::run_of;
use crate::engine::store::{Store, blocking};
pub use crate::engine::store_state::Recovery;
use crate::staging::file::StagingFile;
use crate::staging::hash::{Digest, hash_file};
use crate::staging::journal::{Journal, Record, Story};
use crate::staging::state_dir::{MountDir, MountInfo};

/// One story with its parts named.
struct Leftover {
    file: String,
    ino: Ino,
    session: SessionId,
    parent: Ino,
    name: Name,
    cookie: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    in_catalog: bool,
    labels: Labels,
    /// Its bytes below this size are not in the file.
    base: Option<(u64, BlobHash)>,
    committed: Option<(u64, BlobHash)>,
    retry: Option<(u64, BlobHash)>,
}

impl Recovery {
    /// Adds what a later round did; what is left is what that one left.
    fn add(&mut self, later: Recovery) {
        self.owners += later.owners;
        self.unmounted += later.unmounted;
        self.settled += later.settled;
        self.committed.extend(later.committed);
        self.trashed.extend(later.trashed);
        self.dropped.extend(later.dropped);
        self.left = later.left;
    }
}

impl Store {
    pub(crate) fn note_recovery(&self, later: Recovery) {
        self.inner.recovery.lock().get_or_insert_default().add(later);
    }

    /// Recovers every dead owner's directory that it can lock, within `deadline`. Safe to run twice, at once, and to be killed.
    ///
    /// # Errors
    /// Only when the state directory cannot be read: trouble with one owner is told in [`Recovery::left`].
    pub async fn recover(&self, deadline: Duration) -> Result<Recovery> {
        let end = Instant::now() + deadline;
        let mut report = Recovery::default();
        let state = self.state.clone();
        let freed = state.clone();
        if let Err(e) = blocking(move || stale_mount::free(&freed.mounts()?)).await {
            report.left.push(format!("a killed daemon's mount: {e}"));
        }
        let dead = blocking(move || state.mounts()).await?.into_iter().filter(|m| !m.alive);
        for entry in dead {
            let (state, id) = (self.state.clone(), entry.id);
            let dir = match blocking(move || MountDir::take(&state, id)).await {
                Ok(Some(dir)) => dir,
                // Another process was faster, or its owner is back.
                Ok(None) => continue,
                Err(e) => {
                    report.left.push(format!("mount {id}: {e}"));
                    continue;
                }
            };
            let work = self.recover_owner(dir, entry.info, &mut report);
            let failed = match tokio::time::timeout_at(end, work).await {
                Ok(Ok(())) => continue,
                Ok(Err(e)) => e.message,
                Err(_) => String::from("no time left: it goes on with the next command"),
            };
            report.left.push(format!("mount {id}: {failed}"));
        }
        if report != Recovery::default() {
            tracing::info!(
                owners = report.owners,
                settled = report.settled,
                committed = report.committed.len(),
                trashed = report.trashed.len(),
                dropped = report.dropped.len(),
                left = ?report.left,
                "recovered what dead owners left"
            );
        }
        Ok(report)
    }

    async fn recover_owner(&self, dir: MountDir, info: Option<MountInfo>, report: &mut Recovery) -> Result<()> {
        hit("recover::after_take")?;
        if let Some(mountpoint) = info.as_ref().and_then(|i| i.mountpoint.clone())
            && blocking(move || stale_mount::detach(&mountpoint)).await?
        {
            report.unmounted += 1;
        }
        let store = self.in_name_of(&dir, info.as_ref()).await?;
        if let Some(attempt) = self.catalog.running_attempt(dir.id).await? {
            // What it closed is its own; then it is over, also when a file must wait for the store.
            store.join_attempt(attempt)?;
            self.catalog.abandon_attempts(dir.id, self.clock.now()).await?;
            self.catalog.drop_keys_of(&run_of(dir.id)).await?;
        }
        self.catalog.set_staged(self.tenant.id, dir.id, 0).await?;
        let before = report.left.len();
        store.recover_provisional(dir.id, report).await?;
        // Files in which acknowledged bytes live that are nowhere else yet: whatever their story says, they stay.
        let waiting = self.catalog.unsettled(Some(dir.id), u32::MAX).await?;
        let homes: HashSet<String> = waiting
            .into_iter()
            .filter_map(|u| match u.place {
                BlobPlace::Provisional { file, .. } => Some(file),
                BlobPlace::Inline(_) | BlobPlace::Stored => None,
            })
            .collect();
        let journal_path = dir.journal_path();
        let (journal, stories) = blocking(move || Journal::open(&journal_path)).await?;
        for story in stories {
            let file = story.open.file().to_owned();
            if homes.contains(&file) {
                continue;
            }
            match store.recover_story(&dir, story, report).await {
                Ok(()) => {
                    hit("recover::after_commit")?;
                    journal.append(&Record::Done { file: file.clone() })?;
                    hit("recover::after_done")?;
                    remove_staging(&dir.staging().join(&file))?;
                }
                Err(e) => report.left.push(format!("mount {}: staging file '{file}': {e}", dir.id)),
            }
        }
        if report.left.len() > before || !homes.is_empty() {
            return Ok(());
        }
        // What nobody tells of is of no use: copies of what is stored, or files whose story is done.
        let staging = dir.staging();
        let removed = blocking(move || {
            for entry in std::fs::read_dir(&staging).map_err(|e| Error::io(&staging, &e))? {
                remove_staging(&entry.map_err(|e| Error::io(&staging, &e))?.path())?;
            }
            dir.remove()
        })
        .await?;
        report.owners += u32::from(removed);
        Ok(())
    }

    /// This store as the dead owner saw it: its tenant, its mount ID.
    async fn in_name_of(&self, dir: &MountDir, info: Option<&MountInfo>) -> Result<Store> {
        let origin = Origin(dir.id);
        match info.map(|i| i.tenant.as_str()) {
            Some(name) if name != self.tenant_name.as_str() => {
                let name = name.parse()?;
                let tenant = self.catalog.tenant(&name, self.clock.now()).await?;
                Ok(self.sibling(name, tenant, origin))
            }
            _ => Ok(self.sibling(self.tenant_name.clone(), self.tenant.clone(), origin)),
        }
    }

    async fn recover_provisional(&self, mount: MountId, report: &mut Recovery) -> Result<()> {
        let owner = Owner { mount, in_use: None, foreign: false, force: true };
        let mut failed = None;
        loop {
            let work = self.catalog.unsettled(Some(mount), BATCH).await?;
            if work.is_empty() {
                return Ok(());
            }
            let left = work.len() as u64;
            let before = report.settled;
            match self.settle_each(work, &owner, &crate::engine::progress::Progress::none()).await {
                Ok(moved) => report.settled += moved.artifacts,
                Err(e) => failed = Some(e),
            }
            let now = self.catalog.unsettled(Some(mount), BATCH).await?.len() as u64;
            if failed.is_some() {
                report.settled += left.saturating_sub(now);
            }
            // No progress: every one of them waits for the store, or its bytes are lost.
            if now > 0 && (failed.is_some() || report.settled == before) {
                let why = failed.map_or(String::from("they belong to another tenant"), |e| e.message);
                report.left.push(format!("mount {mount}: {now} blobs are not in the store yet: {why}"));
                return Ok(());
            }
            if now == 0 {
                return Ok(());
            }
        }
    }

    async fn recover_story(&self, dir: &MountDir, story: Story, report: &mut Recovery) -> Result<()> {
        let left = leftover(story, self.tenant.id)?;
        if self.fill_base(dir, &left).await? == Filled::NothingNew {
            return Ok(());
        }
        let (staging_dir, file) = (dir.staging(), left.file.clone());
        let found = blocking(move || open_and_hash(&staging_dir, &file, None)).await?;
        // Settled, or its story was done and only the record is missing.
        let Some((staging, whole)) = found else { return Ok(()) };
        if left.committed == Some((whole.size, whole.hash)) {
            return Ok(());
        }
        if let Some((size, hash)) = left.retry {
            if let Some(acknowledged) = prefix(&staging, &whole, size, hash).await? {
                let source = Source::File { staging: staging.clone(), digest: acknowledged };
                let committed = self.make_up_for(dir.id, &left, source).await;
                match committed {
                    Ok(artifact) => report.committed.push(display_bytes(&artifact.filename)),
                    Err(e) if e.kind == Kind::Sealed => report.dropped.push(left.name.to_string()),
                    // The place is gone or taken by a later file: the bytes are kept all the same.
                    Err(e) if matches!(e.kind, Kind::NotFound | Kind::Exists | Kind::IsADirectory) => {
                        return self.to_trash(dir.id, &left, staging, whole, report).await;
                    }
                    Err(e) => return Err(e),
                }
                if (size, hash) == (whole.size, whole.hash) {
                    return Ok(());
                }
            }
        } else if left.committed.is_none() && whole.size == 0 {
            return Ok(());
        }
        if left.in_catalog {
            let node = self.catalog.node(left.ino, self.clock.now()).await?;
            // Opened for writing, and nothing was written.
            if node.and_then(|n| n.content).is_some_and(|(_, hash)| hash == whole.hash) {
                return Ok(());
            }
        }
        self.to_trash(dir.id, &left, staging, whole, report).await
    }

    /// Fills the hole of a file that was opened to append: its beginning is a stored blob's.
    async fn fill_base(&self, dir: &MountDir, left: &Leftover) -> Result<Filled> {
        let Some((size, hash)) = left.base else { return Ok(Filled::Whole) };
        let staging = match StagingFile::open(&dir.staging(), &left.file) {
            Ok(staging) => staging,
            Err(e) if e.kind == Kind::NotFound => return Ok(Filled::Whole),
            Err(e) => return Err(e),
        };
        // While it has the hole it only ever grows.
        let known = left.committed.map_or(size, |(size, _)| size);
        if left.retry.is_none() && staging.stamp()?.size <= known {
            return Ok(Filled::NothingNew);
        }
        // What was committed from it begins with the same bytes, and is younger: the base may be gone.
        let mut failed = None;
        for (_, hash) in left.committed.into_iter().chain([(size, hash)]) {
            let filled = async {
                let reader = self.blob_reader(self.tenant.id, hash, &left.name.to_string()).await?;
                let (source, path) = reader.as_file().await?;
                let file = staging.clone();
                blocking(move || file.fill_hole(&source, &path, size)).await
            };
            match filled.await {
                Ok(()) => return Ok(Filled::Whole),
                Err(e) => failed = Some(e),
            }
        }
        Err(failed.unwrap_or_else(|| Error::internal("a base that was never tried")))
    }

    /// The commit that `close` could not make.
    async fn make_up_for(&self, mount: MountId, left: &Leftover, source: Source) -> Result<Artifact> {
        if !left.in_catalog
            && let Some(node) = self.catalog.lookup(left.parent, &left.name, self.clock.now()).await?
            && node.ino != left.ino
        {
            return Err(Error::new(Kind::Exists, format!("'{}' was made anew", left.name)));
        }
        let meta = CommitMeta {
            session: left.session,
            ino: left.ino,
            birth: (!left.in_catalog).then(|| left.birth()),
            id: derived_id(mount, &left.file, "retry", source.digest().hash),
            collapse: None,
            name: left.name.as_bytes().to_vec(),
            labels: left.labels.clone(),
            mtime: modified(&source)?,
            stat: FileStat::default(),
            durable: true,
            hashing: Duration::ZERO,
        };
        self.ingest_at(source, meta, Where::Store).await.map(|done| done.committed.artifact)
    }

    async fn to_trash(
        &self,
        mount: MountId,
        left: &Leftover,
        staging: StagingFile,
        whole: Digest,
        report: &mut Recovery,
    ) -> Result<()> {
        let session = self.catalog.session_by_id(left.session).await?;
        if session.is_none_or(|s| s.sealed.is_some()) {
            report.dropped.push(left.name.to_string());
            return Ok(());
        }
        let opened = staging.clone();
        let head = blocking(move || opened.read_at(0, HEAD)).await?;
        let source = Source::File { staging, digest: whole.clone() };
        let mut labels = left.labels.clone();
        "recovery".clone_into(&mut labels.provenance.door);
        // The key named a close that never came.
        labels.idempotency_key = None;
        let mut may_be_known = true;
        loop {
            let begun = self.catalog.deletions().await?;
            let commit = Commit {
                tenant: self.tenant.id,
                session: left.session,
                ino: left.ino,
                birth: Some(left.birth()),
                id: derived_id(mount, &left.file, "trash", whole.hash),
                collapse: None,
                hash: whole.hash,
                size: whole.size,
                chunks: whole.chunks.clone(),
                midstate: whole.midstate.clone().map(|m| m.0),
                bytes: self.payload(&source, Where::Store, may_be_known).await?,
                begun,
                bytes_type: Some(by_bytes(&head).to_owned()),
                labels: labels.clone(),
                attempt: None,
                durable: true,
                mtime: modified(&source)?,
                stat: FileStat::default(),
                kept: self.blobs.is_local(),
                now: self.clock.now(),
            };
            match self.catalog.trash_recovered(self.origin, commit).await {
                Ok(Some(artifact)) => {
                    report.trashed.push(display_bytes(&artifact.filename));
                    return Ok(());
                }
                Ok(None) => {
                    report.dropped.push(left.name.to_string());
                    return Ok(());
                }
                // The blob went between our question and the transaction.
                Err(e) if e.kind == Kind::NotFound && may_be_known => {
                    Box::pin(self.deletion_over(whole.hash)).await?;
                    may_be_known = false;
                }
                Err(e) => return Err(e),
            }
        }
    }
}

/// What [`Store::fill_base`] found.
#[derive(PartialEq, Eq)]
enum Filled {
    /// The file holds all of its bytes.
    Whole,
    /// Nothing was appended that is not committed.
    NothingNew,
}

impl Leftover {
    fn birth(&self) -> Birth {
        Birth {
            parent: self.parent,
            name: self.name.clone(),
            cookie: self.cookie,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            replaces: false,
        }
    }
}

fn leftover(story: Story, own: TenantId) -> Result<Leftover> {
    let Story { open, base, committed, retry } = story;
    let Record::Open { file, ino, tenant, session, parent, name, cookie, mode, uid, gid, in_catalog, labels } = open
    else {
        return Err(Error::internal("a story that does not begin with its opening"));
    };
    if tenant != own.0 {
        return Err(Error::internal("it belongs to another tenant"));
    }
    Ok(Leftover {
        file,
        ino,
        session: SessionId(session),
        parent,
        name: Name::new(&name)?,
        cookie,
        mode,
        uid,
        gid,
        in_catalog,
        labels: *labels,
        base,
        committed,
        retry,
    })
}

/// The staging file and the digest of its first `size` bytes, or of all.
fn open_and_hash(dir: &Path, file: &str, size: Option<u64>) -> Result<Option<(StagingFile, Digest)>> {
    let staging = match StagingFile::open(dir, file) {
        Ok(staging) => staging,
        Err(e) if e.kind == Kind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let size = match size {
        Some(size) => size,
        None => staging.stamp()?.size,
    };
    let digest = hash_file(&staging.file, &staging.path, size)?;
    Ok(Some((staging, digest)))
}

/// The digest of the acknowledged bytes, if the file still begins with them.
async fn prefix(staging: &StagingFile, whole: &Digest, size: u64, hash: BlobHash) -> Result<Option<Digest>> {
    if (whole.size, whole.hash) == (size, hash) {
        return Ok(Some(whole.clone()));
    }
    if size > whole.size {
        return Ok(None);
    }
    let staging = staging.clone();
    let digest = blocking(move || hash_file(&staging.file, &staging.path, size)).await?;
    Ok((digest.hash == hash).then_some(digest))
}

/// The same leftover always becomes the same artifact.
fn derived_id(mount: MountId, file: &str, what: &str, hash: BlobHash) -> ArtifactId {
    let mut sha = Sha256::new();
    for part in [mount.0.to_bytes().as_slice(), file.as_bytes(), what.as_bytes(), &hash.0] {
        sha.update((part.len() as u64).to_le_bytes());
        sha.update(part);
    }
    let random = sha.finalize().iter().take(10).fold(0u128, |n, &b| n << 8 | u128::from(b));
    ArtifactId(Ulid::from_parts(mount.0.timestamp_ms(), random))
}

fn modified(source: &Source) -> Result<crate::artifact::time::Timestamp> {
    match source {
        Source::File { staging, .. } => staging.stamp().map(|s| s.mtime),
        Source::Bytes(..) | Source::Grown { .. } => Err(Error::internal("a leftover without a file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_leftover_gets_the_same_id_and_another_one_another() {
        let mount = MountId(Ulid::from_parts(7, 9));
        let id = derived_id(mount, "1-1", "trash", BlobHash::EMPTY);
        assert_eq!(id, derived_id(mount, "1-1", "trash", BlobHash::EMPTY));
        assert_eq!(id.0.timestamp_ms(), 7);
        for other in [
            derived_id(mount, "1-2", "trash", BlobHash::EMPTY),
            derived_id(mount, "1-1", "retry", BlobHash::EMPTY),
            derived_id(mount, "1-1", "trash", BlobHash([1; 32])),
            derived_id(MountId(Ulid::from_parts(7, 10)), "1-1", "trash", BlobHash::EMPTY),
        ] {
            assert_ne!(id, other);
        }
    }
}
