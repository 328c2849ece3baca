//! `chmod`, `chown`, `utimensat`, `truncate`.

use std::sync::Arc;

use crate::artifact::ids::Ino;
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::AttrChange;

use super::attr::Attr;
use super::live::Live;
use super::open::OpenMode;
use super::save::Why;
use super::{Caller, Volume, hidden};

/// What SETATTR asks; `None` stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<Timestamp>,
    pub mtime: Option<Timestamp>,
    pub fh: Option<u64>,
}

impl Volume {
    /// # Errors
    /// `Sealed`, `NotFound`, and what staging and catalog say.
    pub async fn setattr(self: &Arc<Self>, ino: Ino, set: SetAttr, caller: Caller) -> Result<Attr> {
        if hidden::is_hidden(ino) {
            // `echo … > .ctl` truncates first: nothing to do. Anything else is refused.
            if set.mode.is_none() && set.uid.is_none() && set.gid.is_none() {
                return self.hidden_attr(ino).await;
            }
            return Err(Error::new(Kind::Reserved, "outputfs keeps this file for itself"));
        }
        if let Some(size) = set.size {
            self.truncate(ino, size, set.fh, caller).await?;
        }
        let rest =
            set.mode.is_some() || set.uid.is_some() || set.gid.is_some() || set.atime.is_some() || set.mtime.is_some();
        if rest {
            self.change(ino, set).await?;
        }
        self.getattr(ino).await
    }

    async fn change(&self, ino: Ino, set: SetAttr) -> Result<()> {
        let now = self.now();
        let live = self.live_of(ino);
        if let Some(live) = &live {
            let only_here = {
                let mut st = live.state.lock();
                apply(&mut st, set, now)?;
                st.pending.is_some() || st.orphan
            };
            if only_here {
                return Ok(());
            }
        }
        let change = AttrChange {
            mode: set.mode,
            uid: set.uid,
            gid: set.gid,
            atime: set.atime,
            mtime: set.mtime,
            ctime: Some(now),
        };
        self.store.catalog.set_attributes(self.store.origin, ino, change).await.map(|_| ())
    }

    async fn truncate(self: &Arc<Self>, ino: Ino, size: u64, fh: Option<u64>, caller: Caller) -> Result<()> {
        if let Some(live) = self.live_of(ino)
            && live.state.lock().staged.is_some()
        {
            if !live.is_pending() {
                self.refuse_sealed(live.session).await?;
            }
            let saving = live.save.lock().await;
            if live.state.lock().staged.is_some() {
                if fh.is_none() {
                    self.preserve(&live).await?;
                }
                self.ungrow(&live).await?;
                self.truncate_staged(&live, size)?;
                // Through a path on a file that lingers after its last close: no close will come to save it.
                let unowned = fh.is_none() && live.state.lock().writers == 0;
                drop(saving);
                return if unowned { self.save(&live, Why::Birth).await } else { Ok(()) };
            }
        }
        // truncate(2) on a closed file: an open, a cut and a close.
        let mode = OpenMode { write: true, read: false, truncate: size == 0, append: false, exclusive: false };
        let opened = self.open_file(ino, mode, caller).await?;
        let cut = async {
            if size > 0
                && let Some(live) = self.live_of(ino)
            {
                let _saving = live.save.lock().await;
                self.ungrow(&live).await?;
                self.truncate_staged(&live, size)?;
            }
            if let Some(live) = self.live_of(ino) {
                self.save(&live, Why::Birth).await?;
            }
            Ok(())
        }
        .await;
        self.release(opened.fh);
        cut
    }

    /// Cuts or extends the staging file. Holds the save lock.
    pub(super) fn truncate_staged(&self, live: &Live, size: u64) -> Result<()> {
        let mut st = live.state.lock();
        let Some(staged) = st.staged.as_mut() else { return Ok(()) };
        Self::count_write(live);
        staged.file.file.set_len(size).map_err(|e| Error::io(&staged.file.path, &e))?;
        st.mtime_set = None;
        Ok(())
    }
}

fn apply(st: &mut super::live::State, set: SetAttr, now: Timestamp) -> Result<()> {
    if let Some(mode) = set.mode {
        st.mode = mode & 0o7777;
    }
    if let Some(uid) = set.uid {
        st.uid = uid;
    }
    if let Some(gid) = set.gid {
        st.gid = gid;
    }
    if let Some(atime) = set.atime {
        st.atime = atime;
    }
    if let Some(mtime) = set.mtime {
        let at = match &st.staged {
            Some(s) => s.file.stamp()?.ctime,
            None => now,
        };
        st.mtime_set = Some((mtime, at));
    }
    st.ctime = now;
    Ok(())
}
