//! Names in the scratch tree: looking up, listing, making, removing; attributes.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use crate::artifact::ids::{Ino, SessionId};
use crate::artifact::name::Name;
use crate::artifact::record::NodeKind;
use crate::artifact::time::Timestamp;
use crate::artifact::xattr;
use crate::artifact::{Error, Kind, Result};

use crate::engine::volume::Caller;
use crate::engine::volume::Volume;
use crate::engine::volume::inode::attr::Attr;
use crate::engine::volume::inode::attr::SetAttr;
use crate::engine::volume::ops::readdir::Listed;
use crate::engine::volume::scratch::known::id_of;
use crate::engine::volume::scratch::stat;

/// Our own attributes of a file are kept as they are named.
const OURS: &[u8] = b"user.artifact";

impl Volume {
    /// The scratch entry of that name. `None`: none, or the name is the catalog's business.
    pub(in crate::engine::volume) async fn scratch_lookup(&self, parent: Ino, name: &Name) -> Result<Option<Attr>> {
        let path = self.scratch.path_of(parent, name)?;
        let there = match stat(&path)? {
            // Made while the seal discarded the others.
            Some(_) if self.is_over(self.session_of_dir(parent).await?).await? => None,
            there => there,
        };
        match there {
            Some(meta) => {
                let (ino, _) = self.scratch_know(parent, name, &meta).await?;
                Ok(Some(attr_of(ino, &meta)))
            }
            None if self.scratch.is(parent) => Err(Error::not_found(format!("{name}: no such file"))),
            None => Ok(None),
        }
    }

    /// Inode number and cookie of a name that is there.
    pub(super) async fn scratch_know(&self, parent: Ino, name: &Name, meta: &Metadata) -> Result<(Ino, u64)> {
        let id = id_of(meta);
        if let Some(found) = self.scratch.known.lock().find(parent, name, id) {
            return Ok(found);
        }
        let session = self.session_of_dir(parent).await?;
        let (fresh, cookie) = (Ino(self.number().await?), self.number().await?);
        self.scratch.know((parent, name), id, fresh, cookie, session)
    }

    pub(super) async fn session_of_dir(&self, dir: Ino) -> Result<SessionId> {
        let known = self.scratch.known.lock().session(dir);
        match known {
            Some(session) => Ok(session),
            None => Ok(self.store.catalog.node(dir, self.now()).await?.map_or(SessionId::NONE, |n| n.session)),
        }
    }

