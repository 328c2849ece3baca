"""The published MCP client (pip: mcp) against real processes.

    client.py BINARY STATE_DIR ROOT_DIR

ROOT_DIR holds report.csv, a link `escape` that leads out of it, and picture.png. Exits 0 when all is as it should be.
"""

import asyncio
import base64
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request

from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from mcp_types import ResourceUpdatedNotification

BINARY, STATE, ROOT = sys.argv[1:4]
DEADLINE = 20


def record(result):
    assert not result.is_error, result
    return result.structured_content


def refused(result, code, retryable=False):
    assert result.is_error, result
    error = result.structured_content["error"]
    assert (error["code"], error["retryable"]) == (code, retryable), error
    text = result.content[0].text
    assert text.startswith("Error: ") and "retry" in text.lower(), text
    return error["message"]


async def everything(client, session, with_paths):
    """Every tool and resource through one connection."""
    tools = {t.name: t for t in (await client.list_tools()).tools}
    assert sorted(tools) == [
        "create_download_link", "delete_artifact", "get_artifact", "list_artifacts", "list_sessions",
        "read_artifact", "seal_session", "store_artifact", "whoami",
    ]
    destroys = {n for n, t in tools.items() if not t.annotations.read_only_hint and t.annotations.destructive_hint}
    assert destroys == {"seal_session", "delete_artifact"}, destroys
    assert all(t.description and t.input_schema["type"] == "object" for t in tools.values())

    me = record(await client.call_tool("whoami", {}))
    assert me["tenant_name"] == "default" and me["may_write"] and me["may_seal"]

    # Storing: text, base64, a path.
    note = record(await client.call_tool("store_artifact", {
        "session_id": session, "filename": "notes/a.md", "content": "# Größe\n", "agent_id": "writer-7",
        "metadata": {"stage": "draft"}, "ttl": "7d",
    }))
    assert (note["filename"], note["size_bytes"], note["content_type"]) == ("notes/a.md", 9 + 1, "text/markdown"), note
    assert (note["agent_id"], note["metadata"], note["version"]) == ("writer-7", {"stage": "draft"}, 1)
    again = record(await client.call_tool("store_artifact", {
        "session_id": session, "filename": "notes/a.md", "content": "# Größe\n",
    }))
    assert again["artifact_id"] == note["artifact_id"]
    binary = bytes(range(256))
    blob = record(await client.call_tool("store_artifact", {
        "session_id": session, "filename": "b.bin", "content_base64": base64.b64encode(binary).decode(),
        "content_type": "application/octet-stream",
    }))
    if with_paths:
        table = record(await client.call_tool("store_artifact", {"session_id": session, "path": f"{ROOT}/report.csv"}))
        assert (table["filename"], table["content_type"]) == ("report.csv", "text/csv")
        picture = record(await client.call_tool("store_artifact", {"session_id": session, "path": "picture.png"}))
        image = (await client.call_tool("read_artifact", {"artifact_id": picture["artifact_id"]})).content[0]
        assert (image.type, image.mime_type) == ("image", "image/png"), image
        assert base64.b64decode(image.data) == open(f"{ROOT}/picture.png", "rb").read()
    for path in ["/etc/passwd", "escape", f"{ROOT}/escape", "../secret", f"{ROOT}/../secret"]:
        refused(await client.call_tool("store_artifact", {"session_id": session, "path": path}), "forbidden")
    refused(await client.call_tool("store_artifact", {"session_id": session, "filename": "x"}), "invalid_request")
    refused(await client.call_tool("store_artifact", {"session_id": "-", "filename": "x", "content": ""}), "invalid_request")
    refused(await client.call_tool("store_artifact", {
        "session_id": session, "filename": "x", "content": "", "metadata": {"bad key": "v"},
    }), "invalid_request")

    # Listing and looking.
    page = record(await client.call_tool("list_artifacts", {"session_id": session, "limit": 1}))
    assert page["has_more"] and len(page["artifacts"]) == 1
    rest = record(await client.call_tool("list_artifacts", {"session_id": session, "cursor": page["next_cursor"]}))
    ids = [a["artifact_id"] for a in page["artifacts"] + rest["artifacts"]]
    assert len(ids) == len(set(ids)) == (4 if with_paths else 2), ids
    found = record(await client.call_tool("list_artifacts", {"metadata": {"stage": "draft"}, "session_id": session}))
    assert [a["artifact_id"] for a in found["artifacts"]] == [note["artifact_id"]]
    record(await client.call_tool("store_artifact", {"session_id": session, "filename": "notes/a.md", "content": "two"}))
    full = record(await client.call_tool("get_artifact", {"artifact_id": f"{session}/notes/a.md", "versions": True}))
    assert [v["version"] for v in full["versions"]] == [1, 2] and full["version"] == 2
    assert session in [s["session_id"] for s in record(await client.call_tool("list_sessions", {}))["sessions"]]

    # Reading, whole and in parts; a part never ends inside a character.
    read = await client.call_tool("read_artifact", {"artifact_id": note["artifact_id"]})
    assert read.content[0].text == "# Größe\n"
    part = await client.call_tool("read_artifact", {"artifact_id": note["artifact_id"], "length": 5})
    assert part.content[0].text == "# Gr" and part.structured_content["next_offset"] == 4, part
    more = await client.call_tool("read_artifact", {"artifact_id": note["artifact_id"], "offset": 4})
    assert more.content[0].text == "öße\n" and more.structured_content["next_offset"] is None
    other = (await client.call_tool("read_artifact", {"artifact_id": blob["artifact_id"], "offset": 250})).content[0]
    assert base64.b64decode(other.resource.blob) == binary[250:]
    refused(await client.call_tool("read_artifact", {"artifact_id": note["artifact_id"], "offset": 99}), "invalid_request")
    refused(await client.call_tool("read_artifact", {"artifact_id": "art_00000000000000000000000000"}), "not_found")

    # Resources.
    uris, cursor = [], None
    while True:
        answer = await client.list_resources(cursor=cursor)
        uris += [str(r.uri) for r in answer.resources]
        cursor = answer.next_cursor
        if cursor is None:
            break
    assert f"session://{session}" in uris and f"artifact://{blob['artifact_id']}" in uris
    assert len((await client.list_resource_templates()).resource_templates) == 2
    text = (await client.read_resource(f"artifact://{note['artifact_id']}")).contents[0]
    assert (text.text, text.mime_type) == ("# Größe\n", "text/markdown")
    data = (await client.read_resource(f"artifact://{blob['artifact_id']}")).contents[0]
    assert base64.b64decode(data.blob) == binary
    state = json.loads((await client.read_resource(f"session://{session}")).contents[0].text)
    assert state["session_id"] == session and not state["is_sealed"]
    for unknown in ["artifact://art_00000000000000000000000000", "file:///etc/passwd", "session://none"]:
        try:
            await client.read_resource(unknown)
            raise AssertionError(unknown)
        except MCPError:
            pass

    # A link, deleting, sealing.
    link = record(await client.call_tool("create_download_link", {"artifact_id": note["artifact_id"], "expires_in": "1h"}))
    assert re.search(r"/lnk_[0-9A-Za-z]+$", link["url"]) and link["artifact_id"] == note["artifact_id"]
    assert record(await client.call_tool("create_download_link", {"session_id": session}))["artifact_id"] is None
    assert record(await client.call_tool("delete_artifact", {"artifact_id": blob["artifact_id"]}))["deleted"]
    refused(await client.call_tool("delete_artifact", {"artifact_id": blob["artifact_id"]}), "artifact_already_deleted")
    sealed = record(await client.call_tool("seal_session", {"session_id": session}))
    assert sealed["status"] == "sealed" and sealed["artifact_count"] == (3 if with_paths else 1), sealed
    message = refused(
        await client.call_tool("store_artifact", {"session_id": session, "filename": "late", "content": ""}),
        "session_sealed",
    )
    assert message == f"Session '{session}' is sealed. No new artifacts can be added."


