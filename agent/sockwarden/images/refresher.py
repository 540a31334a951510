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

    from sockwarden.images.resolver import Record, Resolver, Target

JITTER: Final = 0.1
"""Each interval is up to this share shorter or longer, so that a fleet does not ask in step."""

FIRST_RETRY_SECONDS: Final = 15.0
"""After a failure; doubled by each further one, up to the refresh interval."""

WORKERS: Final = 8
"""Targets asked at once: enough to hide the latency of a few registries, too few to look like an attack."""

TICK_SECONDS: Final = 1.0
"""The timetable is read no more often than this."""

TARGETS_PER_SECOND: Final = 1000
"""A long timetable is read less often, so that reading it stays below a hundredth of a core."""

_MASK: Final = (1 << 32) - 1


class Refresher:
    """Asks for each target when it is due. ``refresh_seconds`` is the interval between good answers."""

    def __init__(self, resolver: Resolver, targets: Sequence[Target], refresh_seconds: float) -> None:
        self._resolver = resolver
        self._targets = targets
        self._refresh_seconds = refresh_seconds
        self._seed = random.SystemRandom().getrandbits(62)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to ask: unresolved targets at once, the others when due."""
        if self._task is None and self._targets and not self._resolver.locked:
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
        return record.asked_at + wait * self._share(record)

    async def _run(self) -> None:
        while True:
            self._resolver.expire()
            now = self._resolver.clock()
            await self.sweep([target for target in self._targets if self.due_at(target) <= now], lambda _: None)
            wait = min(map(self.due_at, self._targets)) - self._resolver.clock()
            await asyncio.sleep(min(max(wait, self._tick), self._refresh_seconds))

    @property
    def _tick(self) -> float:
        return max(TICK_SECONDS, len(self._targets) / TARGETS_PER_SECOND)

    def _share(self, record: Record) -> float:
        """Draw the length of this interval: the same for each reading of the timetable, another for each answer."""
        drawn = (hash((self._seed, record.asked_at, record.target)) & _MASK) / _MASK
        return 1 - JITTER + 2 * JITTER * drawn
