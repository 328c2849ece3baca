"""``outputfs://SESSION/PATH`` for everything that speaks fsspec (pandas, pyarrow, dask, DuckDB, xarray, …).

As in an object store a directory is there as long as a file is below it. A file becomes an artifact when it is closed;
deleting one puts it into the trash. Listings are never cached: other writers are the rule here.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Any

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem  # type: ignore[import-untyped]

from ._client import Client
from ._errors import NotFound
from ._models import Artifact

# More than that is kept on disk until the file is closed.
_SPOOL = 8 << 20


class OutputFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Options: ``endpoint`` (the server's address; ``url`` is fsspec's own word), and as for :class:`outputfs.Client`
    ``key``, ``agent``, ``ttl``, ``state_dir``."""

    protocol = "outputfs"
    root_marker = ""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        known = ("key", "agent", "ttl", "state_dir")
        self.client = Client(options.get("endpoint"), **{name: options[name] for name in known if options.get(name) is not None})

    @property
    def fsid(self) -> str:
        return f"outputfs-{self.client.url}"

    # ---- names

    @classmethod
    def _split(cls, path: str) -> tuple[str, str]:
        """Session, and path inside it; either may be empty."""
        session, _, inside = cls._strip_protocol(path).strip("/").partition("/")
        return session, inside

    def _below(self, path: str) -> Iterator[Artifact]:
        """Everything whose path begins with the directory ``path``; of all sessions for the root."""
        session, inside = self._split(path)
        prefix = f"{inside}/" if inside else ""
        for artifact in self.client.find(session=session or None):
            if artifact.session_id and artifact.filename.startswith(prefix):
                yield artifact

    def _artifact(self, path: str) -> Artifact:
        session, inside = self._split(path)
        if not session or not inside:
            raise NotFound(f"there is no file '{path}': a file's address is outputfs://SESSION/PATH", status=404)
        return self.client.named(inside, session)

    @staticmethod
    def _entry(artifact: Artifact) -> dict[str, Any]:
        return {
            "name": f"{artifact.session_id}/{artifact.filename}",
            "size": artifact.size_bytes,
            "type": "file",
            "created": artifact.created_at,
            "mtime": artifact.created_at,
            "content_type": artifact.content_type,
            "artifact_id": artifact.artifact_id,
            "sha256": artifact.content_hash,
            "metadata": artifact.metadata,
        }

    # ---- looking

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        session, inside = self._split(path)
        if session and inside:
            try:
                return self._entry(self._artifact(path))
            except NotFound:
                pass
        name = self._strip_protocol(path).strip("/")
        directory = {"name": name, "size": 0, "type": "directory"}
        if not session or next(self._below(path), None) is not None:
            return directory
        raise FileNotFoundError(path)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        session, inside = self._split(path)
        if not session:
            found = {s.session_id: {"name": s.session_id, "size": 0, "type": "directory"} for s in self.client.sessions()}
        else:
            found = {}
            prefix = f"{inside}/" if inside else ""
            for artifact in self._below(path):
                name, deeper, _rest = artifact.filename[len(prefix) :].partition("/")
                if deeper:
                    full = f"{session}/{prefix}{name}"
                    found.setdefault(full, {"name": full, "size": 0, "type": "directory"})
                else:
                    entry = self._entry(artifact)
                    found[entry["name"]] = entry
            if not found:
                # A file lists as itself.
                entry = self.info(path)
                if entry["type"] == "file":
                    found = {entry["name"]: entry}
        entries = sorted(found.values(), key=lambda e: str(e["name"]))
        return entries if detail else [e["name"] for e in entries]

    def find(self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **kw: Any) -> Any:
        if maxdepth is not None or withdirs:
            return super().find(path, maxdepth=maxdepth, withdirs=withdirs, detail=detail, **kw)
        # One listing, however deep.
        found = {e["name"]: e for e in map(self._entry, self._below(path))}
        if not found:
            try:
                entry = self.info(path)
            except FileNotFoundError:
                entry = {"type": "none"}
            if entry["type"] == "file":
                found = {entry["name"]: entry}
        names = sorted(found)
        return {name: found[name] for name in names} if detail else names

    def created(self, path: str) -> datetime:
        made: datetime = self.info(path)["created"]
        return made

    modified = created

    def checksum(self, path: str) -> str:
        return str(self.info(path)["sha256"])

    # ---- directories: there when a file is below them

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        pass

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        pass

    def rmdir(self, path: str) -> None:
        if next(self._below(path), None) is not None:
            raise OSError(f"'{path}' is not empty")

    # ---- changing

    def _rm(self, path: str) -> None:
        self.client.delete(self._artifact(path).artifact_id)

    rm_file = _rm

    def rm(self, path: str | list[str], recursive: bool = False, maxdepth: int | None = None) -> None:
        paths = [path] if isinstance(path, str) else path
        for one in self.expand_path(paths, recursive=recursive, maxdepth=maxdepth):
            # A directory goes with its last file.
            try:
                self._rm(one)
            except NotFound:
                if not recursive and not self.exists(one):
                    raise

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        if self.isdir(path1):
            return
        artifact = self._artifact(path1)
        with self.open(path1, "rb") as source, self.open(path2, "wb", content_type=artifact.content_type) as target:
            while chunk := source.read(1 << 20):
                target.write(chunk)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        artifact = self._artifact(path)
        if (start or 0) < 0:
            start = max(artifact.size_bytes + (start or 0), 0)
        if end is not None and end < 0:
            end = max(artifact.size_bytes + end, 0)
        return self.client.read(artifact.artifact_id, start, end)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **labels: Any) -> None:
        with self.open(path, "xb" if mode == "create" else "wb", **labels) as file:
            file.write(value)

    def sign(self, path: str, expiration: int = 100, **_: Any) -> str:
        """A public link that ends after so many seconds."""
        url = self.client.link(self._artifact(path).artifact_id, expiration).url
        assert url is not None, "told when a link is made"
        return url

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, autocommit: bool = True, **kw: Any) -> Any:
        kind = mode.replace("b", "")
        if kind == "r":
            return _Reader(self, path, self._artifact(path), block_size or "default", **kw)
        if kind == "x" and self.exists(path):
            raise FileExistsError(path)
        session, inside = self._split(path)
        if not session or not inside:
            raise ValueError(f"'{path}' names no file: a file's address is outputfs://SESSION/PATH")
        writer = _Writer(self, session, inside, autocommit, {k: v for k, v in kw.items() if k in _LABELS})
        if kind == "a" and self.isfile(path):
            writer.write(self.cat_file(path))
        return writer


