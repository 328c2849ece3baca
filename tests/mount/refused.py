"""Programs that try again at once when the close of a new file was refused. What close() acknowledged is there; nothing else is.

refused.py seal DIR: DIR is a mount of every session; each round seals one while its files are being closed.
refused.py limit DIR ERRNO: DIR is a session; says "open" when all is written and waits for a line: by then a limit is set.
refused.py shown DIR ERRNO: the same with files that were there before; by then the session may also be sealed.
refused.py scratch DIR: as with seal, and scratch files are what is being made.
"""

import errno
import json
import os
import sys
import threading
import time

WRITERS, FILES = 8, 4
tally = {}
told = threading.Lock()


def count(what):
    with told:
        tally[what] = tally.get(what, 0) + 1


def begin(path, data):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(fd, data)
    except OSError:
        # The write is what is told.
        try:
            os.close(fd)
        except OSError:
            pass
        raise
    return fd


def together(work):
    faults = []

    def guarded(k):
        try:
            work(k)
        except BaseException as e:
            faults.append(e)

    threads = [threading.Thread(target=guarded, args=(k,)) for k in range(WRITERS)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    if faults:
        raise faults[0]


def refused(call, *codes):
    try:
        call()
    except OSError as e:
        assert e.errno in codes, e
        return True
    return False


def seal_round(root, number):
    session = f"{root}/s{number}"
    os.mkdir(session)
    names = [[f"w{k}_{i}" for i in range(FILES)] for k in range(WRITERS)]
    fds = [[begin(f"{session}/{n}", n.encode()) for n in own] for own in names]
    start, acked = threading.Barrier(WRITERS + 1), []

    def close(k):
        start.wait()
        for name, fd in zip(names[k], fds[k]):
            if not refused(lambda: os.close(fd), errno.EROFS):
                acked.append(name)
                continue
            for flags in (os.O_CREAT | os.O_TRUNC, os.O_CREAT, 0):
                try:
                    again = os.open(f"{session}/{name}", os.O_WRONLY | flags, 0o644)
                except OSError as e:
                    # Once its name is gone there is nothing to open.
                    assert e.errno == errno.EROFS or (flags == 0 and e.errno in (errno.ENOENT, errno.ESTALE)), e
                    count("refused at open")
                    continue
                os.write(again, b"again")
                assert refused(lambda: os.close(again), errno.EROFS), f"{name}: closed after the seal, with 0"
                raise AssertionError(f"{name}: opened after the seal")

    def seals():
        fd = os.open(f"{session}/.ctl", os.O_RDWR)
        start.wait()
        os.write(fd, b"seal\n")
        os.close(fd)

    sealer = threading.Thread(target=seals)
    sealer.start()
    together(close)
    sealer.join()
    kept = sorted(a["filename"] for a in json.load(open(f"{session}/.manifest.json"))["artifacts"])
    assert kept == sorted(acked), (kept, acked)


def limit(root, code):
    rounds = range(40)
    paths = [[[f"{root}/w{k}_{r}_{i}" for i in range(FILES)] for r in rounds] for k in range(WRITERS)]
    fds = [[[begin(p, b"x" * 5000) for p in own] for own in turns] for turns in paths]
    print("open", flush=True)
    sys.stdin.readline()
    acked = []

    def close(k):
        for r in rounds:
            for path, fd in zip(paths[k][r], fds[k][r]):
                if not refused(lambda: os.close(fd), code):
                    acked.append((path, b"x" * 5000))
                    continue
                count("refused")
                data = path[-10:].encode()
                try:
                    fd = begin(path, data)
                except OSError as e:
                    assert e.errno in (code, errno.EDQUOT), e
                    continue
                if not refused(lambda: os.close(fd), code, errno.EDQUOT):
                    count("kept at the second try")
                    assert open(path, "rb").read() == data, f"{path}: closed with 0 and gone"
                    acked.append((path, data))

    together(close)
    for path, data in acked:
        assert open(path, "rb").read() == data, path
        os.getxattr(path, "user.artifact.id")
    assert tally.get("kept at the second try") and tally.get("refused"), tally
    print(json.dumps(sorted(os.path.basename(p) for p, _ in acked)))


def shown(root, code):
    """What a refused overwrite or append leaves is what was there, in size and bytes."""
    def path(n):
        return f"{root}/f{n}"

    before = [bytes([65 + n]) * 5000 for n in range(7)]
    for n, data in enumerate(before):
        os.close(begin(path(n), data))
        assert open(path(n), "rb").read() == data
    os.link(path(5), f"{root}/alias")
    reader = open(path(6), "rb")
    fds = [os.open(path(n), os.O_RDWR | f) for n, f in
           enumerate([os.O_TRUNC, os.O_TRUNC, os.O_APPEND, 0, 0, os.O_APPEND, 0])]
    for fd, data in zip(fds, [b"s" * 2000, b"l" * 70000, b"a" * 3000, b"o" * 5000, b"", b"h" * 200000, b"r" * 5000]):
        os.write(fd, data)
    os.ftruncate(fds[4], 3000)
    print("open", flush=True)
    sys.stdin.readline()
    for n, fd in enumerate(fds):
        assert refused(lambda: os.close(fd), code), path(n)
    deadline = time.monotonic() + 20
    for name, data in [(path(n), data) for n, data in enumerate(before)] + [(f"{root}/alias", before[5])]:
        while (seen := open(name, "rb").read()) != data or os.stat(name).st_size != len(data):
            assert time.monotonic() < deadline, (name, os.stat(name).st_size, len(seen), seen[:10], seen[-10:])
    assert os.pread(reader.fileno(), 9000, 0) == before[6]


def scratch(root):
    """Sessions are sealed one after another while scratch is made in each; then as much is made and saved in the one beside."""
    os.mkdir(f"{root}/beside")
    for turn in range(2):
        session = f"{root}/a{turn}"
        os.mkdir(session)
        os.mkdir(f"{session}/__pycache__")
        [os.close(begin(f"{session}/{n}.tmp", b"x")) for n in range(150)]
        enough = threading.Event()

        def makes(k):
            for n in range(100_000):
                name = f"{session}/{'__pycache__/' * (k % 2)}m{k}_{n}.tmp"
                if refused(lambda: os.close(begin(name, b"x")), errno.EROFS, errno.ENOENT, errno.ESTALE):
                    return
                if n == 20:
                    enough.set()

        def seals():
            enough.wait()
            fd = os.open(f"{session}/.ctl", os.O_RDWR)
            os.write(fd, b"seal\n")
            os.close(fd)

        sealer = threading.Thread(target=seals)
        sealer.start()
        together(makes)
        sealer.join()
        deadline = time.monotonic() + 20
        while left := os.listdir(session):
            assert time.monotonic() < deadline, (len(left), left[:5])
        for n in range(150):
            os.close(begin(f"{root}/beside/{turn}_{n}.tmp", b"y"))
            os.rename(f"{root}/beside/{turn}_{n}.tmp", f"{root}/beside/{turn}_{n}")
            os.close(begin(f"{root}/beside/{turn}_{n}.tmp", b"z"))
            assert open(f"{root}/beside/{turn}_{n}").read() == "y"


if sys.argv[1] == "seal":
    for number in range(40):
        seal_round(sys.argv[2], number)
    assert tally.get("refused at open"), tally
elif sys.argv[1] == "shown":
    shown(sys.argv[2], getattr(errno, sys.argv[3]))
elif sys.argv[1] == "scratch":
    scratch(sys.argv[2])
else:
    limit(sys.argv[2], getattr(errno, sys.argv[3]))
