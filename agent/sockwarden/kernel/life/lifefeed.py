"""Container life: cgroups and first processes of containers, as the kernel tells them.

Owns the tracking object and its ring, and which source is taken: the BPF programs, else the process connector, else
none. Must not know what a container is: it tells of cgroups and processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sockwarden import abi
from sockwarden.errors import KernelError
from sockwarden.kernel.bpf.loader import TRACK, BpfObject
from sockwarden.kernel.bpf.maps import per_cpu_sum
from sockwarden.kernel.bpf.ringbuf import RECORDS_PER_TURN, Ring
from sockwarden.kernel.life import cgrouptree
from sockwarden.kernel.life.procevents import ProcEvents

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from sockwarden.kernel.compiled.bccrung import Compiled
    from sockwarden.kernel.life.tracker import Tracker

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


class Life:
    """Container life by the best source that this host gives; the guard stands without any.

    ``tracker`` is filled, ``tell`` gets every record after that. ``source`` is one of "bpf", "process connector" and
    "none"; ``why`` says why it is no better one, with what to do about it.
    """

    def __init__(self, tracker: Tracker, tell: Callable[[abi.CgroupRecord | abi.ProcessRecord], None]) -> None:
        """Prepare; ``follow`` or ``fall_back`` begins."""
        self._tracker: Final = tracker
        self._tell: Final = tell
        self.feed: LifeFeed | None = None
        self._events: ProcEvents | None = None
        self.source = "none"
        self.why = "the guard has not begun"

    def follow(
        self, loop: asyncio.AbstractEventLoop, ring_bytes: int, load: type[BpfObject | Compiled] = BpfObject
    ) -> None:
        """Begin with the programs, which ``load`` says how to load; else fall back."""
        try:
            self.feed = LifeFeed(loop, ring_bytes, self._tracker, self._tell, load)
        except KernelError as error:
            self.fall_back(loop, f"the programs of container life cannot be had: {_words(error)}")
        else:
            self.source, self.why = "bpf", ""

    def fall_back(self, loop: asyncio.AbstractEventLoop, why: str) -> None:
        """Begin without the programs."""
        try:
            self._events = ProcEvents(loop, self._tracker, self._tell)
        except KernelError as error:
            self.source, self.why = "none", f"{why}; {_words(error)}"
        else:
            self.source, self.why = "process connector", why

    def counters(self) -> dict[str, int]:
        """Return the counters of the source by their names."""
        if self.feed is not None:
            return self.feed.stats() | {"undecodable": self.feed.undecodable}
        events = self._events.stats() if self._events is not None else {"events": 0, "lost": 0}
        return {"reported": events["events"], "dropped": events["lost"], "undecodable": 0}

    def close(self) -> None:
        """Stop; a second call does nothing."""
        for source in (self.feed, self._events):
            if source is not None:
                source.close()
        self.feed = self._events = None


def _words(error: KernelError) -> str:
    return f"{error}{f' (remedy: {error.remedy})' if error.remedy else ''}"
