"""The gateway's own answers, in the engine's own format.

dockerd writes ``{"message": …}`` with the content type exactly ``application/json``
(moby: daemon/server/httpstatus and httputils.WriteJSON); the docker CLI prints the message behind
"Error response from daemon: ".
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def reply(status: int, body: bytes, *, close: bool, head_only: bool = False) -> bytes:
    """Return a whole response; ``head_only`` for HEAD, which has no body (RFC 9110 section 9.3.2)."""
    head = b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nServer: sockwarden\r\nContent-Length: %d\r\n%s\r\n" % (
        status,
        HTTPStatus(status).phrase.encode(),
        len(body),
        b"Connection: close\r\n" if close else b"",
    )
    return head if head_only else head + body
