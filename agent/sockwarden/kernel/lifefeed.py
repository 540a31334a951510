"""Container life: cgroups and first processes of containers, as the kernel tells them.

Owns the tracking object, its ring and the tracker that they fill. Must not know what a container is: it tells of
cgroups and processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sockwarden import abi
from sockwarden.errors import KernelError
from sockwarden.kernel import cgrouptree
from sockwarden.kernel.loader import TRACK, BpfObject
from sockwarden.kernel.maps import per_cpu_sum
from sockwarden.kernel.ringbuf import RECORDS_PER_TURN, Ring

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from sockwarden.kernel.bccrung import Compiled
    from sockwarden.kernel.tracker import Tracker

TRACK_PROGRAMS: Final = (
    "track_cgroup_mkdir",
    "track_cgroup_rmdir",
    "track_fork",
    "track_exec",
    "track_exit",
)


class LifeFeed:
    """Fills ``tracker`` from the moment that it is made; ``tell`` gets every record after that."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ring_bytes: int,
        tracker: Tracker,
        tell: Callable[[abi.CgroupRecord | abi.ProcessRecord], None],
        load: type[BpfObject | Compiled] = BpfObject,
    ) -> None:
        """Load and attach; ``load`` says how.

        Raises:
            KernelError: the kernel refused.
        """
        self._loop = loop
        self._tracker = tracker
        self._tell = tell
        self.undecodable = 0
        self._object = load(TRACK, TRACK_PROGRAMS, {"sw_life": ring_bytes})
        try:
            self._ring = Ring(self._object.map_fd("sw_life"))
            for program in TRACK_PROGRAMS:
                self._object.attach(program)
        except KernelError:
            self._object.close()
            raise
        # The walk comes second: a cgroup made in between is told by its event.
        top = cgrouptree.mount_point()
        if top is not None:
            tracker.seed(cgrouptree.walk(top))
        loop.add_reader(self._ring.fileno(), self._read)

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs that feed it."""
        return TRACK_PROGRAMS

    def map_fd(self, name: str) -> int:
        """Return the descriptor of a map, which stays the feed's own.

        Raises:
            KernelError: it has no such map.
        """
        return self._object.map_fd(name)

    def program_fd(self, name: str) -> int:
        """Return the descriptor of one of ``programs``, which stays the feed's own.

        Raises:
            KernelError: it cannot be had.
        """
        return self._object.program_fd(name)

    def stats(self) -> dict[str, int]:
        """Return the kernel's counters by their names."""
        fd = self._object.map_fd("sw_track_stats")
        return {which.name.lower(): per_cpu_sum(fd, which) for which in abi.TrackStat}

    def close(self) -> None:
        """Detach everything; call it once."""
        if not self._loop.is_closed():
            self._loop.remove_reader(self._ring.fileno())
        self._ring.close()
        self._object.close()

    def _read(self) -> None:
        for data in self._ring.consume(RECORDS_PER_TURN):
            try:
                record = abi.decode(data)
            except KernelError:
                self.undecodable += 1
                continue
            if isinstance(record, abi.CgroupRecord):
                self._tracker.feed(record)
            if not isinstance(record, abi.ConnectRecord):
                self._tell(record)
