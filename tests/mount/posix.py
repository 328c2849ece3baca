"""What a local disk does, asked of the working directory: one function a scenario, named on the command line.

Every assertion here holds on ext4 as well (run it there to see); tests/mount/posix.rs runs them on mounts.
"""

import ctypes
import errno
import fcntl
import os
import stat
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
NOREPLACE, EXCHANGE = 1, 2
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
MIB = 1 << 20


def put(path, data=b"x", mode="wb"):
    with open(path, mode) as f:
        f.write(data)


def get(path):
    with open(path, "rb") as f:
        return f.read()


def fails(number, call, *args, **named):
    try:
        call(*args, **named)
    except OSError as e:
        assert e.errno == number, f"{errno.errorcode[e.errno]} where {errno.errorcode[number]} is right"
    else:
        raise AssertionError(f"succeeded where {errno.errorcode[number]} is right")


def checked(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def rename2(old, new, flags):
    checked(libc.renameat2(-100, old.encode(), -100, new.encode(), flags))


def named(fd, path):
    """linkat(2) as its manual page says for a file without a name; `os.link` is link(2), which does not follow."""
    checked(libc.linkat(-100, f"/proc/self/fd/{fd}".encode(), -100, path.encode(), 0x400))


def fallocate(fd, mode, offset, length):
    checked(libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)))


def recorded(path):
    """Waits until the file is an artifact; where there are none (ext4) it is there already."""
    deadline = time.monotonic() + 20
    while "fuse" in os.popen("stat -f -c %T .").read():
        try:
            return os.getxattr(path, "user.artifact.id")
        except OSError as e:
            assert e.errno == errno.ENODATA and time.monotonic() < deadline, f"{path}: {e}"
        time.sleep(0.005)


def times(path):
    st = os.lstat(path)
    return st.st_mtime_ns, st.st_ctime_ns


def closed_files():
    """Calls that meet the save of a file just closed: none is lost, and the save changes nothing that was seen."""
    for n in range(40):
        path = f"f{n}"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
        if n % 4 == 0:
            os.truncate(path, 1234567)
            assert os.stat(path).st_size == 1234567
            os.truncate(path, 567)
            assert os.stat(path).st_size == 567
        elif n % 4 == 1:
            os.utime(path, ns=(1900000000 * 10**9 + 1, 1950000000 * 10**9 + 2))
            os.chmod(path, 0o604)
        elif n % 4 == 2:
            os.truncate(path, 100000)
            put(path, b"end", "ab")
        seen, directory = times(path), times(".")
        recorded(path)
        assert times(path) == seen, (path, times(path), seen)
        assert times(".") == directory
    for n in range(0, 40, 4):
        assert get(f"f{n}") == bytes(567)
        st = os.stat(f"f{n + 1}")
        assert (st.st_atime_ns, st.st_mtime_ns) == (1900000000 * 10**9 + 1, 1950000000 * 10**9 + 2), st
        assert stat.S_IMODE(st.st_mode) == 0o604
        assert get(f"f{n + 2}") == bytes(100000) + b"end"


def modes_of_closed_files():
    """chmod and utimes right behind close, over and over: the save on its way does not undo them."""
    for n in range(60):
        path = f"m{n}"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        os.chmod(path, 0o640)
        os.utime(path, ns=(n, n + 1))
    for n in range(60):
        recorded(f"m{n}")
        st = os.stat(f"m{n}")
        assert (stat.S_IMODE(st.st_mode), st.st_atime_ns, st.st_mtime_ns) == (0o640, n, n + 1), (n, st)


def directory_times():
    """A directory's times set after files were made in it stay, though an empty file's record comes later."""
    for n in range(20):
        os.mkdir(f"d{n}")
        os.close(os.open(f"d{n}/empty", os.O_CREAT | os.O_WRONLY))
        os.utime(f"d{n}", ns=(7, 1000 + n))
    for n in range(20):
        recorded(f"d{n}/empty")
        assert os.stat(f"d{n}").st_mtime_ns == 1000 + n, n
        put(f"d{n}/more")
        assert os.stat(f"d{n}").st_mtime_ns > 10**18


