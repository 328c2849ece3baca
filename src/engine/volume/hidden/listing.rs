//! Listings of hidden directories: asked of the catalog once, kept while they are in use, served by the page. A name
//! that is looked up is looked up in the listing, and what it leads to asked of the catalog alone.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::artifact::Result;
use crate::artifact::ids::{ArtifactId, Ino, SessionId};
use crate::artifact::name::{NAME_MAX, Name};
use crate::artifact::permission::{Act, Guard, Who, may};
use crate::artifact::query::Query;
use crate::artifact::record::{Artifact, Life, NodeKind};
use crate::artifact::time::Timestamp;
use crate::catalog::guard::Guarded;
use crate::engine::volume::Volume;
use crate::engine::volume::hidden::What;
use crate::engine::volume::hidden::path_of;
use crate::engine::volume::hidden::some;
use crate::engine::volume::hidden::target_of;
use crate::engine::volume::ops::readdir::Listed;

/// Entries of one answer: about what a reply holds.
const PAGE: usize = 128;
/// Listings kept, of the directories that were listed last.
const KEPT: usize = 4;
/// How long one is kept that nobody asks for.
const IDLE: Duration = Duration::from_secs(10);
/// Entries of all of them together; the newest is kept however many it has.
const ENTRIES_MAX: usize = 100_000;

/// What a listing shows of an artifact. When another stands there by now, the name is looked for anew.
#[derive(PartialEq, Eq)]
struct Shown {
    id: ArtifactId,
    filename: Vec<u8>,
    version: u64,
    trashed: bool,
}

impl Shown {
    fn of(a: &Artifact) -> Self {
        Self { id: a.id, filename: a.filename.clone(), version: a.version, trashed: a.life == Life::Trashed }
    }
}

struct Row {
    name: Vec<u8>,
    what: What,
    guard: Guard,
    size: u64,
    at: Timestamp,
    shown: Option<Shown>,
}

/// A directory as it was listed.
struct Listing {
    dir: What,
    rows: Vec<Row>,
    by_name: HashMap<Vec<u8>, usize>,
    used: Mutex<Instant>,
}

/// The last ones, the newest at the end.
#[derive(Default)]
pub struct Listings(Mutex<VecDeque<Arc<Listing>>>);

impl Listings {
    fn get(&self, dir: &What) -> Option<Arc<Listing>> {
        let found = self.0.lock().iter().find(|l| l.dir == *dir).cloned()?;
        *found.used.lock() = Instant::now();
        Some(found)
    }

    fn put(&self, listing: Arc<Listing>) {
        let mut kept = self.0.lock();
        kept.retain(|l| l.dir != listing.dir);
        kept.push_back(listing);
        while kept.len() > KEPT || (kept.len() > 1 && kept.iter().map(|l| l.rows.len()).sum::<usize>() > ENTRIES_MAX) {
            kept.pop_front();
        }
    }

    /// Those that nobody asked for since go.
    pub fn drop_idle(&self) {
        self.0.lock().retain(|l| l.used.lock().elapsed() < IDLE);
    }
}

impl Volume {
    /// Entries after `cookie`, of those that `who` may know of; empty: the end.
    pub(in crate::engine::volume) async fn list_hidden(&self, dir: Ino, cookie: u64, who: &Who) -> Result<Vec<Listed>> {
        let what = self.hidden.table.what(dir)?;
        self.pass(&what, who, Act::See, "this directory").await?;
        let mut entries = Vec::new();
        if cookie < 2 {
            let me = self.hidden_attr(dir).await?;
            for (at, name) in [(1, "."), (2, "..")] {
                entries.push(Listed { cookie: at, name: name.as_bytes().to_vec(), attr: me });
            }
            entries.drain(..usize::try_from(cookie).unwrap_or(0));
        }
        let known = if cookie == 0 { None } else { self.hidden.listings.get(&what) };
        let listing = match known {
            Some(listing) => listing,
            None => self.list_anew(what).await?,
        };
        // Positions, not keys: a listing stays as it is until its end.
        let from = usize::try_from(cookie.saturating_sub(2)).unwrap_or(usize::MAX);
        let rows = listing.rows.iter().enumerate().skip(from).filter(|(_, row)| row.is_for(who));
        for (at, row) in rows.take(PAGE) {
            let attr = self.hidden_node(row.what.clone(), &row.guard, row.size, row.at);
            entries.push(Listed { cookie: at as u64 + 3, name: row.name.clone(), attr });
        }
        Ok(entries)
    }

    async fn list_anew(&self, dir: What) -> Result<Arc<Listing>> {
        let rows = self.rows(&dir).await?;
        let by_name = rows.iter().enumerate().map(|(at, row)| (row.name.clone(), at)).collect();
        let listing = Arc::new(Listing { dir, rows, by_name, used: Mutex::new(Instant::now()) });
        self.hidden.listings.put(listing.clone());
        Ok(listing)
    }

    /// What `name` leads to in a directory whose names no query finds one by one.
    pub(in crate::engine::volume) async fn listed(&self, dir: &What, name: &Name) -> Result<Option<What>> {
        if let Some(listing) = self.hidden.listings.get(dir)
            && let Some(row) = listing.by_name.get(name.as_bytes()).and_then(|at| listing.rows.get(*at))
            && self.is_still(dir, row).await?
        {
            return Ok(Some(row.what.clone()));
        }
        let listing = self.list_anew(dir.clone()).await?;
        let row = listing.by_name.get(name.as_bytes()).and_then(|at| listing.rows.get(*at));
        Ok(row.map(|row| row.what.clone()))
    }

