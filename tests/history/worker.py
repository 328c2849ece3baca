"""One of the programs of a history: changes and looks through every door, and records what each call said.

The last argument is a JSON object: id, seed, mounts (a, b), current (the file that names the session, or `stop`),
log, binary, store (its options), base and key of the REST API.
"""

import errno
import http.client
import json
import os
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid

C = json.loads(sys.argv[1])
ME = C["id"]
RANDOM = random.Random(C["seed"])
LOG = open(C["log"], "w", buffering=1)
REFUSED = {errno.EROFS, errno.EDQUOT, errno.EFBIG}
SHARED = 5
made = 0


roots = {}


def root(door):
    """The mount by a descriptor of its root: the bare folder is not taken for it while no daemon is there."""
    try:
        os.stat(f"/proc/self/fd/{roots[door]}/.ctl")
    except (KeyError, OSError):
        if door in roots:
            os.close(roots.pop(door))
        fd = os.open(C["mounts"][door], os.O_PATH | os.O_DIRECTORY)
        if os.fstat(fd).st_dev == os.stat(os.path.dirname(C["mounts"][door])).st_dev:
            os.close(fd)
            raise OSError(errno.ENOTCONN, "no mount there")
        roots[door] = fd
    return f"/proc/self/fd/{roots[door]}"


def now():
    return time.monotonic_ns()


def record(op, door, start, **more):
    LOG.write(json.dumps({"by": ME, "op": op, "door": door, "start": start, "end": now(), **more}) + "\n")


