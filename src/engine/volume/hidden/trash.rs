//! The trash through the mount: who deleted, back out of `.trash` by `mv`, away for good by `rm`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::artifact::ids::{ArtifactId, BlobHash, Ino};
use crate::artifact::name::Name;
use crate::artifact::openfile::Why;
use crate::artifact::permission::{Act, Who};
use crate::artifact::record::NodeKind;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::guard::Guarded;
use crate::catalog::{Origin, RenameMode};

use crate::engine::volume::Caller;
use crate::engine::volume::Volume;
use crate::engine::volume::handles::Handle;
use crate::engine::volume::hidden::What;
use crate::engine::volume::hidden::is_hidden;
use crate::engine::volume::kernel::permit::permit;
use crate::engine::volume::ops::tree::Found;

/// A process keeps its name for at least this long.
const FRESH: Duration = Duration::from_secs(1);

/// Who deleted last, and when that was found out.
#[derive(Default)]
pub struct Deleter(Option<(Caller, Instant, Option<String>)>);

impl Volume {
    /// Who deletes, for the trash: `planner (rm, uid 1000)`, as far as `/proc` tells.
    pub(in crate::engine::volume) async fn deleter(&self, caller: Caller) -> Option<String> {
        let known = self.hidden.deleter.lock().0.clone();
        if let Some((_, _, text)) = known.filter(|(who, at, _)| *who == caller && at.elapsed() < FRESH) {
            return text;
        }
        let labels = self.labels_of(caller).await;
        let program = labels.provenance.executable.as_deref().and_then(|path| path.rsplit('/').next());
        let process = format!("{}, uid {}", program.unwrap_or("a program"), caller.uid);
        let text = Some(match labels.env_agent_id {
            Some(agent) => format!("{agent} ({process})"),
            None => process,
        });
        self.hidden.deleter.lock().0 = Some((caller, Instant::now(), text.clone()));
        text
    }

    /// The deleted artifact that `.trash/NAME` shows, for one who may take the name of a file away where it was.
    async fn in_trash(&self, dir: Ino, name: &Name, caller: Caller) -> Result<ArtifactId> {
        let trash = self.hidden.table.what(dir)?;
        if !matches!(trash, What::Trash(_)) {
            return Err(Error::new(Kind::Reserved, "outputfs keeps this directory for itself"));
        }
        let Some(What::Trashed(id)) = self.listed(&trash, name).await? else {
            return Err(Error::not_found(format!("{name}: not in the trash")));
        };
        let who = Who::is_calling(caller);
        permit(&who, &self.guard(Guarded::Artifact(id)).await?, Act::Remove, &name.to_string())?;
        Ok(id)
    }

    /// `mv .trash/NAME TO`: restored under that name, as a new version of what stands there.
    pub(in crate::engine::volume) async fn restore_hidden(
        self: &Arc<Self>,
        from: (Ino, &Name),
        to: (Ino, &Name),
        mode: RenameMode,
        caller: Caller,
    ) -> Result<()> {
        let artifact = self.in_trash(from.0, from.1, caller).await?;
        if is_hidden(to.0) {
            return Err(Error::new(Kind::Reserved, "outputfs keeps this directory for itself"));
        }
        self.may_name(to.0, to.1).await?;
        match (self.find(to.0, to.1).await?, mode) {
            (_, RenameMode::Exchange) => return Err(Error::invalid("what was deleted cannot be exchanged")),
            (Some(_), RenameMode::NoReplace) => return Err(Error::new(Kind::Exists, format!("{}: exists", to.1))),
            (Some(Found::Committed(node)), _) if node.kind == NodeKind::Dir => {
                return Err(Error::new(Kind::IsADirectory, format!("{}: is a directory", to.1)));
            }
            (Some(Found::Pending(live)), _) => {
                self.save(&live, Why::Birth).await?;
            }
            _ => {}
        }
        let fresh = (Ino(self.number().await?), self.number().await?);
        let id = self.store.new_artifact_id();
        // This mount's kernel must hear of it too: it believes to have moved a hidden file.
        self.store.catalog.restore_to(Origin::NOBODY, artifact, to, id, fresh, self.now()).await?;
        Ok(())
    }

    /// `rm .trash/NAME`: gone for good.
    pub(in crate::engine::volume) async fn purge_hidden(&self, dir: Ino, name: &Name, caller: Caller) -> Result<()> {
        let artifact = self.in_trash(dir, name, caller).await?;
        self.store.purge(&[artifact]).await.map(drop)
    }

    /// Bytes that are open here and that nothing else needs any more stay in the store a while longer.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn hold_open_blobs(&self) -> Result<()> {
        // (Readers that are kept for the next open are nobody's: what they read is looked up again before.)
        let hashes: Vec<BlobHash> = self
            .handles
            .all()
            .iter()
            .filter_map(|handle| match &**handle {
                Handle::Content(reader) => Some(reader.0.hash()),
                Handle::File { reader, .. } => reader.lock().as_ref().map(|r| r.0.hash()),
                Handle::Fixed(_) | Handle::Ctl(_) => None,
            })
            .collect();
        let held = self.store.hold(hashes, self.now()).await?;
        if held > 0 {
            tracing::debug!(held, "deleted files are open here: their bytes stay");
        }
        Ok(())
    }
}