    async fn is_still(&self, dir: &What, row: &Row) -> Result<bool> {
        let Some(shown) = &row.shown else { return Ok(true) };
        let now = self.store.catalog.artifact(self.store.tenant.id, shown.id, self.now()).await?;
        Ok(now.is_some_and(|now| {
            let fits = match dir {
                What::Where(_, conditions) => conditions.iter().all(|(k, v)| now.metadata.get(k) == Some(v)),
                _ => true,
            };
            fits && Shown::of(&now) == *shown && (now.life == Life::Live || !matches!(dir, What::Where(..)))
        }))
    }

    async fn rows(&self, dir: &What) -> Result<Vec<Row>> {
        let now = self.now();
        let all = |session: SessionId| Query { session: some(session), ..Query::all(self.store.tenant.id) };
        match dir {
            What::Where(session, conditions) if !conditions.is_empty() => self.matches(*session, conditions).await,
            What::VersionsOf(parent, name) => {
                let versions = self.store.telling(|| self.store.catalog.versions(*parent, name, now)).await?;
                self.of_artifacts(versions, |a| a.version.to_string().into_bytes()).await
            }
            What::Versions(real) => self.versioned(*real, now).await,
            What::ById(session) => {
                self.of_artifacts(self.all(all(*session)).await?, |a| a.id.to_string().into_bytes()).await
            }
            What::Trash(session) => {
                let trashed = self.all(Query { life: Life::Trashed, ..all(*session) }).await?;
                self.of_artifacts(trashed, trash_name).await
            }
            _ => Ok(Vec::new()),
        }
    }

    async fn versioned(&self, real: Ino, now: Timestamp) -> Result<Vec<Row>> {
        let Some(guard) = self.store.catalog.guard(Guarded::Inode(real), self.root).await? else {
            return Ok(Vec::new());
        };
        let mut rows = Vec::new();
        for entry in self.store.catalog.list(real, 0, u32::MAX, now).await? {
            let (what, guard) = match entry.node.kind {
                NodeKind::Dir => {
                    let dir = entry.node.ino;
                    let Some(guard) = self.store.catalog.guard(Guarded::Inode(dir), self.root).await? else { continue };
                    (What::Versions(dir), guard)
                }
                NodeKind::File => (What::VersionsOf(real, entry.name.clone()), guard.clone()),
                _ => continue,
            };
            rows.push(Row { name: entry.name.as_bytes().to_vec(), what, guard, size: 4096, at: now, shown: None });
        }
        Ok(rows)
    }

    async fn of_artifacts(&self, found: Vec<Artifact>, name: impl Fn(&Artifact) -> Vec<u8>) -> Result<Vec<Row>> {
        self.guarded_rows(found, |a, guard| Row {
            name: name(&a),
            what: if a.life == Life::Trashed { What::Trashed(a.id) } else { What::Artifact(a.id) },
            guard,
            size: a.size,
            at: shown_at(&a),
            shown: Some(Shown::of(&a)),
        })
        .await
    }

    async fn guarded_rows(&self, found: Vec<Artifact>, row: impl Fn(Artifact, Guard) -> Row) -> Result<Vec<Row>> {
        let of = found.iter().map(|a| Guarded::Artifact(a.id)).collect();
        let guards = self.store.catalog.guards(of, self.root).await?;
        Ok(found.into_iter().zip(guards).filter_map(|(a, guard)| Some(row(a, guard?))).collect())
    }

    /// What fulfils all conditions, as symlinks to the files themselves: by base name, or with the path's slashes
    /// turned into `__` where two share one. (They share it for everyone: what a name leads to does not depend on who asks.)
    async fn matches(&self, session: SessionId, conditions: &[(String, String)]) -> Result<Vec<Row>> {
        let query = Query { session: some(session), metadata: conditions.to_vec(), ..Query::all(self.store.tenant.id) };
        let artifacts = self.all(query).await?;
        let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
        for artifact in &artifacts {
            *seen.entry(base(artifact).to_vec()).or_default() += 1;
        }
        self.guarded_rows(artifacts, |a, guard| {
            let mut name = base(&a).to_vec();
            if seen.get(&name).is_some_and(|n| *n > 1) {
                let path = path_of(session, &a);
                name = path.iter().flat_map(|&b| if b == b'/' { b"__".to_vec() } else { vec![b] }).collect();
                name.truncate(NAME_MAX);
            }
            let size = target_of(session, conditions.len(), &a).len() as u64;
            let what = What::Pointer(session, conditions.len(), a.id);
            Row { name, what, guard, size, at: a.created, shown: Some(Shown::of(&a)) }
        })
        .await
    }

    /// All pages of a query.
    async fn all(&self, mut query: Query) -> Result<Vec<Artifact>> {
        let mut out = Vec::new();
        loop {
            let page = self.store.telling(|| self.store.catalog.find(&query, self.now())).await?;
            out.extend(page.artifacts);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(out),
            }
        }
    }
}

impl Row {
    fn is_for(&self, who: &Who) -> bool {
        may(who, &self.guard, Act::List)
    }
}

/// In the trash, the time of the deletion.
pub(super) fn shown_at(a: &Artifact) -> Timestamp {
    a.deleted.filter(|_| a.life == Life::Trashed).unwrap_or(a.created)
}

fn base(a: &Artifact) -> &[u8] {
    a.filename.rsplit(|&b| b == b'/').next().unwrap_or_default()
}

/// `<name>~<last 6 of the ID>`, so that two of one name stay apart.
fn trash_name(a: &Artifact) -> Vec<u8> {
    let id = a.id.to_string();
    let mut name = base(a).to_vec();
    name.truncate(NAME_MAX - 7);
    name.extend_from_slice(format!("~{}", &id[id.len() - 6..]).as_bytes());
    name
}
