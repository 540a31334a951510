"""How often a container is told that its image may not use the socket before the kernel tells it instead.

Pure: moments in, answers out. Bounded, whatever clients do: who asked longest ago is forgotten first, and begins anew.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

TOLD_ENOUGH: Final = 20
"""Refused connections: a docker command makes two, so a person who tries again reads the reason ten times."""

TOLD_SECONDS: Final = 60.0
"""Within which they must fall: what asks every few seconds costs nothing and goes on being told why."""

KEPT_SECONDS: Final = 60.0
"""How long the kernel answers: short, since the refusal may have been for a registry that was down."""

MAX_WATCHED: Final = 1024
"""Containers counted at once; more than one host runs."""

MAX_KEPT: Final = 256
"""Containers that the kernel answers at once; each is looked at once a second."""


@dataclass(slots=True)
class _Count:
    since: float
    told: int = 0


class Patience:
    """Counts refused connections by container. Times are in seconds of any clock that does not go back."""

    def __init__(self) -> None:
        self._counts: Final[OrderedDict[str, _Count]] = OrderedDict()
        self._kept: Final[OrderedDict[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def kept(self) -> tuple[str, ...]:
        """The containers that the kernel answers."""
        return tuple(self._kept)

    def refused(self, container_id: str, now: float) -> bool:
        """Count a refused connection; True where this container has been told enough and there is room to keep it."""
        if container_id in self._kept:
            return False  # it asked before the kernel began to answer
        count = self._counts.get(container_id)
        if count is None or now - count.since > TOLD_SECONDS:
            count = self._counts[container_id] = _Count(now)
            while len(self._counts) > MAX_WATCHED:
                self._counts.popitem(last=False)
        self._counts.move_to_end(container_id)
        count.told += 1
        return count.told >= TOLD_ENOUGH and len(self._kept) < MAX_KEPT

    def keep(self, container_id: str, now: float) -> None:
        """Note that the kernel answers this container from now on."""
        self._counts.pop(container_id, None)
        self._kept[container_id] = now + KEPT_SECONDS

    def forget(self, container_id: str) -> None:
        """Let the gateway answer again, and count from nothing."""
        self._counts.pop(container_id, None)
        self._kept.pop(container_id, None)

    def lapsed(self, now: float) -> tuple[str, ...]:
        """Return the containers whose time is over; ``forget`` them."""
        return tuple(container_id for container_id, until in self._kept.items() if until <= now)
