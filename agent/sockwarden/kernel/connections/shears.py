"""Cuts connections off the event loop, soon after they were seen.

Owns the thread and the looks at one process. Must not judge, nor look at other processes: that is a sweep's.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sockwarden.kernel.connections import cutter
from sockwarden.kernel.connections.holders import Holder, look_at
from sockwarden.kernel.life.process import Outcome

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from concurrent.futures import Future

    Done = Callable[[tuple[Holder, ...], Outcome], None]

MAX_WAITING: Final = 256
"""Processes whose connections wait to be cut; each takes a millisecond or two. Beyond it, the next sweep finds them."""

AGAIN_SECONDS: Final = (0.002, 0.02)
"""Before each further look at a process that shows no connection: a watcher of the system call tells of connect()
before the connection is there."""

_WORST: Final = (Outcome.GONE, Outcome.DONE, Outcome.REFUSED)
"""What to tell of several connections of one process, the weightiest last."""

_Cut = tuple[tuple[Holder, ...], Outcome]


@dataclass(slots=True)
class _Order:
    """Who wants to know of a cut. What is asked after it has begun may be about a later connection: ``then``."""

    dones: list[Done]
    begun: bool = False
    then: list[Done] = field(default_factory=list)


class ShearsThread:
    """``cut`` from the loop's thread; ``done`` is called there."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sockwarden-cut")
        self._waiting: dict[Holder, _Order] = {}
        self._pauses: set[asyncio.TimerHandle] = set()
        self._closed = False

    def cut(self, holder: Holder, done: Done) -> None:
        """Cut the connection of ``holder``, or each that its process has where the inode is 0, then tell which.

        Two orders for the same are one, as long as the first has not begun.
        """
        order = self._waiting.get(holder)
        if order is not None:
            (order.then if order.begun else order.dones).append(done)
        elif len(self._waiting) < MAX_WAITING:
            self._begin(holder, [done])
        else:
            done((), Outcome.GONE)

    def close(self) -> None:
        """Stop; what waits is not cut any more."""
        self._closed = True
        for pause in self._pauses:
            pause.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, holder: Holder, dones: list[Done]) -> None:
        self._waiting[holder] = _Order(dones)
        self._submit(holder, 0)

    def _submit(self, holder: Holder, look: int) -> None:
        future = self._pool.submit(_cut, holder, self._waiting[holder])

        def told(ended: Future[_Cut]) -> None:
            if not ended.cancelled() and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._ended, holder, look, ended)

        future.add_done_callback(told)

    def _ended(self, holder: Holder, look: int, future: Future[_Cut]) -> None:
        if self._closed:
            return
        found, outcome = future.result()
        if not found and look < len(AGAIN_SECONDS):
            self._again(holder, look)
            return
        order = self._waiting.pop(holder)
        if order.then:
            self._begin(holder, order.then)
        for done in order.dones:
            done(found, outcome)

    def _again(self, holder: Holder, look: int) -> None:
        def submit() -> None:
            self._pauses.discard(pause)
            self._submit(holder, look + 1)

        pause = self._loop.call_later(AGAIN_SECONDS[look], submit)
        self._pauses.add(pause)


def _cut(holder: Holder, order: _Order) -> _Cut:
    order.begun = True  # before anything is looked at
    if holder.inode:
        return (holder,), cutter.cut(holder.ends)
    found = tuple(one for one in look_at(holder.pid, (holder.identity,)) if one.start_ticks == holder.start_ticks)
    outcomes = [cutter.cut(one.ends) for one in found]
    return found, max(outcomes, key=_WORST.index, default=Outcome.GONE)