    /// Scratch names of a directory with cookies above `after`, in cookie order.
    pub(in crate::engine::volume) async fn scratch_list(&self, dir: Ino, after: u64) -> Result<Vec<Listed>> {
        let path = self.scratch.dir_path(dir)?;
        let session = self.session_of_dir(dir).await?;
        let entries = match fs::read_dir(&path) {
            Ok(_) if self.is_over(session).await? => return Ok(Vec::new()),
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io(&path, &e)),
        };
        let mut out = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| Error::io(&path, &e))?;
            let bytes = std::os::unix::ffi::OsStringExt::into_vec(entry.file_name());
            // Removed meanwhile.
            let Ok(meta) = entry.metadata() else { continue };
            let name = Name::new(&bytes)?;
            let (ino, cookie) = self.scratch_know(dir, &name, &meta).await?;
            if cookie > after {
                out.push(Listed { cookie, name: bytes, attr: attr_of(ino, &meta) });
            }
        }
        out.sort_by_key(|e| e.cookie);
        Ok(out)
    }

    /// All of a scratch directory after `cookie`, with `.` and `..`.
    pub(in crate::engine::volume) async fn scratch_dir(&self, dir: Ino, cookie: u64) -> Result<Vec<Listed>> {
        let me = self.scratch_attr(dir)?;
        let mut out = Vec::new();
        if cookie < 1 {
            out.push(Listed { cookie: 1, name: b".".to_vec(), attr: me });
        }
        if cookie < 2 {
            let place = self.scratch.known.lock().place(dir);
            let up = match place {
                Some((parent, _)) if self.scratch.is(parent) => self.scratch_attr(parent)?,
                Some((parent, _)) => Attr { ino: parent, ..me },
                None => me,
            };
            out.push(Listed { cookie: 2, name: b"..".to_vec(), attr: up });
        }
        out.extend(self.scratch_list(dir, cookie.max(2)).await?);
        Ok(out)
    }

    /// True when a directory of the catalog's has scratch in it.
    pub(in crate::engine::volume) fn has_scratch(&self, dir: Ino) -> Result<bool> {
        let path = self.scratch.dir_path(dir)?;
        match fs::read_dir(&path) {
            Ok(mut entries) => Ok(entries.next().is_some()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io(&path, &e)),
        }
    }

    /// `stat(2)` of a scratch inode: of the open file where there is one.
    pub(in crate::engine::volume) fn scratch_attr(&self, ino: Ino) -> Result<Attr> {
        let open = self.inodes.get(ino).and_then(|l| l.staged_file());
        let meta = match open {
            Some(file) => file.file.metadata().map_err(|e| Error::io(&file.path, &e))?,
            None => {
                let path = self.scratch.path(ino)?;
                stat(&path)?.ok_or_else(|| Error::not_found("the scratch file is gone"))?
            }
        };
        Ok(attr_of(ino, &meta))
    }

    /// Sealed: it has no scratch any more, whatever still lies in the tree.
    async fn is_over(&self, session: SessionId) -> Result<bool> {
        match self.refuse_sealed(session).await {
            Err(e) if e.kind == Kind::Sealed => Ok(true),
            other => other.map(|()| false),
        }
    }

    /// What was just made, unless the session was sealed meanwhile: then it goes again, for the seal may have passed here before.
    pub(super) async fn scratch_made(&self, session: SessionId, path: &Path) -> Result<()> {
        let Err(e) = self.refuse_sealed(session).await else { return Ok(()) };
        let gone = match fs::remove_file(path) {
            Err(e) if e.kind() == std::io::ErrorKind::IsADirectory => fs::remove_dir(path),
            done => done,
        };
        match gone {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path, &e)),
            _ => Err(e),
        }
    }

    /// Refused in a sealed session; else the session.
    pub(super) async fn scratch_session(&self, dir: Ino) -> Result<SessionId> {
        let session = self.session_of_dir(dir).await?;
        self.refuse_sealed(session).await?;
        Ok(session)
    }

    /// Whether what is made under that name is scratch: its directory is, or the rules say so.
    pub(in crate::engine::volume) async fn goes_to_scratch(
        &self,
        parent: Ino,
        name: &Name,
        is_dir: bool,
    ) -> Result<bool> {
        if self.scratch.is(parent) {
            return Ok(true);
        }
        let session = self.session_of_dir(parent).await?;
        self.is_ignored(session, parent, name, is_dir).await
    }

    /// Directories, symlinks and special files.
    pub(in crate::engine::volume) async fn scratch_make(
        &self,
        parent: Ino,
        name: &Name,
        kind: NodeKind,
        mode: u32,
        rdev: u32,
        target: Option<&[u8]>,
        caller: Caller,
    ) -> Result<Attr> {
        let session = self.scratch_session(parent).await?;
        self.scratch.allow(0)?;
        let (mode, gid) = self.scratch_inherit(parent, kind, mode, caller.gid)?;
        let path = self.scratch_room(parent, name)?;
        let made = match kind {
            NodeKind::Dir => rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700)),
            NodeKind::Symlink => rustix::fs::symlink(target.unwrap_or_default(), &path),
            _ => {
                let kind = match kind {
                    NodeKind::Fifo => FileType::Fifo,
                    NodeKind::Socket => FileType::Socket,
                    NodeKind::Char => FileType::CharacterDevice,
                    NodeKind::Block => FileType::BlockDevice,
                    _ => FileType::RegularFile,
                };
                rustix::fs::mknodat(CWD, &path, kind, Mode::from_raw_mode(0o600), u64::from(rdev))
            }
        };
        made.map_err(|e| Error::io(&path, &e.into()))?;
        own(&path, caller.uid, gid)?;
        if kind != NodeKind::Symlink {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(|e| Error::io(&path, &e))?;
        }
        self.scratch_made(session, &path).await?;
        let attr = self.scratch_lookup(parent, name).await?;
        attr.ok_or_else(|| Error::not_found(format!("{name}: removed meanwhile")))
    }

    /// The path of a new name, in a directory that is there.
    pub(super) fn scratch_room(&self, parent: Ino, name: &Name) -> Result<std::path::PathBuf> {
        let dir = self.scratch.dir_path(parent)?;
        if !self.scratch.is(parent) {
            match fs::create_dir(&dir) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(Error::io(&dir, &e)),
                _ => {}
            }
        }
        Ok(dir.join(crate::engine::volume::scratch::os(name)))
    }

    /// As inode(7) has it for setgid directories.
    pub(super) fn scratch_inherit(&self, parent: Ino, kind: NodeKind, mode: u32, gid: u32) -> Result<(u32, u32)> {
        if !self.scratch.is(parent) {
            return Ok((mode, gid));
        }
        let dir = self.scratch_attr(parent)?;
        if dir.mode & 0o2000 == 0 {
            return Ok((mode, gid));
        }
        Ok((if kind == NodeKind::Dir { mode | 0o2000 } else { mode }, dir.gid))
    }

    /// Removes a name that is in the tree. `false`: it is not.
    pub(in crate::engine::volume) async fn scratch_remove(&self, parent: Ino, name: &Name, dir: bool) -> Result<bool> {
        let path = self.scratch.path_of(parent, name)?;
        let Some(meta) = stat(&path)? else {
            return if self.scratch.is(parent) {
                Err(Error::not_found(format!("{name}: no such file")))
            } else {
                Ok(false)
            };
        };
        self.scratch_session(parent).await?;
        if dir {
            rustix::fs::rmdir(&path).map_err(|e| match e {
                rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST => {
                    Error::new(Kind::NotEmpty, format!("{name}: the directory is not empty"))
                }
                e => Error::io(&path, &e.into()),
            })?;
        } else {
            if meta.is_dir() {
                return Err(Error::new(Kind::IsADirectory, format!("{name}: is a directory")));
            }
            rustix::fs::unlink(&path).map_err(|e| Error::io(&path, &e.into()))?;
        }
        self.scratch_gone(parent, name, &meta);
        Ok(true)
    }

    /// Forgets a name that was taken away.
    pub(super) fn scratch_gone(&self, parent: Ino, name: &Name, meta: &Metadata) {
        let Some(ino) = self.scratch.known.lock().forget(parent, name) else { return };
        if self.inodes.get(ino).is_none() && self.scratch.known.lock().drop_nameless(ino) && meta.nlink() <= 1 {
            let freed = meta.blocks() * 512;
            let used = &self.scratch.used;
            let _ =
                used.fetch_update(std::sync::atomic::Ordering::Relaxed, std::sync::atomic::Ordering::Relaxed, |n| {
                    Some(n.saturating_sub(freed))
                });
        }
    }

    pub(in crate::engine::volume) fn scratch_readlink(&self, ino: Ino) -> Result<Vec<u8>> {
        let path = self.scratch.path(ino)?;
        rustix::fs::readlink(&path, Vec::new())
            .map(std::ffi::CString::into_bytes)
            .map_err(|e| Error::io(&path, &e.into()))
    }

    /// `chmod`, `chown`, `utimensat`, `truncate`.
    pub(in crate::engine::volume) async fn scratch_setattr(&self, ino: Ino, set: SetAttr) -> Result<Attr> {
        let session = self.scratch.known.lock().session(ino).unwrap_or(SessionId::NONE);
        self.refuse_sealed(session).await?;
        let open = self.inodes.get(ino).and_then(|l| l.staged_file());
        let path = match &open {
            // Also of a file that has no name any more.
            Some(file) => {
                std::path::PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&*file.file)))
            }
            None => self.scratch.path(ino)?,
        };
        let follow = if open.is_some() { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        if let Some(size) = set.size {
            let file = match &open {
                Some(file) => file.file.clone(),
                None => std::sync::Arc::new(crate::engine::volume::scratch::content::open_rw(&path)?),
            };
            file.set_len(size).map_err(|e| Error::io(&path, &e))?;
            if let Some(live) = self.inodes.get(ino) {
                live.count_write();
            }
        }
        if set.uid.is_some() || set.gid.is_some() {
            let (uid, gid) = (set.uid.map(rustix::fs::Uid::from_raw), set.gid.map(rustix::fs::Gid::from_raw));
            rustix::fs::chownat(CWD, &path, uid, gid, follow).map_err(|e| Error::io(&path, &e.into()))?;
        }
        if let Some(mode) = set.mode {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777)).map_err(|e| Error::io(&path, &e))?;
        }
        if set.atime.is_some() || set.mtime.is_some() {
            let times = Timestamps { last_access: time_spec(set.atime), last_modification: time_spec(set.mtime) };
            rustix::fs::utimensat(CWD, &path, &times, follow).map_err(|e| Error::io(&path, &e.into()))?;
        }
        self.scratch_attr(ino)
    }

    pub(in crate::engine::volume) async fn scratch_getxattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        use xattr::{Attr as X, Fact};
        match X::for_read(name)? {
            X::Fact(Fact::State) => Ok(b"scratch".to_vec()),
            X::Fact(Fact::Session) => {
                let session = self.scratch.known.lock().session(ino).unwrap_or(SessionId::NONE);
                Ok(self.session_name(session).await?.to_string().into_bytes())
            }
            X::Fact(_) | X::Record => Err(no_attribute()),
            _ => {
                let path = self.scratch.path(ino)?;
                read_xattr(&path, name)
            }
        }
    }

    pub(in crate::engine::volume) fn scratch_listxattr(&self, ino: Ino) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        for name in xattr_names(&self.scratch.path(ino)?)? {
            if name.starts_with(b"user.") && !name.starts_with(OURS) {
                out.extend_from_slice(&name);
                out.push(0);
            }
        }
        Ok(out)
    }

    /// `value: None` removes.
    pub(in crate::engine::volume) async fn scratch_setxattr(
        &self,
        ino: Ino,
        name: &[u8],
        value: Option<&[u8]>,
        flags: i32,
    ) -> Result<()> {
        xattr::Attr::for_write(name)?;
        let session = self.scratch.known.lock().session(ino).unwrap_or(SessionId::NONE);
        self.refuse_sealed(session).await?;
        let path = self.scratch.path(ino)?;
        let done = match value {
            Some(value) => {
                let flags = XattrFlags::from_bits_truncate(flags.cast_unsigned());
                rustix::fs::lsetxattr(&path, name, value, flags)
            }
            None => rustix::fs::lremovexattr(&path, name),
        };
        done.map_err(|e| xattr_error(&path, e))
    }
}

