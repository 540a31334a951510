"""Runs sweeps by socket diag off the event loop: one at a time, and not too often.

Owns the thread and the pace. Must not judge: it hands what it found to its owner on the loop's thread.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final

from sockwarden.kernel.connections.holders import Scan, scan

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection

    from sockwarden.kernel.connections.sockets import SocketIdentity

PAUSE_SECONDS: Final = 1.0
"""Between two sweeps: each reads all of /proc, and a flood of events must not turn into a flood of sweeps."""

JOIN_SECONDS: Final = 10.0
"""How long ``close`` waits for a sweep on a very full host."""


class Sweeper:
    """``request`` as often as you like; ``deliver`` gets what each sweep found on the loop's thread.

    ``targets`` are the sockets whose connections matter, ``accepted`` the inodes of connections that the agent itself
    has accepted.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        targets: Callable[[], Collection[SocketIdentity]],
        accepted: Callable[[], Collection[int]],
        deliver: Callable[[Scan], None],
    ) -> None:
        self._loop = loop
        self._targets = targets
        self._accepted = accepted
        self._deliver = deliver
        self._thread: threading.Thread | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._again = False
        self._closed = False
        self.done = 0
        self.failed = 0

    def request(self) -> None:
        """Sweep now, or after the pause if one is running or just ended."""
        if self._closed:
            return
        if self._thread is not None or self._pause is not None:
            self._again = True
            return
        self._again = False
        targets, accepted = tuple(self._targets()), frozenset(self._accepted())
        if targets or accepted:
            self._thread = threading.Thread(
                target=self._sweep, args=(targets, accepted), name="sockwarden-sweep", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """Stop; what a running sweep finds is dropped."""
        self._closed = True
        if self._pause is not None:
            self._pause.cancel()
        if self._thread is not None:
            self._thread.join(JOIN_SECONDS)

    def _sweep(self, targets: tuple[SocketIdentity, ...], accepted: frozenset[int]) -> None:
        try:
            found: Scan | None = scan(targets, accepted)
        except OSError:
            found = None  # /proc or netlink failed as a whole: counted on the loop's thread
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(self._ended, found)

    def _ended(self, found: Scan | None) -> None:
        self._thread = None
        if self._closed:
            return
        self._pause = self._loop.call_later(PAUSE_SECONDS, self._rested)
        if found is None:
            self.failed += 1
        else:
            self.done += 1
            self._deliver(found)

    def _rested(self) -> None:
        self._pause = None
        if self._again:
            self.request()
