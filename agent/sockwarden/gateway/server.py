"""The listener: accepts clients, bounds their number, keeps the public path ours, and leaves in order.

Never: a request. Those are the connections' business.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from sockwarden.errors import TakeoverError
from sockwarden.gateway.client import ClientConnection
from sockwarden.gateway.takeover import BACKLOG
from sockwarden.gateway.watch import NameWatch

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from sockwarden.gateway.intake import Intake
    from sockwarden.gateway.ports import Wiring
    from sockwarden.gateway.takeover import SocketTakeover
    from sockwarden.model import Client

DRAIN_SECONDS: Final = 10.0
"""How long requests in flight may go on when the agent stops; `docker logs -f` would never end by itself."""

RECLAIM_SECONDS: Final = 0.05
"""Between two looks at a public path that is not ours: an engine needs some 10 ms from bind() to listen()."""

# From 3.13 a server that closes unlinks what lies at the path where its socket was bound: after a swap, the engine's.
_KEEP_PATH: Final[dict[str, Any]] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}

_log = logging.getLogger(__name__)


class GatewayServer:
    """Serves clients on the public path until it is closed."""

    def __init__(self, wiring: Wiring, takeover: SocketTakeover) -> None:
        """Prepare; nothing is touched before :meth:`start`."""
        self._wiring = wiring
        self._takeover = takeover
        self._servers: list[asyncio.Server] = []
        self._connections: set[Intake] = set()
        self._watch: NameWatch | None = None
        self._reclaiming: asyncio.Task[None] | None = None
        self.on_retaken: Callable[[], None] = _nothing

    @property
    def open_connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    def clients(self) -> dict[int, Client]:
        """Return who is connected, by the inode of the accepted socket; without those who are not placed yet."""
        return {
            connection.inode: connection.client
            for connection in self._connections
            if connection.client is not None and connection.inode
        }

    def drop(self, inode: int) -> bool:
        """Close the connection whose accepted socket has ``inode``, whatever it is at; False where there is none."""
        for connection in self._connections:
            if connection.client is not None and connection.inode == inode:
                connection.abort()
                return True
        return False

    async def start(self) -> None:
        """Take the public path and serve it.

        Raises:
            TakeoverError: the path cannot be taken.
        """
        listener = self._takeover.take()
        try:
            await self._serve(listener)
            self._watch = NameWatch(self._takeover.public, self._path_changed)
        except BaseException:
            await self.close()
            listener.close()
            raise

    async def close(self) -> None:
        """Give the path back, let requests in flight end, and close.

        Raises:
            TakeoverError: the engine's socket could not be put back.
        """
        if self._watch is not None:
            self._watch.close()
        if self._reclaiming is not None:
            self._reclaiming.cancel()
        try:
            self._takeover.give_back()
        finally:
            await self._drain()
            for server in self._servers:
                server.close()
            for connection in list(self._connections):
                connection.abort()
            await self._wiring.upstream.close()

    async def _serve(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(self._accept, sock=listener, backlog=BACKLOG, **_KEEP_PATH)
        for old in self._servers:
            old.close()
        self._servers = [server]

    def _accept(self) -> ClientConnection:
        connection = ClientConnection(self._wiring, self._connections.discard)
        self._connections.add(connection)
        return connection

    async def _drain(self) -> None:
        """Wait for exchanges in flight; clients that ask nothing are let go at once."""
        deadline = asyncio.get_running_loop().time() + DRAIN_SECONDS
        await asyncio.sleep(RECLAIM_SECONDS)  # those in the accept queue of the socket are still ours
        while asyncio.get_running_loop().time() < deadline:
            for connection in list(self._connections):
                connection.close_if_idle()
            if not self._connections:
                return
            await asyncio.sleep(RECLAIM_SECONDS)

    # -- keeping the path -------------------------------------------------

    def _path_changed(self) -> None:
        if self._takeover.holds() or (self._reclaiming is not None and not self._reclaiming.done()):
            return
        self._reclaiming = asyncio.get_running_loop().create_task(self._reclaim())

    async def _reclaim(self) -> None:
        """Take the path again; while no engine listens there is nothing to be in front of."""
        _log.warning("%s is not ours any more: the engine restarts, or somebody replaced it", self._takeover.public)
        told: Counter[str] = Counter()
        while not self._takeover.holds():
            try:
                listener = self._takeover.restore()
            except TakeoverError as error:
                told[str(error)] += 1
                if told[str(error)] == 1:
                    _log.warning("%s; trying again", error)
                await asyncio.sleep(RECLAIM_SECONDS)
                continue
            if listener is not None:
                await self._serve(listener)
                self._wiring.upstream.drop_spares()
                self.on_retaken()
                _log.warning("%s is guarded again", self._takeover.public)


def _nothing() -> None:
    """Do nothing where nobody wants to know."""
