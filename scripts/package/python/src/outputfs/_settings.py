"""Where the server is and whose output this is, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


def _first(env: Mapping[str, str], name: str) -> str | None:
    """outputfs's own name goes before the compatible one; an empty value is none."""
    for prefix in ("OUTPUTFS_", "ARTIFACTA_"):
        if value := env.get(prefix + name):
            return value
    return None


@dataclass(frozen=True)
class Settings:
    url: str | None
    key: str | None
    session: str | None
    agent: str | None
    ttl: str | None

    @staticmethod
    def of(env: Mapping[str, str] = os.environ) -> Settings:
        return Settings(
            url=_first(env, "API_URL"),
            key=_first(env, "API_KEY"),
            session=_first(env, "SESSION_ID"),
            agent=_first(env, "AGENT_ID"),
            ttl=_first(env, "TTL"),
        )
