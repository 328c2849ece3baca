"""Every method of the published Python client (pip: artifacta-cli) against `outputfs serve`."""

import hashlib
import pathlib
import tempfile

from artifacta import Client
from artifacta.errors import (
    ArtifactDeletedError, ArtifactNotFoundError, AuthenticationError, InvalidRequestError, SessionSealedError,
)

from served import new_key, outputfs, served


def fails(kind, call, code=None):
    try:
        call()
    except kind as e:
        assert code is None or e.code == code, (e.code, code)
        return e
    raise AssertionError(f"{kind.__name__} was expected")


def record(stored):
    """The artifact without what came of storing it."""
    return {name: value for name, value in stored.to_dict().items() if name != "outcome"}


def everything(base):
    client = Client(api_key=new_key(), base_url=base)
    me = client.whoami()
    assert me.tenant_name == "default" and len(me.api_key_last_4) == 4 and me.rate_limit_burst >= me.rate_limit_sustained
    assert me.usage_storage_bytes == 0 and me.active_links == 0
    assert me.plan_storage_limit_bytes is None and me.plan_requests_limit_month is None, "no limit is none"

    # Bytes in, bytes out.
    work = pathlib.Path(tempfile.mkdtemp())
    (work / "report.pdf").write_bytes(b"%PDF-1.4 report")
    report = client.push(
        work / "report.pdf", session_id="run_42", agent_id="writer-7", metadata={"stage": "final", "size": "größe ä"}, ttl="7d"
    )
    assert report.id.startswith("art_") and report.filename == "report.pdf" and report.size_bytes == 15, report
    assert report.content_type == "application/pdf" and report.agent_id == "writer-7" and report.session_id == "run_42"
    assert report.content_hash == hashlib.sha256(b"%PDF-1.4 report").hexdigest(), report.content_hash
    assert report.metadata == {"stage": "final", "size": "größe ä"} and report.expires_at.endswith("Z")
    assert client.get(report.id).to_dict() == record(report)
    assert client.pull_bytes(report.id) == b"%PDF-1.4 report"
    assert client.pull(report.id, output=work / "out" / "r.pdf").read_bytes() == b"%PDF-1.4 report"
    table = client.push(content=b"a,b\n", filename="tables/t.bin", content_type="text/csv", session_id="run_42")
    assert (table.filename, table.content_type) == ("tables/t.bin", "text/csv"), table.to_dict()
    data = client.push_dict({"x": [1, 2]}, filename="d.json", session_id="run_42", ttl="never")
    assert client.pull_dict(data.id) == {"x": [1, 2]} and data.expires_at is None and data.content_type == "application/json"
    # Without a session: visible by ID and in lists, two of one name beside each other.
    loose = [client.push(content=b"loose", filename="n.txt") for _ in range(2)]
    assert loose[0].session_id is None and loose[0].id != loose[1].id
    empty = client.push(content=b"", filename="empty.txt", session_id="run_42")
    assert client.pull_bytes(empty.id) == b""
    big = b"0123456789abcdef" * (20 << 16)
    assert client.pull_bytes(client.push(content=big, filename="big.bin", session_id="run_43").id) == big

    # The same operation twice.
    first = client.push(content=b"once", filename="k.txt", session_id="run_42", idempotency_key="key-1")
    again = client.push(content=b"once", filename="k.txt", session_id="run_42", idempotency_key="key-1")
    assert record(first) == record(again), (first.to_dict(), again.to_dict())
    other = fails(Exception, lambda: client.push(content=b"twice", filename="k.txt", session_id="run_42", idempotency_key="key-1"))
    assert first.id in str(other) and other.status == 409, other

    # Lists.
    mine = client.list(session_id="run_42")
    assert [a.id for a in mine] == [first.id, empty.id, data.id, table.id, report.id], [a.filename for a in mine]
    assert [a.id for a in client.list(session_id="run_42", limit=2)] == [a.id for a in mine], "pages in order"
    page = client.list(limit=2, auto_paginate=False)
    assert len(page) == 2 and page.has_more and page.next_cursor
    rest = client.list(limit=200, cursor=page.next_cursor)
    assert not {a.id for a in page} & {a.id for a in rest}
    assert [a.id for a in client.list(agent_id="writer-7")] == [report.id]
    assert [a.id for a in client.list(metadata={"stage": "final", "size": "größe ä"})] == [report.id]
    assert len(client.list(metadata={"stage": "draft"})) == 0 and len(client.list(session_id="no_such")) == 0
    assert {a.id for a in client.list()} >= {a.id for a in loose}

    # Links.
    link = client.create_link(report.id, expires_in=3600)
    assert link.artifact_id == report.id and client._download_bytes(link.url) == b"%PDF-1.4 report"
    assert client.create_link(report.id).expires_at <= report.expires_at, "a link never outlives its artifact"
    assert client.whoami().active_links == 2

    # Bytes that the client puts into the store itself.
    large = client.push(
        content=big, filename="presigned.bin", session_id="run_43", metadata={"way": "direct"}, presigned=True
    )
    assert large.size_bytes == len(big) and large.metadata == {"way": "direct"} and client.pull_bytes(large.id) == big
    asked = client.request_upload_url("later.bin", "application/octet-stream", 5, session_id="run_43", idempotency_key="up-1")
    assert asked == client.request_upload_url(
        "later.bin", "application/octet-stream", 5, session_id="run_43", idempotency_key="up-1"
    ) | {"expires_in": asked["expires_in"], "upload_url": asked["upload_url"]}
    fails(Exception, lambda: client.complete_upload(asked["artifact_id"]), "upload_not_found")

    # Sessions.
    sessions = {s.session_id: s for s in client.list_sessions()}
    assert sessions.keys() == {"run_42", "run_43"}, sessions.keys()
    assert sessions["run_42"].artifact_count == 5 and not sessions["run_42"].is_sealed
    assert len(client.list_sessions(limit=1)) == 2, "pages of one"
    assert len(client.list_sessions(created_after=sessions["run_43"].first_artifact_at)) == 1
    sealed = client.seal_session("run_42")
    assert (sealed.status, sealed.artifact_count) == ("sealed", 5) and sealed.sealed_at == client.seal_session("run_42").sealed_at
    refused = fails(SessionSealedError, lambda: client.push(content=b"late", filename="l.txt", session_id="run_42"))
    assert str(refused).endswith("Session 'run_42' is sealed. No new artifacts can be added."), refused
    fails(Exception, lambda: client.seal_session("no_such"), "session_not_found")

    # Ends.
    gone = client.delete(loose[0].id)
    assert gone["artifact_id"] == loose[0].id and gone["deleted"] and gone["deleted_at"].endswith("Z")
    assert client.delete(loose[0].id)["deleted"], "deleting twice is fine"
    fails(ArtifactDeletedError, lambda: client.get(loose[0].id), "artifact_already_deleted")
    fails(ArtifactNotFoundError, lambda: client.get("art_01JD8Q3ZV5N8R2K7M4T6W9X0YA"), "artifact_not_found")
    fails(ArtifactNotFoundError, lambda: client.get("nonsense"), "artifact_not_found")
    fails(InvalidRequestError, lambda: client.push(content=b"x", filename="../up", session_id="run_44"), "invalid_request")
    fails(InvalidRequestError, lambda: client.push(content=b"x", filename="x", ttl="soon"), "invalid_request")
    fails(AuthenticationError, lambda: Client(api_key="ak_live_" + "0" * 32, base_url=base).whoami(), "unauthorized")

    # Keys.
    reader = Client(api_key=new_key("reader", "--scope", "read"), base_url=base)
    assert reader.get(report.id).id == report.id
    fails(Exception, lambda: reader.push(content=b"x", filename="x"), "forbidden")
    text = new_key("short-lived")
    short = Client(api_key=text, base_url=base)
    assert short.whoami().api_key_last_4 == text[-4:]
    outputfs("key", "revoke", "key_" + text[8:16])
    fails(AuthenticationError, short.whoami, "unauthorized")
    assert text not in outputfs("key", "ls", "--json").stdout
    assert client.whoami().usage_requests_month > 40
    assert Client.session_new().startswith("ses_")


with served() as base:
    everything(base)
print("all well")
