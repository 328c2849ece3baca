"""What can go wrong, by what a caller would do about it."""

from __future__ import annotations

import httpx


class OutputfsError(Exception):
    """The server refused, or could not be asked. ``code`` is for programs, the text is one sentence for people."""

    def __init__(self, message: str, *, code: str = "error", status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class NotFound(OutputfsError, FileNotFoundError):
    """There is no such artifact, session or link."""


class Gone(NotFound):
    """There was one: it is deleted or expired."""


class Forbidden(OutputfsError, PermissionError):
    """The key is missing, wrong, or lacks the scope."""


class Sealed(OutputfsError, PermissionError):
    """The session is sealed: nothing in it changes any more."""


class Conflict(OutputfsError, FileExistsError):
    """The idempotency key belongs to other bytes or to another session."""


class ServerError(OutputfsError):
    """The server, or the store behind it, failed. The same request may succeed later."""


class Unreachable(ServerError, ConnectionError):
    """No answer came from the server."""


def from_response(response: httpx.Response) -> OutputfsError:
    """The error that an answer of 4xx or 5xx carries; the body has been read."""
    try:
        error = response.json()["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        # A proxy's page, say: its status is all that can be told.
        code, message = "http_error", f"the server answered {response.status_code} {response.reason_phrase}"
    kind: type[OutputfsError]
    match response.status_code:
        case 401 | 403:
            kind = Forbidden
        case 404:
            kind = NotFound
        case 410:
            kind = Gone
        case 409:
            kind = Sealed if "seal" in code else Conflict
        case status if status >= 500:
            kind = ServerError
        case _:
            kind = OutputfsError
    return kind(message, code=code, status=response.status_code)