def file_times():
    put("t")
    for at in [(1234567890123456789, 987654321987654321), (-5, -1500000001), (0, -1), (1 << 62, 1 << 61)]:
        os.utime("t", ns=at)
        st = os.stat("t")
        assert (st.st_atime_ns, st.st_mtime_ns) == at, (at, st)
    fd = os.open("o", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"a")
    os.utime(fd, ns=(5, 6))
    os.close(fd)
    recorded("o")
    st = os.stat("o")
    assert (st.st_atime_ns, st.st_mtime_ns) == (5, 6), st
    os.symlink("nowhere", "l")
    os.utime("l", ns=(7, 8), follow_symlinks=False)
    assert (os.lstat("l").st_atime_ns, os.lstat("l").st_mtime_ns) == (7, 8)


def links_and_renames():
    put("a", b"A")
    put("b", b"BB")
    fails(errno.EEXIST, rename2, "a", "b", NOREPLACE)
    rename2("a", "b", EXCHANGE)
    assert (get("a"), get("b")) == (b"BB", b"A")
    rename2("a", "c", NOREPLACE)
    fails(errno.ENOENT, rename2, "c", "missing", EXCHANGE)
    fails(errno.EINVAL, rename2, "c", "b", EXCHANGE | NOREPLACE)
    os.mkdir("dir")
    put("dir/f", b"F")
    rename2("dir", "c", EXCHANGE)
    assert get("c/f") == b"F" and get("dir") == b"BB"
    fails(errno.EINVAL, os.rename, "c", "c/inside")

    put("h1", b"hello")
    os.link("h1", "h2")
    put("h2", b"!", "ab")
    assert get("h1") == b"hello!" and os.stat("h1").st_nlink == 2 and os.stat("h1").st_ino == os.stat("h2").st_ino
    os.rename("h1", "h2")  # the same file: nothing happens
    assert os.path.exists("h1") and os.path.exists("h2")
    os.unlink("h1")
    assert os.stat("h2").st_nlink == 1

    fd = os.open("open1", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"abc")
    os.link("open1", "open2")
    os.write(fd, b"def")
    os.unlink("open1")
    fails(errno.ENODATA, os.getxattr, fd, "user.none")
    assert get("open2") == b"abcdef"
    os.close(fd)
    assert get("open2") == b"abcdef"

    put("target", b"old")
    fd = os.open("target", os.O_RDWR)
    put("new", b"newer")
    os.rename("new", "target")
    assert os.fstat(fd).st_nlink == 0
    os.write(fd, b"XYZ1")
    assert os.pread(fd, 10, 0) == b"XYZ1"
    os.close(fd)
    assert get("target") == b"newer"

    fd = os.open("gone", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"12345")
    os.unlink("gone")
    fails(errno.ENODATA, os.getxattr, fd, "user.none")
    os.write(fd, b"6")
    os.ftruncate(fd, 3)
    os.fchmod(fd, 0o640)
    st = os.fstat(fd)
    assert (st.st_nlink, st.st_size, stat.S_IMODE(st.st_mode), os.pread(fd, 9, 0)) == (0, 3, 0o640, b"123"), st
    os.close(fd)


def sparse_files():
    fd = os.open("s", os.O_CREAT | os.O_RDWR)
    os.pwrite(fd, b"x" * 4096, MIB)
    os.ftruncate(fd, 10 * MIB)
    os.fsync(fd)

    def holes(fd):
        assert os.lseek(fd, 0, os.SEEK_DATA) == MIB
        assert os.lseek(fd, MIB, os.SEEK_HOLE) == MIB + 4096
        fails(errno.ENXIO, os.lseek, fd, 2 * MIB, os.SEEK_DATA)
        fails(errno.ENXIO, os.lseek, fd, 11 * MIB, os.SEEK_HOLE)

    holes(fd)
    os.close(fd)
    recorded("s")
    assert (os.stat("s").st_size, os.stat("s").st_blocks) == (10 * MIB, 8), os.stat("s")
    put("full", b"y" * 10000)
    recorded("full")
    assert os.stat("full").st_blocks == 24, os.stat("full")
    assert get("s") == bytes(MIB) + b"x" * 4096 + bytes(9 * MIB - 4096)
    if "keeps-holes" in sys.argv:
        fd = os.open("s", os.O_RDONLY)
        holes(fd)
        os.close(fd)
        assert os.system("cp --sparse=auto s copy") == 0
        recorded("copy")
        assert os.stat("copy").st_blocks == 8, os.stat("copy")


