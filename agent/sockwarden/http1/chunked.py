"""The chunked transfer coding, read strictly while its bytes pass by.

Chunk extensions, trailers and bare line feeds are refused: dockerd 20.10 (Go 1.19) reads a bare LF in a
chunk line as its end, so a lenient relay would let a second request hide in the first one's body.

Never: a copy of the body, unless the caller collects it.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from sockwarden.errors import ClientError

MAX_SIZE_LINE_BYTES: Final = 18
"""16 hexadecimal digits and CRLF: RFC 9112 section 7.1 sets no limit, a 64-bit length does."""

_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")


class _State(enum.Enum):
    SIZE = enum.auto()
    DATA = enum.auto()
    END = enum.auto()  # the CRLF behind the last chunk
    DONE = enum.auto()


class ChunkedBody:
    """Follows one chunked body. ``feed`` never looks behind its end, so that what follows is the next message's."""

    __slots__ = ("_collect", "_left", "_partial", "_state")

    def __init__(self, collect: bytearray | None = None) -> None:
        """Start at the first size line; decoded data is appended to ``collect`` when given."""
        self._state = _State.SIZE
        self._left = 0
        self._partial = b""
        self._collect = collect

    @property
    def done(self) -> bool:
        """Whether the end of the body was seen."""
        return self._state is _State.DONE

    def feed(self, data: bytes) -> int:
        """Take ``data`` and return how many of its bytes belong to the body.

        Raises:
            ClientError: the coding is malformed.
        """
        carried = len(self._partial)
        if carried:
            data = self._partial + data
            self._partial = b""
        position = 0
        size = len(data)
        while position < size and self._state is not _State.DONE:
            if self._state is _State.DATA:
                position = self._take(data, position, size)
            else:
                ahead = self._line(data, position)
                if ahead < 0:
                    self._partial = data[position:]
                    return size - carried
                position = ahead
        return position - carried

    def _take(self, data: bytes, position: int, size: int) -> int:
        """Pass chunk data and the CRLF behind it (``_left`` counts both)."""
        take = min(self._left, size - position)
        end = position + take
        if self._collect is not None:
            self._collect += data[position : min(end, position + max(self._left - 2, 0))]
        # The last two bytes of a chunk must be CRLF, wherever the reads were cut.
        if self._left - take < 2:
            first = max(self._left - 2, 0)
            tail = data[position + first : end]
            expected = b"\r\n"[2 - self._left :] if self._left < 2 else b"\r\n"
            if not expected.startswith(tail):
                raise ClientError("a chunk is longer than its size line says")
        self._left -= take
        if self._left == 0:
            self._state = _State.SIZE
        return end

    def _line(self, data: bytes, position: int) -> int:
        """Read a size line or the final CRLF; -1 when it is cut off here."""
        if self._state is _State.END:
            tail = data[position : position + 2]
            if tail == b"\r\n":
                self._state = _State.DONE
                return position + 2
            if tail == b"\r":
                return -1
            raise ClientError("trailer fields are not accepted")
        match = _SIZE_LINE.match(data, position)
        if match is None:
            rest = data[position : position + MAX_SIZE_LINE_BYTES + 1]
            if len(rest) > MAX_SIZE_LINE_BYTES or not _SIZE_PREFIX.fullmatch(rest):
                raise ClientError("a chunk size line is not plain hexadecimal digits and CRLF")
            return -1
        length = int(match[1], 16)
        if length == 0:
            self._state = _State.END
        else:
            self._left = length + 2
            self._state = _State.DATA
        return match.end()


_SIZE_PREFIX: Final = re.compile(rb"[0-9A-Fa-f]{0,15}|[0-9A-Fa-f]{1,15}\r")
