"""How much of the gateway one client may hold, so that a container cannot take it from everybody else.

Never: a decision on a request's meaning.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from sockwarden.model import ContainerClient, HostClient

if TYPE_CHECKING:
    from sockwarden.model import Client

MAX_CONNECTIONS: Final = 8192
"""Of all clients; two descriptors each. A busy CI host holds some hundreds."""

MAX_CONNECTIONS_PER_CONTAINER: Final = 512
"""Testcontainers and CI helpers hold some dozens. Host clients share what containers cannot take."""

MAX_UNKNOWN_CONNECTIONS: Final = 256
"""Of all clients that cannot be placed; each is refused with its first request anyway."""

MAX_COLLECTED_BYTES: Final = 128 * 1024 * 1024
"""Of all bodies that are read whole to be judged: 32 of the largest, or thousands of ordinary ones."""

_UNKNOWN: Final = "unknown"


class Quota:
    """Counts what is held. One per gateway, for its one event loop."""

    def __init__(self) -> None:
        self.connections = 0
        self._by_container: Counter[str] = Counter()
        self._collected = 0

    def connect(self) -> bool:
        """Count a connection; False where there are too many. Always followed by :meth:`disconnect`."""
        self.connections += 1
        return self.connections <= MAX_CONNECTIONS

    def place(self, client: Client) -> bool:
        """Count a connection for its client; False where that client has too many."""
        holder = _holder(client)
        if holder is None:
            return True
        self._by_container[holder] += 1
        limit = MAX_UNKNOWN_CONNECTIONS if holder == _UNKNOWN else MAX_CONNECTIONS_PER_CONTAINER
        return self._by_container[holder] <= limit

    def disconnect(self, client: Client | None) -> None:
        """Forget a connection; ``client`` is None where it was never placed."""
        self.connections -= 1
        holder = None if client is None else _holder(client)
        if holder is not None:
            self._by_container[holder] -= 1
            if self._by_container[holder] <= 0:
                del self._by_container[holder]

    def collect(self, size: int) -> bool:
        """Set ``size`` bytes aside for a body; False where too much is held, and nothing was set aside."""
        if self._collected + size > MAX_COLLECTED_BYTES:
            return False
        self._collected += size
        return True

    def release(self, size: int) -> None:
        """Give back what :meth:`collect` set aside."""
        self._collected -= size


def _holder(client: Client) -> str | None:
    """Return the key that a client's connections are counted under; None for host clients."""
    if isinstance(client, HostClient):
        return None
    return client.container.id if isinstance(client, ContainerClient) else _UNKNOWN
