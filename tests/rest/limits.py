"""What a stranger can say is bounded, at every door, and what he is refused leaves nothing behind."""

import base64
import json
import os
import pathlib
import subprocess
import sys

import httpx

MOUNT = pathlib.Path(sys.argv.pop())
os.umask(0)

from served import BINARY, STORE, new_key, outputfs, served  # noqa: E402 (it reads what is left of sys.argv)


def refused(response, *statuses):
    assert response.status_code in statuses, (response.status_code, response.text[:300])
    assert response.json()["error"]["message"], response.text


def paths(api, store):
    deep, long = "b/" * 10050 + "x", ("d" * 250 + "/") * 17 + "x"
    for path in ["a/" * 255 + "x", deep, "c" * 4097, long]:
        refused(store(path), 400)
        refused(api.post("/v1/artifacts/upload-url", json={"filename": path, "size_bytes": 4, "session_id": "s1"}), 400)
    assert os.listdir(MOUNT) == [], "directories of refused paths"
    assert store("a/" * 254 + "x").status_code == 201
    # The directories of a file that does not come go again; those of others stay.
    assert store("first", headers={"idempotency-key": "k"}).status_code == 201
    refused(store("new/deep/er", content=b"other bytes", headers={"idempotency-key": "k"}), 409)
    refused(store("a/beside/f", content=b"other bytes", headers={"idempotency-key": "k"}), 409)
    assert sorted(os.listdir(MOUNT)) == ["a", "first"] and os.listdir(MOUNT / "a") == ["a"]


def labels(api, store):
    too_long = "x" * 1025
    for more in [{"agent_id": too_long}, {"content_type": "text/" + too_long}, {"content_type": "none"}, {"metadata": {"k": too_long}}]:
        refused(store("labelled", **more), 400, 413)
        refused(api.post("/v1/artifacts/upload-url", json={"filename": "u", "size_bytes": 4, "session_id": "s1"} | more), 400, 413)
    assert store("labelled", agent_id="x" * 1024).status_code == 201
    (MOUNT / "f").write_text("f")
    for name, value, errno in [("agent_id", too_long, 7), ("content_type", "text/" + too_long, 7), ("content_type", "none", 22)]:
        for path in [MOUNT / "f", MOUNT]:
            try:
                os.setxattr(path, f"user.artifact.{name}", value.encode())
                raise AssertionError(("taken", name, path))
            except OSError as e:
                assert e.errno == errno or (path == MOUNT and name == "content_type"), (name, path, e)
    for option in [["--agent", too_long], ["--content-type", "none"], ["--idempotency-key", too_long]]:
        done = outputfs("push", *option, __file__, "s1/pushed", check=False)
        assert done.returncode == 1 and "at most 1024" in done.stderr + "at most 1024" * (option[1] == "none"), done
    environment = os.environ | {"OUTPUTFS_AGENT_ID": "x" * 5000, "OUTPUTFS_META_BIG": too_long, "OUTPUTFS_META_OK": "fine"}
    script = "for n in 1 2 3; do echo $n > env$n; done"
    subprocess.run(["bash", "-c", script], cwd=MOUNT, env=environment, check=True)
    done = subprocess.run(
        [BINARY, "push", *STORE, __file__, "s1/env4"], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr.count("left out") == 1 and "OUTPUTFS_AGENT_ID" in done.stderr and "OUTPUTFS_META_BIG" in done.stderr, done.stderr
    for n in [1, 2, 3]:
        assert os.listxattr(MOUNT / f"env{n}") == ["user.ok"], n
    found = api.get("/v1/artifacts", params={"metadata.ok": "fine", "session_id": "s1"}).json()["artifacts"]
    assert len(found) == 4 and all(a["agent_id"] is None and a["metadata"] == {"ok": "fine"} for a in found), found
    refused(api.get("/v1/artifacts", params={f"metadata.k{n}": "v" for n in range(17)}), 400)


def directories(store):
    outputfs("quota", "set", "--artifacts", "40")
    made = 0
    try:
        for made in range(1001):
            os.mkdir(MOUNT / f"m{made}")
    except OSError as e:
        assert e.errno == 122, e
    assert 700 < made < 760, made
    refused(store("one/more"), 403)
    assert not (MOUNT / "one").exists()
    os.rmdir(MOUNT / "m0")
    assert store("one/more").status_code == 201
    outputfs("quota", "set", "--artifacts", "none")


def callers(base, first, second):
    """A stranger's name for this machine opens nothing, and an MCP session belongs to its key."""
    assert httpx.get(f"{base}/metrics").status_code == 200
    assert httpx.get(f"{base}/metrics", headers={"host": "localhost:1"}).status_code == 200
    assert httpx.get(f"{base}/metrics", headers={"host": "rebound.example"}).status_code == 401

    def call(key, method, session=None, **params):
        headers = {"authorization": f"Bearer {key}", "accept": "application/json, text/event-stream"}
        headers |= {"mcp-session-id": session} if session else {}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return httpx.post(f"{base}/mcp", json=body, headers=headers)

    about = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    session = call(first, "initialize", **about).headers["mcp-session-id"]
    assert call(second, "tools/list", session).status_code == 404, "another key's session"
    assert call(first, "ping", session).status_code != 404


with served() as base:
    first, second = new_key(), new_key("--scope", "read")
    api = httpx.Client(base_url=base, headers={"authorization": f"Bearer {first}"}, timeout=60)

    def store(path, content=b"four", headers=None, **more):
        body = {"filename": path, "content": base64.b64encode(content).decode(), "session_id": "s1"} | more
        return api.post("/v1/artifacts", json=body, headers=headers)

    paths(api, store)
    labels(api, store)
    directories(store)
    callers(base, first, second)
    said = outputfs("key", "create", "--scope", "write").stderr + outputfs("key", "create", "--scope", "read").stderr
    assert said.count("links") == 1, said

# Whatever the umask, state is its owner's alone. (What programs gave a scratch file is below a directory that is private.)
state = pathlib.Path(STORE[STORE.index("--state-dir") + 1])
open_ones = [p for p in state.rglob("*") if p.lstat().st_mode & 0o077 and "scratch" not in p.relative_to(state).parts[:-1]]
assert not open_ones, open_ones
print("all well")
