"""What programs see at a tenant's limits: DIR. 1 MiB altogether, 600 KiB a file, 6 artifacts."""

import errno
import os
import sys

os.chdir(sys.argv[1])
KIB = 1024


def refused(kind, call):
    try:
        call()
    except OSError as e:
        assert e.errno == kind, e
        return
    raise AssertionError(f"{errno.errorcode[kind]} was expected")


def put(path, size):
    with open(path, "wb", buffering=0) as f:
        f.write(bytes([len(path) % 251]) * size)


def write_all(fd, data):
    """The kernel may take a part of a write; what follows is refused then."""
    while data:
        data = data[os.write(fd, data):]


# One file: at the very write, not at the close.
fd = os.open("big", os.O_CREAT | os.O_WRONLY)
os.write(fd, b"a" * (500 * KIB))
refused(errno.EFBIG, lambda: write_all(fd, b"b" * (200 * KIB)))
refused(errno.EFBIG, lambda: os.ftruncate(fd, 700 * KIB))
os.close(fd)
assert os.stat("big").st_size == 500 * KIB, "what fitted is there"
# All together.
put("second", 500 * KIB)
fd = os.open("third", os.O_CREAT | os.O_WRONLY)
os.write(fd, b"c" * (10 * KIB))
refused(errno.EDQUOT, lambda: write_all(fd, b"c" * (20 * KIB)))
os.close(fd)
assert 10 * KIB <= os.stat("third").st_size <= 24 * KIB
refused(errno.EDQUOT, lambda: os.truncate("third", 30 * KIB))
# Over a file's own bytes there is room; its old ones do not count.
with open("second", "r+b", buffering=0) as f:
    f.write(b"d" * (500 * KIB))
st = os.statvfs(".")
assert st.f_blocks * st.f_frsize == 1 << 20 and st.f_bavail * st.f_frsize <= 16 * KIB, (st.f_blocks, st.f_bavail)
# What is deleted makes room at once.
os.unlink("second")
put("fourth", 400 * KIB)
os.unlink("fourth")
# The number of files.
for n in range(4):
    put(f"small{n}", 10)
refused(errno.EDQUOT, lambda: put("one-more", 10))
assert os.statvfs(".").f_ffree == 0
os.unlink("small0")
put("one-more", 10)
# Files that are open and not stored yet count.
os.unlink("one-more")
held = open("held", "wb", buffering=0)
held.write(b"h")
refused(errno.EDQUOT, lambda: put("beside", 10))
held.close()
refused(errno.EDQUOT, lambda: put("beside", 10))
os.unlink("held")
put("one-more", 10)

# A file that is written directly can be mapped.
import mmap

with open("small1", "r+b") as f:
    f.truncate(8192)
    with mmap.mmap(f.fileno(), 8192) as m:
        m[100:103] = b"map"
        m.flush()
        f.seek(99)
        assert f.read(5) == b"\0map\0"
assert open("small1", "rb").read()[100:103] == b"map"
