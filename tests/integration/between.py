"""Something that happens between the gateway's look at the engine and the engine's look at the request.

A relay on a unix socket in front of a real engine; it must never change a byte.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PIECE_BYTES: Final = 64 * 1024


class Between:
    """Relays to an engine; before the first request for ``path`` of a POST is passed on, ``act`` is called once."""

    def __init__(self, listen: Path, engine: Path) -> None:
        self.path = listen
        self.seen: list[str] = []
        """The first lines of the requests that were passed on by POST."""
        self._engine = engine
        self._wanted = b""
        self._act: Callable[[], object] | None = None
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(listen))
        self._listener.listen()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def when(self, path: str, act: Callable[[], object]) -> None:
        """Call ``act`` before the next request passes whose target's path ends with ``path``."""
        self._wanted, self._act = path.encode(), act

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in (self._listener, *self._open):
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                engine = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._open += (client, engine)
                engine.connect(str(self._engine))
                for source, sink, look in ((client, engine, True), (engine, client, False)):
                    self._threads.append(threading.Thread(target=self._relay, args=(source, sink, look)))
                    self._threads[-1].start()

    def _relay(self, source: socket.socket, sink: socket.socket, look: bool) -> None:  # a thread's
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                if look:
                    self._look(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def _look(self, data: bytes) -> None:
        if not data.startswith(b"POST "):
            return
        target = data.split(b" ", 2)[1]
        act = self._act
        if act is not None and target.partition(b"?")[0].endswith(self._wanted):
            self._act = None
            act()
        self.seen.append(target.decode())