def push(session, name):
    """A change by another process."""
    command = [BINARY, "--state-dir", STATE, "push", "-", "--to", f"{session}/{name}"]
    subprocess.run(command, input=name.encode(), check=True, timeout=DEADLINE, stdout=subprocess.DEVNULL)


async def hears(target, mode, session):
    """A subscription tells of what another process stores in the session, and of nothing else."""
    heard = asyncio.Queue()

    async def message(m):
        if isinstance(m, ResourceUpdatedNotification):
            heard.put_nowait(str(m.params.uri))

    push(session, "first")
    push("elsewhere", "first")
    async with Client(target, mode=mode, message_handler=message) as client:
        uri = f"session://{session}"
        if mode == "legacy":
            await client.subscribe_resource(uri)
            push("elsewhere", "other")
            push(session, "second")
            assert await asyncio.wait_for(heard.get(), DEADLINE) == uri
            await client.unsubscribe_resource(uri)
        else:
            async with client.listen(resource_subscriptions=[uri]) as subscription:
                push("elsewhere", "another")
                push(session, "third")
                event = await asyncio.wait_for(anext(aiter(subscription)), DEADLINE)
                assert event.uri == uri, event


def stdio(*more):
    return StdioServerParameters(command=BINARY, args=["--state-dir", STATE, "mcp", *more])


