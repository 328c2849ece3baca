"""The client, twice: for threads and for asyncio. Both send the same :mod:`._calls`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from . import _calls as calls
from . import _models as m
from ._calls import Call, Content
from ._errors import NotFound, OutputfsError, Unreachable, from_response
from ._local import LocalServer
from ._settings import Settings

T = TypeVar("T")

_PAGE = 200
_TRIES = 5
# By silence, not in all: an upload takes as long as its bytes do.
_TIMEOUT = httpx.Timeout(60.0, connect=10.0, read=300.0)
_BUSY = {429, 502, 503, 504}


def _pause(response: httpx.Response | None, attempt: int) -> float:
    """Seconds until the next try: what the server asks for, else doubling from a quarter second."""
    asked = response.headers.get("retry-after") if response is not None else None
    doubling = 0.25 * float(2**attempt)
    try:
        return min(float(asked), 30.0) if asked else doubling
    except ValueError:
        return doubling


class _Base:
    """Where requests go, and the labels of what is pushed."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        session: str | None = None,
        agent: str | None = None,
        ttl: str | None = None,
        state_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        env = Settings.of()
        self.session = session or env.session
        self.agent = agent or env.agent
        self.ttl = ttl or env.ttl
        url = url or (None if state_dir is not None else env.url)
        self._server = None if url else LocalServer(state_dir)
        self.url = (url or (self._server.url if self._server else "")).rstrip("/")
        key = self._server.key if self._server else (key or env.key)
        if not key:
            self._close_server()
            raise OutputfsError("no key: say key=, or set OUTPUTFS_API_KEY", code="no_key")
        self._headers = {"Authorization": f"Bearer {key}"}

    def _close_server(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            server.close()

    def _create(self, filename: str, content: Content, labels: Mapping[str, Any]) -> Call[m.Artifact]:
        own = {"session": self.session, "agent": self.agent, "ttl": self.ttl}
        said = {name: value for name, value in labels.items() if value is not None}
        empty: dict[str, Any] = {"metadata": None, "content_type": None, "idempotency_key": None}
        return calls.create(filename, content, **{**own, **empty, **said})

    def _find(self, query: Mapping[str, Any], cursor: str | None) -> Call[m.ArtifactPage]:
        return calls.find(**query, limit=_PAGE, cursor=cursor)

    @staticmethod
    def _answer(call: Call[T], response: httpx.Response) -> T:
        if response.is_success:
            return call.parse(response)
        raise from_response(response)


class Client(_Base):
    """Blocking; may be shared between threads. Close it, or use it in a ``with``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._http = httpx.Client(base_url=self.url, headers=self._headers, timeout=_TIMEOUT)
        # Addresses that the server signs take no key, and a redirect may lead to the store.
        self._open = httpx.Client(timeout=_TIMEOUT, follow_redirects=True)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections, and the server if this client started one."""
        self._http.close()
        self._open.close()
        self._close_server()

    def _send(self, call: Call[T]) -> T:
        for attempt in range(_TRIES):
            last = attempt + 1 == _TRIES or not call.repeatable
            try:
                response = self._http.request(call.method, call.path, **call.arguments())
            except httpx.TransportError as e:
                if last:
                    raise Unreachable(f"{self.url} does not answer: {e}", code="unreachable") from e
                time.sleep(_pause(None, attempt))
                continue
            if response.status_code not in _BUSY or last:
                return self._answer(call, response)
            time.sleep(_pause(response, attempt))
        raise AssertionError("the last try answers or raises")

    def create(
        self,
        filename: str,
        content: Content,
        *,
        session: str | None = None,
        agent: str | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        ttl: str | None = None,
        idempotency_key: str | None = None,
    ) -> m.Artifact:
        """Stores ``content`` at the path ``filename``. The same path with the same bytes is the same artifact."""
        labels = {k: v for k, v in locals().items() if k not in ("self", "filename", "content")}
        return self._send(self._create(filename, content, labels))

    def push(self, path: str | os.PathLike[str], filename: str | None = None, **labels: Any) -> m.Artifact:
        """Stores a file, under its own name unless another is said. Labels as for :meth:`create`."""
        with open(path, "rb") as file:
            return self.create(filename or Path(path).name, file, **labels)

    def get(self, artifact_id: str) -> m.Artifact:
        return self._send(calls.get(artifact_id))

    def find(
        self,
        *,
        session: str | None = None,
        agent: str | None = None,
        filename: str | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> Iterator[m.Artifact]:
        """The newest version of each path that fits, newest first; of all sessions unless one is said."""
        query = {k: v for k, v in locals().items() if k != "self"}
        cursor: str | None = None
        while True:
            page = self._send(self._find(query, cursor))
            yield from page.artifacts
            if not page.next_cursor:
                return
            cursor = page.next_cursor

    def named(self, filename: str, session: str | None = None) -> m.Artifact:
        """The artifact at a path of a session (this client's unless said)."""
        session = session or self.session
        found = next(self.find(session=session, filename=filename), None)
        if found is None:
            where = f"session '{session}'" if session else "any session"
            raise _no_such(filename, where)
        return found

    def read(self, artifact_id: str, start: int | None = None, end: int | None = None) -> bytes:
        """Its bytes, or those from ``start`` to before ``end``."""
        if start is not None and end is not None and end <= start:
            return b""
        response = self._open.get(self._send(calls.download_url(artifact_id)).download_url, headers=_range(start, end))
        return _content(response)

    def pull(self, artifact_id: str, to: str | os.PathLike[str]) -> Path:
        """Writes its bytes to a file, which appears when it is whole."""
        target = Path(to)
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        url = self._send(calls.download_url(artifact_id)).download_url
        try:
            with part.open("wb") as file, self._open.stream("GET", url) as response:
                if not response.is_success:
                    response.read()
                    raise from_response(response)
                for chunk in response.iter_raw():
                    file.write(chunk)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target

    def delete(self, artifact_id: str) -> None:
        """Into the trash, from where its owner can restore it."""
        self._send(calls.delete(artifact_id))

    def extend_ttl(self, artifact_id: str, ttl: str) -> m.Artifact:
        return self._send(calls.extend_ttl(artifact_id, ttl))

    def link(self, artifact_id: str, seconds: int | None = None) -> m.Link:
        """A new public address; 7 days unless said."""
        return self._send(calls.link(artifact_id, seconds))

    def links(self, artifact_id: str) -> list[m.Link]:
        return self._send(calls.links(artifact_id)).links

    def revoke(self, link_id: str) -> None:
        self._send(calls.revoke(link_id))

    def sessions(self) -> Iterator[m.Session]:
        after: str | None = None
        while True:
            page = self._send(calls.sessions(_PAGE, after))
            yield from page.sessions
            if not page.next_cursor:
                return
            after = page.next_cursor

    def seal(self, session: str | None = None) -> m.SealedSession:
        """From then on nothing in it changes. For good."""
        return self._send(calls.seal(_named_session(session or self.session)))

    def whoami(self) -> m.Whoami:
        return self._send(calls.whoami())


class AsyncClient(_Base):
    """The same for asyncio. Use it in an ``async with``, or ``await`` :meth:`close`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._http = httpx.AsyncClient(base_url=self.url, headers=self._headers, timeout=_TIMEOUT)
        self._open = httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=True)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()
        await self._open.aclose()
        await asyncio.to_thread(self._close_server)

    async def _send(self, call: Call[T]) -> T:
        for attempt in range(_TRIES):
            last = attempt + 1 == _TRIES or not call.repeatable
            try:
                response = await self._http.request(call.method, call.path, **call.arguments())
            except httpx.TransportError as e:
                if last:
                    raise Unreachable(f"{self.url} does not answer: {e}", code="unreachable") from e
                await asyncio.sleep(_pause(None, attempt))
                continue
            if response.status_code not in _BUSY or last:
                return self._answer(call, response)
            await asyncio.sleep(_pause(response, attempt))
        raise AssertionError("the last try answers or raises")

    async def create(
        self,
        filename: str,
        content: Content,
        *,
        session: str | None = None,
        agent: str | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        ttl: str | None = None,
        idempotency_key: str | None = None,
    ) -> m.Artifact:
        labels = {k: v for k, v in locals().items() if k not in ("self", "filename", "content")}
        return await self._send(self._create(filename, content, labels))

    async def push(self, path: str | os.PathLike[str], filename: str | None = None, **labels: Any) -> m.Artifact:
        with open(path, "rb") as file:
            return await self.create(filename or Path(path).name, file, **labels)

    async def get(self, artifact_id: str) -> m.Artifact:
        return await self._send(calls.get(artifact_id))

    async def find(
        self,
        *,
        session: str | None = None,
        agent: str | None = None,
        filename: str | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> AsyncIterator[m.Artifact]:
        query = {k: v for k, v in locals().items() if k != "self"}
        cursor: str | None = None
        while True:
            page = await self._send(self._find(query, cursor))
            for artifact in page.artifacts:
                yield artifact
            if not page.next_cursor:
                return
            cursor = page.next_cursor

    async def named(self, filename: str, session: str | None = None) -> m.Artifact:
        session = session or self.session
        async for artifact in self.find(session=session, filename=filename):
            return artifact
        raise _no_such(filename, f"session '{session}'" if session else "any session")

    async def read(self, artifact_id: str, start: int | None = None, end: int | None = None) -> bytes:
        if start is not None and end is not None and end <= start:
            return b""
        url = (await self._send(calls.download_url(artifact_id))).download_url
        return _content(await self._open.get(url, headers=_range(start, end)))

    async def delete(self, artifact_id: str) -> None:
        await self._send(calls.delete(artifact_id))

    async def extend_ttl(self, artifact_id: str, ttl: str) -> m.Artifact:
        return await self._send(calls.extend_ttl(artifact_id, ttl))

    async def link(self, artifact_id: str, seconds: int | None = None) -> m.Link:
        return await self._send(calls.link(artifact_id, seconds))

    async def links(self, artifact_id: str) -> list[m.Link]:
        return (await self._send(calls.links(artifact_id))).links

    async def revoke(self, link_id: str) -> None:
        await self._send(calls.revoke(link_id))

    async def sessions(self) -> AsyncIterator[m.Session]:
        after: str | None = None
        while True:
            page = await self._send(calls.sessions(_PAGE, after))
            for session in page.sessions:
                yield session
            if not page.next_cursor:
                return
            after = page.next_cursor

    async def seal(self, session: str | None = None) -> m.SealedSession:
        return await self._send(calls.seal(_named_session(session or self.session)))

    async def whoami(self) -> m.Whoami:
        return await self._send(calls.whoami())


def _range(start: int | None, end: int | None) -> dict[str, str]:
    if start is None and end is None:
        return {}
    return {"Range": f"bytes={start or 0}-{'' if end is None else end - 1}"}


def _content(response: httpx.Response) -> bytes:
    # Beyond the end there is nothing, as for a file.
    if response.status_code == 416:
        return b""
    if not response.is_success:
        raise from_response(response)
    return response.content


def _no_such(filename: str, where: str) -> OutputfsError:
    return NotFound(f"there is no '{filename}' in {where}", code="artifact_not_found", status=404)


def _named_session(session: str | None) -> str:
    if not session:
        raise OutputfsError("no session: say session=, or set OUTPUTFS_SESSION_ID", code="no_session")
    return session


__all__ = ["AsyncClient", "Client"]
