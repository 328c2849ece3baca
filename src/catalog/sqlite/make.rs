//! What makes names: tenants, sessions, directories, symlinks, special files, hard links. And attributes.

use super::codec::{self, SESSION, int};
use super::{changes, remove, tree};
use crate::artifact::ids::{Ino, SessionId, TenantId};
use crate::artifact::name::{Name, SessionName, TenantName};
use crate::artifact::record::{Node, NodeKind, Session, Tenant};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::sql::{Connection, OptionalExtension, params};
use crate::catalog::{AttrChange, NewDirs, NewNode, Origin};

/// Names one inode may have: ext4's limit, which programs know.
const NLINK_MAX: u32 = 65_000;

/// Directories that a tenant may have at least, however few artifacts it may have.
const DIRECTORIES_MIN: u64 = 1000;

pub fn find_tenant(c: &Connection, name: &TenantName) -> Result<Option<Tenant>> {
    let sql = "SELECT id, name, root, ttl, defaults, max_bytes, max_artifacts, max_file_bytes \
        FROM tenants WHERE name = ?";
    let row = c
        .prepare_cached(sql)?
        .query_row([name.as_str()], |r| {
            let ttl: String = r.get(3)?;
            Ok((
                Tenant {
                    id: TenantId(r.get(0)?),
                    name: r.get(1)?,
                    root: codec::ino(r, 2)?,
                    ttl: crate::artifact::time::Ttl::DEFAULT,
                    defaults: codec::json(r, 4)?,
                    max_bytes: codec::opt_uint(r, 5)?,
                    max_artifacts: codec::opt_uint(r, 6)?,
                    max_file_bytes: codec::opt_uint(r, 7)?,
                },
                ttl,
            ))
        })
        .optional()?;
    row.map(|(tenant, ttl)| Ok(Tenant { ttl: ttl.parse()?, ..tenant })).transpose()
}

pub fn tenant(c: &Connection, name: &TenantName, now: Timestamp) -> Result<Tenant> {
    if let Some(tenant) = find_tenant(c, name)? {
        return Ok(tenant);
    }
    let root = codec::draw(c, 1)?;
    // The root has no name and so needs no cookie.
    c.execute(
        "INSERT INTO inodes(ino, session, kind, mode, uid, gid, rdev, nlink, size, atime, mtime, ctime) \
         VALUES (?1, 0, ?2, 493, 0, 0, 0, 2, 4096, ?3, ?3, ?3)",
        params![int(root), codec::kind_code(NodeKind::Dir), now.0],
    )?;
    c.execute("INSERT INTO tenants(name, root, created) VALUES (?, ?, ?)", params![name.as_str(), int(root), now.0])?;
    find_tenant(c, name)?.ok_or_else(|| Error::internal("catalog: a tenant vanished as it was made"))
}

pub fn session(c: &Connection, tenant: TenantId, name: &SessionName) -> Result<Option<Session>> {
    let sql = format!("SELECT {SESSION} FROM sessions s WHERE s.tenant = ? AND s.name = ?");
    Ok(c.prepare_cached(&sql)?.query_row(params![tenant.0, name.as_str()], codec::session).optional()?)
}

pub fn session_by_id(c: &Connection, id: SessionId) -> Result<Option<Session>> {
    let sql = format!("SELECT {SESSION} FROM sessions s WHERE s.id = ?");
    Ok(c.prepare_cached(&sql)?.query_row([id.0], codec::session).optional()?)
}

pub fn ensure_session(
    c: &Connection,
    origin: Origin,
    tenant: TenantId,
    name: &SessionName,
    owner: (u32, u32),
    now: Timestamp,
) -> Result<Session> {
    if let Some(session) = session(c, tenant, name)? {
        return Ok(session);
    }
    let parent: i64 = c
        .prepare_cached("SELECT root FROM tenants WHERE id = ?")?
        .query_row([tenant.0], |r| r.get(0))
        .optional()?
        .ok_or_else(|| Error::not_found("the tenant does not exist"))?;
    let first = codec::draw(c, 2)?;
    let node = NewNode {
        ino: Ino(first),
        cookie: first + 1,
        parent: Ino(u64::try_from(parent).unwrap_or(0)),
        name: Name::new(name.as_str().as_bytes())?,
        kind: NodeKind::Dir,
        mode: 0o755,
        uid: owner.0,
        gid: owner.1,
        rdev: 0,
        target: None,
        now,
    };
    make(c, origin, &node)?;
    session(c, tenant, name)?.ok_or_else(|| Error::internal("catalog: a session vanished as it was made"))
}

pub fn make(c: &Connection, origin: Origin, n: &NewNode) -> Result<Node> {
    let parent = tree::writable_dir(c, n.parent)?;
    tree::check_reserved(c, &parent, &n.name)?;
    if n.kind == NodeKind::File {
        return Err(Error::internal("a file comes into being by its first commit"));
    }
    let session_name = match (parent.session, n.kind) {
        (SessionId::NONE, NodeKind::Dir) => Some(n.name.to_string().parse::<SessionName>()?),
        (SessionId::NONE, _) => return Err(tree::outside_sessions(&n.name)),
        _ => None,
    };
    remove::make_room(c, origin, n.parent, &n.name, n.now)?;
    let session = match session_name {
        Some(name) => {
            c.prepare_cached(
                "INSERT INTO sessions(tenant, name, root, created) \
                 SELECT id, ?2, ?3, ?4 FROM tenants WHERE root = ?1",
            )?
            .execute(params![int(n.parent.0), name.as_str(), int(n.ino.0), n.now.0])?;
            SessionId(c.last_insert_rowid()?)
        }
        None => parent.session,
    };
    if n.kind == NodeKind::Dir {
        check_directories(c, session)?;
    }
    let size = match n.kind {
        NodeKind::Dir => 4096,
        _ => n.target.as_ref().map_or(0, |t| t.len() as u64),
    };
    tree::insert(c, n, session, size, n.now)?;
    changes::entry(c, origin, n.parent, &n.name)?;
    read_back(c, n.ino)
}

