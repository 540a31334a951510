"""An engine that does to its connections what the query of a request asks for.

Never: a word of Docker's API beyond the framing of its messages.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import random
import socket
import threading
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from tests.integration.raw_line import EndedError, Line, chunked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.raw_line import Head

    Script = Callable[[Line, Head, "Wanted"], bool]

BACKLOG: Final = 64
SWITCHED: Final = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
TOO_LARGE: Final = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n"


def content(seed: int, size: int) -> bytes:
    """Return ``size`` bytes that no other seed gives."""
    return random.Random(seed).randbytes(size)


def digest(data: bytes) -> str:
    """Return what an engine answers to an upload that it has read whole."""
    return hashlib.sha256(data).hexdigest()


class Wanted:
    """What a request asks of the script."""

    def __init__(self, head: Head) -> None:
        """Read it from the query."""
        query = parse_qs(urlsplit(head.first.split(" ")[1]).query)
        self.script = query.get("script", ["read"])[0]
        self.seed = int(query.get("seed", ["0"])[0])
        self.size = int(query.get("size", ["0"])[0])


class ScriptedEngine:
    """A listener, and one thread for each of its connections.

    A script returns whether the connection can carry another request.
    """

    def __init__(self, path: Path) -> None:
        """Listen on a unix socket at ``path``."""
        self.path: Final = path
        self.received: Final[queue.SimpleQueue[str]] = queue.SimpleQueue()
        """Digests of what came after an engine had ended its half."""
        self._scripts: Final[dict[str, Script]] = {
            "read": _read,
            "length": _answer_by_length,
            "chunked": _answer_in_chunks,
            "close": _answer_until_the_end,
            "half": _die_in_an_answer,
            "deaf": _die_in_a_body,
            "early": _answer_early,
            "early-close": _answer_early_and_close,
            "echo": _echo,
            "first": self._end_first,
        }
        self._listener: Final = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(BACKLOG)
        self._acceptor: Final = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Accept no more; connections end with those who opened them."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        # Without a limit: a gateway keeps spare connections. Clients that go are what some tests are about.
        with Line(sock, random.Random(), patience=None) as line, contextlib.suppress(OSError, EndedError):
            while line.idle():
                head = line.head()
                wanted = Wanted(head)
                if not self._scripts[wanted.script](line, head, wanted):
                    return

    def _end_first(self, line: Line, head: Head, wanted: Wanted) -> bool:
        line.send(SWITCHED)
        line.body(head)
        line.send(content(wanted.seed, wanted.size))
        line.end()
        self.received.put(digest(line.rest()))
        return False


def _read(line: Line, head: Head, _: Wanted) -> bool:
    answer = digest(line.body(head)).encode()
    line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
    return True


def _answer_by_length(line: Line, _: Head, wanted: Wanted) -> bool:
    line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % wanted.size + content(wanted.seed, wanted.size))
    return True


def _answer_in_chunks(line: Line, _: Head, wanted: Wanted) -> bool:
    body = chunked(content(wanted.seed, wanted.size), random.Random(wanted.seed))
    line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    return True


def _answer_until_the_end(line: Line, _: Head, wanted: Wanted) -> bool:
    line.send(b"HTTP/1.1 200 OK\r\n\r\n" + content(wanted.seed, wanted.size))
    return False


def _die_in_an_answer(line: Line, _: Head, wanted: Wanted) -> bool:
    half = content(wanted.seed, wanted.size)[: wanted.size // 2]
    line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % wanted.size + half)
    return False


def _die_in_a_body(line: Line, _: Head, wanted: Wanted) -> bool:
    line.exactly(wanted.size)
    return False


def _answer_early(line: Line, head: Head, _: Wanted) -> bool:
    line.send(TOO_LARGE + b"\r\nbig")
    line.body(head)
    return True


def _answer_early_and_close(line: Line, _: Head, _wanted: Wanted) -> bool:
    line.send(TOO_LARGE + b"Connection: close\r\n\r\nbig")
    return False


def _echo(line: Line, head: Head, _: Wanted) -> bool:
    line.send(SWITCHED)
    line.body(head)
    seen = hashlib.sha256()
    for piece in line.pieces():
        seen.update(piece)
        line.send(piece)
    line.send(seen.hexdigest().encode())
    return False
