//! [`fuser::Filesystem`]: every request, translated. One method a request; no decision is taken here.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use bytes::Bytes;
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow,
    WriteFlags,
};

use crate::artifact::ids::Ino;
use crate::artifact::name::Name;
use crate::artifact::record::NodeKind;
use crate::artifact::{Error, Result};
use crate::catalog::RenameMode;
use crate::engine::volume::inode::attr::Attr;
use crate::engine::volume::inode::attr::SetAttr;
use crate::engine::volume::inode::open_mode::OpenMode;
use crate::engine::volume::{Caller, Volume};

use super::convert::{
    errno, file_attr, from_kernel, kind, kind_of_mode, name_ttl, time_or_now, timestamp, ttl, xattr_reply,
};
use super::gone::asked_of_inode;
use super::opened::io_flags;
use super::reply::{Late, Lot, Waiter};
use super::tmpfile;

/// Largest single write the kernel sends: 1 MiB is where bigger gains nothing.
const MAX_WRITE: u32 = 1 << 20;
/// A new file's name and attributes have one time-out: short, because its size and times are about to change. (The kernel drops
/// the attributes itself at every write that it sees.)
const NEW: std::time::Duration = std::time::Duration::from_secs(1);
const GENERATION: Generation = Generation(0);

pub struct OutputFs {
    volume: Arc<Volume>,
    calls: Lot,
    want_passthrough: bool,
    ended: tokio::sync::watch::Sender<bool>,
}

/// A thread that takes requests ends with the mount, or by a panic: in either case the mount is over, though another thread may
/// still answer.
struct ThreadEnd(tokio::sync::watch::Sender<bool>);

impl Drop for ThreadEnd {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

thread_local! {
    static ON_THREAD: std::cell::OnceCell<ThreadEnd> = const { std::cell::OnceCell::new() };
}

impl OutputFs {
    pub fn new(
        volume: Arc<Volume>,
        runtime: tokio::runtime::Handle,
        want_passthrough: bool,
        ended: tokio::sync::watch::Sender<bool>,
    ) -> Self {
        Self { volume, calls: Lot::new(runtime), want_passthrough, ended }
    }

    fn wait(&self, req: &Request) -> Waiter<'_> {
        ON_THREAD.with(|end| _ = end.get_or_init(|| ThreadEnd(self.ended.clone())));
        Waiter { calls: &self.calls, deadline: self.volume.save_deadline(), tid: req.pid(), uid: req.uid() }
    }

    fn ino(&self, ino: INodeNo) -> Ino {
        from_kernel(ino, self.volume.root)
    }

    fn entry(&self, reply: ReplyEntry) -> impl FnOnce(Result<Attr>) + Send + 'static {
        let (root, v) = (self.volume.root, self.volume.clone());
        move |result| match result {
            Ok(attr) => {
                let now = v.store.clock.now();
                // Before the answer: the kernel may take it back as soon as it has it.
                v.told_of(attr.ino);
                reply.entry_with_ttls(&ttl(&attr, now), &name_ttl(&attr, now), &file_attr(&attr, root), GENERATION);
            }
            Err(e) => reply.error(errno(&e)),
        }
    }

    fn attr(&self, reply: ReplyAttr) -> impl FnOnce(Result<Attr>) + Send + 'static {
        let (root, clock) = (self.volume.root, self.volume.store.clock.clone());
        move |result| match result {
            Ok(attr) => reply.attr(&ttl(&attr, clock.now()), &file_attr(&attr, root)),
            Err(e) => reply.error(errno(&e)),
        }
    }
}

fn caller(req: &Request) -> Caller {
    Caller { uid: req.uid(), gid: req.gid(), pid: req.pid() }
}

fn name(name: &OsStr) -> Result<Name> {
    Name::new(name.as_bytes())
}