fn no_attribute() -> Error {
    Error::new(Kind::NoSuchAttribute, "no such attribute")
}

fn xattr_error(path: &Path, e: rustix::io::Errno) -> Error {
    match e {
        rustix::io::Errno::NODATA => no_attribute(),
        rustix::io::Errno::EXIST => Error::new(Kind::AttributeExists, "the attribute exists"),
        rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::PERM => {
            Error::new(Kind::Unsupported, format!("{}: attributes cannot be kept here", path.display()))
        }
        rustix::io::Errno::TOOBIG | rustix::io::Errno::NOSPC | rustix::io::Errno::RANGE => {
            Error::new(Kind::NoSpace, "the attributes of one file are limited by the disk that holds scratch")
        }
        e => Error::io(path, &e.into()),
    }
}

pub(super) fn read_xattr(path: &Path, name: &[u8]) -> Result<Vec<u8>> {
    let mut value = vec![0; 64 << 10];
    let n = rustix::fs::lgetxattr(path, name, &mut value).map_err(|e| xattr_error(path, e))?;
    value.truncate(n);
    Ok(value)
}

pub(super) fn xattr_names(path: &Path) -> Result<Vec<Vec<u8>>> {
    let mut names = vec![0; 64 << 10];
    let n = match rustix::fs::llistxattr(path, &mut names) {
        Ok(n) => n,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(e) => return Err(xattr_error(path, e)),
    };
    Ok(names[..n].split(|b| *b == 0).filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect())
}

