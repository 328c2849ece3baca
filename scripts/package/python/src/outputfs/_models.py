"""What the server tells. Fields that a newer server adds are ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Outcome = Literal["created", "updated", "unchanged"]


class _Told(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Artifact(_Told):
    """One version of one file; it never changes but for its metadata and its expiry."""

    artifact_id: str
    filename: str
    content_type: str
    size_bytes: int
    content_hash: str
    session_id: str | None = None
    agent_id: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    version: int = 1
    created_at: datetime
    expires_at: datetime | None = None
    outcome: Outcome | None = None
    """Of an upload alone: what it did."""


class ArtifactPage(_Told):
    artifacts: list[Artifact]
    has_more: bool = False
    next_cursor: str | None = None


class Session(_Told):
    session_id: str
    artifact_count: int
    is_sealed: bool
    first_artifact_at: datetime | None = None
    last_artifact_at: datetime | None = None


class SessionPage(_Told):
    sessions: list[Session]
    has_more: bool = False
    next_cursor: str | None = None


class SealedSession(_Told):
    session_id: str
    status: str
    sealed_at: datetime
    artifact_count: int


class Link(_Told):
    """A public, expiring, revocable address. ``url`` is told once, when it is made."""

    link_id: str
    url: str | None = None
    artifact_id: str | None = None
    expires_at: datetime | None = None
    created_at: datetime
    revoked_at: datetime | None = None


class LinkPage(_Told):
    links: list[Link]


class DownloadUrl(_Told):
    download_url: str
    size_bytes: int
    content_type: str
    filename: str
    expires_at: datetime


class Whoami(_Told):
    tenant_name: str
    scopes: list[str]
    usage_storage_bytes: int