fn empty(reply: ReplyEmpty) -> impl FnOnce(Result<()>) + Send + 'static {
    move |result| match result {
        Ok(()) => reply.ok(),
        Err(e) => reply.error(errno(&e)),
    }
}

/// Answers a name that cannot be one, or goes on with it.
macro_rules! named {
    ($os:expr, $reply:expr) => {
        match name($os) {
            Ok(name) => name,
            Err(e) => return $reply.error(errno(&e)),
        }
    };
}

impl Filesystem for OutputFs {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let offered = config.capabilities();
        let passthrough = self.want_passthrough
            && offered.contains(InitFlags::FUSE_PASSTHROUGH)
            && rustix::process::geteuid().is_root()
            && config.set_max_stack_depth(1).is_ok();
        let mut wanted = vec![
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ATOMIC_O_TRUNC,
            InitFlags::FUSE_NO_OPENDIR_SUPPORT,
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_ASYNC_DIO,
        ];
        // Not together: with passthrough the kernel has no dirty pages of ours to write back.
        wanted.push(if passthrough { InitFlags::FUSE_PASSTHROUGH } else { InitFlags::FUSE_WRITEBACK_CACHE });
        let collects = !passthrough && offered.contains(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP);
        wanted.extend(collects.then_some(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP));
        for flag in wanted {
            if let Err(missing) = config.add_capabilities(flag) {
                tracing::debug!(?missing, "the kernel lacks a capability");
            }
        }
        if let Err(nearest) = config.set_max_write(MAX_WRITE) {
            tracing::debug!(nearest, "max_write");
        }
        if let Err(most) = config.set_max_readahead(MAX_WRITE) {
            // The kernel's own limit: take it. It was just named as the nearest that succeeds.
            config.set_max_readahead(most).map_err(|_| std::io::Error::other("read-ahead was refused twice"))?;
        }
        if let Err(nearest) = config.set_max_background(64) {
            tracing::debug!(nearest, "max_background");
        }
        self.volume.kernel.passthrough.store(passthrough, Ordering::Relaxed);
        self.volume.kernel.collects_writes.store(collects, Ordering::Relaxed);
        tracing::debug!(passthrough, "mounted");
        Ok(())
    }

    fn destroy(&mut self) {
        self.ended.send_replace(true);
    }

    fn lookup(&self, req: &Request, parent: INodeNo, os: &OsStr, reply: ReplyEntry) {
        let name = named!(os, reply);
        let (v, parent, who) = (self.volume.clone(), self.ino(parent), caller(req));
        self.wait(req).run(Late::Dropped, async move { v.lookup(parent, &name, who).await }, self.entry(reply));
    }

    fn forget(&self, _req: &Request, ino: INodeNo, lookups: u64) {
        self.volume.forget(self.ino(ino), lookups);
    }

    fn getattr(&self, req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let (v, ino) = (self.volume.clone(), self.ino(ino));
        self.wait(req).run(Late::Dropped, asked_of_inode!(v, ino, v.getattr(ino)), self.attr(reply));
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let (v, ino, who) = (self.volume.clone(), self.ino(ino), caller(req));
        let now = v.store.clock.now();
        let set = SetAttr {
            mode,
            uid,
            gid,
            size,
            atime: atime.map(|t| time_or_now(t, now)),
            mtime: mtime.map(|t| time_or_now(t, now)),
            kept_ctime: ctime.map(timestamp),
            fh: fh.map(|fh| fh.0),
        };
        self.wait(req).run(Late::Finished, asked_of_inode!(v, ino, v.setattr(ino, set, who)), self.attr(reply));
    }

    fn readlink(&self, req: &Request, ino: INodeNo, reply: ReplyData) {
        let (v, ino, who) = (self.volume.clone(), self.ino(ino), caller(req));
        self.wait(req).run(Late::Dropped, asked_of_inode!(v, ino, v.readlink(ino, who)), move |result| match result {
            Ok(target) => reply.data(&target),
            Err(e) => reply.error(errno(&e)),
        });
    }

    fn mknod(&self, req: &Request, parent: INodeNo, os: &OsStr, mode: u32, umask: u32, rdev: u32, reply: ReplyEntry) {
        let name = named!(os, reply);
        let (v, parent, who) = (self.volume.clone(), self.ino(parent), caller(req));
        let Some(kind) = kind_of_mode(mode) else {
            return reply.error(errno(&Error::invalid("no such kind of file")));
        };
        let mode = mode & 0o7777 & !umask;
        let work = async move {
            if kind != NodeKind::File {
                return v.make(parent, name, kind, mode, rdev, None, who).await;
            }
            let open = OpenMode { write: true, read: false, truncate: false, append: false, exclusive: true };
            let (attr, opened) = v.create(parent, name, mode, open, who).await?;
            v.release(opened.fh);
            Ok(attr)
        };
        self.wait(req).run(Late::Finished, work, self.entry(reply));
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, os: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let name = named!(os, reply);
        let (v, parent, who) = (self.volume.clone(), self.ino(parent), caller(req));
        let mode = mode & 0o7777 & !umask;
        let work = async move { v.make(parent, name, NodeKind::Dir, mode, 0, None, who).await };
        self.wait(req).run(Late::Finished, work, self.entry(reply));
    }

    fn unlink(&self, req: &Request, parent: INodeNo, os: &OsStr, reply: ReplyEmpty) {
        let name = named!(os, reply);
        let (v, parent, who) = (self.volume.clone(), self.ino(parent), caller(req));
        self.wait(req).run(Late::Finished, async move { v.unlink(parent, &name, who).await }, empty(reply));
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, os: &OsStr, reply: ReplyEmpty) {
        let name = named!(os, reply);
        let (v, parent) = (self.volume.clone(), self.ino(parent));
        self.wait(req).run(Late::Finished, async move { v.rmdir(parent, &name).await }, empty(reply));
    }

    fn symlink(&self, req: &Request, parent: INodeNo, os: &OsStr, target: &Path, reply: ReplyEntry) {
        let name = named!(os, reply);
        let (v, parent, who) = (self.volume.clone(), self.ino(parent), caller(req));
        let target = target.as_os_str().as_bytes().to_vec();
        let work = async move { v.make(parent, name, NodeKind::Symlink, 0o777, 0, Some(target), who).await };
        self.wait(req).run(Late::Finished, work, self.entry(reply));
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        os: &OsStr,
        newparent: INodeNo,
        newos: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = (named!(os, reply), named!(newos, reply));
        let mode = if flags.is_empty() {
            RenameMode::Replace
        } else if flags == RenameFlags::RENAME_NOREPLACE {
            RenameMode::NoReplace
        } else if flags == RenameFlags::RENAME_EXCHANGE {
            RenameMode::Exchange
        } else {
            return reply.error(errno(&Error::invalid("no such flag of rename")));
        };
        let (v, old, new, who) = (self.volume.clone(), self.ino(parent), self.ino(newparent), caller(req));
        let work = async move { v.rename((old, &from), (new, &to), mode, who).await };
        self.wait(req).run(Late::Finished, work, empty(reply));
    }

    fn link(&self, req: &Request, ino: INodeNo, newparent: INodeNo, newos: &OsStr, reply: ReplyEntry) {
        let name = named!(newos, reply);
        let (v, ino, parent) = (self.volume.clone(), self.ino(ino), self.ino(newparent));
        self.wait(req).run(Late::Finished, async move { v.link(ino, parent, name).await }, self.entry(reply));
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (v, ino, who) = (self.volume.clone(), self.ino(ino), caller(req));
        let mode = OpenMode::from_flags(flags.0);
        self.wait(req).run(Late::Dropped, asked_of_inode!(v, ino, v.open_file(ino, mode, who)), move |result| {
            match result {
                Ok(opened) => match io_flags(&opened, |b| reply.open_backing(&*b.file)) {
                    (flags, Some(id)) => reply.opened_passthrough(FileHandle(opened.fh), flags, id),
                    (flags, None) => reply.opened(FileHandle(opened.fh), flags),
                },
                Err(e) => reply.error(errno(&e)),
            }
        });
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        os: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let name = if os == tmpfile::NO_NAME { None } else { Some(named!(os, reply)) };
        let (v, parent, who, root) = (self.volume.clone(), self.ino(parent), caller(req), self.volume.root);
        let mode = mode & 0o7777 & !umask;
        let open = OpenMode::from_flags(flags);
        let work = async move {
            match name {
                Some(name) => v.create(parent, name, mode, open, who).await,
                None => v.create_nameless(parent, mode, open, who).await,
            }
        };
        self.wait(req).run(Late::Dropped, work, move |result| match result {
            Ok((attr, opened)) => {
                let file = file_attr(&attr, root);
                let fh = FileHandle(opened.fh);
                match io_flags(&opened, |b| reply.open_backing(&*b.file)) {
                    (flags, Some(id)) => reply.created_passthrough(&NEW, &file, GENERATION, fh, flags, id),
                    (flags, None) => reply.created(&NEW, &file, GENERATION, fh, flags),
                }
            }
            Err(e) => reply.error(errno(&e)),
        });
    }

    fn read(
        &self,
        req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let v = self.volume.clone();
        self.wait(req).run(Late::Dropped, async move { v.read(fh.0, offset, size as usize).await }, move |result| {
            match result {
                Ok(bytes) => reply.data(&bytes),
                Err(e) => reply.error(errno(&e)),
            }
        });
    }

    fn write(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (v, ino, data) = (self.volume.clone(), self.ino(ino), Bytes::copy_from_slice(data));
        let collected = write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        let unprivileged = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        self.wait(req).run(
            Late::Finished,
            async move {
                if unprivileged {
                    v.drop_set_id(ino).await?;
                }
                v.write(fh.0, offset, data, collected).await
            },
            move |result| match result {
                Ok(n) => reply.written(n),
                Err(e) => reply.error(errno(&e)),
            },
        );
    }

    fn flush(&self, req: &Request, _ino: INodeNo, fh: FileHandle, _lock_owner: LockOwner, reply: ReplyEmpty) {
        let v = self.volume.clone();
        let caller = caller(req);
        self.wait(req).run(Late::Finished, async move { v.flush_for(fh.0, caller).await }, empty(reply));
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let _inside = self.calls.runtime.enter();
        fail::fail_point!("fuse::release");
        self.volume.release(fh.0);
        reply.ok();
    }

    fn fsync(&self, req: &Request, _ino: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        let (v, tid) = (self.volume.clone(), req.pid());
        self.wait(req).run(Late::Finished, async move { v.sync(fh.0, datasync, tid).await }, empty(reply));
    }

    fn opendir(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // Listings hold no state: with this answer the kernel stops asking and keeps names cached.
        reply.error(fuser::Errno::ENOSYS);
    }

    fn readdir(&self, req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let (v, dir, root, who) = (self.volume.clone(), self.ino(ino), self.volume.root, caller(req));
        self.wait(req).run(Late::Dropped, async move { v.list(dir, offset, who).await }, move |result| match result {
            Ok(entries) => {
                for e in entries {
                    let ino = super::convert::to_kernel(e.attr.ino, root);
                    if reply.add(ino, e.cookie, kind(e.attr.kind), OsStr::from_bytes(&e.name)) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(e) => reply.error(errno(&e)),
        });
    }

    fn readdirplus(&self, req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let (v, dir, root, who) = (self.volume.clone(), self.ino(ino), self.volume.root, caller(req));
        let volume = v.clone();
        self.wait(req).run(Late::Dropped, async move { v.list(dir, offset, who).await }, move |result| match result {
            Ok(entries) => {
                let now = volume.store.clock.now();
                for e in entries {
                    let name = OsStr::from_bytes(&e.name);
                    if reply.add(
                        super::convert::to_kernel(e.attr.ino, root),
                        e.cookie,
                        name,
                        &ttl(&e.attr, now),
                        &file_attr(&e.attr, root),
                        GENERATION,
                    ) {
                        break;
                    }
                    // Each is a lookup to the kernel, but for the directory itself and the one above it.
                    if e.name != b"." && e.name != b".." {
                        volume.told_of(e.attr.ino);
                    }
                }
                reply.ok();
            }
            Err(e) => reply.error(errno(&e)),
        });
    }

    fn fsyncdir(&self, req: &Request, _ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let v = self.volume.clone();
        self.wait(req).run(Late::Finished, async move { v.store.catalog.sync().await }, empty(reply));
    }

    fn statfs(&self, req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let v = self.volume.clone();
        self.wait(req).run(Late::Dropped, async move { v.statfs().await }, move |result| match result {
            Ok(s) => reply.statfs(s.blocks, s.free, s.free, s.files, s.files_free, s.block_size, 255, s.block_size),
            Err(e) => reply.error(errno(&e)),
        });
    }

    fn setxattr(
        &self,
        req: &Request,
        ino: INodeNo,
        os: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let (v, ino) = (self.volume.clone(), self.ino(ino));
        let (name, value) = (os.as_bytes().to_vec(), value.to_vec());
        self.wait(req).run(
            Late::Finished,
            asked_of_inode!(v, ino, v.setxattr(ino, &name, &value, flags)),
            empty(reply),
        );
    }

    fn getxattr(&self, req: &Request, ino: INodeNo, os: &OsStr, size: u32, reply: ReplyXattr) {
        let (v, ino, who, name) = (self.volume.clone(), self.ino(ino), caller(req), os.as_bytes().to_vec());
        self.wait(req).run(Late::Dropped, asked_of_inode!(v, ino, v.getxattr(ino, &name, who)), move |result| {
            xattr_reply(reply, size, result);
        });
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let (v, ino, who) = (self.volume.clone(), self.ino(ino), caller(req));
        self.wait(req).run(Late::Dropped, asked_of_inode!(v, ino, v.listxattr(ino, who)), move |result| {
            xattr_reply(reply, size, result);
        });
    }

    fn removexattr(&self, req: &Request, ino: INodeNo, os: &OsStr, reply: ReplyEmpty) {
        let (v, ino, name) = (self.volume.clone(), self.ino(ino), os.as_bytes().to_vec());
        self.wait(req).run(Late::Finished, asked_of_inode!(v, ino, v.removexattr(ino, &name)), empty(reply));
    }

    /// Programs ask whether it is a terminal (`TCGETS`): it is not, nor anything else with a control of its own.
    fn ioctl(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        _cmd: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(fuser::Errno::ENOTTY);
    }

    fn fallocate(
        &self,
        req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let v = self.volume.clone();
        let work = async move { v.fallocate(fh.0, offset, length, mode.cast_unsigned()).await };
        self.wait(req).run(Late::Finished, work, empty(reply));
    }

    fn lseek(&self, req: &Request, _ino: INodeNo, fh: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let v = self.volume.clone();
        self.wait(req).run(
            Late::Dropped,
            async move { v.lseek(fh.0, offset, whence).await },
            move |result| match result {
                Ok(at) => reply.offset(at),
                Err(e) => reply.error(errno(&e)),
            },
        );
    }

    fn copy_file_range(
        &self,
        req: &Request,
        _ino_in: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        _ino_out: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let v = self.volume.clone();
        let work = async move { v.copy_file_range((fh_in.0, offset_in), (fh_out.0, offset_out), len).await };
        self.wait(req).run(Late::Finished, work, move |result| match result {
            Ok(n) => reply.written(n),
            Err(e) => reply.error(errno(&e)),
        });
    }
}
