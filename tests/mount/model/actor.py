# One process at work in a directory: a JSON array a line in, its outcome a line out.
import errno, fcntl, json, mmap, os, stat, sys

os.umask(0o022)
slots = {}
# Opened to append: what the kernel writes by itself stays so, whatever fcntl(2) says (a backing file keeps the flags of its open, and
# all opens of an inode have backing files, or none: fs/fuse/passthrough.c, iomode.c).
appending = set()
FLAGS = {n: getattr(os, n) for n in ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_CREAT", "O_EXCL", "O_TRUNC", "O_APPEND", "O_DIRECTORY", "O_NOFOLLOW")}


def close(slot):
    fd = slots.pop(slot, None)
    if fd is not None:
        os.close(fd)


def open_(slot, path, flags, mode):
    close(slot)
    f = 0
    for name in flags:
        f |= FLAGS[name]
    slots[slot] = os.open(path, f, mode)
    appending.discard(slot)
    if f & os.O_APPEND:
        appending.add(slot)


def shape(path):
    s = os.lstat(path)
    out = [stat.S_IFMT(s.st_mode), oct(s.st_mode & 0o7777), s.st_uid, s.st_gid]
    if stat.S_ISREG(s.st_mode):
        out += [s.st_size, s.st_nlink]
    if stat.S_ISDIR(s.st_mode):
        out += [s.st_nlink]
    if stat.S_ISLNK(s.st_mode):
        out += [os.readlink(path)]
    return out


def xattrs(path):
    return sorted((n, os.getxattr(path, n, follow_symlinks=False).hex()) for n in os.listxattr(path, follow_symlinks=False))


def body(path):
    with open(path, "rb", buffering=0) as f:
        return f.readall().hex()


def tree():
    out = {}
    for base, dirs, files in os.walk("."):
        for n in sorted(dirs + files):
            p = os.path.join(base, n)
            entry = [shape(p)]
            if not os.path.islink(p):
                entry.append(xattrs(p))
            if stat.S_ISREG(os.lstat(p).st_mode):
                entry.append(body(p))
            out[p] = entry
    return out


def times(path, a, m):
    os.utime(path, ns=(a, m), follow_symlinks=False)
    s = os.lstat(path)
    return [s.st_mtime_ns]


def map_write(slot, at, text):
    fd = slots[slot]
    if os.fstat(fd).st_size <= at + len(text):
        return "short"
    with mmap.mmap(fd, 0) as m:
        m[at:at + len(text)] = text.encode()


def append(slot, on):
    fd = slots[slot]
    if not on and slot in appending:
        return
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_APPEND if on else flags & ~os.O_APPEND)


def setxattr(path, key, value):
    # On a directory they are defaults for what is made below it, which no disk knows.
    if not stat.S_ISDIR(os.stat(path).st_mode):
        os.setxattr(path, key, value.encode())


def cross(a, b):
    """Over the border to scratch, which a disk does not have. A tree of which a file has a name elsewhere stays (README)."""
    for base, _, files in os.walk(a):
        if any(os.lstat(os.path.join(base, n)).st_nlink > 1 for n in files):
            return "linked"
    if os.path.isfile(a) and not os.path.islink(a) and os.lstat(a).st_nlink > 1:
        return "linked"
    os.rename(a, b)


OPS = {
    "cross": cross,
    "open": open_,
    "close": close,
    "write": lambda slot, byte, n: os.write(slots[slot], bytes([byte]) * n),
    "pwrite": lambda slot, byte, n, at: os.pwrite(slots[slot], bytes([byte]) * n, at),
    "pread": lambda slot, n, at: os.pread(slots[slot], n, at).hex(),
    "fstat": lambda slot: [os.fstat(slots[slot]).st_size, os.fstat(slots[slot]).st_nlink],
    "ftruncate": lambda slot, n: os.ftruncate(slots[slot], n),
    "fsync": lambda slot: os.fsync(slots[slot]),
    "dupclose": lambda slot: os.close(os.dup(slots[slot])),
    "mapwrite": map_write,
    "append": append,
    "fallocate": lambda slot, at, n: os.posix_fallocate(slots[slot], at, n),
    "end": lambda slot: stat.S_ISREG(os.fstat(slots[slot]).st_mode) and os.lseek(slots[slot], 0, os.SEEK_END),
    "copy": lambda slot, to, n, at, at2: os.copy_file_range(slots[slot], slots[to], n, at, at2),
    "lock": lambda slot: fcntl.flock(slots[slot], fcntl.LOCK_EX | fcntl.LOCK_NB),
    "unlock": lambda slot: fcntl.flock(slots[slot], fcntl.LOCK_UN),
    "mkdir": lambda p, mode: os.mkdir(p, mode),
    "rmdir": os.rmdir,
    "unlink": os.unlink,
    "rename": os.rename,
    "link": lambda a, b: os.link(a, b, follow_symlinks=False),
    "symlink": os.symlink,
    "chmod": lambda p, mode: os.chmod(p, mode),
    "truncate": os.truncate,
    "times": times,
    "setxattr": setxattr,
    "removexattr": os.removexattr,
    "xattrs": xattrs,
    "shape": shape,
    "list": lambda p: sorted(os.listdir(p)),
    "body": body,
    "tree": tree,
}

for line in sys.stdin:
    op, *args = json.loads(line)
    try:
        result = OPS[op](*args)
        out = ["ok", result]
    except OSError as e:
        out = ["error", errno.errorcode.get(e.errno, e.errno)]
    except KeyError:
        out = ["closed"]
    except ValueError as e:
        out = ["refused", str(e)]
    print(json.dumps(out), flush=True)
