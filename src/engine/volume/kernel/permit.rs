//! Who may pass where the kernel does not decide: hidden entries, which stand for inodes elsewhere, and commands in `.ctl`,
//! which name them by paths. The decision is [`may`]'s.

use crate::artifact::ids::Ino;
use crate::artifact::name::Name;
use crate::artifact::permission::{Act, Guard, Perm, Who, may};
use crate::artifact::{Error, Kind, Result};
use crate::catalog::guard::Guarded;

use crate::engine::volume::Caller;
use crate::engine::volume::Volume;
use crate::engine::volume::inode::attr::Attr;
use crate::engine::volume::kernel::process::groups;

impl Who {
    /// As the kernel says it of the caller, and `/proc` of its further groups. (It waits in a call on this mount, so its record
    /// is its own.) A process that cannot be seen from here has none.
    pub(in crate::engine::volume) fn is_calling(caller: Caller) -> Self {
        // Root needs none.
        let groups = if caller.uid == 0 { Vec::new() } else { groups(caller.pid) };
        Self { uid: caller.uid, gid: caller.gid, groups }
    }
}

impl From<&Attr> for Perm {
    fn from(attr: &Attr) -> Self {
        Self { mode: attr.mode, uid: attr.uid, gid: attr.gid }
    }
}

/// # Errors
/// `Forbidden`, with a sentence about `what`.
pub(in crate::engine::volume) fn permit(who: &Who, guard: &Guard, act: Act, what: &str) -> Result<()> {
    if may(who, guard, act) {
        return Ok(());
    }
    let uid = who.uid;
    let text = if may(who, guard, Act::See) {
        let (mode, owner) = (guard.own.mode & 0o7777, guard.own.uid);
        let verb = match act {
            Act::See | Act::List => "see",
            Act::Read => "read",
            Act::Write => "write",
            Act::MakeIn => "make files in",
            Act::Remove => "remove",
            Act::Own => "change, as only its owner and root may,",
        };
        format!("uid {uid} may not {verb} '{what}': it belongs to uid {owner}, mode {mode:04o}")
    } else {
        // Not even whether it exists is said.
        format!("{what}: uid {uid} may not search the directories that lead there")
    };
    Err(Error::new(Kind::Forbidden, text))
}

impl Volume {
    /// # Errors
    /// `NotFound` when it is gone.
    pub(in crate::engine::volume) async fn guard(&self, of: Guarded) -> Result<Guard> {
        let found = self.store.catalog.guard(of, self.root).await?;
        found.ok_or_else(|| Error::not_found("the file is gone"))
    }

    /// Walks as `who` from directory `root` to the last of `names`, every directory on the way asked. `Err` of kind `NotFound`
    /// comes with what stands before the last directory that is there.
    pub(in crate::engine::volume) async fn walk_as(&self, who: &Who, root: Ino, names: &[Name]) -> Result<Walked> {
        let mut attr = self.getattr(root).await?;
        let mut guard = self.guard(Guarded::Inode(root)).await?;
        for name in names {
            let inside = Guard { own: guard.own, above: [&[guard.own], &*guard.above].concat().into() };
            permit(who, &inside, Act::See, &name.to_string())?;
            attr = match self.look(attr.ino, name, || who.clone()).await {
                Err(e) if e.kind == Kind::NotFound => return Ok(Walked::Missing(e, guard)),
                found => found?,
            };
            guard = Guard { own: self.perm_of(&attr).await?, above: inside.above };
        }
        Ok(Walked::Found(attr, guard))
    }

    /// Its true mode, which a seal hides.
    async fn perm_of(&self, attr: &Attr) -> Result<Perm> {
        let known = self.store.catalog.guard(Guarded::Inode(attr.ino), attr.ino).await?;
        Ok(known.map_or_else(|| Perm::from(attr), |guard| guard.own))
    }
}

/// Where a path led.
pub(in crate::engine::volume) enum Walked {
    Found(Attr, Guard),
    /// No such file, and the last directory that is there.
    Missing(Error, Guard),
}
