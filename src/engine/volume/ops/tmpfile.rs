//! Files that are made without a name (`O_TMPFILE`, open(2)) and get one when they are whole (linkat(2)).
//!
//! Such a file has a staging file and a record in memory, and nothing in the catalog or the journal: it goes with its last
//! descriptor or with the daemon. A link makes it what `create` makes, a file that waits for its first commit: from then on the
//! journal knows it. (It cannot be lost in between: whoever links it has it open, and its close commits it.)

use std::sync::Arc;

use crate::artifact::ids::{Ino, SessionId};
use crate::artifact::name::Name;
use crate::artifact::record::NodeKind;
use crate::artifact::{Error, Kind, Result};
use crate::staging::file::StagingFile;
use crate::staging::journal::Record;

use crate::engine::volume::Caller;
use crate::engine::volume::Volume;
use crate::engine::volume::inode::Identity;
use crate::engine::volume::inode::OpenInode;
use crate::engine::volume::inode::Pending;
use crate::engine::volume::inode::State;
use crate::engine::volume::inode::attr::Attr;
use crate::engine::volume::inode::open_mode::OpenMode;
use crate::engine::volume::inode::overlay::Entry;
use crate::engine::volume::ops::open::Opened;
use crate::engine::volume::ops::tree::inherit;

impl Volume {
    /// A file in `dir` without a name.
    ///
    /// # Errors
    /// `Unsupported` in a scratch directory: programs use a name then, which is no artifact there either. `Reserved` in the
    /// tenant's root, `Sealed`, and what staging says.
    pub async fn create_nameless(
        self: &Arc<Self>,
        dir: Ino,
        mode: u32,
        open: OpenMode,
        caller: Caller,
    ) -> Result<(Attr, Opened)> {
        if self.scratch.is(dir) {
            return Err(Error::new(Kind::Unsupported, "a scratch directory has no files without a name"));
        }
        let node = self.writable_dir(dir).await?;
        if node.session == SessionId::NONE {
            return Err(Error::new(Kind::Reserved, "no file can be outside every session: use a session's directory"));
        }
        self.may_make().await?;
        let (mode, gid) = inherit(&node, NodeKind::File, mode, caller.gid);
        let ino = Ino(self.number().await?);
        let file = StagingFile::create(&self.staging.path, &self.staging.fresh_name(ino))?;
        let labels = self.labels_of(caller).await;
        let newborn = State::newborn(file, labels, mode, (caller.uid, gid), self.now());
        let state = State { identity: Identity::Tmpfile, nlink: 0, ..newborn };
        let pinned = self.inodes.pin(ino, || OpenInode::new(ino, node.session, state));
        let live = &pinned.live;
        let opened = match self.admit(live, open, None).await {
            Err(e) => {
                self.drop_staging_if_closed(live);
                return Err(e);
            }
            opened => opened?,
        };
        Ok((self.attr_of_pending(live)?, opened))
    }

    /// Gives a file without a name its first one. `None`: it has one.
    pub(in crate::engine::volume) async fn link_nameless(
        &self,
        ino: Ino,
        parent: Ino,
        name: &Name,
    ) -> Result<Option<Attr>> {
        let Some(live) = self.inodes.get(ino) else { return Ok(None) };
        let _saving = live.saving().await;
        if !live.is_tmpfile() {
            return Ok(None);
        }
        if self.may_name(parent, name).await?.session != live.session {
            return Err(Error::new(Kind::CrossSession, "sessions are separate: copy instead of linking"));
        }
        if self.find(parent, name).await?.is_some() {
            return Err(Error::new(Kind::Exists, format!("{name}: exists")));
        }
        let cookie = self.number().await?;
        let now = self.now();
        let record = {
            let right = live.birthright().ok_or_else(|| Error::not_found("the file is gone"))?;
            Record::Open {
                file: right.file.name,
                ino,
                tenant: self.store.tenant.id.0,
                session: live.session.0,
                parent,
                name: name.as_bytes().to_vec(),
                cookie,
                mode: right.mode,
                uid: right.uid,
                gid: right.gid,
                in_catalog: false,
                labels: Box::new(right.labels),
            }
        };
        self.staging.journal.append(&record)?;
        live.name_draft(Pending { parent, name: name.clone(), cookie, named: now, replaces: false });
        self.inodes.overlay.lock().insert(parent, name.clone(), Entry { cookie, live: live.clone() }, now);
        self.attr_of_pending(&live).map(Some)
    }
}
