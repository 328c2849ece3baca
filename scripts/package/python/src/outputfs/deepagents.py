"""LangChain deepagents' files in a session of outputfs.

    from deepagents import create_deep_agent
    from outputfs.deepagents import OutputfsBackend

    agent = create_deep_agent(model=..., backend=OutputfsBackend(session="run_42"))

``/report.md`` of the agent is the artifact ``report.md`` of the session. Where the session is mounted, deepagents' own
``FilesystemBackend(root_dir="./outputs", virtual_mode=True)`` does the same without a server.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import PurePosixPath

from deepagents.backends.protocol import (
    FILE_NOT_FOUND,
    INVALID_PATH,
    IS_DIRECTORY,
    PERMISSION_DENIED,
    BackendProtocol,
    DeleteResult,
    EditResult,
    FileData,
    FileDownloadResponse,
    FileInfo,
    FileUploadResponse,
    GlobResult,
    GrepMatch,
    GrepResult,
    LsResult,
    ReadResult,
    WriteResult,
)
from deepagents.backends.utils import (
    compile_grep_include_glob,
    perform_string_replacement,
    slice_read_response,
    validate_path,
)

from ._client import Client
from ._errors import Forbidden, NotFound, OutputfsError, Sealed
from ._models import Artifact

_SEARCHED_MAX = 10 << 20
"""Bytes: larger files are not searched, as deepagents' own backends do."""


