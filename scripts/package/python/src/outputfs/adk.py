"""Google ADK's artifact service over outputfs.

    from google.adk.runners import Runner
    from outputfs.adk import OutputfsArtifactService

    runner = Runner(..., artifact_service=OutputfsArtifactService())

A name's versions are artifacts of their own at ``NAME/VERSION/BASENAME``, so that every one of them has an ID, a link
and its type, and saving the same bytes twice makes two versions of one blob. What belongs to an ADK session is in the
outputfs session ``APP.USER.SESSION``, or, where ``outputfs run`` or ``session=`` names one, in that under
``APP/USER/SESSION/``. What belongs to a user (``user:NAME``) is in ``APP.USER``. Names that cannot be part of a
session's name are shortened, with a hash.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from typing import Any, NamedTuple
from urllib.parse import quote

from google.adk.artifacts.artifact_util import is_artifact_ref, parse_artifact_uri
from google.adk.artifacts.base_artifact_service import ArtifactVersion, BaseArtifactService
from google.adk.errors.input_validation_error import InputValidationError
from google.genai import types

from ._client import Client
from ._errors import Conflict
from ._models import Artifact

_USER = "user:"
# Metadata of our own. What the caller says goes beside it where it is a short text, else into _MORE as JSON.
_NAME, _VERSION, _KIND, _MIME = "adk_name", "adk_version", "adk_kind", "adk_mime"
_URI, _DISPLAY, _MORE = "adk_uri", "adk_display_name", "adk_metadata"
_OWN = {_NAME, _VERSION, _KIND, _MIME, _URI, _DISPLAY, _MORE}
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9._:-]{0,63}\Z")
_VALUE_MAX = 1024
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z")
_TRIES = 100
_REFERENCES = 5
_RESERVED = {".ctl", ".by-id", ".where", ".versions", ".trash", ".manifest.json"}


class _Place(NamedTuple):
    session: str
    below: str
    """Directories before the name, each with its slash."""
    name: str

    def path(self, version: int) -> str:
        parts = [_segment(part) for part in self.name.removeprefix(_USER).split("/")]
        return f"{self.below}{'/'.join(parts)}/{version}/{parts[-1]}"


class OutputfsArtifactService(BaseArtifactService):
    """Safe for threads, event loops and several processes at once: a version is made by one of them."""

    def __init__(self, client: Client | None = None, *, session: str | None = None) -> None:
        """``client`` stays the caller's to close; without one it is made as :class:`outputfs.Client` makes it."""
        self._client = client or Client()
        self._session = session or self._client.session

    async def save_artifact(
        self,
        *,
        app_name: str,
        user_id: str,
        filename: str,
        artifact: types.Part | dict[str, Any],
        session_id: str | None = None,
        custom_metadata: dict[str, Any] | None = None,
    ) -> int:
        part = types.Part.model_validate(artifact) if isinstance(artifact, dict) else artifact
        place = self._place(app_name, user_id, session_id, filename)
        if is_artifact_ref(part):
            assert part.file_data is not None and part.file_data.file_uri is not None
            _target(part.file_data.file_uri, app_name, user_id, session_id)
        content, said = _taken_apart(part)
        said |= _metadata(custom_metadata or {})
        return await asyncio.to_thread(self._save, place, content, said)

    async def load_artifact(
        self,
        *,
        app_name: str,
        user_id: str,
        filename: str,
        session_id: str | None = None,
        version: int | None = None,
    ) -> types.Part | None:
        for _ in range(_REFERENCES + 1):
            place = self._place(app_name, user_id, session_id, filename)
            part = await asyncio.to_thread(self._load, place, version)
            if part is None or not is_artifact_ref(part):
                return part
            assert part.file_data is not None and part.file_data.file_uri is not None
            target = _target(part.file_data.file_uri, app_name, user_id, session_id)
            filename, version = target.filename, target.version
            session_id = target.session_id or session_id
        raise InputValidationError(f"'{filename}' leads through more than {_REFERENCES} references.")

    async def list_artifact_keys(self, *, app_name: str, user_id: str, session_id: str | None = None) -> list[str]:
        places = [self._place(app_name, user_id, None, _USER)]
        if session_id is not None:
            places.append(self._place(app_name, user_id, session_id, ""))
        names = await asyncio.to_thread(lambda: {name for place in places for name in self._names(place)})
        return sorted(names)

    async def delete_artifact(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None
    ) -> None:
        """Into the trash, all versions, from where ``outputfs restore`` brings them back."""
        place = self._place(app_name, user_id, session_id, filename)

        def work() -> None:
            for made in self._versions(place).values():
                self._client.delete(made.artifact_id)

        await asyncio.to_thread(work)

    async def list_versions(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None
    ) -> list[int]:
        place = self._place(app_name, user_id, session_id, filename)
        return list(await asyncio.to_thread(self._versions, place))

    async def list_artifact_versions(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None
    ) -> list[ArtifactVersion]:
        place = self._place(app_name, user_id, session_id, filename)
        return [_told(made) for made in (await asyncio.to_thread(self._versions, place)).values()]

    async def get_artifact_version(
        self,
        *,
        app_name: str,
        user_id: str,
        filename: str,
        session_id: str | None = None,
        version: int | None = None,
    ) -> ArtifactVersion | None:
        place = self._place(app_name, user_id, session_id, filename)
        made = await asyncio.to_thread(self._one, place, version)
        return None if made is None else _told(made)

    def _place(self, app: str, user: str, session: str | None, name: str) -> _Place:
        for what, value in (("app_name", app), ("user_id", user), ("session_id", session)):
            if value is not None and (not value.strip() or "\0" in value):
                raise InputValidationError(f"{what} must not be empty or hold a null byte.")
        if name.startswith(_USER):
            return _Place(_session_name(app, user), "", name)
        if session is None:
            raise InputValidationError(f"Session ID must be provided for '{name}': only '{_USER}' names have none.")
        session = session.strip()
        if self._session is None:
            return _Place(_session_name(app, user, session), "", name)
        return _Place(self._session, "".join(f"{quote(part, safe='')}/" for part in (app, user, session)), name)

    def _versions(self, place: _Place) -> dict[int, Artifact]:
        found = self._client.find(session=place.session, metadata={_NAME: place.name})
        mine = ((int(made.metadata[_VERSION]), made) for made in found if made.metadata.get(_VERSION, "").isdecimal())
        return dict(sorted(v for v in mine if v[1].filename == place.path(v[0])))

    def _one(self, place: _Place, version: int | None) -> Artifact | None:
        versions = self._versions(place)
        return versions.get(max(versions, default=-1) if version is None else version)

    def _names(self, place: _Place) -> set[str]:
        found = self._client.find(session=place.session)
        return {
            made.metadata[_NAME]
            for made in found
            if _NAME in made.metadata and made.filename.startswith(place.below)
            and made.metadata[_NAME].startswith(_USER) == place.name.startswith(_USER)
        }  # fmt: skip

    def _save(self, place: _Place, content: bytes, said: dict[str, str]) -> int:
        """Looking does not reserve a version; the key does: whoever finds it taken by other bytes takes the next."""
        version = 0
        for _ in range(_TRIES):
            version = max(version, max(self._versions(place), default=-1) + 1)
            path = place.path(version)
            try:
                self._client.create(
                    path,
                    content,
                    session=place.session,
                    content_type="text/uri-list" if said[_KIND] == "file" else said.get(_MIME),
                    metadata={_NAME: place.name, _VERSION: str(version), **said},
                    idempotency_key="adk:" + hashlib.sha256(f"{place.session}\0{path}".encode()).hexdigest(),
                )
            except Conflict:
                version += 1
                continue
            return version
        raise Conflict(f"{_TRIES} versions of '{place.name}' were taken by others meanwhile", code="conflict")

    def _load(self, place: _Place, version: int | None) -> types.Part | None:
        made = self._one(place, version)
        if made is None:
            return None
        said = made.metadata
        if said[_KIND] == "file":
            return types.Part(file_data=types.FileData(file_uri=said[_URI], mime_type=said.get(_MIME)))
        content = self._client.read(made.artifact_id)
        if said[_KIND] == "text":
            return types.Part(text=content.decode())
        # What a rewind of a session saves in place of a file that was not there yet.
        if not content and said.get(_MIME) == "application/octet-stream" and _DISPLAY not in said:
            return None
        blob = types.Blob(data=content, mime_type=said.get(_MIME), display_name=said.get(_DISPLAY))
        return types.Part(inline_data=blob)