def ranges():
    fd = os.open("r", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"y" * 65536)
    fallocate(fd, KEEP_SIZE, 0, MIB)
    assert os.fstat(fd).st_size == 65536
    fallocate(fd, KEEP_SIZE | PUNCH_HOLE, 4096, 8192)
    assert os.pread(fd, 8194, 4095) == b"y" + bytes(8192) + b"y" and os.fstat(fd).st_size == 65536
    fails(errno.EOPNOTSUPP, fallocate, fd, PUNCH_HOLE, 0, 4096)
    fallocate(fd, ZERO_RANGE, 0, 4096)
    fallocate(fd, 0, 0, 2 * MIB)
    os.close(fd)
    recorded("r")
    assert get("r") == bytes(12288) + b"y" * (65536 - 12288) + bytes(2 * MIB - 65536)

    source = os.urandom(3 * MIB + 17)
    put("source", source)
    recorded("source")
    with open("source", "rb") as a, open("copy", "wb") as b:
        done = 0
        while n := os.copy_file_range(a.fileno(), b.fileno(), len(source) - done):
            done += n
        assert done == len(source)
    assert get("copy") == source
    with open("source", "rb") as a, open("copy", "r+b") as b:
        assert os.copy_file_range(a.fileno(), b.fileno(), 1000, 5, 2000) == 1000
    assert get("copy") == source[:2000] + source[5:1005] + source[3000:]


def locks():
    a, b = (os.open("lock", os.O_CREAT | os.O_RDWR) for _ in range(2))
    fcntl.flock(a, fcntl.LOCK_EX)
    fails(errno.EWOULDBLOCK, fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(a, fcntl.LOCK_UN)
    fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(a, fcntl.LOCK_EX, 10, 0)
    child = os.fork()
    if child == 0:
        try:
            fd = os.open("lock", os.O_RDWR)
            fails(errno.EAGAIN, fcntl.lockf, fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 0)
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 20)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.fdatasync(fd)
    os.close(fd)
    s = os.statvfs(".")
    assert s.f_namemax == 255 and s.f_blocks >= s.f_bfree > 0 and s.f_files >= s.f_ffree > 0, s


def removed_directories():
    """Whoever has one open, or stands in it, still sees what it was."""
    for take in (lambda: os.rmdir("gone"), lambda: (os.mkdir("other"), os.rename("other", "gone"))):
        os.mkdir("gone", 0o750)
        fd = os.open("gone", os.O_RDONLY)
        take()
        st = os.fstat(fd)
        assert stat.S_ISDIR(st.st_mode) and stat.S_IMODE(st.st_mode) == 0o750 and st.st_nlink == 0, st
        assert not [a for a in os.listxattr(fd) if a.startswith("user.")]
        fails(errno.ENODATA, os.getxattr, fd, "user.none")
        fails(errno.ENOENT, os.stat, "x", dir_fd=fd)
        fails(errno.ENOENT, os.mkdir, "x", dir_fd=fd)
        os.close(fd)