/// Answers the last directory, and parent and name of those that were made.
pub fn make_dirs(c: &Connection, origin: Origin, dirs: &NewDirs, now: Timestamp) -> Result<(Ino, Vec<(Ino, Name)>)> {
    let (mut at, mut made) = (dirs.root, Vec::new());
    for name in &dirs.path {
        let found = tree::entry(c, at, name, now)?.filter(|e| !e.expired).map(|e| e.node);
        let node = match found {
            Some(node) => node,
            None => {
                let first = codec::draw(c, 2)?;
                let new = NewNode {
                    ino: Ino(first),
                    cookie: first + 1,
                    parent: at,
                    name: name.clone(),
                    kind: NodeKind::Dir,
                    mode: 0o755,
                    uid: dirs.uid,
                    gid: dirs.gid,
                    rdev: 0,
                    target: None,
                    now,
                };
                made.push((at, name.clone()));
                make(c, origin, &new)?
            }
        };
        if node.kind != NodeKind::Dir {
            return Err(Error::new(Kind::NotADirectory, format!("'{name}' is not a directory")));
        }
        at = node.ino;
    }
    Ok((at, made))
}

/// Directories are rows too: a tenant with a limit on its artifacts may have as many of them.
fn check_directories(c: &Connection, session: SessionId) -> Result<()> {
    let sql = "SELECT t.id, t.max_artifacts FROM sessions s JOIN tenants t ON t.id = s.tenant WHERE s.id = ?";
    let limit =
        c.prepare_cached(sql)?.query_row([session.0], |r| Ok((r.get::<i64>(0)?, codec::opt_uint(r, 1)?))).optional()?;
    let Some((tenant, Some(max))) = limit else { return Ok(()) };
    // Those of artifacts without a session stand for no directory that anybody made.
    let sql = "SELECT count(*) FROM sessions s JOIN inodes i ON i.session = s.id \
        WHERE s.tenant = ? AND s.name <> '' AND i.kind = 1 AND i.nlink > 0";
    let count = c.prepare_cached(sql)?.query_row([tenant], |r| codec::uint(r, 0))?;
    let max = max.max(DIRECTORIES_MIN);
    if count >= max {
        let text = format!("the tenant's quota is used up: it has {count} directories of {max}");
        return Err(Error::new(Kind::OverQuota, text));
    }
    Ok(())
}

pub fn link(
    c: &Connection,
    origin: Origin,
    ino: Ino,
    parent: Ino,
    name: &Name,
    cookie: u64,
    now: Timestamp,
) -> Result<Node> {
    let dir = tree::writable_dir(c, parent)?;
    let node = tree::node(c, ino, now)?.ok_or_else(|| Error::not_found(format!("inode {ino} does not exist")))?;
    if node.kind == NodeKind::Dir {
        return Err(Error::new(Kind::Reserved, "a directory cannot have a second name"));
    }
    if dir.session == SessionId::NONE {
        return Err(tree::outside_sessions(name));
    }
    if dir.session != node.session {
        return Err(across());
    }
    tree::check_reserved(c, &dir, name)?;
    remove::make_room(c, origin, parent, name, now)?;
    add_link(c, origin, &node, parent, name, cookie, now)?;
    read_back(c, ino)
}

/// A further name for `node`, the checks done.
pub fn add_link(
    c: &Connection,
    origin: Origin,
    node: &Node,
    parent: Ino,
    name: &Name,
    cookie: u64,
    now: Timestamp,
) -> Result<()> {
    if node.nlink >= NLINK_MAX {
        return Err(Error::new(Kind::TooManyLinks, format!("a file has at most {NLINK_MAX} names")));
    }
    tree::add_name(c, cookie, parent, name, node.ino)?;
    c.prepare_cached("UPDATE inodes SET nlink = nlink + 1, ctime = ? WHERE ino = ?")?
        .execute(params![now.0, int(node.ino.0)])?;
    tree::touch_dir(c, parent, 0, now)?;
    changes::entry(c, origin, parent, name)?;
    changes::inode(c, origin, node.ino)
}

pub fn across() -> Error {
    Error::new(Kind::CrossSession, "a name cannot move or be linked from one session to another: copy the file instead")
}

pub fn set_attributes(c: &Connection, origin: Origin, ino: Ino, change: &AttrChange) -> Result<Node> {
    let node = tree::node_any(c, ino)?.ok_or_else(|| Error::not_found(format!("inode {ino} does not exist")))?;
    tree::writable(c, &node)?;
    c.prepare_cached(
        "UPDATE inodes SET mode = coalesce(?2, mode), uid = coalesce(?3, uid), gid = coalesce(?4, gid), \
         atime = coalesce(?5, atime), mtime = coalesce(?6, mtime), ctime = coalesce(?7, ctime) WHERE ino = ?1",
    )?
    .execute(params![
        int(ino.0),
        change.mode.map(|m| m & 0o7777),
        change.uid,
        change.gid,
        change.atime.map(|t| t.0),
        change.mtime.map(|t| t.0),
        change.ctime.map(|t| t.0)
    ])?;
    changes::inode(c, origin, ino)?;
    read_back(c, ino)
}

fn read_back(c: &Connection, ino: Ino) -> Result<Node> {
    tree::node_any(c, ino)?
        .ok_or_else(|| Error::internal(format!("catalog: inode {ino} vanished within a transaction")))
}
