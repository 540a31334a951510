"""The head of a response: how long its body is, and whether the connection goes on.

The engine is trusted to write well-formed heads, but not to keep a connection alive: the framing decides
where the next response begins (RFC 9112 section 6.3), and anything unclear ends the connection.

Never: a change to a response that the engine gave.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sockwarden.errors import EngineError

MAX_RESPONSE_HEAD_BYTES: Final = 256 * 1024
"""X-Docker-Container-Path-Stat and friends are small; this is a bound against a peer that is not an engine."""

_REMEMBERED_HEADS: Final = 64
_REMEMBERED_BYTES: Final = 1024

_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r\n")
_FRAMING: Final = re.compile(
    rb"(?im)^(content-length|transfer-encoding|connection|content-type):[ \t]*([^\r\n]*?)[ \t]*\r$"
)
_RAW_STREAMS: Final = frozenset({b"application/vnd.docker.raw-stream", b"application/vnd.docker.multiplexed-stream"})


class Framing(enum.Enum):
    """How the end of a response's body is found."""

    NONE = enum.auto()
    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    CLOSE = enum.auto()


@dataclass(slots=True)
class ResponseHead:
    """What the gateway needs to know of one response head; ``size`` is its length in bytes.

    Nobody changes one once it is parsed: equal heads may be the same object.
    """

    status: int
    framing: Framing
    length: int
    close: bool
    raw_stream: bool
    size: int

    @property
    def interim(self) -> bool:
        """A 1xx that another response follows (RFC 9110 section 15.2); 101 is final."""
        return self.status < 200 and self.status != 101


def parse_response(data: bytes, method: str) -> ResponseHead | None:
    """Parse the response head at the start of ``data``; None means that more bytes are needed.

    Raises:
        EngineError: these bytes are no response.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > MAX_RESPONSE_HEAD_BYTES or not b"HTTP/1.".startswith(data[:7]):
            raise EngineError("the engine's answer is not HTTP/1.1", remedy="check what listens on the engine's socket")
        return None
    head = data[: end + 4]
    # Equal questions within one second (the Date field) have equal heads.
    return _remembered(head, method) if len(head) <= _REMEMBERED_BYTES else _parse(head, method)


def _parse(data: bytes, method: str) -> ResponseHead:
    match = _STATUS.match(data)
    if match is None:
        raise EngineError("the engine's answer is not HTTP/1.1", remedy="check what listens on the engine's socket")
    status = int(match[1])
    framing, length, close, raw = Framing.CLOSE, 0, False, False
    for name, value in _FRAMING.findall(data[match.end() - 1 : -2]):
        kind = name.lower()
        if kind == b"content-length":
            if not value.isdigit():
                raise EngineError("the engine's answer has no readable length")
            if framing is not Framing.CHUNKED:
                framing, length = Framing.LENGTH, int(value)
        elif kind == b"transfer-encoding":
            framing, length = Framing.CHUNKED, 0
        elif kind == b"connection":
            close = close or value.lower() == b"close"
        else:
            raw = value.lower() in _RAW_STREAMS
    if method == "HEAD" or status in (204, 304) or status < 200:
        framing, length = Framing.NONE, 0
    elif framing is Framing.LENGTH and length == 0:
        framing = Framing.NONE
    close = close or framing is Framing.CLOSE or data.startswith(b"HTTP/1.0")
    return ResponseHead(status, framing, length, close, raw, len(data))


_remembered: Final = lru_cache(maxsize=_REMEMBERED_HEADS)(_parse)