def nameless():
    """O_TMPFILE (open(2)) and what linkat(2) makes of it."""
    os.makedirs("d")
    fd = os.open("d", os.O_TMPFILE | os.O_RDWR, 0o640)
    assert os.fstat(fd).st_nlink == 0 and stat.S_IMODE(os.fstat(fd).st_mode) == 0o640
    os.write(fd, b"a" * 200_000)
    os.fsync(fd)
    os.pwrite(fd, b"b", 100)
    assert os.fstat(fd).st_size == 200_000 and os.pread(fd, 3, 99) == b"aba"
    os.fchmod(fd, 0o604)
    os.setxattr(fd, "user.stage", b"draft")
    assert os.getxattr(fd, "user.stage") == b"draft"
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    os.pwrite(again, b"c", 101)
    assert os.pread(fd, 4, 99) == b"abca" and os.listdir("d") == []

    put("d/taken")
    fails(errno.EEXIST, named, fd, "d/taken")
    fails(errno.ENOENT, named, fd, "nowhere/out")
    named(fd, "d/out")
    assert os.fstat(fd).st_nlink == 1 and os.stat("d/out").st_ino == os.fstat(fd).st_ino
    assert sorted(os.listdir("d")) == ["out", "taken"]
    named(fd, "second")
    assert os.fstat(fd).st_nlink == 2
    os.close(again)
    os.pwrite(fd, b"d", 102)
    os.close(fd)
    whole = b"a" * 100 + b"bcd" + b"a" * (200_000 - 103)
    assert get("d/out") == whole and get("second") == whole
    assert os.getxattr("d/out", "user.stage") == b"draft" and stat.S_IMODE(os.stat("d/out").st_mode) == 0o604
    recorded("d/out")

    # One that gets no name leaves nothing, and one that was asked for so (O_EXCL) gets none.
    fd = os.open("d", os.O_TMPFILE | os.O_RDWR | os.O_EXCL)
    os.write(fd, b"x" * 100)
    fails(errno.ENOENT, named, fd, "d/never")
    os.close(fd)
    # Named before anything is written, and taken away again while it is open.
    fd = os.open("d", os.O_TMPFILE | os.O_RDWR)
    named(fd, "d/empty")
    os.unlink("d/empty")
    os.write(fd, b"later")
    assert os.fstat(fd).st_nlink == 0 and os.pread(fd, 9, 0) == b"later"
    fails(errno.ENOENT, named, fd, "d/again")
    os.close(fd)
    fd = os.open("d", os.O_TMPFILE | os.O_WRONLY)
    named(fd, "d/empty")
    os.close(fd)
    assert get("d/empty") == b"" and sorted(os.listdir("d")) == ["empty", "out", "taken"]


def names():
    every = bytes(x for x in range(1, 256) if x != ord("/"))
    for name in (every[:255], every[-255:], b"n" * 255, b'\xff\xfe\n\t"\\%41', "grüße 📄".encode()):
        put(name, name)
        assert name in os.listdir(b".") and get(name) == name, name
    fails(errno.ENAMETOOLONG, put, b"n" * 256)
    fails(errno.ENAMETOOLONG, os.mkdir, b"n" * 256)
    os.symlink("s" * 4095, "link")
    assert os.readlink("link") == "s" * 4095

    path = "."
    for n in range(100):
        path += f"/d{n}"
        os.mkdir(path)
    put(path + "/leaf", b"deep")
    assert get(path + "/leaf") == b"deep"

    path = "."
    while len(path) + 202 < 4095:
        path += "/" + "p" * 200
        os.mkdir(path)
    path += "/" + "q" * (4095 - len(path) - 1)
    assert len(path) == 4095
    put(path, b"far")
    assert get(path) == b"far"
    assert sum(set(f) == {"q"} for _, _, files in os.walk(".") for f in files) == 1


def owners():
    """As root, on a mount that lets others in: what a user without privilege may and may not."""

    def as_user(call):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setgroups([])
                os.setgid(1)
                os.setuid(1)
                call()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0

    os.mkdir("group")
    os.chown("group", 0, 1)
    os.chmod("group", 0o2775)
    os.mkdir("group/d")
    put("group/f")
    os.symlink("x", "group/l")
    assert os.stat("group/d").st_mode & 0o2000
    assert {os.lstat(f"group/{n}").st_gid for n in "dfl"} == {1}

    os.mkdir("sticky")
    os.chmod("sticky", 0o1777)
    put("sticky/roots")
    as_user(lambda: fails(errno.EPERM, os.unlink, "sticky/roots"))
    as_user(lambda: fails(errno.EPERM, os.rename, "sticky/roots", "sticky/x"))
    as_user(lambda: (put("sticky/mine"), os.unlink("sticky/mine")))
    os.chmod("sticky/roots", 0o600)
    as_user(lambda: fails(errno.EACCES, open, "sticky/roots"))

    def mode_after(call, mode=0o6755, owner=1):
        put("set-id")
        os.chown("set-id", owner, owner)
        os.chmod("set-id", mode)
        call()
        return stat.S_IMODE(os.stat("set-id").st_mode)

    def append():
        put("set-id", b"z", "ab")

    assert mode_after(lambda: as_user(append)) == 0o755
    assert mode_after(lambda: as_user(lambda: os.truncate("set-id", 0))) == 0o755
    assert mode_after(lambda: as_user(lambda: put("set-id"))) == 0o755
    assert mode_after(append) == 0o6755
    assert mode_after(lambda: os.chown("set-id", 2, 2)) == 0o755


if __name__ == "__main__":
    globals()[sys.argv[1]]()
