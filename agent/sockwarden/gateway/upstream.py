"""The connections to the engine: opened ahead, and used by one client only.

A connection that has carried a request is never given to another client: a mistake in framing then hurts
only the client that caused it.

Never: a byte of what they carry.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from sockwarden.errors import EngineError
from sockwarden.gateway.engineline import EngineConnection

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT_SECONDS: Final = 10.0
"""A unix connect() waits only for the accept queue; dockerd's holds 4096 (Go's somaxconn)."""

SPARE_CONNECTIONS: Final = 8
"""Opened ahead, so that a new client does not wait for a second connect(); dockerd keeps idle ones for ever."""


class Upstream:
    """Opens connections to the engine and keeps a few spare ones, none of which has carried a request."""

    def __init__(self, path: Callable[[], str]) -> None:
        """Ask ``path`` for the engine's socket at each connect: a takeover may move it."""
        self._path = path
        self._spare: deque[EngineConnection] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening = 0

    @property
    def path(self) -> str:
        """Where the engine listens now."""
        return self._path()

    def take(self) -> EngineConnection | None:
        """Return a spare connection at once, if there is one, and order another."""
        connection = None
        while self._spare and connection is None:
            candidate = self._spare.popleft()
            if candidate.alive:
                connection = candidate
        if len(self._spare) + self._opening < SPARE_CONNECTIONS:
            self._opening += 1
            task = asyncio.get_running_loop().create_task(self._open_spare())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return connection

    async def open(self) -> EngineConnection:
        """Open a new connection.

        Raises:
            EngineError: the engine does not answer on its socket.
        """
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await self._connect()
        except TimeoutError as error:
            raise EngineError(f"it did not accept a connection within {CONNECT_SECONDS:.0f} s") from error
        except OSError as error:
            raise EngineError((error.strerror or str(error)).lower()) from error

    async def _connect(self) -> EngineConnection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_unix_connection(lambda: EngineConnection(self._forget), self._path())
        return connection

    def drop_spares(self) -> None:
        """Close the spare connections; for when the engine's socket was replaced."""
        while self._spare:
            self._spare.popleft().release()

    async def close(self) -> None:
        """Close the spare connections and stop opening others."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.drop_spares()

    async def _open_spare(self) -> None:
        try:
            connection = await self._connect()  # without a limit: nobody waits for it
        except OSError:
            return  # whoever needs a connection opens one and tells its client why it cannot
        finally:
            self._opening -= 1
        self._spare.append(connection)

    def _forget(self, connection: EngineConnection) -> None:
        if not connection.used and connection in self._spare:
            self._spare.remove(connection)
