"""Where the body of a request ends, for both framings; collects it where it must be judged whole.

Never: a byte behind the end, which belongs to the next request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockwarden.errors import ClientError
from sockwarden.http1.chunked import ChunkedBody

if TYPE_CHECKING:
    from sockwarden.http1.request import RequestHead


class RequestBody:
    """Follows the body that ``head`` announces. With ``limit`` its bytes are collected, up to that many."""

    __slots__ = ("_chunks", "_collected", "_left", "_limit")

    def __init__(self, head: RequestHead, *, limit: int | None = None) -> None:
        """Begin before the first byte.

        Raises:
            ClientError: the announced length is above ``limit`` (status 413).
        """
        self._collected = None if limit is None else bytearray()
        self._limit = limit or 0
        self._chunks = ChunkedBody(self._collected) if head.chunked else None
        self._left = head.content_length or 0
        if limit is not None and self._left > limit:
            raise self._too_large()

    @property
    def done(self) -> bool:
        """Whether the whole body was seen."""
        return self._left == 0 if self._chunks is None else self._chunks.done

    @property
    def left(self) -> int:
        """How many bytes are still to come, where that is known; else 0."""
        return self._left if self._chunks is None else 0

    def skip(self, count: int) -> None:
        """Count bytes of a body of known length, at most ``left``, that passed elsewhere."""
        if self._chunks is not None or self._collected is not None or count > self._left:
            raise AssertionError("only what is left of a known length can pass elsewhere")
        self._left -= count

    @property
    def collected(self) -> bytes:
        """The decoded bytes so far; empty unless a limit was given."""
        return bytes(self._collected or b"")

    def feed(self, data: bytes) -> int:
        """Take ``data`` and return how many of its bytes belong to the body.

        Raises:
            ClientError: the chunked coding is malformed, or the body is larger than the limit (status 413).
        """
        if self._chunks is not None:
            count = self._chunks.feed(data)
        else:
            count = min(self._left, len(data))
            self._left -= count
            if self._collected is not None:
                self._collected += data[:count]
        if self._collected is not None and len(self._collected) > self._limit:
            raise self._too_large()
        return count

    def _too_large(self) -> ClientError:
        return ClientError(f"the request body is larger than {self._limit} bytes, the most that is judged", status=413)