def _segment(name: str) -> str:
    """A part of a path that a file system takes, and no other name gives."""
    if not name:
        return "%"
    name = name.replace("%", "%25").replace("\0", "%00")
    return "%2E" + name[1:] if name in {".", ".."} | _RESERVED else name


def _session_name(*parts: str) -> str:
    name = ".".join(parts)
    if all(_PLAIN.match(part) for part in parts) and len(name) <= 128:
        return name
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", "-".join(parts))[:80]
    return f"adk-{readable}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]}"


def _taken_apart(part: types.Part) -> tuple[bytes, dict[str, str]]:
    """The bytes, and what is said of them."""
    if (blob := part.inline_data) is not None:
        if blob.data is None:
            raise InputValidationError("Artifact inline_data must contain data.")
        said = {_KIND: "bytes", _MIME: blob.mime_type, _DISPLAY: blob.display_name}
        content = blob.data
    elif part.text is not None:
        said = {_KIND: "text", _MIME: "text/plain"}
        content = part.text.encode()
    elif part.file_data is not None:
        if not part.file_data.file_uri:
            raise InputValidationError("Artifact file_data must have a file_uri.")
        said = {_KIND: "file", _URI: part.file_data.file_uri, _MIME: part.file_data.mime_type}
        content = part.file_data.file_uri.encode()
    else:
        raise InputValidationError("Not supported artifact type: it has neither inline_data, text nor file_data.")
    return content, {key: value for key, value in said.items() if value}


