"""Which cgroup has which id: a bounded table, fed by the kernel's events.

Pure: records in, answers out. Must not grow without bound, whatever a container does with cgroups of its own:
the entry that was not asked for longest goes first, and that is counted.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sockwarden.abi import CgroupRecord

MAX_CGROUPS: Final = 16384
"""Some hundred containers with systemd inside; about 4 MiB when full."""


@dataclass(frozen=True, slots=True)
class TrackedCgroup:
    """``first_seen_ns`` counts from boot; 0 for one that was there before the agent."""

    path: str
    first_seen_ns: int


class Tracker:
    """cgroup id to path, for cgroups of the v2 tree."""

    def __init__(self, limit: int = MAX_CGROUPS) -> None:
        self._limit = limit
        self._known: collections.OrderedDict[int, TrackedCgroup] = collections.OrderedDict()
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
        if record.made:
            self._learn(record.cgroup_id, TrackedCgroup(record.path, record.time_ns))
        else:
            self._known.pop(record.cgroup_id, None)

    def find(self, cgroup_id: int) -> TrackedCgroup | None:
        """Return what is known of a cgroup, or None."""
        found = self._known.get(cgroup_id)
        if found is not None:
            self._known.move_to_end(cgroup_id)
        return found

    def _learn(self, cgroup_id: int, cgroup: TrackedCgroup) -> None:
        self._known[cgroup_id] = cgroup
        self._known.move_to_end(cgroup_id)
        while len(self._known) > self._limit:
            self._known.popitem(last=False)
            self.evicted += 1
