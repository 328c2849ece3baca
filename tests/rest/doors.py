"""One session through two doors: a mount and the published client."""

import os
import pathlib
import subprocess
import sys
import time

from artifacta import Client
from artifacta.errors import SessionSealedError

MOUNT = pathlib.Path(sys.argv.pop())

from served import new_key, outputfs, served  # noqa: E402 (it reads what is left of sys.argv)



def shows(read, new, *old):
    """What comes through another door shows on the mount after a moment, and nothing else than before does until then."""
    end = time.monotonic() + 5
    while (found := read()) != new:
        assert found in old and time.monotonic() < end, found
        time.sleep(0.005)


with served() as base:
    client = Client(api_key=new_key(), base_url=base)
    (MOUNT / "charts").mkdir()
    (MOUNT / "charts/a.txt").write_text("from the mount")
    os.setxattr(MOUNT / "charts/a.txt", "user.stage", b"final")
    [seen] = client.list(session_id="s1", metadata={"stage": "final"})
    assert (seen.filename, seen.id) == ("charts/a.txt", os.getxattr(MOUNT / "charts/a.txt", "user.artifact.id").decode())
    assert client.pull_bytes(seen.id) == b"from the mount"
    assert client._download_bytes(client.create_link(seen.id).url) == b"from the mount"

    pushed = client.push(content=b"from the client", filename="charts/b.txt", session_id="s1", metadata={"k": "v"})
    shows(lambda: sorted(os.listdir(MOUNT / "charts")), ["a.txt", "b.txt"], ["a.txt"])
    assert (MOUNT / "charts/b.txt").read_text() == "from the client"
    assert os.getxattr(MOUNT / "charts/b.txt", "user.k") == b"v"
    assert subprocess.run(["cat", MOUNT / f".by-id/{pushed.id}"], capture_output=True).stdout == b"from the client"
    client.push(content=b"second", filename="charts/a.txt", session_id="s1")
    shows((MOUNT / "charts/a.txt").read_text, "second", "from the mount")
    client.delete(pushed.id)
    shows(lambda: sorted(os.listdir(MOUNT / "charts")), ["a.txt"], ["a.txt", "b.txt"])

    client.seal_session("s1")
    try:
        (MOUNT / "late.txt").write_text("late")
        raise AssertionError("a sealed session took a file")
    except OSError as e:
        assert e.errno == 30, e
    try:
        client.push(content=b"late", filename="late.txt", session_id="s1")
        raise AssertionError("a sealed session took an artifact")
    except SessionSealedError:
        pass
    # The other way round.
    client.push(content=b"x", filename="x", session_id="s2")
    outputfs("seal", "s2")
    assert [s.is_sealed for s in client.list_sessions()] == [True, True]
print("all well")