def _metadata(custom: dict[str, Any]) -> dict[str, str]:
    plain, more = dict[str, str](), dict[str, Any]()
    for key, value in custom.items():
        fits = _KEY.match(key) and key not in _OWN and isinstance(value, str) and len(value.encode()) <= _VALUE_MAX
        (plain if fits else more)[key] = value
    if more:
        text = json.dumps(more, ensure_ascii=False)
        if len(text.encode()) > _VALUE_MAX:
            raise InputValidationError(f"custom_metadata {sorted(more)} has more than {_VALUE_MAX} bytes as JSON.")
        plain[_MORE] = text
    return plain


def _told(made: Artifact) -> ArtifactVersion:
    custom: dict[str, Any] = {key: value for key, value in made.metadata.items() if key not in _OWN}
    custom |= json.loads(made.metadata.get(_MORE, "{}"))
    return ArtifactVersion(
        version=int(made.metadata[_VERSION]),
        canonical_uri=f"outputfs://{made.session_id}/{made.filename}",
        custom_metadata=custom,
        create_time=made.created_at.timestamp(),
        mime_type=made.metadata.get(_MIME),
    )


class _Target(NamedTuple):
    session_id: str | None
    filename: str
    version: int


def _target(uri: str, app: str, user: str, session: str | None) -> _Target:
    """Where ``artifact://…`` leads: within what its reader may see."""
    parsed = parse_artifact_uri(uri)
    if parsed is None:
        raise InputValidationError(f"Invalid artifact reference URI: {uri}")
    if (parsed.app_name, parsed.user_id) != (app, user):
        raise InputValidationError("Artifact references must stay within the same app and user scope.")
    if parsed.session_id is not None and parsed.session_id != (session or "").strip():
        raise InputValidationError("Session-scoped artifact references must stay within the same session scope.")
    return _Target(parsed.session_id, parsed.filename, parsed.version)


__all__ = ["OutputfsArtifactService"]
