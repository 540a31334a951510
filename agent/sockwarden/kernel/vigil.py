"""The canary in production: the rung in force is proved again and again for as long as the agent runs.

Owns the dummy socket in the run directory, one flight at a time on the event loop, and what the last one showed. Must
not block the loop, never report the canary as anybody's denial, and never call a flight that could not be made a hole
in the wall: its result is that of before, and grows old.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sockwarden.abi import GuardStat, SocketClass
from sockwarden.errors import KernelError
from sockwarden.kernel.canary import HELPER_SECONDS, Expected, Flight, Helper, drain, listen
from sockwarden.kernel.connections.sockets import SocketIdentity, identify

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

    from sockwarden.abi import ConnectRecord

SOCKET_NAME: Final = "canary.sock"

GRACE_SECONDS: Final = 1.0
"""How long a record may wait in the ring behind others, where seeing it is the proof."""


_WATCHED: Final = (GuardStat.CANARY, GuardStat.DROPPED)


@dataclass(frozen=True, slots=True)
class Findings:
    """What is known by the canary. ``held_at`` is in seconds of time.monotonic(); ``fault``: no flight was possible."""

    held: bool
    held_at: float
    flights: int = 0
    failures: int = 0
    fault: str = ""


class Vigil:
    """``tell`` is called on the loop's thread after every flight that showed something."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        folder: Path,
        expected: Expected,
        stat: Callable[[GuardStat], int],
        tell: Callable[[Findings], None],
    ) -> None:
        """Make the socket. ``stat`` returns a counter of the kernel.

        Raises:
            KernelError: the socket cannot be made.
        """
        self._loop = loop
        self._expected = expected
        self._stat = stat
        self._tell = tell
        self._path = folder / SOCKET_NAME
        self._listener = listen(self._path)
        self.identity: Final[SocketIdentity] = identify(self._path)
        self._helper: Helper | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._before: dict[GuardStat, int] = {}
        self._seen: set[int] = set()
        # Whoever keeps a vigil has just proved the rung by the same helper.
        self.findings = Findings(held=True, held_at=time.monotonic())

    def claims(self, record: ConnectRecord) -> bool:
        """Whether a record is about the dummy socket, and so nobody's denial; remembers who came."""
        by_object = (record.device, record.inode) == (self.identity.device, self.identity.inode)
        mine = by_object or record.socket_class is SocketClass.CANARY or record.path == os.fsencode(self._path)
        if mine and self._helper is not None and record.actor.tgid == self._helper.pid:
            self._seen.add(record.actor.tgid)
        return mine

    def fly(self) -> None:
        """Begin a flight, unless one is under way."""
        if self._helper is not None:
            return
        drain(self._listener)
        self._seen.clear()
        self._before = {which: self._stat(which) for which in _WATCHED}
        try:
            self._check_socket()
            self._helper = Helper(self._path)
        except KernelError as error:
            self._not_flown(error)
            return
        self._loop.add_reader(self._helper.fileno(), self._landed)
        self._timer = self._loop.call_later(HELPER_SECONDS, self._landed)

    def close(self) -> None:
        """End a flight that is under way and remove the socket; a second call does nothing."""
        self._end_flight()
        if self._listener.fileno() >= 0:
            self._listener.close()
            self._path.unlink(missing_ok=True)

    def _check_socket(self) -> None:
        if identify(self._path) != self.identity:
            raise KernelError(f"{self._path} is another socket by now", remedy="restart the agent")

    def _landed(self) -> None:
        """The helper ended, or its time is up."""
        helper = self._helper
        if helper is None:
            return
        try:
            flight = helper.land()
        except KernelError as error:
            self._end_flight()
            self._not_flown(error)
            return
        self._loop.remove_reader(helper.fileno())
        if self._timer is not None:
            self._timer.cancel()
        if self._expected is Expected.SEEN and flight.pid not in self._seen:
            self._timer = self._loop.call_later(GRACE_SECONDS, self._conclude, flight)
        else:
            self._conclude(flight)

    def _conclude(self, flight: Flight) -> None:
        self._end_flight()
        before = self.findings
        if flight.held(self._expected, met=self._was_met(flight)):
            self.findings = Findings(True, time.monotonic(), before.flights + 1, before.failures)
        elif self._expected is Expected.SEEN and self._grew(GuardStat.DROPPED):
            self._not_flown(KernelError("the canary's record may be among those that were lost", remedy=""))
            return
        else:
            self.findings = Findings(False, before.held_at, before.flights + 1, before.failures + 1)
        self._tell(self.findings)

    def _was_met(self, flight: Flight) -> bool:
        """Whether this rung had to do with it: somebody else may refuse a connect() too."""
        return flight.pid in self._seen or (self._expected is not Expected.SEEN and self._grew(GuardStat.CANARY))

    def _grew(self, which: GuardStat) -> bool:
        return self._stat(which) > self._before[which]

    def _not_flown(self, error: KernelError) -> None:
        before = self.findings
        self.findings = Findings(before.held, before.held_at, before.flights, before.failures, str(error))

    def _end_flight(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._helper is not None:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._helper.fileno())
            self._helper.close()
            self._helper = None
