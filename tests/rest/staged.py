"""What is announced, staged, nameless or unlinked counts against a limit as what is committed does, and is given back."""

import contextlib
import errno
import http.client
import json
import os
import pathlib
import sys
import time
import urllib.error
import urllib.request

MOUNT = pathlib.Path(sys.argv.pop())

from served import new_key, outputfs, served  # noqa: E402 (it reads what is left of sys.argv)

MIB = 1 << 20


def call(base, key, method, path, body=None, kind="application/json"):
    request = urllib.request.Request(base + path, method=method, data=body)
    request.add_header("Authorization", f"Bearer {key}")
    request.add_header("Content-Type", kind)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as e:
        return e.code, json.loads(e.read())["error"]["code"]


def announce(base, key, name, size):
    body = json.dumps({"filename": name, "size_bytes": size, "session_id": "s1", "content_type": "text/plain"}).encode()
    return call(base, key, "POST", "/v1/artifacts/upload-url", body)


def fill(fd, size):
    while size:
        size -= os.write(fd, b"x" * min(size, MIB))


def refused(kind, act):
    try:
        act()
    except OSError as e:
        assert e.errno == kind, e
    else:
        raise AssertionError(f"{errno.errorcode[kind]} was expected")


@contextlib.contextmanager
def opened(*args):
    fd = os.open(*args)
    try:
        yield fd
    finally:
        os.close(fd)


def fits(size):
    """So much room there is, or will be in a moment: what is dropped is given back."""
    end = time.monotonic() + 5
    while True:
        try:
            with opened(MOUNT / "probe", os.O_CREAT | os.O_WRONLY | os.O_TRUNC) as fd:
                fill(fd, size)
        except OSError as e:
            assert e.errno == errno.EDQUOT and time.monotonic() < end, e
        else:
            os.unlink(MOUNT / "probe")
            return
        os.unlink(MOUNT / "probe")
        time.sleep(0.02)


def form(base, key, size):
    """Bytes that were taken before the refusal."""
    host = base.split("//")[1]
    connection = http.client.HTTPConnection(host, timeout=30)
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n'
    tail = b"\r\n--b--\r\n"
    connection.putrequest("POST", "/v1/artifacts")
    connection.putheader("Authorization", f"Bearer {key}")
    connection.putheader("Content-Type", "multipart/form-data; boundary=b")
    connection.putheader("Content-Length", str(len(head) + size + len(tail)))
    connection.endheaders()
    sent = 0
    try:
        connection.send(head)
        while sent < size:
            connection.send(b"y" * MIB)
            sent += MIB
        connection.send(tail)
        assert connection.getresponse().status == 403
    except (BrokenPipeError, ConnectionResetError):
        pass
    connection.close()
    return sent


# Nothing was limited when the mount began.
(MOUNT / "before").write_bytes(b"b" * MIB)
outputfs("quota", "set", "--bytes", "10MiB")
with opened(MOUNT / "after", os.O_CREAT | os.O_WRONLY) as fd:
    refused(errno.EDQUOT, lambda: fill(fd, 12 * MIB))
os.unlink(MOUNT / "after")
os.unlink(MOUNT / "before")
fits(9 * MIB)

with served() as base:
    key = new_key("--scope", "admin")
    # Announced bytes are reserved: for others they are taken, for their own upload they are not.
    status, first = announce(base, key, "first", 8 * MIB)
    assert status == 201, first
    assert announce(base, key, "second", 8 * MIB) == (403, "quota_exceeded")
    with opened(MOUNT / "other", os.O_CREAT | os.O_WRONLY) as fd:
        refused(errno.EDQUOT, lambda: fill(fd, 4 * MIB))
    os.unlink(MOUNT / "other")
    if first["upload_url"].startswith(base):
        put = first["upload_url"].removeprefix(base)
        assert call(base, key, "PUT", put, b"z" * 8 * MIB, "application/octet-stream")[0] == 200
    else:
        urllib.request.urlopen(urllib.request.Request(first["upload_url"], method="PUT", data=b"z" * 8 * MIB)).read()
    status, made = call(base, key, "POST", f"/v1/artifacts/{first['artifact_id']}/complete")
    assert status == 200, made
    # The same path again is no more than it was.
    assert announce(base, key, "first", 9 * MIB)[0] == 201
    assert announce(base, key, "more", 3 * MIB) == (403, "quota_exceeded")
    outputfs("rm", "s1/first")

    # A form is refused while it comes, not at its end.
    assert form(base, key, 90 * MIB) < 60 * MIB

# (That announcement of 9 MiB still holds its room.)
outputfs("quota", "set", "--bytes", "19MiB")
fits(9 * MIB)

# Files without a name, before one and after.
with opened(MOUNT, os.O_TMPFILE | os.O_RDWR) as a, opened(MOUNT, os.O_TMPFILE | os.O_RDWR) as b:
    fill(a, 6 * MIB)
    refused(errno.EDQUOT, lambda: fill(b, 6 * MIB))
    refused(errno.EDQUOT, lambda: os.ftruncate(b, 12 * MIB))
fits(9 * MIB)
with opened(MOUNT / "unlinked", os.O_CREAT | os.O_WRONLY) as a:
    fill(a, 6 * MIB)
    os.unlink(MOUNT / "unlinked")
    with opened(MOUNT / "next", os.O_CREAT | os.O_WRONLY) as b:
        refused(errno.EDQUOT, lambda: fill(b, 6 * MIB))
    os.unlink(MOUNT / "next")
fits(9 * MIB)
# Two that are written at once may not have together what one may have.
with opened(MOUNT / "a", os.O_CREAT | os.O_WRONLY) as a, opened(MOUNT / "b", os.O_CREAT | os.O_WRONLY) as b:
    fill(a, 6 * MIB)
    refused(errno.EDQUOT, lambda: fill(b, 6 * MIB))
assert (MOUNT / "a").stat().st_size == 6 * MIB
print("all well")
