"""Keeping the answers of registries fresh in the background.

Owns the timetable: when each target is asked again, how failures stretch it, how many are asked at once. It
must never decide what an answer means.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sockwarden.images.resolver import Resolver, Target

JITTER: Final = 0.1
"""Each interval is up to this share shorter or longer, so that a fleet does not ask in step."""

FIRST_RETRY_SECONDS: Final = 15.0
"""After a failure; doubled by each further one, up to the refresh interval."""

WORKERS: Final = 8
"""Targets asked at once: enough to hide the latency of a few registries, too few to look like an attack."""

TICK_SECONDS: Final = 1.0
"""The timetable is read no more often than this."""


class Refresher:
    """Asks for each target when it is due. ``refresh_seconds`` is the interval between good answers."""

    def __init__(self, resolver: Resolver, targets: Sequence[Target], refresh_seconds: float) -> None:
        self._resolver = resolver
        self._targets = targets
        self._refresh_seconds = refresh_seconds
        self._random = random.SystemRandom()
        self._shares: dict[Target, float] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to ask: unresolved targets at once, the others when due."""
        if self._task is None and self._targets:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop asking, and return when the task has ended."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def sweep(self, targets: Sequence[Target], landed: Callable[[Target], None]) -> None:
        """Ask for all ``targets`` now, ``WORKERS`` at a time, and report each one as it ends."""
        waiting = iter(targets)

        async def work() -> None:
            for target in waiting:
                await self._resolver.refresh(target)
                landed(target)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(WORKERS, len(targets))):
                group.create_task(work())

    def due_at(self, target: Target) -> float:
        """Return the time of the resolver's clock at which ``target`` is to be asked again."""
        record = self._resolver.record(target)
        if record.asked_at is None:
            return 0.0
        if record.failures:
            wait = min(FIRST_RETRY_SECONDS * float(1 << min(record.failures - 1, 16)), self._refresh_seconds)
        elif target.pinned and record.members:
            return float("inf")  # a digest means the same for ever
        else:
            wait = self._refresh_seconds
        return record.asked_at + wait * self._shares.get(target, 1.0)

    async def _run(self) -> None:
        while True:
            now = self._resolver.clock()
            await self.sweep([target for target in self._targets if self.due_at(target) <= now], self._draw)
            wait = min(map(self.due_at, self._targets)) - self._resolver.clock()
            await asyncio.sleep(min(max(wait, TICK_SECONDS), self._refresh_seconds))

    def _draw(self, target: Target) -> None:
        self._shares[target] = self._random.uniform(1 - JITTER, 1 + JITTER)
