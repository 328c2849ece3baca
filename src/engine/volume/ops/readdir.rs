//! Listing a directory: what the catalog holds and what is not committed yet, in cookie order.

use std::collections::HashSet;

use crate::artifact::ids::Ino;
use crate::artifact::name::Name;
use crate::artifact::permission::Who;
use crate::artifact::record::DirEntry;
use crate::artifact::{Kind, Result};
use crate::engine::failpoints::hit;

use crate::engine::volume::Caller;
use crate::engine::volume::Volume;
use crate::engine::volume::hidden;
use crate::engine::volume::inode::attr::Attr;
use crate::engine::volume::inode::overlay;

/// One entry of a listing; `cookie` is where the next page starts after it.
pub struct Listed {
    pub cookie: u64,
    pub name: Vec<u8>,
    pub attr: Attr,
}

/// Entries fetched from the catalog at once: what one READDIRPLUS reply of 32 KiB to 1 MiB can hold at most.
const PAGE: u32 = 512;

impl Volume {
    /// Entries after `cookie` (0: from the start); `.` and `..` come first. Empty: the end.
    ///
    /// # Errors
    /// `NotFound` when the directory is gone.
    pub async fn list(&self, dir: Ino, cookie: u64, caller: Caller) -> Result<Vec<Listed>> {
        if hidden::is_hidden(dir) {
            return self.list_hidden(dir, cookie, &Who::is_calling(caller)).await;
        }
        if self.scratch.is(dir) {
            return self.scratch_dir(dir, cookie).await;
        }
        // Numbers from the catalog's sequence are above 2: the first two cookies are free for these.
        let mut out = Vec::new();
        if cookie < 2 {
            let me = self.getattr(dir).await?;
            if cookie < 1 {
                out.push(Listed { cookie: 1, name: b".".to_vec(), attr: me });
            }
            let up = if dir == self.root { me } else { self.parent_attr(dir, me).await? };
            out.push(Listed { cookie: 2, name: b"..".to_vec(), attr: up });
        }
        let after = cookie.max(2);
        let mark = self.inodes.departed.mark();
        let before = self.inodes.overlay.lock().list(dir, after);
        let entries = self.store.catalog.list(dir, after, PAGE, self.now()).await?;
        let last = if entries.len() < PAGE as usize { u64::MAX } else { entries.last().map_or(u64::MAX, |e| e.cookie) };
        hit("list::after_catalog")?;
        let pending = self.inodes.overlay.lock().list(dir, after);
        let uncommitted: HashSet<&Name> = pending.iter().map(|(name, _)| name).collect();
        let meanwhile = self.committed_meanwhile(dir, before, &uncommitted, &entries).await?;
        for entry in entries.into_iter().chain(meanwhile).filter(|e| e.cookie <= last) {
            // An uncommitted file stands before a committed one of the same name.
            if !uncommitted.contains(&entry.name) {
                let attr = match self.attr_of_read(entry.node, mark).await {
                    Err(e) if e.kind == Kind::NotFound => continue,
                    attr => attr?,
                };
                out.push(Listed { cookie: entry.cookie, name: entry.name.as_bytes().to_vec(), attr });
            }
        }
        for (name, entry) in pending.into_iter().filter(|(_, e)| e.cookie <= last) {
            out.push(Listed {
                cookie: entry.cookie,
                name: name.as_bytes().to_vec(),
                attr: self.attr_of_pending(&entry.live)?,
            });
        }
        for entry in self.scratch_list(dir, after).await? {
            if entry.cookie <= last && !out.iter().any(|e| e.name == entry.name) {
                out.push(entry);
            }
        }
        out.sort_by_key(|e| e.cookie);
        Ok(out)
    }

    /// Those of `before` that were committed after the catalog was read: in neither of the two lists, though they were there all the time.
    async fn committed_meanwhile(
        &self,
        dir: Ino,
        before: Vec<(Name, overlay::Entry)>,
        uncommitted: &HashSet<&Name>,
        committed: &[DirEntry],
    ) -> Result<Vec<DirEntry>> {
        let mut gone: Vec<_> = before.into_iter().filter(|(name, _)| !uncommitted.contains(name)).collect();
        if !gone.is_empty() {
            let listed: HashSet<&Name> = committed.iter().map(|e| &e.name).collect();
            gone.retain(|(name, _)| !listed.contains(name));
        }
        let mut found = Vec::new();
        for (name, entry) in gone {
            if let Some(node) = self.store.catalog.lookup(dir, &name, self.now()).await? {
                found.push(DirEntry { cookie: entry.cookie, name, node });
            }
        }
        Ok(found)
    }

    async fn parent_attr(&self, dir: Ino, fallback: Attr) -> Result<Attr> {
        match self.store.catalog.place(dir).await? {
            Some((parent, _)) => self.getattr(parent).await,
            None => Ok(fallback),
        }
    }
}
