"""Directories, links and special files between names for results and names for scratch, by rename(2) alone: as on a disk. With an
argument, in that directory. What only a mount tells is asked there alone."""
import errno, os, socket, stat, sys

os.chdir(sys.argv[1] if len(sys.argv) > 1 else ".")
try:
    os.getxattr(".", "user.artifact.session")
    mount = True
except OSError:
    mount = False


def put(path, text, **attrs):
    with open(path, "wb") as f:
        f.write(text)
    for k, v in attrs.items():
        os.setxattr(path, "user." + k, v)


big = os.urandom(700_000)
os.makedirs("__pycache__/e/deep"); put("__pycache__/one", b"1", stage=b"final", raw=b"\0\xff"); put("__pycache__/e/big", big)
os.setxattr("__pycache__/e", "user.model", b"m1"); os.setxattr("__pycache__/e", "user.9", b"\0")
os.chmod("__pycache__/e", 0o750); os.chmod("__pycache__/one", 0o640)
os.utime("__pycache__/one", (1_000_000_000, 1_200_000_000))
os.symlink("../one", "__pycache__/e/l"); os.mkfifo("__pycache__/e/deep/p"); os.link("__pycache__/e/big", "__pycache__/e/same")
put("__pycache__/e/keep.tmp", b"scratch"); put("__pycache__/e/empty", b"")
os.utime("__pycache__/e", (1_000_000_000, 1_100_000_000))
inos = {p: os.lstat(p).st_ino for p in ("__pycache__", "__pycache__/one", "__pycache__/e/big", "__pycache__/e/l")}


def check(top, scratch):
    assert sorted(os.listdir(top)) == ["e", "one"] and sorted(os.listdir(top + "/e")) == ["big", "deep", "empty", "keep.tmp", "l", "same"]
    assert open(top + "/one", "rb").read() == b"1" and open(top + "/e/big", "rb").read() == big == open(top + "/e/same", "rb").read()
    assert os.getxattr(top + "/one", "user.raw") == b"\0\xff" and os.getxattr(top + "/one", "user.stage") == b"final"
    assert sorted(os.listxattr(top + "/e")) == ["user.9", "user.model"], os.listxattr(top + "/e")
    assert os.readlink(top + "/e/l") == "../one" and stat.S_ISFIFO(os.lstat(top + "/e/deep/p").st_mode)
    s, o = os.stat(top + "/e"), os.stat(top + "/one")
    assert (stat.S_IMODE(s.st_mode), s.st_mtime) == (0o750, 1_100_000_000), s
    assert (stat.S_IMODE(o.st_mode), o.st_mtime, o.st_nlink) == (0o640, 1_200_000_000, 1), o
    assert os.stat(top + "/e/big").st_nlink == 2 and os.path.samefile(top + "/e/big", top + "/e/same")
    assert open(top + "/e/keep.tmp").read() == "scratch"
    for f, is_scratch in (("one", scratch), ("e/big", scratch), ("e/empty", scratch), ("e/keep.tmp", True)):
        assert not mount or (os.getxattr(f"{top}/{f}", "user.artifact.state") == b"scratch") == is_scratch, f
    for p, ino in inos.items():
        assert os.lstat(p.replace("__pycache__", top, 1)).st_ino == ino, p


os.rename("__pycache__", "d"); assert not os.path.lexists("__pycache__"); check("d", False)
put("d/new", b"n"); os.unlink("d/new")
os.rename("d", "__pycache__"); assert not os.path.lexists("d"); check("__pycache__", True)
os.mkdir("empty"); os.rename("__pycache__", "empty"); check("empty", False)
os.mkdir("full"); put("full/x", b""); os.mkdir(".git")
for a, b, code in ((".git", "full", "ENOTEMPTY"), (".git", "empty/one", "ENOTDIR"), ("empty", "empty/e/__pycache__", "EINVAL")):
    try: os.rename(a, b)
    except OSError as e: assert errno.errorcode[e.errno] == code, (a, b, e)
    else: raise SystemExit(f"{a} became {b}")
# A link is changed at once, as ever: ln -s; mv -T.
os.symlink("v1", "current")
os.symlink("v2", "current.tmp"); os.rename("current.tmp", "current"); assert os.readlink("current") == "v2"
os.rename("current", "current~"); assert os.readlink("current~") == "v2" and not os.path.lexists("current")
os.mkfifo("p.tmp"); os.rename("p.tmp", "p"); assert stat.S_ISFIFO(os.lstat("p").st_mode); os.rename("p", "p~"); assert stat.S_ISFIFO(os.lstat("p~").st_mode)
s = socket.socket(socket.AF_UNIX); s.bind("s.tmp"); os.rename("s.tmp", "s"); assert stat.S_ISSOCK(os.lstat("s").st_mode)
