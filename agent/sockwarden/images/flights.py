"""One flight per key: who asks for what is being fetched already waits for that answer.

Owns the tasks it starts until they end. It must never let one waiter's cancellation take the answer from the
others.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sockwarden.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

T = TypeVar("T")


class Flights:
    """Runs at most one coroutine per key at a time, and gives its result to all who asked meanwhile."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}

    async def once(self, key: Hashable, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of the flight under ``key``, starting it if none is under way.

        A waiter that is cancelled leaves; the flight goes on, so that the next one finds its answer.
        """
        task: asyncio.Task[T] | None = self._tasks.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(start())
            self._tasks[key] = task
            task.add_done_callback(partial(self._landed, key))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            waiter = asyncio.current_task()
            if task.cancelled() and waiter is not None and not waiter.cancelling():
                raise RegistryError("the question to the registry was given up because the agent stops") from None
            raise

    async def close(self) -> None:
        """Cancel what is still under way, and return when it has ended."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _landed(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        del self._tasks[key]
        if not task.cancelled():
            task.exception()  # marks it as seen: the waiters may all have left
