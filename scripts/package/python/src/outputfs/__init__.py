"""Artifacts of AI agents, from Python.

    import outputfs

    with outputfs.Client(session="run_42") as client:
        made = client.push("report.pdf", metadata={"stage": "final"})
        print(client.link(made.artifact_id).url)

Where the server is, which key opens it and whose output this is come from the environment
(``OUTPUTFS_API_URL``, ``OUTPUTFS_API_KEY``, ``OUTPUTFS_SESSION_ID``, ``OUTPUTFS_AGENT_ID``, or the same with
``ARTIFACTA_``), as ``outputfs run`` sets them. With no address at all a server of this machine's state directory is
started for as long as the client is open.
"""

from ._client import AsyncClient, Client
from ._errors import Conflict, Forbidden, Gone, NotFound, OutputfsError, Sealed, ServerError, Unreachable
from ._models import Artifact, ArtifactPage, Link, Outcome, SealedSession, Session, SessionPage, Whoami

__all__ = [
    "Artifact",
    "ArtifactPage",
    "AsyncClient",
    "Client",
    "Conflict",
    "Forbidden",
    "Gone",
    "Link",
    "NotFound",
    "Outcome",
    "OutputfsError",
    "Sealed",
    "SealedSession",
    "ServerError",
    "Session",
    "SessionPage",
    "Unreachable",
    "Whoami",
]
__version__ = "0.1.0"
