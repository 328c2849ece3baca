"""deepagents' own backend on a disk is the judge: the same calls, the same answers."""

import asyncio
import random

import pytest
from deepagents import create_deep_agent
from deepagents.backends import FilesystemBackend, StoreBackend
from deepagents.backends.protocol import BackendProtocol
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.store.memory import InMemoryStore

import outputfs
from outputfs.deepagents import OutputfsBackend

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
FILES = {
    "/report.md": "# Report\n\nTODO: figures\nend",
    "/src/main.py": "import os\n# TODO\nprint('é')\n",
    "/src/lib/util.py": "TODO = 1\nTODO = 2\n",
    "/src/lib/.hidden": "TODO\n",
    "/empty.txt": "",
    "/crlf.txt": "a\r\nb\r\nc\r\n",
}


@pytest.fixture
def backend(client, session):
    return OutputfsBackend(client, session=session)


@pytest.fixture
def judge():
    return StoreBackend(store=InMemoryStore(), namespace=lambda _: ("files",))


@pytest.fixture
def both(backend, judge):
    for path, text in FILES.items():
        assert backend.write(path, text) == judge.write(path, text)
    return backend, judge


def plain(result):
    """Without the times, which are two clocks'."""
    entries = getattr(result, "entries", None) or getattr(result, "matches", None)
    if entries:
        return sorted(({k: v for k, v in entry.items() if k != "modified_at"} for entry in entries), key=str)
    if getattr(result, "file_data", None):
        content = (result.file_data["content"], result.file_data["encoding"])
        return (content, result.total_lines, result.start_line, result.end_line, result.next_offset)
    return result


@pytest.mark.parametrize("path", ["/", "/src", "/src/", "/src/lib", "/nothing"])
def test_listings(both, path):
    assert plain(both[0].ls(path)) == plain(both[1].ls(path))


@pytest.mark.parametrize("window", [(0, 2000), (1, 1), (-1, 2), (0, 0), (2, 10), (99, 1)])
@pytest.mark.parametrize("path", [*FILES, "/nothing"])
def test_reads(both, path, window):
    assert plain(both[0].read(path, *window)) == plain(both[1].read(path, *window))


@pytest.mark.parametrize("path", [None, "/", "/src", "/src/main.py", "/nothing"])
@pytest.mark.parametrize("glob", [None, "*.py", "**/*.py", "/*.md", "src/**", "*.{md,py}", "../x"])
def test_searches(both, path, glob):
    mine, theirs = (backend.grep("TODO", path, glob) for backend in both)
    assert (plain(mine), bool(mine.error)) == (plain(theirs), bool(theirs.error)) or mine.error == theirs.error
    if glob:
        mine, theirs = (backend.glob(glob, path) for backend in both)
        assert plain(mine) == plain(theirs)


def test_a_search_ends_at_its_limit(both):
    for most, truncated in ((1, True), (5, False), (4, True), (100, False)):
        mine = both[0].grep("TODO", "/", max_count=most)
        assert (len(mine.matches), mine.truncated) == (min(most, 5), truncated)


def test_edits_and_deletions(both):
    rng = random.Random(7)
    for _ in range(60):
        path = rng.choice([*FILES, "/new.txt", "/src", "/nothing"])
        match rng.choice(["edit", "edit_all", "delete", "write", "ls"]):
            case "edit":
                assert both[0].edit(path, "TODO", "DONE") == both[1].edit(path, "TODO", "DONE")
            case "edit_all":
                assert both[0].edit(path, "TODO", "TODO!", True) == both[1].edit(path, "TODO", "TODO!", True)
            case "delete":
                assert both[0].delete(path) == both[1].delete(path)
            case "write" if path != "/src":
                assert both[0].write(path, "TODO\n") == both[1].write(path, "TODO\n")
            case "ls":
                assert plain(both[0].ls("/")) == plain(both[1].ls("/"))


def test_uploads_and_downloads(backend, client, session):
    files = [("/a.bin", bytes(range(256))), ("/d/chart.png", PNG), ("/../x", b""), ("/a.bin/below", b"")]
    errors = [answer.error for answer in backend.upload_files(files)]
    assert errors[:3] == [None, None, "invalid_path"] and errors[3]
    got = backend.download_files(["/a.bin", "/d/chart.png", "/d", "/nothing", "/../x"])
    assert [answer.content for answer in got] == [bytes(range(256)), PNG, None, None, None]
    assert [answer.error for answer in got] == [None, None, "is_directory", "file_not_found", "invalid_path"]
    assert backend.read("/d/chart.png").file_data["encoding"] == "base64"
    assert "binary" in backend.edit("/a.bin", "a", "b").error
    assert client.named("d/chart.png", session).content_type == "image/png"


def test_a_sealed_session_refuses_with_a_sentence(backend, client, session):
    backend.write("/a", "1")
    client.seal(session)
    assert "sealed" in backend.write("/b", "2").error and "sealed" in backend.edit("/a", "1", "2").error
    assert backend.delete("/a").error and backend.upload_files([("/c", b"")])[0].error == "permission_denied"
    assert backend.read("/a").file_data["content"] == "1"


def test_the_protocol_is_whole_and_a_session_is_needed(backend, client):
    public = {name for name in vars(BackendProtocol) if not name.startswith("_")}
    own = {name for name in public if getattr(OutputfsBackend, name) is not getattr(BackendProtocol, name)}
    # Those for asyncio call the others in a thread.
    assert public - own == {"a" + name for name in own} and len(own) == 9
    assert asyncio.run(backend.awrite("/x", "1")).path == "/x"
    key = client._headers["Authorization"].removeprefix("Bearer ")
    with outputfs.Client(client.url, key) as nobody, pytest.raises(outputfs.OutputfsError, match="session="):
        OutputfsBackend(nobody)


class Scripted(GenericFakeChatModel):
    def bind_tools(self, tools, **_):
        return self


def test_an_agent_writes_reads_and_edits(backend, client, session):
    def call(name, **arguments):
        return AIMessage(content="", tool_calls=[{"name": name, "args": arguments, "id": name}])

    messages = [
        call("write_file", file_path="/out/report.md", content="# Draft\n"),
        call("edit_file", file_path="/out/report.md", old_string="Draft", new_string="Final"),
        call("read_file", file_path="/out/report.md"),
        AIMessage(content="done"),
    ]
    agent = create_deep_agent(model=Scripted(messages=iter(messages)), backend=backend)
    told = agent.invoke({"messages": [("user", "write")]})["messages"]
    assert told[-1].content == "done" and "# Final" in told[-2].content
    made = client.named("out/report.md", session)
    assert client.read(made.artifact_id) == b"# Final\n" and made.content_type == "text/markdown"


def test_the_same_on_a_disk(backend, tmp_path):
    """Where the session is mounted their own backend is enough: the two answer alike."""
    disk = FilesystemBackend(root_dir=tmp_path, virtual_mode=True)
    for path, text in FILES.items():
        backend.write(path, text)
        disk.write(path, text)
    for pattern in ("*.py", "**/*.py", "*.md"):
        assert {m["path"] for m in backend.glob(pattern).matches} == {m["path"] for m in disk.glob(pattern).matches}
    assert plain(backend.read("/src/main.py", 1, 1)) == plain(disk.read("/src/main.py", 1, 1))
