"""Two connections on real socket pairs with a loop between them, for what relays streams."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from sockwarden.gateway.duplex import Duplex
from sockwarden.gateway.splice import Handover

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Side(Duplex):
    """A connection that says when it is over."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


class Relay(Side):
    """Passes what it reads on to ``target``, by the loop until ``threshold`` bytes have passed, then by a thread."""

    def __init__(self, threshold: int, count: int | None) -> None:
        super().__init__()
        self.target: Duplex
        self.passed = 0
        self.handover: Handover | None = None
        self.returned: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        self.threshold = threshold
        self._count = count

    def data_received(self, data: bytes) -> None:
        self.target.transport.write(data)
        self.passed += len(data)
        if self.handover is None and self.passed >= self.threshold:
            self.handover = Handover(self, self.target, self._count, self._take_back)

    def eof_received(self) -> bool:
        self.target.transport.write_eof()
        return True

    def _take_back(self, taken: int, rest: bytes) -> None:
        if not self.target.transport.is_closing():
            self.target.transport.write(rest)
        self.passed += taken
        if not self.returned.done():
            self.returned.set_result((taken, len(rest)))


@contextlib.asynccontextmanager
async def between(threshold: int, count: int | None) -> AsyncIterator[tuple[socket.socket, socket.socket, Relay]]:
    """Yield the sender's socket, the reader's, and the relay between them; closes all."""
    loop = asyncio.get_running_loop()
    sender, source = socket.socketpair()
    target, reader = socket.socketpair()
    sender.setblocking(False)
    reader.setblocking(False)
    _, relay = await loop.connect_accepted_socket(lambda: Relay(threshold, count), source)
    _, other = await loop.connect_accepted_socket(Side, target)
    relay.target = other
    try:
        with sender, reader:
            yield sender, reader, relay
    finally:
        if relay.handover is not None:
            relay.handover.cancel()
        relay.transport.abort()
        other.transport.abort()
        await relay.lost.wait()  # uvloop wants a transport that has got write_eof() to be referenced so long
        await other.lost.wait()
        while Handover.running:  # noqa: ASYNC110  # nobody tells when a cancelled one has ended
            await asyncio.sleep(0)


async def read_all(reader: socket.socket, most: int = 1 << 20) -> bytes:
    """Read until the end."""
    loop = asyncio.get_running_loop()
    parts = []
    while part := await loop.sock_recv(reader, most):
        parts.append(part)
    return b"".join(parts)
