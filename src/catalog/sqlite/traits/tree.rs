//! The transactions of [`Tree`].

use async_trait::async_trait;

use super::super::rename::End;
use super::super::{
    LIST_INLINE, SqliteCatalog, clear, codec, commit, find, make, paths, remove, rename, sweep, tree, write_something,
};
use crate::artifact::Result;
use crate::artifact::ids::{Ino, TenantId};
use crate::artifact::name::Name;
use crate::artifact::record::{DirEntry, Node};
use crate::artifact::time::Timestamp;
use crate::catalog::Tree;
use crate::catalog::upkeep::{Cleared, ExpiredName};
use crate::catalog::{AttrChange, NewDirs, NewNode, Origin, Removed, RenameMode};

#[async_trait]
impl Tree for SqliteCatalog {
    async fn lookup(&self, parent: Ino, name: &Name, now: Timestamp) -> Result<Option<Node>> {
        self.readers.read(|c| Ok(tree::entry(c, parent, name, now)?.filter(|e| !e.expired).map(|e| e.node)))
    }

    async fn node(&self, ino: Ino, now: Timestamp) -> Result<Option<Node>> {
        self.readers.read(|c| tree::node(c, ino, now))
    }

    async fn place(&self, ino: Ino) -> Result<Option<(Ino, Name)>> {
        self.readers.read(|c| paths::place(c, ino))
    }

    async fn places(&self, ino: Ino) -> Result<Vec<(Ino, Name)>> {
        self.readers.read(|c| paths::places(c, ino))
    }

    async fn path(&self, ino: Ino) -> Result<Vec<u8>> {
        self.readers.snapshot(|c| paths::path(c, ino))
    }

    async fn list(&self, dir: Ino, after: u64, limit: u32, now: Timestamp) -> Result<Vec<DirEntry>> {
        if limit <= LIST_INLINE {
            return self.readers.read(|c| find::list(c, dir, after, limit, now));
        }
        self.scan(move |c| find::list(c, dir, after, limit, now)).await
    }

    async fn reserve(&self, count: u64) -> Result<u64> {
        // Durable: a journal of a mount may name a number that the catalog, after a power failure, would give again.
        self.durable(move |c| codec::draw(c, count)).await
    }

    async fn make(&self, origin: Origin, node: NewNode) -> Result<Node> {
        self.change(move |c| make::make(c, origin, &node)).await
    }

    async fn make_dirs(&self, origin: Origin, dirs: NewDirs, now: Timestamp) -> Result<(Ino, Vec<(Ino, Name)>)> {
        self.change(move |c| make::make_dirs(c, origin, &dirs, now)).await
    }

    async fn link(
        &self,
        origin: Origin,
        ino: Ino,
        parent: Ino,
        name: Name,
        cookie: u64,
        now: Timestamp,
    ) -> Result<Node> {
        self.change(move |c| make::link(c, origin, ino, parent, &name, cookie, now)).await
    }

    async fn unlink(&self, origin: Origin, parent: Ino, name: &Name, now: Timestamp) -> Result<Removed> {
        let name = name.clone();
        self.removal(move |c| remove::unlink(c, origin, parent, &name, now)).await
    }

    async fn unlink_by(
        &self,
        origin: Origin,
        parent: Ino,
        name: &Name,
        by: Option<String>,
        now: Timestamp,
    ) -> Result<Removed> {
        let name = name.clone();
        self.removal(move |c| sweep::unlink_by(c, origin, parent, &name, by.as_deref(), now)).await
    }

    async fn clear(&self, origin: Origin, dir: Ino, limit: u32, now: Timestamp) -> Result<Cleared> {
        self.change(move |c| clear::clear(c, origin, dir, limit, now)).await
    }

    async fn rmdir(&self, origin: Origin, parent: Ino, name: &Name, now: Timestamp) -> Result<Removed> {
        let name = name.clone();
        self.removal(move |c| remove::rmdir(c, origin, parent, &name, now)).await
    }

    async fn rename(
        &self,
        origin: Origin,
        from: (Ino, &Name),
        to: (Ino, &Name),
        mode: RenameMode,
        cookies: (u64, u64),
        now: Timestamp,
    ) -> Result<Option<Removed>> {
        let (from, to) = ((from.0, from.1.clone()), (to.0, to.1.clone()));
        let rules = self.versions;
        self.change(move |c| {
            let from = End { parent: from.0, name: &from.1, cookie: cookies.1 };
            let to = End { parent: to.0, name: &to.1, cookie: cookies.0 };
            let removed = rename::rename(c, origin, &from, &to, mode, now)?;
            commit::prune(c, rules, (to.parent, to.name), now)?;
            Ok(removed)
        })
        .await
    }

    async fn set_attributes(&self, origin: Origin, ino: Ino, change: AttrChange) -> Result<Node> {
        self.change(move |c| make::set_attributes(c, origin, ino, &change)).await
    }

    async fn expired_names(
        &self,
        tenant: TenantId,
        after: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ExpiredName>> {
        self.readers.read(|c| sweep::expired_names(c, tenant, after, until, limit))
    }

    async fn sync(&self) -> Result<()> {
        self.durable(write_something).await?;
        self.writer.ahead().lost().map_or(Ok(()), Err)
    }
}
