import asyncio
import hashlib
import io
import os
import threading

import pytest

import outputfs


def test_what_is_pushed_is_found_read_linked_and_deleted(client, session, tmp_path):
    file = tmp_path / "report.csv"
    file.write_text("a,b\n1,2\n")
    made = client.push(file, "out/report.csv", session=session, metadata={"stage": "final"})
    assert (made.session_id, made.filename, made.version) == (session, "out/report.csv", 1)
    assert made.content_type == "text/csv" and made.agent_id == "tester"
    assert made.content_hash == hashlib.sha256(file.read_bytes()).hexdigest()
    assert client.push(file, "out/report.csv", session=session).artifact_id == made.artifact_id, "a retry is free"

    assert [a.artifact_id for a in client.find(session=session, metadata={"stage": "final"})] == [made.artifact_id]
    assert client.named("out/report.csv", session).artifact_id == made.artifact_id
    assert client.read(made.artifact_id) == file.read_bytes()
    assert client.read(made.artifact_id, 2, 4) == b"b\n" and client.read(made.artifact_id, 100, 200) == b""
    assert client.pull(made.artifact_id, tmp_path / "back.csv").read_bytes() == file.read_bytes()
    assert {f for f in os.listdir(tmp_path) if not f.startswith(".")} == {"report.csv", "back.csv"}

    link = client.link(made.artifact_id, 60)
    assert link.url and link.url.startswith("http")
    client.revoke(link.link_id)
    assert client.links(made.artifact_id)[0].revoked_at is not None

    client.delete(made.artifact_id)
    with pytest.raises(outputfs.Gone):
        client.get(made.artifact_id)
    with pytest.raises(FileNotFoundError):
        client.named("out/report.csv", session)


def test_pages_are_walked_to_their_end(client, session):
    names = {f"f{i:03}" for i in range(205)}
    for name in names:
        client.create(name, name, session=session)
    assert {a.filename for a in client.find(session=session)} == names


def test_a_server_of_its_own_does_not_ration_its_client(client, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("asked to wait"))
    for _ in range(500):
        client.whoami()


def test_a_sealed_session_refuses(client, session):
    client.create("a", b"1", session=session)
    assert client.seal(session).artifact_count == 1
    with pytest.raises(outputfs.Sealed) as refused:
        client.create("b", b"2", session=session)
    assert isinstance(refused.value, PermissionError) and refused.value.status == 409


def test_an_idempotency_key_names_one_operation(client, session):
    one = client.create("a", b"1", session=session, idempotency_key=f"k-{session}")
    assert client.create("b", b"1", session=session, idempotency_key=f"k-{session}").artifact_id == one.artifact_id
    with pytest.raises(outputfs.Conflict):
        client.create("c", b"2", session=session, idempotency_key=f"k-{session}")


def test_bad_input_and_a_bad_key_say_so(client):
    with pytest.raises(outputfs.OutputfsError, match="session"):
        client.create("a", b"1", session="no/session")
    with outputfs.Client(client.url, "ak_live_wrong") as stranger, pytest.raises(outputfs.Forbidden):
        stranger.whoami()
    with pytest.raises(outputfs.OutputfsError, match="OUTPUTFS_API_KEY"):
        outputfs.Client("http://127.0.0.1:1")


def test_the_environment_says_where_and_whose(client, session, monkeypatch):
    monkeypatch.setenv("ARTIFACTA_API_URL", client.url)
    monkeypatch.setenv("ARTIFACTA_API_KEY", client._headers["Authorization"].removeprefix("Bearer "))
    monkeypatch.setenv("ARTIFACTA_SESSION_ID", "other")
    monkeypatch.setenv("OUTPUTFS_SESSION_ID", session)
    monkeypatch.setenv("OUTPUTFS_AGENT_ID", "bob")
    with outputfs.Client() as mine:
        made = mine.create("x", io.BytesIO(b"from a file object"))
    assert (made.session_id, made.agent_id, made.size_bytes) == (session, "bob", 18)


def test_asyncio_does_the_same(client, session):
    async def work():
        key = client._headers["Authorization"].removeprefix("Bearer ")
        async with outputfs.AsyncClient(client.url, key, session=session) as mine:
            made = await asyncio.gather(*(mine.create(f"f{i}", f"{i}") for i in range(20)))
            assert len({a.artifact_id for a in made}) == 20
            assert [a.filename async for a in mine.find(session=session, filename="f7")] == ["f7"]
            assert await mine.read((await mine.named("f7")).artifact_id) == b"7"
            assert session in [s.session_id async for s in mine.sessions()]
            return await mine.seal()

    assert asyncio.run(work()).artifact_count == 20


def test_a_server_that_goes_and_comes_is_awaited(client, session, tmp_path):
    """The first answers are 503: the upload is sent again, from where the file stood."""
    from http.server import BaseHTTPRequestHandler, HTTPServer

    bodies = []

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(503)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Busy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    file = io.BytesIO(b"skipped|sent")
    file.seek(8)
    try:
        with outputfs.Client(f"http://127.0.0.1:{server.server_port}", "k", session=session) as mine:
            with pytest.raises(outputfs.ServerError):
                mine.create("x", file)
    finally:
        server.shutdown()
        server.server_close()
    assert len(bodies) == 5 and all(b"sent" in b and b"skipped" not in b for b in bodies)
