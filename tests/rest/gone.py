"""What is deleted, expired or replaced by a later attempt is gone through every door alike, and every door says why."""

import asyncio
import contextlib
import errno
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.request

from mcp import Client, MCPError
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

MOUNT = pathlib.Path(sys.argv.pop())

from served import BINARY, new_key, outputfs, served  # noqa: E402 (it reads what is left of sys.argv)


def fetch(url, key=None, method="GET", body=None):
    """Status, and the error's code and sentence or the bytes."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(url, method=method, headers=headers, data=body)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as e:
        error = json.loads(e.read())["error"]
        return e.code, (error["code"], error["message"])


def id_of(name):
    return os.getxattr(MOUNT / name, "user.artifact.id").decode()


def refused(words, *sentences):
    done = outputfs(*words, check=False)
    assert done.returncode == 1 and all(s in done.stderr for s in sentences), (words, done.returncode, done.stderr)


def absent(act):
    try:
        found = act()
    except OSError as e:
        assert e.errno == errno.ENOENT, e
    else:
        raise AssertionError(f"it is there: {found!r}")


def mcp(base, key, artifact):
    """Content as a tool and as a resource, the record, a link: what each refusal says."""

    async def ask():
        async with contextlib.AsyncExitStack() as stack:
            http = await stack.enter_async_context(create_mcp_http_client(headers={"Authorization": f"Bearer {key}"}))
            client = await stack.enter_async_context(Client(streamable_http_client(f"{base}/mcp", http_client=http)))
            said = []
            for tool in ["read_artifact", "get_artifact", "create_download_link", "delete_artifact"]:
                result = await client.call_tool(tool, {"artifact_id": artifact})
                assert result.is_error, (tool, result)
                said.append((result.structured_content["error"]["code"], result.structured_content["error"]["message"]))
            try:
                said.append(("", (await client.read_resource(f"artifact://{artifact}")).contents))
            except MCPError as e:
                said.append((said[0][0], str(e)))
            return said

    return asyncio.run(ask())


def gone(base, key, artifact, path, code, sentences, links):
    """Through every door."""
    by_id = MOUNT / ".by-id" / artifact
    absent(lambda: by_id.read_bytes())
    absent(lambda: os.stat(by_id))
    absent(lambda: os.getxattr(by_id, "user.artifact.sha256"))
    assert artifact not in os.listdir(MOUNT / ".by-id")
    for words in (["pull", artifact, "-"], ["inspect", artifact], ["link", artifact], ["ttl", artifact, "7d"], ["rm", artifact]):
        refused(words, artifact, *sentences)
    refused(["pull", f"s1/{path}", "-"], artifact, *sentences)
    answer = subprocess.run(
        f"exec 3<>{MOUNT}/.ctl; ! echo 'link {path}' >&3 || exit 1; cat <&3", shell=True, executable="/bin/bash",
        capture_output=True, text=True,
    )
    assert answer.returncode == 0 and all(s in answer.stdout for s in sentences), answer
    api = f"{base}/v1/artifacts/{artifact}"
    for url, method in [(api, "GET"), (f"{api}/download-url", "GET"), (f"{api}/links", "GET"), (api, "DELETE")]:
        status, error = fetch(url, key, method)
        assert (status, error[0]) == (410, code) and all(s in error[1] for s in sentences), (url, status, error)
    for url in links:
        status, error = fetch(url)
        assert (status, error[0]) == (410, code) and all(s in error[1] for s in sentences), (url, status, error)
    for said in mcp(base, key, artifact):
        assert said[0] == code and all(s in said[1] for s in sentences), said


def links_to(base, key, artifact, path):
    """Every address under which the bytes are handed out."""
    of_file = outputfs("link", artifact, "--public-url", base).stdout.strip()
    of_session = outputfs("link", "s1", "--public-url", base).stdout.strip()
    signed = json.loads(fetch(f"{base}/v1/artifacts/{artifact}/download-url", key)[1])["download_url"]
    page = json.loads(fetch(f"{base}/v1/artifacts/{artifact}/publish", key, "POST", b"{}")[1])["url"]
    all_of_them = [of_file, f"{of_session}/f/{artifact}", f"{of_session}/v/{artifact}", f"{of_session}/f/{path}", signed, page]
    all_of_them = [f"{base}/{url.split('/', 3)[3]}" for url in all_of_them]
    for url in all_of_them:
        assert fetch(url)[0] == 200, url
    return all_of_them


with served() as base:
    key = new_key("--scope", "admin")
    (MOUNT / "d").mkdir()
    (MOUNT / "d/f").write_bytes(b"first")
    first = id_of("d/f")
    links = links_to(base, key, first, "d/f")
    assert (MOUNT / ".by-id" / first).read_bytes() == b"first"
    with open(MOUNT / "d/f", "rb") as reader:
        os.unlink(MOUNT / "d/f")
        assert reader.read() == b"first", "a descriptor that was open reads on"
    gone(base, key, first, "d/f", "artifact_already_deleted", [" was deleted at 2", f"'outputfs restore {first}'"], links)
    # The ways back: the trash, by name; whoever may write and says so; a restore.
    [name] = os.listdir(MOUNT / ".trash")
    assert (MOUNT / ".trash" / name).read_bytes() == b"first"
    assert os.getxattr(MOUNT / ".trash" / name, "user.artifact.id").decode() == first
    for words in (["pull", "--deleted", first, "-"], ["pull", "--deleted", "s1/d/f", "-"]):
        assert outputfs(*words).stdout == "first"
    assert json.loads(outputfs("inspect", "--deleted", "s1/d/f").stdout)["life"] == "trashed"
    outputfs("restore", first)
    end = time.monotonic() + 5
    while not (MOUNT / "d/f").exists():
        assert time.monotonic() < end
    again = id_of("d/f")
    absent(lambda: (MOUNT / ".trash" / name).read_bytes())
    assert (MOUNT / "d/f").read_bytes() == b"first" and fetch(links[0]) == (200, b"first")
    # Out of the trash it is as gone, and says so.
    os.unlink(MOUNT / "d/f")
    refused(["pull", "--deleted", "s1/none", "-"], "in the trash")
    outputfs("trash", "empty", again)
    refused(["pull", "--deleted", again, "-"], again, " was deleted for good at 2")
    gone_for_good = [" was deleted for good at 2", "cannot come back"]
    for words in (["pull", again, "-"], ["inspect", again], ["restore", again]):
        refused(words, again, *gone_for_good)
    status, error = fetch(f"{base}/v1/artifacts/{again}", key)
    assert (status, error[0]) == (410, "artifact_already_deleted") and all(s in error[1] for s in gone_for_good), error

    # Its time is over.
    (MOUNT / "short").write_bytes(b"short")
    short = id_of("short")
    links = links_to(base, key, short, "short")
    outputfs("ttl", "s1/short", "1s")
    while (MOUNT / "short").exists():
        pass
    said = [" expired at 2", "cannot come back"]
    gone(base, key, short, "short", "artifact_expired", said, links)
    outputfs("gc")
    refused(["pull", short, "-"], short, *said)
    refused(["restore", short], short, *said)
    status, error = fetch(f"{base}/v1/artifacts/{short}", key)
    assert (status, error[0]) == (410, "artifact_expired") and said[0] in error[1], error

    # A later attempt of its step succeeded without it.
    for attempt in ("one", "two"):
        subprocess.run(
            [BINARY, "run", *sys.argv[2:], "--session", "s1", "--step", "render", "--mount", str(MOUNT.parent / "run"), "--", "sh", "-c",
             f"echo {attempt} > '{MOUNT.parent}/run/{attempt}.txt'"],
            check=True, capture_output=True,
        )
        if attempt == "one":
            while not (MOUNT / "one.txt").exists():
                pass
            replaced = id_of("one.txt")
            links = links_to(base, key, replaced, "one.txt")
    said = [" was replaced at 2", "by attempt 2 of step 'render'", f"'outputfs restore {replaced}'"]
    while (MOUNT / "one.txt").exists():
        pass
    gone(base, key, replaced, "one.txt", "artifact_already_deleted", said, links)

    # What is deleted in a sealed session stays so, and the sentence does not promise otherwise.
    os.unlink(MOUNT / "two.txt")
    [deleted] = [a for a in json.loads(outputfs("trash", "ls", "s1").stdout) if a["filename"] == "two.txt"]
    outputfs("seal", "s1")
    refused(["pull", deleted["artifact_id"], "-"], " was deleted at 2", "sealed")
    absent(lambda: (MOUNT / ".by-id" / deleted["artifact_id"]).read_bytes())
print("all well")
