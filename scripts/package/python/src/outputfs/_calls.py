"""Every request as a value: built once here, sent by the sync and by the async client."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from . import _models as m

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

Content = bytes | bytearray | memoryview | str | IO[bytes]
"""Bytes, text (sent as UTF-8), or a binary file, read from where it stands."""


class _Rest:
    """A file from where it stands: ``httpx`` measures and sends from offset 0, the first time and each time again."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._start = file.tell()

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def tell(self) -> int:
        return self._file.tell() - self._start

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset + self._start if whence == os.SEEK_SET else offset, whence) - self._start


@dataclass(frozen=True)
class Call(Generic[T]):
    method: str
    path: str
    parse: Callable[[httpx.Response], T]
    params: tuple[tuple[str, str], ...] = ()
    json: Any = None
    form: Mapping[str, str] | None = None
    file: tuple[str, bytes | _Rest | IO[bytes]] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """What ``httpx`` takes."""
        made: dict[str, Any] = {"params": httpx.QueryParams(self.params), "headers": dict(self.headers)}
        if self.file is not None:
            name, content = self.file
            # The form's own field ``filename`` has the path: a file name of a form may be cut at its slashes.
            made["files"] = {"file": (os.path.basename(name) or "file", content)}
            made["data"] = dict(self.form or {})
        elif self.json is not None:
            made["json"] = self.json
        return made

    @property
    def repeatable(self) -> bool:
        """Whether it can be sent once more: a pipe has been read by then."""
        return self.file is None or isinstance(self.file[1], (bytes, _Rest))


def _as(model: type[M]) -> Callable[[httpx.Response], M]:
    return lambda response: model.model_validate(response.json())


def _id(value: str) -> str:
    return quote(value, safe="")


def create(
    filename: str,
    content: Content,
    *,
    session: str | None,
    agent: str | None,
    metadata: Mapping[str, str] | None,
    content_type: str | None,
    ttl: str | None,
    idempotency_key: str | None,
) -> Call[m.Artifact]:
    form = {"filename": filename}
    for name, value in (("session_id", session), ("agent_id", agent), ("content_type", content_type), ("ttl", ttl)):
        if value is not None:
            form[name] = value
    if metadata:
        form["metadata"] = json.dumps(dict(metadata))
    held: bytes | _Rest | IO[bytes]
    if isinstance(content, str):
        held = content.encode()
    elif isinstance(content, (bytes, bytearray, memoryview)):
        held = bytes(content)
    else:
        held = _Rest(content) if content.seekable() else content
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    return Call("POST", "/v1/artifacts", _as(m.Artifact), form=form, file=(filename, held), headers=headers)


def find(
    *,
    session: str | None,
    agent: str | None,
    filename: str | None,
    content_type: str | None,
    metadata: Mapping[str, str] | None,
    created_after: datetime | None,
    created_before: datetime | None,
    limit: int,
    cursor: str | None,
) -> Call[m.ArtifactPage]:
    given = {
        "session_id": session,
        "agent_id": agent,
        "filename": filename,
        "content_type": content_type,
        "created_after": created_after.isoformat() if created_after else None,
        "created_before": created_before.isoformat() if created_before else None,
        "limit": str(limit),
        "cursor": cursor,
    }
    params = [(name, value) for name, value in given.items() if value is not None]
    params += [(f"metadata.{key}", value) for key, value in (metadata or {}).items()]
    return Call("GET", "/v1/artifacts", _as(m.ArtifactPage), params=tuple(params))


def get(artifact: str) -> Call[m.Artifact]:
    return Call("GET", f"/v1/artifacts/{_id(artifact)}", _as(m.Artifact))


def delete(artifact: str) -> Call[None]:
    return Call("DELETE", f"/v1/artifacts/{_id(artifact)}", lambda _: None)


def extend_ttl(artifact: str, ttl: str) -> Call[m.Artifact]:
    return Call("POST", f"/v1/artifacts/{_id(artifact)}/extend-ttl", _as(m.Artifact), json={"ttl": ttl})


def download_url(artifact: str) -> Call[m.DownloadUrl]:
    return Call("GET", f"/v1/artifacts/{_id(artifact)}/download-url", _as(m.DownloadUrl))


def link(artifact: str, seconds: int | None) -> Call[m.Link]:
    body = {} if seconds is None else {"expires_in": seconds}
    return Call("POST", f"/v1/artifacts/{_id(artifact)}/links", _as(m.Link), json=body)


def links(artifact: str) -> Call[m.LinkPage]:
    return Call("GET", f"/v1/artifacts/{_id(artifact)}/links", _as(m.LinkPage))


def revoke(link_id: str) -> Call[None]:
    return Call("DELETE", f"/v1/links/{_id(link_id)}", lambda _: None)


def sessions(limit: int, after: str | None) -> Call[m.SessionPage]:
    params = [("limit", str(limit))] + ([("after", after)] if after else [])
    return Call("GET", "/v1/sessions", _as(m.SessionPage), params=tuple(params))


def seal(session: str) -> Call[m.SealedSession]:
    return Call("POST", f"/v1/sessions/{_id(session)}/seal", _as(m.SealedSession), json={})


def whoami() -> Call[m.Whoami]:
    return Call("GET", "/v1/whoami", _as(m.Whoami))