def content(tag, size):
    line = f"{tag}:{size}\n".encode()
    return (line * (size // len(line) + 1))[:size]


def seen(data):
    """What the bytes are, judged by themselves."""
    if not data:
        return {"kind": "empty"}
    head = data.split(b"\n", 1)[0]
    try:
        tag, size = head.decode().split(":")
        want = content(tag, int(size))
    except ValueError:
        zeros = len(data) - len(data.lstrip(b"\0"))
        if zeros == len(data):
            return {"kind": "zeros", "tag": "", "size": len(data)}
        return {"kind": "torn", "what": f"{len(data)} bytes, {zeros} zeros first, then {data[zeros:zeros + 40]!r}"}
    if data == want:
        return {"kind": "whole", "tag": tag}
    if want.startswith(data):
        return {"kind": "prefix", "tag": tag, "size": len(data)}
    kept = data.rstrip(b"\0")
    if want.startswith(kept):
        return {"kind": "zeros", "tag": tag, "size": len(data)}
    at = next((i for i, (x, y) in enumerate(zip(data, want)) if x != y), min(len(data), len(want)))
    return {"kind": "torn", "what": f"{tag}: {len(data)} bytes for {size}, other from {at}: {data[at:at + 40]!r}"}


def new_bytes():
    global made
    made += 1
    tag = f"{ME}n{made}"
    low, high = RANDOM.choice([(30, 200), (3000, 9000), (17_000, 60_000), (100_000, 400_000)])
    size = RANDOM.randrange(low, high)
    return tag, size, content(tag, size)


def outcome_of(e):
    return "refused" if e.errno in REFUSED else "unknown"


def write_file(door, path, data):
    """In one call or two. What the program was told, and whether write() failed, so that a part may be kept."""
    try:
        fd = os.open(f"{root(door)}/{path}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    except OSError as e:
        return {"outcome": outcome_of(e)}
    told = {"outcome": "ok"}
    try:
        cut = RANDOM.choice([len(data), len(data) // 2])
        for part in (data[:cut], data[cut:]):
            while part:
                part = part[os.write(fd, part):]
        if RANDOM.random() < 0.1:
            os.fsync(fd)
    except OSError:
        told = {"outcome": "unknown", "partial": True}
    try:
        os.close(fd)
    except OSError as e:
        told = {"outcome": outcome_of(e)}
    return told


def in_place(session, door):
    """Over a file that nobody else writes: two who write one file at a time mix their bytes, on a disk too."""
    path = f"{session}/own{ME}/f{RANDOM.randrange(3)}"
    tag, size, data = new_bytes()
    write_own(door, path, tag, size, data)


def write_own(door, path, tag, size, data):
    try:
        os.makedirs(os.path.dirname(f"{root(door)}/{path}"), exist_ok=True)
    except OSError:
        return
    start = now()
    told = write_file(door, path, data)
    record("write", door, start, path=path, tag=tag, size=size, in_place=True, **told)


def save_by_rename(session, door):
    path = f"{session}/s{RANDOM.randrange(SHARED)}"
    tag, size, data = new_bytes()
    scratch = RANDOM.random() < 0.3
    temporary = f"{session}/{tag}.tmp" if scratch else f"{session}/.save-{tag}"
    start = now()
    told = write_file(door, temporary, data)
    if not scratch:
        record("write", door, start, path=temporary, tag=tag, size=size, in_place=True, **told)
    if told["outcome"] != "ok":
        return
    start, outcome = now(), "ok"
    try:
        os.rename(f"{root(door)}/{temporary}", f"{root(door)}/{path}")
    except OSError as e:
        # Scratch of a session that was sealed meanwhile is gone.
        outcome = "refused" if scratch and e.errno == errno.ENOENT else outcome_of(e)
    record("write", door, start, path=path, tag=tag, size=size, in_place=False, outcome=outcome)
    if not scratch:
        record("remove", door, start, path=temporary, outcome=outcome)


def outputfs(*words, data=None):
    return subprocess.run([C["binary"], words[0], *C["store"], *words[1:]], input=data, capture_output=True, timeout=60)


def by_exit(code):
    return {0: "ok", 1: "refused"}.get(code, "unknown")


def rest(method, path, data=None, kind=None):
    headers = {"Authorization": f"Bearer {C['key']}"} | ({"Content-Type": kind} if kind else {})
    url = path if path.startswith("http") else C["base"] + path
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()
    except (OSError, ValueError, http.client.HTTPException) as e:
        return 599, str(e).encode()


def upload(session, door):
    path = f"s{RANDOM.randrange(SHARED)}"
    tag, size, data = new_bytes()
    start = now()
    if door == "cli":
        done = outputfs("push", "-", f"{session}/{path}", data=data)
        outcome, said = by_exit(done.returncode), done.stderr.decode()
    else:
        edge = uuid.uuid4().hex
        fields = {"session_id": session, "filename": path}
        part = f'--{edge}\r\nContent-Disposition: form-data; name='
        form = "".join(f'{part}"{k}"\r\n\r\n{v}\r\n' for k, v in fields.items())
        form += f'{part}"file"; filename="f"\r\n\r\n'
        body = form.encode() + data + f"\r\n--{edge}--\r\n".encode()
        status, said = rest("POST", "/v1/artifacts", body, f"multipart/form-data; boundary={edge}")
        said = said.decode()
        outcome = "ok" if status == 201 else "refused" if status < 500 or status == 507 else "unknown"
    told = {"outcome": outcome} | ({} if outcome == "ok" else {"said": said})
    record("write", door, start, path=f"{session}/{path}", tag=tag, size=size, in_place=False, **told)


def remove(session, door):
    path = f"{session}/s{RANDOM.randrange(SHARED)}"
    start, outcome = now(), "ok"
    if door in C["mounts"]:
        try:
            os.unlink(f"{root(door)}/{path}")
        except OSError as e:
            outcome = "refused" if e.errno == errno.ENOENT else outcome_of(e)
    else:
        outcome = by_exit(outputfs("rm", path).returncode)
    record("remove", door, start, path=path, outcome=outcome)


def find(session, path):
    status, body = rest("GET", f"/v1/artifacts?session_id={session}&filename={path}")
    found = json.loads(body)["artifacts"] if status == 200 else []
    return status, found


def read(session, door):
    name = RANDOM.choice([f"s{RANDOM.randrange(SHARED)}", f"own{RANDOM.choice(C['all'])}/f{RANDOM.randrange(3)}"])
    path, start = f"{session}/{name}", now()
    if door in C["mounts"]:
        try:
            with open(f"{root(door)}/{path}", "rb") as f:
                found = seen(f.read())
        except FileNotFoundError:
            found = {"kind": "absent"}
        except OSError as e:
            if e.errno == errno.ESTALE:
                # The kernel looks a replaced name up again; whoever meets one more replacement is told so, as on NFS.
                return
            found = {"kind": "error", "errno": errno.errorcode.get(e.errno, str(e))}
    elif door == "cli":
        done = outputfs("pull", path, "-")
        if done.returncode == 0:
            found = seen(done.stdout)
        elif done.returncode == 1:
            found = {"kind": "absent"}
        else:
            found = {"kind": "error", "errno": done.stderr.decode()}
    else:
        status, artifacts = find(session, name)
        if status == 200 and not artifacts:
            found = {"kind": "absent"}
        elif status == 200:
            status, body = rest("GET", f"/v1/artifacts/{artifacts[0]['artifact_id']}/download-url")
            if status == 200:
                status, body = rest("GET", json.loads(body)["download_url"])
            if status in (404, 410):
                # Removed since it was found.
                return
            found = seen(body) if status == 200 else {"kind": "error", "errno": f"{status} {body[:200]!r}"}
        else:
            found = {"kind": "error", "errno": str(status)}
    record("read", door, start, path=path, seen=found)


def look(session, door):
    """The session's files with their sizes, and hashes where the door says them; none when it cannot be asked."""
    if door in C["mounts"]:
        top, entries = root(door), {}
        for folder, _, names in os.walk(f"{top}/{session}", onerror=raises):
            for name in names:
                if not name.endswith(".tmp"):
                    path = os.path.join(folder, name)
                    try:
                        size = os.lstat(path).st_size
                    except FileNotFoundError:
                        size = None
                    entries[os.path.relpath(path, top)] = {"size": size}
        return entries
    if door == "cli":
        done = outputfs("ls", session, "--json")
        if done.returncode == 1 and b"session" in done.stderr:
            return {}
        found = json.loads(done.stdout) if done.returncode == 0 else None
    else:
        status, body = rest("GET", f"/v1/artifacts?session_id={session}&limit=200")
        found = json.loads(body)["artifacts"] if status == 200 else None
    if found is None:
        return None
    return {f"{session}/{a['filename']}": {"size": a["size_bytes"], "hash": a["content_hash"]} for a in found}


def raises(e):
    if e.errno != errno.ENOENT:
        raise e


def listing(session, door):
    start = now()
    try:
        entries = look(session, door)
    except OSError:
        entries = None
    if entries is not None:
        record("list", door, start, session=session, entries=entries)


def too_large(session, door):
    tag, size = f"{ME}large", 3 << 20
    write_own(door, f"{session}/own{ME}/large", tag, size, content(tag, size))


MOUNTS, ALL = ["a", "b"], ["a", "a", "a", "b", "b", "b", "rest", "rest", "cli"]
DEEDS = [
    (25, save_by_rename, MOUNTS),
    (22, in_place, MOUNTS),
    (8, upload, ["rest", "rest", "cli"]),
    (6, remove, ["a", "b", "a", "b", "cli"]),
    (28, read, ALL),
    (9, listing, ALL),
    (2, too_large, MOUNTS),
]


def everything():
    """At the end: each session at each door, each file at each mount."""
    for session in C["sessions"]:
        names = set()
        for door in ("a", "b", "cli", "rest"):
            start = now()
            entries = look(session, door)
            assert entries is not None, (session, door)
            record("list", door, start, session=session, entries=entries)
            names |= set(entries)
        for door in ("a", "b"):
            for path in sorted(names):
                start = now()
                try:
                    with open(f"{root(door)}/{path}", "rb") as f:
                        found = seen(f.read())
                except FileNotFoundError:
                    found = {"kind": "absent"}
                except OSError as e:
                    found = {"kind": "error", "errno": errno.errorcode.get(e.errno, str(e))}
                record("read", door, start, path=path, seen=found)


def main():
    if "sessions" in C:
        return everything()
    weights = [weight for weight, _, _ in DEEDS]
    while (session := open(C["current"]).read().strip()) != "stop":
        _, deed, doors = RANDOM.choices(DEEDS, weights)[0]
        deed(session, RANDOM.choice(doors))


if __name__ == "__main__":
    main()