async def main():
    for mode in ["legacy", "auto"]:
        async with Client(stdio("--root", ROOT), mode=mode) as client:
            print("stdio", mode, client.protocol_version)
            await everything(client, f"stdio_{mode}", with_paths=True)
        await hears(stdio(), mode, f"heard_stdio_{mode}")
    async with Client(stdio("--read-only", "--root", ROOT)) as client:
        for tool, arguments in [
            ("store_artifact", {"session_id": "s", "filename": "x", "content": ""}),
            ("delete_artifact", {"artifact_id": "s/x"}),
            ("seal_session", {"session_id": "stdio_auto"}),
            ("create_download_link", {"session_id": "stdio_auto"}),
        ]:
            refused(await client.call_tool(tool, arguments), "forbidden")
        assert not record(await client.call_tool("whoami", {}))["may_write"]

    server = subprocess.Popen(
        [BINARY, "--state-dir", STATE, "serve", "--http", "127.0.0.1:0", "--mcp", "admin"],
        stderr=subprocess.PIPE, text=True,
    )
    try:
        for line in server.stderr:
            if found := re.search(r"links are served at (http://\S+)", line):
                break
        url = f"{found[1]}/mcp"
        for mode in ["legacy", "auto"]:
            async with Client(url, mode=mode) as client:
                print("http", mode, client.protocol_version)
                await everything(client, f"http_{mode}", with_paths=False)
            await hears(url, mode, f"heard_http_{mode}")
    finally:
        server.terminate()
        assert server.wait(DEADLINE) == 0
    await keyed()
    print("all well")


def key(*scopes):
    words = [BINARY, "--state-dir", STATE, "--quiet", "key", "create", "mcp", *(f"--scope={s}" for s in scopes)]
    made = subprocess.run(words, check=True, capture_output=True, text=True, timeout=DEADLINE).stdout
    return json.loads(made)["key"]


def with_key(url, key):
    return streamable_http_client(url, http_client=create_mcp_http_client(headers={"Authorization": f"Bearer {key}"}))


async def keyed():
    """With keys in the store nobody enters without one, on whatever address, and a key is good for what its scopes say."""
    reading, writing = key("read"), key("read", "write")
    for address, options in [("0.0.0.0:0", []), ("127.0.0.1:0", ["--mcp", "admin"])]:
        server = subprocess.Popen(
            [BINARY, "--state-dir", STATE, "serve", "--http", address, *options], stderr=subprocess.PIPE, text=True
        )
        try:
            for line in server.stderr:
                if found := re.search(r"links are served at (http://\S+)", line):
                    break
            url = f"{found[1]}/mcp"
            for headers in [{}, {"Authorization": "Bearer ak_live_" + "x" * 32}]:
                request = urllib.request.Request(url, data=b"{}", headers=headers, method="POST")
                try:
                    urllib.request.urlopen(request, timeout=DEADLINE)
                    raise AssertionError("it was let in")
                except urllib.error.HTTPError as e:
                    assert e.code == 401, e.code
            name = f"keyed_{len(options)}"
            async with Client(with_key(url, writing)) as client:
                await everything(client, name, with_paths=False)
            async with Client(with_key(url, reading)) as client:
                assert record(await client.call_tool("list_sessions", {}))
                assert not record(await client.call_tool("whoami", {}))["may_write"]
                for tool, arguments in [
                    ("store_artifact", {"session_id": "s", "filename": "x", "content": ""}),
                    ("delete_artifact", {"artifact_id": "s/x"}),
                    ("seal_session", {"session_id": name}),
                    ("create_download_link", {"session_id": name}),
                ]:
                    refused(await client.call_tool(tool, arguments), "forbidden")
        finally:
            server.terminate()
            assert server.wait(DEADLINE) == 0


asyncio.run(main())
