"""Which cgroup has which id: a bounded table, fed by the kernel's events.

Pure: records in, answers out. Must not grow without bound, whatever a container does with cgroups of its own:
the entry that was not asked for longest goes first, and that is counted. Must not hold a cut path for a path: what was
cut off may be the container's name.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sockwarden.abi import CgroupRecord

MAX_CGROUPS: Final = 16384
"""Some hundred containers with systemd inside; about 4 MiB when full."""

MAX_GONE: Final = 1024
"""Removed cgroups remembered: a client that connected and ended with its container may still wait for accept(), and ids
are never given twice. Some hundred containers' worth, about 0.3 MiB."""


@dataclass(frozen=True, slots=True)
class TrackedCgroup:
    """``first_seen_ns`` counts from boot; 0 for one that was there before the agent."""

    path: str
    first_seen_ns: int


class Tracker:
    """cgroup id to path, for cgroups of the v2 tree."""

    def __init__(self, limit: int = MAX_CGROUPS, look_up: Callable[[int], str] | None = None) -> None:
        """``look_up`` returns the path of a cgroup that was never told or was pushed out, "" if there is none."""
        self._limit: Final = limit
        self._look_up: Final = look_up
        self._known: Final[collections.OrderedDict[int, TrackedCgroup]] = collections.OrderedDict()
        self._gone: Final[collections.OrderedDict[int, str]] = collections.OrderedDict()
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._known)

    def seed(self, existing: Iterable[tuple[int, str]]) -> None:
        """Learn the (id, path) pairs that a walk of the tree found; newer knowledge stays."""
        for cgroup_id, path in existing:
            if cgroup_id not in self._known:
                self._learn(cgroup_id, TrackedCgroup(path, 0))

    def feed(self, record: CgroupRecord) -> None:
        """Learn or forget what the kernel says."""
        if not record.made:
            self._end(record)
        elif not record.truncated:
            self._learn(record.cgroup_id, TrackedCgroup(record.path, record.time_ns))

    def find(self, cgroup_id: int) -> TrackedCgroup | None:
        """Return what is known of a living cgroup, or None."""
        found = self._known.get(cgroup_id)
        if found is not None:
            self._known.move_to_end(cgroup_id)
        return found

    def path(self, cgroup_id: int) -> str:
        """Return the path of a cgroup, also of one that is gone by now; "" if nobody knows it."""
        found = self.find(cgroup_id)
        if found is not None:
            return found.path
        path = self._gone.get(cgroup_id, "")
        if not path and self._look_up is not None:
            path = self._look_up(cgroup_id)
            if path:
                self._learn(cgroup_id, TrackedCgroup(path, 0))
        return path

    def _learn(self, cgroup_id: int, cgroup: TrackedCgroup) -> None:
        self._known[cgroup_id] = cgroup
        self._known.move_to_end(cgroup_id)
        while len(self._known) > self._limit:
            self._known.popitem(last=False)
            self.evicted += 1

    def _end(self, record: CgroupRecord) -> None:
        ended = self._known.pop(record.cgroup_id, None)
        if ended is None and record.truncated:
            return
        self._gone[record.cgroup_id] = record.path if ended is None else ended.path
        while len(self._gone) > MAX_GONE:
            self._gone.popitem(last=False)
