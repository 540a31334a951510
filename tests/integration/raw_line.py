"""One end of a connection in raw bytes, sent and read in pieces that are cut at random.

Never: a message that is put right; what a test does not ask for is not sent.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

SILENT_SECONDS: Final = 20.0
"""Nothing that the tests do lets a line stand still for longer; what does hangs."""

PIECES: Final = (700, 50_000, 200_000, 1_000_000, 4_000_000)
"""Sizes around what a socket takes at once (some 200 KiB) and what a relay may hold, in bytes."""


class EndedError(Exception):
    """The other end ended before what was read had come whole."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request or of an answer."""

    first: str
    fields: dict[str, str]

    @property
    def status(self) -> int:
        """The status code of an answer."""
        return int(self.first.split(" ")[1])


def chunked(body: bytes, cuts: random.Random) -> bytes:
    """Return a body in the chunked coding, in chunks of random sizes."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in _pieces(body, cuts)) + b"0\r\n\r\n"


def _pieces(data: bytes, cuts: random.Random) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        end = start + cuts.choice(PIECES)
        yield data[start:end]
        start = end


class Line:
    """A connected socket with what was read of it too early."""

    def __init__(self, sock: socket.socket, cuts: random.Random, patience: float | None = SILENT_SECONDS) -> None:
        """Own ``sock`` until ``close``; a call that stands still for ``patience`` seconds raises TimeoutError."""
        sock.settimeout(patience)
        self._socket = sock
        self._cuts = cuts
        self._ahead = b""

    @classmethod
    def to(cls, path: Path, cuts: random.Random) -> Line:
        """Connect to a unix socket."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(str(path))
        return cls(sock, cuts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        for piece in _pieces(data, self._cuts):
            self._socket.sendall(piece)

    def end(self) -> None:
        """End this half; the other end's goes on."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close both halves, whatever is still under way."""
        self._socket.close()

    def idle(self) -> bool:
        """Wait for the next message; False where the other end has ended instead."""
        if not self._ahead:
            self._ahead = self._socket.recv(self._cuts.choice(PIECES))
        return self._ahead != b""

    def until(self, mark: bytes) -> bytes:
        """Return what comes before ``mark``, which is dropped."""
        while mark not in self._ahead:
            self._ahead += self._more()
        before, self._ahead = self._ahead.split(mark, 1)
        return before

    def head(self) -> Head:
        """Return the next head."""
        first, *lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        fields = (line.split(":", 1) for line in lines)
        return Head(first, {name.strip().lower(): value.strip() for name, value in fields})

    def exactly(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        parts, have = [self._ahead], len(self._ahead)
        while have < count:
            parts.append(self._more())
            have += len(parts[-1])
        whole = b"".join(parts)
        self._ahead = whole[count:]
        return whole[:count]

    def body(self, head: Head) -> bytes:
        """Return the body that a head announces: chunked, by its length, or none."""
        if head.fields.get("transfer-encoding") != "chunked":
            return self.exactly(int(head.fields.get("content-length", "0")))
        parts = []
        while size := int(self.until(b"\r\n"), 16):
            parts.append(self.exactly(size))
            self.exactly(2)
        self.exactly(2)
        return b"".join(parts)

    def pieces(self) -> Iterator[bytes]:
        """Yield what comes, until the other end ends its half."""
        if self._ahead:
            yield self._ahead
            self._ahead = b""
        while piece := self._socket.recv(self._cuts.choice(PIECES)):
            yield piece

    def rest(self) -> bytes:
        """Return all that comes until the other end ends its half."""
        return b"".join(self.pieces())

    def _more(self) -> bytes:
        piece = self._socket.recv(self._cuts.choice(PIECES))
        if not piece:
            raise EndedError(f"{len(self._ahead)} bytes were left of what had begun")
        return piece