class OutputfsBackend(BackendProtocol):
    """Every result carries its error as a sentence for the model; nothing is raised at an agent."""

    def __init__(self, client: Client | None = None, *, session: str | None = None) -> None:
        """``client`` stays the caller's to close; the session is its own unless said."""
        self._client = client or Client(session=session)
        named = session or self._client.session
        if not named:
            raise OutputfsError("no session: say session=, or set OUTPUTFS_SESSION_ID", code="no_session")
        self._session = named

    def ls(self, path: str) -> LsResult:
        try:
            below = _directory(path)
            files, directories = list[FileInfo](), set[str]()
            for found, artifact in self._below(below):
                child, deeper, _ = found[len(below) :].partition("/")
                if deeper:
                    directories.add(f"{below}{child}/")
                else:
                    files.append(_info(found, artifact))
        except (OutputfsError, ValueError) as e:
            return LsResult(error=str(e))
        files += (FileInfo(path=directory, is_dir=True, size=0, modified_at="") for directory in directories)
        return LsResult(entries=sorted(files, key=lambda file: file["path"]))

    def read(self, file_path: str, offset: int = 0, limit: int = 2000) -> ReadResult:
        try:
            artifact = self._named(file_path)
            content = self._client.read(artifact.artifact_id)
        except NotFound:
            return ReadResult(error=f"File '{file_path}' not found")
        except (OutputfsError, ValueError) as e:
            return ReadResult(error=str(e))
        made = artifact.created_at.isoformat()
        text = _text(artifact, content)
        if text is None:
            encoded = base64.standard_b64encode(content).decode("ascii")
            return ReadResult(file_data=FileData(content=encoded, encoding="base64", created_at=made, modified_at=made))
        data = FileData(content=text, encoding="utf-8", created_at=made, modified_at=made)
        return slice_read_response(data, offset, limit)

    def grep(
        self, pattern: str, path: str | None = None, glob: str | None = None, *, max_count: int | None = None
    ) -> GrepResult:
        matches = list[GrepMatch]()
        try:
            included = compile_grep_include_glob(glob) if glob else lambda _: True
            for found, artifact, relative in self._at_or_below(path):
                if not included(relative) or artifact.size_bytes > _SEARCHED_MAX:
                    continue
                text = _text(artifact, self._client.read(artifact.artifact_id))
                for number, line in enumerate((text or "").split("\n"), 1):
                    if pattern in line:
                        if max_count is not None and len(matches) >= max_count:
                            return GrepResult(matches=matches, truncated=True)
                        matches.append(GrepMatch(path=found, line=number, text=line))
        except (OutputfsError, ValueError) as e:
            return GrepResult(error=str(e), matches=matches or None)
        return GrepResult(matches=matches)

    def glob(self, pattern: str, path: str | None = None) -> GlobResult:
        try:
            matches = compile_grep_include_glob(pattern)
            found = [(artifact, found) for found, artifact, relative in self._at_or_below(path) if matches(relative)]
        except (OutputfsError, ValueError) as e:
            return GlobResult(error=str(e))
        found.sort(key=lambda pair: pair[0].created_at, reverse=True)
        return GlobResult(matches=[_info(path, artifact) for artifact, path in found])

    def write(self, file_path: str, content: str) -> WriteResult:
        try:
            self._client.create(_relative(file_path), content, session=self._session)
        except (OutputfsError, ValueError) as e:
            return WriteResult(error=str(e))
        return WriteResult(path=file_path)

    def edit(self, file_path: str, old_string: str, new_string: str, replace_all: bool = False) -> EditResult:
        try:
            artifact = self._named(file_path)
            text = _text(artifact, self._client.read(artifact.artifact_id))
            if text is None:
                return EditResult(error="Error: Cannot edit binary files with text replacements.")
            replaced = perform_string_replacement(text, old_string, new_string, replace_all)
            if isinstance(replaced, str):
                return EditResult(error=replaced)
            self._client.create(artifact.filename, replaced[0], session=self._session)
        except NotFound:
            return EditResult(error=f"Error: File '{file_path}' not found")
        except (OutputfsError, ValueError) as e:
            return EditResult(error=f"Error: {e}")
        return EditResult(path=file_path, occurrences=replaced[1])

    def delete(self, file_path: str) -> DeleteResult:
        """Into the trash, from where ``outputfs restore`` brings it back."""
        try:
            found = list(self._at_or_below(file_path))
            for _, artifact, _ in found:
                self._client.delete(artifact.artifact_id)
        except (OutputfsError, ValueError) as e:
            return DeleteResult(error=str(e))
        return DeleteResult(path=file_path) if found else DeleteResult(error=f"Error: File '{file_path}' not found")

    def upload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        return [FileUploadResponse(path=path, error=self._upload(path, content)) for path, content in files]

    def download_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        return [self._download(path) for path in paths]

    def _upload(self, path: str, content: bytes) -> str | None:
        try:
            self._client.create(_relative(path), content, session=self._session)
        except ValueError:
            return INVALID_PATH
        except (Forbidden, Sealed):
            return PERMISSION_DENIED
        except OutputfsError as e:
            return str(e)
        return None

    def _download(self, path: str) -> FileDownloadResponse:
        try:
            return FileDownloadResponse(path=path, content=self._client.read(self._named(path).artifact_id))
        except ValueError:
            error: str = INVALID_PATH
        except NotFound:
            below = next(self._below(_directory(path)), None)
            error = FILE_NOT_FOUND if below is None else IS_DIRECTORY
        except Forbidden:
            error = PERMISSION_DENIED
        except OutputfsError as e:
            error = str(e)
        return FileDownloadResponse(path=path, error=error)

    def _named(self, path: str) -> Artifact:
        return self._client.named(_relative(path), self._session)

    def _below(self, directory: str) -> Iterator[tuple[str, Artifact]]:
        for artifact in self._client.find(session=self._session):
            if (path := f"/{artifact.filename}").startswith(directory):
                yield path, artifact

    def _at_or_below(self, path: str | None) -> Iterator[tuple[str, Artifact, str]]:
        """Its path, the artifact, and the path as globs see it; by path."""
        root = _directory(path or "/")
        found = {f"/{artifact.filename}": artifact for artifact in self._client.find(session=self._session)}
        if (artifact := found.get(root.rstrip("/"))) is not None:
            yield root.rstrip("/"), artifact, PurePosixPath(root).name
            return
        for at in sorted(found):
            if at.startswith(root):
                yield at, found[at], at[len(root) :]


def _relative(path: str) -> str:
    relative = validate_path(path).lstrip("/")
    if not relative or path.endswith("/"):
        raise ValueError(f"'{path}' names no file")
    return relative


def _directory(path: str) -> str:
    return validate_path(path).rstrip("/") + "/"


def _info(path: str, artifact: Artifact) -> FileInfo:
    made = artifact.created_at.isoformat()
    return FileInfo(path=path, is_dir=False, size=artifact.size_bytes, modified_at=made)


def _text(artifact: Artifact, content: bytes) -> str | None:
    """None: the model is to see it as what it is, a picture say."""
    if artifact.content_type.startswith(("image/", "audio/", "video/")) and artifact.content_type != "image/svg+xml":
        return None
    if artifact.content_type == "application/pdf":
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


__all__ = ["OutputfsBackend"]