_LABELS = ("metadata", "content_type", "ttl", "agent", "idempotency_key")


class _Reader(AbstractBufferedFile):  # type: ignore[misc]
    """One version, from its opening on: what others write meanwhile is another."""

    def __init__(self, fs: OutputFileSystem, path: str, artifact: Artifact, block_size: int | str, **kw: Any) -> None:
        self._artifact_id = artifact.artifact_id
        self.details = OutputFileSystem._entry(artifact)
        super().__init__(fs, path, "rb", block_size=block_size, size=artifact.size_bytes, **kw)

    def _fetch_range(self, start: int, end: int) -> bytes:
        data: bytes = self.fs.client.read(self._artifact_id, start, end)
        return data


class _Writer:
    """Collects what is written; closing it makes the artifact, leaving a ``with`` by an error makes none."""

    def __init__(self, fs: OutputFileSystem, session: str, inside: str, autocommit: bool, labels: dict[str, Any]) -> None:
        self.fs, self.path, self.mode = fs, f"{session}/{inside}", "wb"
        self.autocommit, self._labels = autocommit, {"session": session, **labels}
        self._inside = inside
        self._held: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_SPOOL)  # noqa: SIM115
        self.closed = False

    def write(self, data: Any) -> int:
        if self.closed:
            raise ValueError("write to a closed file")
        return self._held.write(data)

    def tell(self) -> int:
        return self._held.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._held.seek(offset, whence)

    def flush(self, force: bool = False) -> None:
        pass

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return not self.closed

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self.autocommit:
            self.commit()

    def commit(self) -> None:
        """Of fsspec's transactions: all that was written at once."""
        try:
            self._held.seek(0)
            self.fs.client.create(self._inside, self._held, **self._labels)
        finally:
            self._held.close()

    def discard(self) -> None:
        self.closed = True
        self._held.close()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        # Never closed: nobody said that it is whole.
        if not self.closed:
            self.discard()