/// Gives a new file to who asked for it. Without privilege all is the daemon's, as the mount is.
pub(super) fn own(path: &Path, uid: u32, gid: u32) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).map_err(|e| Error::io(path, &e))
}

fn time_spec(at: Option<Timestamp>) -> Timespec {
    match at {
        Some(at) => {
            let (seconds, nanos) = at.parts();
            Timespec { tv_sec: seconds, tv_nsec: i64::from(nanos) }
        }
        None => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
    }
}

fn kind_of(meta: &Metadata) -> NodeKind {
    match meta.mode() & libc::S_IFMT {
        libc::S_IFDIR => NodeKind::Dir,
        libc::S_IFLNK => NodeKind::Symlink,
        libc::S_IFIFO => NodeKind::Fifo,
        libc::S_IFSOCK => NodeKind::Socket,
        libc::S_IFCHR => NodeKind::Char,
        libc::S_IFBLK => NodeKind::Block,
        _ => NodeKind::File,
    }
}

pub(super) fn attr_of(ino: Ino, meta: &Metadata) -> Attr {
    let time = |seconds, nanos: i64| Timestamp::from_parts(seconds, u32::try_from(nanos).unwrap_or(0));
    Attr {
        ino,
        kind: kind_of(meta),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        rdev: u32::try_from(meta.rdev()).unwrap_or(0),
        nlink: u32::try_from(meta.nlink()).unwrap_or(u32::MAX),
        size: meta.size(),
        blocks: meta.blocks(),
        atime: time(meta.atime(), meta.atime_nsec()),
        mtime: time(meta.mtime(), meta.mtime_nsec()),
        ctime: time(meta.ctime(), meta.ctime_nsec()),
        // Another mount on this state directory may change it, and nothing would tell.
        keep: false,
        expires: None,
    }
}
